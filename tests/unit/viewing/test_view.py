"""`lartpc view`: events by filter, on a page that answers this machine alone."""

import http.client
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode
from xml.etree import ElementTree

import numpy as np
import pytest
from browser import browser, errors, look, num_colours, wait_for
from PIL import Image
from selenium.webdriver.common.keys import Keys
from typer.testing import CliRunner, Result
from viewing import SHOWN, UID, click_voxel, served, small_production

from lartpc.cli import app
from lartpc.run.display.page import HERE
from lartpc.run.view.catalogue import Catalogue, names_in
from lartpc.run.view.picture import BROWSERS, MODES, VIEWS
from lartpc.run.view.server import Server


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_production(tmp_path_factory.mktemp("view"))


@pytest.fixture(scope="module")
def server(results: Path) -> Iterator[Server]:
    with served(results) as started:
        yield started


def ask(server: Server, path: str, host: str | None = None, **words: object) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET", f"{path}?{urlencode(words)}", headers={"Host": host} if host else {})
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def test_filters_are_by_any_column_of_any_table(results: Path) -> None:
    catalogue = Catalogue([results], 1000)
    assert catalogue.names(catalogue.select("events", "")) == [f"{UID}/{entry}" for entry in range(3)]
    assert catalogue.select("events", "entry >= 1 and not entry == 2") == [1]
    most = int(catalogue._read("interactions", ["num_particles"])["num_particles"].max())
    assert catalogue.select("interactions", f"num_particles == {most} and entry in [0, 1]") == [0, 1]
    assert catalogue.select("interactions", f"num_particles > {most}") == []
    with pytest.raises(ValueError, match="no column 'num_muonss' in interactions"):
        catalogue.select("interactions", "num_muonss == 1")


def test_the_list_is_searched_and_ordered(results: Path) -> None:
    catalogue = Catalogue([results], 1000)
    assert catalogue.found([0, 1, 2], "0000/2") == [2]
    run = "/".join(str(catalogue.events[name].iloc[1]) for name in ("run", "subrun", "event"))
    assert 1 in catalogue.found([0, 1, 2], run) and catalogue.found([0, 1, 2], "nowhere") == []
    catalogue.events["num_voxels"] = [5, 9, 7]
    assert catalogue.ordered([0, 1, 2], "num_voxels", descending=True) == [1, 2, 0]
    assert catalogue.rows([2, 0])["num_voxels"] == [7, 5]
    with pytest.raises(ValueError, match="no column 'size' in the list"):
        catalogue.ordered([0], "size", descending=False)


