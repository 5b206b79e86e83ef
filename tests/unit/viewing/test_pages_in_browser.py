"""The report in a real browser: wide and narrow, light and dark, by keyboard, with pictures that are not empty."""

import pytest
from browser import browser, errors, look, num_colours, wait_for
from handmade import good_event, write_shard
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from viewing import click_voxel, num_painted

from lartpc import config
from lartpc.run.collect import collect
from lartpc.run.quality.evaluate import evaluate
from lartpc.run.report import report
from lartpc.run.summarize import summarize


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    paths = write_shard(root, "beam/0000", [good_event(), good_event()])
    summarize(paths, root / "tables")
    evaluate(paths, root / "metrics.parquet")
    collect([root / "tables"], [root / "metrics.parquet"], [paths[0]], root / "dataset")
    report(root / "dataset", paths, [], root / "report.html", config.Report(num_events=2))
    return root / "report.html"


@pytest.fixture(scope="module")
def page(page_file):
    with browser() as started:
        look(started, 1400)
        started.get(page_file.as_uri())
        yield started


def drawn(page):
    return wait_for(page, "return document.getElementById('display').dataset.drawn", "the first picture")


def test_the_events_are_drawn_and_turned_by_keys(page):
    assert drawn(page) == "0/semantic/3d"
    assert num_colours(page, "[data-part=truth]") > 8
    assert num_painted(page, "truth") > 47
    body = page.find_element("css selector", "body")
    body.send_keys(Keys.ARROW_RIGHT)
    wait_for(page, "return document.getElementById('display').dataset.drawn === '1/semantic/3d'", "→")
    body.send_keys("8")
    wait_for(page, "return document.getElementById('display').dataset.drawn === '1/mistakes/3d'", "8")
    assert page.execute_script("return location.hash") == "#mistakes/1"
    body.send_keys("v")
    wait_for(page, "return document.getElementById('display').dataset.drawn === '1/mistakes/zy'", "v")
    assert num_painted(page, "prediction") > 47
    body.send_keys("vvvvv")
    wait_for(page, "return document.getElementById('display').dataset.drawn === '1/mistakes/3d'", "round")
    page.find_element("css selector", "[data-part=truth]").send_keys(Keys.ARROW_UP)
    eye = "return document.querySelector('[data-part={}]').picture.aim.camera.eye[1]"
    left, right = (page.execute_script(eye.format(side)) for side in ("truth", "prediction"))
    assert left == right > 0.9, "both cameras turn together"
    assert errors(page) == []


def test_a_particle_that_is_clicked_is_described(page):
    drawn(page)
    page.find_element("css selector", "body").send_keys("2")
    wait_for(page, "return document.getElementById('display').dataset.drawn === '1/semantic/3d'", "2")
    click_voxel(page, "prediction", "track")
    text = wait_for(page, "return document.querySelector('[data-part=object]').innerText", "the description")
    assert "reconstructed particle" in text and "kinetic_energy_mev" in text and "IoU" in text
    page.find_element("css selector", "body").send_keys(Keys.ESCAPE)
    wait_for(page, "return document.querySelector('[data-part=object]').hidden", "Esc")
    assert errors(page) == []


def test_the_wheel_is_the_pages_until_a_picture_is_touched(page):
    drawn(page)
    picture = page.find_element("css selector", "[data-part=truth]")
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", picture)
    before = page.execute_script("return scrollY")
    ActionChains(page).move_to_element(picture).scroll_by_amount(0, 200).perform()
    wait_for(page, f"return scrollY > {before} + 50", "scrolling past a picture")


@pytest.mark.parametrize(("width", "dark"), [(1400, True), (390, False), (390, True)])
def test_the_page_fits_the_screen(page, page_file, width, dark):
    look(page, width, 844, dark=dark)
    page.get("about:blank")
    page.get(page_file.as_uri())
    drawn(page)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    over = """
        return [...document.querySelectorAll('button, select, summary')].filter((one) => !one.closest('.scroll')
            && one.getClientRects().length && one.getBoundingClientRect().right > innerWidth)
            .map((one) => one.textContent)
    """
    assert page.execute_script(over) == []
    assert page.execute_script("return document.documentElement.dataset.theme") == (
        "dark" if dark else "light"
    )
    assert num_colours(page, "[data-part=truth]") > 5
    chart = "#distributions .chart"
    page.execute_script("document.querySelector(arguments[0]).scrollIntoView({behavior: 'instant'})", chart)
    wait_for(page, f"return document.querySelector('{chart} svg')", "a chart")
    assert errors(page) == []