def test_an_event_is_written_as_json(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "event.json"
    words = ["view", str(results), "--json", str(out), "--event"]
    done = CliRunner().invoke(app, [*words, f"{UID}/2"])
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert (found["entry"], found["num_voxels"]) == (2, 47)
    failed = CliRunner().invoke(app, [*words, "beam/7"])
    assert failed.exit_code == 2 and "no event 'beam/7'" in failed.output


@pytest.mark.parametrize(
    "where", ["open('x')", "entry.real == 1", "@entry == 1", "entry ==", "(lambda: 1)()"]
)
def test_a_filter_does_nothing_but_compare(where: str) -> None:
    with pytest.raises(ValueError, match="cannot be used as a filter"):
        names_in(where)


def test_event_files_need_no_tables(results: Path) -> None:
    files = [results / "events" / step / f"{UID}.h5" for step in ("ingest", "segment")]
    catalogue = Catalogue(files, 1000)
    assert catalogue.select("events", "num_voxels > 0") == [0, 1, 2]
    shown = catalogue.display(1)
    assert (shown["entry"], shown["file_uid"]) == (1, UID)
    assert shown["sides"]["prediction"]["particles"] == []
    with pytest.raises(ValueError, match="have no voxels; name the file that 'lartpc ingest' wrote"):
        Catalogue(files[1:], 1000)
    with pytest.raises(ValueError, match="is not a folder of results"):
        Catalogue([results / "events"], 1000)


def test_the_server_answers_this_machine_alone(server: Server) -> None:
    status, found = ask(server, "/list", where="entry == 2")
    assert (status, found["numbers"], found["names"]) == (200, [2], [f"{UID}/2"])
    assert found["rows"]["num_voxels"] == [47]
    assert ask(server, "/list", sort="size") == (400, {"error": "no column 'size' in the list of events"})
    shown = ask(server, "/event", number=2)[1]
    assert (shown["entry"], shown["sides"]["prediction"]["particles"]) == (2, [])
    assert shown["set_aside"] == "cluster: ValueError: drawn to fail"
    assert ask(server, "/event", number=9) == (400, {"error": "no event 9; there are 3"})
    assert ask(server, "/../secrets")[0] == 404
    assert ask(server, "/list", host="elsewhere.example:80")[0] == 403
    with pytest.raises(ValueError, match="--port 0 takes a free one"):
        Server(server.catalogue, "beam", server.server_port)


def test_a_picture_needs_no_screen(results: Path, tmp_path: Path) -> None:
    if not any(shutil.which(name) for name in BROWSERS):
        pytest.skip("no Chromium: apt-get install chromium")
    out = tmp_path / "event.png"

    def view(event: str) -> Result:
        return CliRunner().invoke(app, ["view", str(results), "--png", str(out), "--event", event])

    assert view(f"{UID}/1").exit_code == 0
    picture = np.asarray(Image.open(out).convert("RGB"))
    assert picture.shape == (1100, 1400, 3)
    assert len(np.unique(picture[250:800].reshape(-1, 3) >> 5, axis=0)) > 8, (
        "an empty picture has few colours"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["event.png"]
    buttons = re.search(r"MODES = \[(.*)\]", (HERE / "display.js").read_text())
    assert buttons and json.loads(f"[{buttons[1]}]") == [*("semantic" if m == "class" else m for m in MODES)]
    assert (
        "no colours"
        in CliRunner().invoke(app, ["view", str(results), "--png", "x.png", "--mode", "red"]).output
    )
    failed = view(f"{UID}/9")
    assert failed.exit_code == 2 and f"no event '{UID}/9'; the first of 3 is '{UID}/0'" in failed.output


def test_a_vector_picture_needs_no_screen(results: Path, tmp_path: Path) -> None:
    if not any(shutil.which(name) for name in BROWSERS):
        pytest.skip("no Chromium: apt-get install chromium")
    out = tmp_path / "event.svg"

    def view(*words: str) -> Result:
        return CliRunner().invoke(app, ["view", str(results), *words])

    done = view("--svg", str(out), "--event", f"{UID}/1", "--view", "zy")
    assert done.exit_code == 0, done.output
    found = ElementTree.parse(out).getroot()
    drawn = [element.tag.rpartition("}")[2] for element in found.iter()]
    titles = [element.text for element in found if element.tag.endswith("text")]
    assert titles == ["truth", "reconstruction"]
    assert drawn.count("rect") > 2 * 47 and "image" not in drawn, "a mark for each voxel on both sides"
    assert "no view 'yz'; there are 3d, zy" in view("--svg", str(out), "--view", "yz").output
    assert "must end with .svg" in view("--svg", "event.png").output
    assert "one of --png, --svg" in view("--svg", str(out), "--png", "event.png").output
    keys = re.findall(r'^    "?(\w+)"?: (?:null|\{ name)', (HERE / "scene.js").read_text(), re.M)
    assert tuple(keys) == VIEWS


def test_the_page_filters_links_and_turns_by_keys(server: Server) -> None:
    with browser() as page:
        look(page, 1400)
        page.get(
            f"{server.address}#table=events&where=entry+%3E+0&event={UID.replace('/', '%2F')}%2F2&mode=particle"
        )
        assert wait_for(page, SHOWN, "the event of the link") == "1/particle/3d"
        assert page.execute_script("return document.getElementById('said').textContent") == "2 of 3 events"
        assert num_colours(page, "[data-part=prediction]") > 8
        page.find_element("css selector", "body").send_keys(Keys.ARROW_RIGHT)
        wait_for(page, f"{SHOWN} === '0/particle/3d'", "→")
        assert "event=beam%2F0000%2F1" in page.execute_script("return location.hash")
        # a particle that is clicked and its match stand out from the others, on both sides
        click_voxel(page, "prediction", "particles")
        faded = "return document.querySelector('[data-part={}]').picture.traces.filter((one) => one.opacity === 0.15)"
        for side in ("truth", "prediction"):
            wait_for(page, f"{faded.format(side)}.length > 0", f"the particles that are not meant, {side}")
        assert "particle=prediction%2F" in page.execute_script("return location.hash")
        page.execute_script("""
            const list = document.querySelector('[data-part=column]');
            list.value = 'species';
            list.dispatchEvent(new Event('change'));
        """)
        legend = "document.querySelector('[data-part=prediction-legend]').textContent"
        wait_for(page, f"return /muon/.test({legend}) && !/MeV/.test({legend})", "particles by species")
        assert "column=species" in page.execute_script("return location.hash")
        # fragments have a table, too
        page.find_element("css selector", "body").send_keys("3")
        wait_for(page, f"{SHOWN} === '0/fragment/3d'", "fragments by the key 3")
        columns = "return [...document.querySelector('[data-part=column]').options].map((one) => one.value)"
        assert {"", "semantic", "length_cm", "truth_iou"} <= set(page.execute_script(columns))
        page.find_element("css selector", "body").send_keys("4")
        wait_for(page, f"{SHOWN} === '0/particle/3d'", "particles by the key 4")
        titles = [one.text for one in page.find_elements("css selector", "#list th")]
        assert titles[:2] == ["event", "sample"] and "num_voxels" in titles
        page.find_elements("css selector", "#list tbody button")[1].click()
        wait_for(page, f"{SHOWN} === '1/particle/3d'", "a click on a row")
        chosen = "return document.querySelector('#list [aria-selected=true]').dataset.place"
        assert page.execute_script(chosen) == "1"
        field = page.find_element("css selector", "#where")
        field.clear()
        field.send_keys("entry == 0", Keys.ENTER)
        wait_for(page, "return location.hash.includes('event=beam%2F0000%2F0')", "the filter")
        field.clear()
        field.send_keys("nothing == 0", Keys.ENTER)
        wait_for(
            page, "return document.getElementById('said').textContent.includes('no column')", "the message"
        )
        assert [line for line in errors(page) if "400" not in line] == []
