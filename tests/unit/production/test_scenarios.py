"""Scenarios: which jobs are their own, one dataset of all, and what compares and audits it."""

import http.client
import json
import shutil
from pathlib import Path

import h5py
import pandas as pd
import pytest
from browser import browser, errors, look, wait_for
from checkout import REPOSITORY
from handmade import good_event, write_shard
from viewing import SHOWN, served

from lartpc import config
from lartpc.config.production import production
from lartpc.run.audit import audit
from lartpc.run.collect import Parts, collect, read_summary
from lartpc.run.report import report, show
from lartpc.run.report.outcome import outcome
from lartpc.run.report.variations import compare_scenarios, scenario_lines
from lartpc.run.summarize import summarize
from lartpc.run.view.catalogue import Catalogue
from lartpc.scenarios import branches
from lartpc.store.seal import seal_of

TAIL = {"summarize", "evaluate"}
IMAGES = {"images"}
BOTH = {"cluster on truth", "interact on truth", "segment on truth", "points on truth"}


def found(scenarios: dict, **given: object) -> dict[str, set[str]]:
    """Return the jobs that are each scenario's own."""
    config, _, configs = production({}, {**given, "scenarios": scenarios}, str)
    return {
        one.name: set(one.own)
        for one in branches(config, configs, lambda path: Path(path).read_bytes().hex())
    }


def test_a_scenario_has_what_it_changes_and_what_follows(tmp_path: Path) -> None:
    for name, content in (("a.pt", "one"), ("b.pt", "other"), ("c.pt", "one")):
        (tmp_path / name).write_text(content)
    own = found(
        {
            "generator": {"simulate": {"production_cut_mm": 0.5}},
            "lifetime": {"ingest": {"response": {"lifetime_us": 2000}}},
            "score": {"points": {"score_threshold": 0.5}},
            "weights": {"cluster": {"weights": f"{tmp_path}/b.pt"}},
            "summary": {"summarize": {"thresholds": {"muon": 40.0}}},
        },
        cluster={"weights": f"{tmp_path}/a.pt"},
    )
    assert own["nominal"] == set()
    assert (
        own["generator"]
        == {"simulate", "ingest", "segment", "points", "cluster", "interact"} | TAIL | BOTH | IMAGES
    )
    assert own["lifetime"] == own["generator"] - {"simulate"}
    assert own["score"] == {"points", "cluster", "interact", "points on truth"} | TAIL | IMAGES
    assert own["weights"] == {"cluster", "interact", "cluster on truth"} | TAIL
    assert own["summary"] == TAIL | BOTH | IMAGES


def test_a_scenario_may_have_other_weights_that_tell_ghosts(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.pt").write_text("one" if name == "c" else name)
    files = {name: str(tmp_path / f"{name}.pt") for name in "abc"}
    planes = {"wires": {"angles_deg": [0, 60, -60]}}
    segment = {"dimension": 2, "weights": files["c"], "ghost_weights": files["a"]}
    own = found(
        {"both": {"segment": {"ghost_weights": [files["a"], files["b"]]}}}, ingest=planes, segment=segment
    )
    assert {"segment", "points", "cluster", "interact"} <= own["both"] and "ingest" not in own["both"]
    with pytest.raises(ValueError, match=r"scenario 'same' changes nothing"):
        found({"same": {"segment": {"ghost_weights": [files["a"]]}}}, ingest=planes, segment=segment)


@pytest.mark.parametrize(
    ("scenarios", "message"),
    [
        ({"nominal": {"points": {"score_threshold": 0.5}}}, "a name has letters"),
        ({"a b": {"points": {"score_threshold": 0.5}}}, "scenario 'a b': a name has letters"),
        ({"a": {"seed": 3}}, "scenario 'a': seed is of the whole production; a scenario changes simulate, ingest"),
        ({"a": {"pionts": {}}}, "scenario 'a': pionts is no section"),
        ({"a": {"points": {"score_treshold": 0.4}}}, "scenario 'a': points.score_treshold.*did you mean"),
        ({"a": {"points": {}}}, "scenario 'a' changes nothing"),
        ({"a": {"ingest": {"centre_cm": [0, 0, 1]}}, "b": {"ingest": {"centre_cm": [0, 0, 1.0]}}}, "'b' is 'a' again"),
        ({"a": {"segment": {"train": {"num_steps": 3}}}}, "'a': segment would be trained for it"),
        ({"a": {"cluster": {"weights": "no.pt"}}}, r"scenarios\.a\.cluster\.weights: the file no.pt does not exist"),
    ],
)  # fmt: skip
def test_what_is_no_variation_is_refused(scenarios: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found(scenarios)


def test_the_example_is_a_table_of_scenarios() -> None:
    import yaml

    given = yaml.safe_load((REPOSITORY / "config/scenarios.yaml").read_text())
    scenarios = given.pop("scenarios")
    weights = scenarios["weights_of_neutrinos"]["interact"]
    weights["weights"] = str(REPOSITORY / weights["weights"])
    for stage in ("segment", "cluster", "interact"):
        given[stage]["weights"] = str(REPOSITORY / given[stage]["weights"])
    own = found(scenarios, **given)
    assert len(own) == 14 and "ingest" not in own["score_down"]
    assert "ingest" in own["field_up"] and "ingest" in own["voxels_larger"]
    assert own["weights_of_neutrinos"] == {"interact", "interact on truth"} | TAIL


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A production of two shards with a scenario whose `interact` is its own, as the workflow lays it out."""
    root = tmp_path_factory.mktemp("scenarios") / "results"
    own = root / "scenarios" / "varied"
    lists: dict[Path, dict[str, list[Path]]] = {root: {}, own: {}}
    for uid, events in (("beam/0000", None), ("beam/0001", [good_event()])):
        paths = write_shard(root, uid, events)
        write_shard(own, uid, events)
        with h5py.File(own / "events" / "interact" / f"{uid}.h5", "r+") as file:  # by other settings
            file.attrs["content_digest"] = 16 * "ab"
            file.attrs["seal"] = seal_of(dict(file.attrs))
        for step in ("ingest", "segment", "points", "cluster"):
            (own / "events" / step / f"{uid}.h5").unlink()
        varied = [*paths[:-1], own / "events" / "interact" / f"{uid}.h5"]
        for folder, files in ((root, paths), (own, varied)):
            metrics = folder / "metrics" / "chain" / f"{uid}.parquet"
            summarize(files, folder / "tables" / uid, metrics=metrics)
            for kind, path in (
                ("tables", folder / "tables" / uid),
                ("metrics", metrics),
                ("ingested", paths[0]),
            ):
                lists[folder].setdefault(kind, []).append(path)
    for folder, kinds in lists.items():
        (folder / "config").mkdir()
        for kind, files in kinds.items():
            (folder / "config" / f"{kind}.gather").write_text("".join(f"{path}\n" for path in files))
    nominal, varied_parts = (Parts(**lists[folder]) for folder in (root, own))
    collect(*nominal, root / "dataset", scenarios={"varied": varied_parts})
    return root


def test_one_dataset_is_partitioned_by_scenario(pristine: Path) -> None:
    particles = pd.read_parquet(pristine / "dataset" / "particles")
    num = particles.groupby("scenario", observed=True).size()
    assert num["nominal"] == num["varied"] > 0
    alone = pd.read_parquet(pristine / "dataset" / "particles" / "scenario=varied")
    assert len(alone) == num["varied"]
    summary = read_summary(pristine / "dataset")
    assert summary["num_events"] == summary["scenarios"]["varied"]["num_events"] == 6
    assert summary["rows"]["particles"] == num["nominal"]
    assert read_summary(pristine / "dataset" / "scenario=varied") == summary["scenarios"]["varied"]
    with pytest.raises(ValueError, match="no scenario 'other'; its scenarios are varied"):
        read_summary(pristine / "dataset" / "scenario=other")


def test_the_nominal_figures_are_shown(pristine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert any(line.startswith("events  6 of beam") for line in outcome(pristine))
    show(pristine)
    said = capsys.readouterr().out
    assert "dataset" in said and "Scenarios" in said and "nominal" in said and "varied" in said
    assert "lartpc show" in said and "scenario=varied" in said
    show(pristine / "dataset" / "scenario=varied")
    assert "Scenarios" not in capsys.readouterr().out
    assert "varied  1 scenarios: varied" in "\n".join(outcome(pristine))
    with pytest.raises(ValueError, match="no scenario 'other'"):
        show(pristine / "dataset" / "scenario=other")


def test_the_page_has_what_scenarios_change(pristine: Path, tmp_path: Path) -> None:
    lines = scenario_lines(pristine / "dataset")
    assert {line.label for line in lines} >= {"particles", "segment: voxels correctly classified"}
    assert all(line.nominal and len(line.differences) == 1 for line in lines)
    steps = ("ingest", "segment", "points", "cluster", "interact")
    files = [pristine / "events" / step / "beam" / "0000.h5" for step in steps]
    report(pristine / "dataset", files, [], tmp_path / "report.html", config.Report(num_events=1))
    page = (tmp_path / "report.html").read_text()
    assert '<section id="scenarios">' in page and "<th>varied</th>" in page and 'href="#scenarios"' in page


def test_a_scenario_is_looked_at(pristine: Path) -> None:
    nominal = Catalogue([pristine], 1000)
    assert (nominal.scenario, nominal.scenarios, len(nominal.events)) == ("nominal", ["nominal", "varied"], 6)
    varied = nominal.of_scenario("varied")
    assert varied.names(range(6)) == nominal.names(range(6)) and "particles" in varied.tables
    assert varied.select("events", "entry == 0") == nominal.select("events", "entry == 0") != []
    # its own files, and those that it shares
    steps = {path.parts[-3]: "scenarios" in path.parts for path in varied._files_of("beam/0000")}
    assert steps == {"ingest": False, "segment": False, "points": False, "cluster": False, "interact": True}
    assert not any("scenarios" in path.parts for path in nominal._files_of("beam/0000"))
    assert varied.display(0)["entry"] == 0
    with pytest.raises(ValueError, match=r"has no scenario 'other'; there are nominal, varied"):
        Catalogue([pristine / "dataset" / "scenario=other"], 1000)
    with served(pristine) as server:
        assert '<select id="scenario"' in server.page
        for words, status in (("scenario=varied&number=0", 200), ("scenario=other&number=0", 400)):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
            connection.request("GET", f"/event?{words}")
            assert connection.getresponse().status == status
            connection.close()


def test_scenarios_are_compared_with_the_nominal_production(pristine: Path, tmp_path: Path) -> None:
    differences = compare_scenarios(pristine / "dataset", tmp_path / "out", num_replicas=5)
    assert {one.difference for one in differences["varied"] if one.figure.startswith("num_")} == {0.0}
    text = (tmp_path / "out" / "scenarios.md").read_text()
    assert "| figure | on | nominal | varied |" in text and "| particles | mean per event |" in text
    assert {row["scenario"] for row in json.loads((tmp_path / "out" / "scenarios.json").read_text())} == {
        "varied"
    }
    about = (tmp_path / "out" / "varied" / "compare.md").read_text()
    assert "nominal | varied" in about
    plain = tmp_path / "plain"
    shutil.copytree(pristine / "dataset", plain)
    said = json.loads((plain / "summary.json").read_text())
    del said["scenarios"]
    (plain / "summary.json").write_text(json.dumps(said))
    (plain / "manifest.json").unlink()
    with pytest.raises(ValueError, match="has no scenarios; name a second dataset"):
        compare_scenarios(plain, tmp_path / "none")


def findings(results: Path) -> list[str]:
    return [
        f"{Path(one.file).relative_to(results)}: {one.what}"
        for one in audit(results, with_sources=False).findings
        if "a stage took these weights" not in one.what
    ]


def test_the_audit_knows_scenarios(pristine: Path, tmp_path: Path) -> None:
    whole = audit(pristine, with_sources=False)
    assert (
        whole.num_events,
        [one for one in whole.findings if "a stage took these weights" not in one.what],
    ) == (6, [])
    results = Path(shutil.copytree(pristine, tmp_path / "moved"))
    own = results / "scenarios" / "varied"
    path = own / "events" / "interact" / "beam" / "0001.h5"
    path.unlink()
    shutil.rmtree(own / "tables" / "beam" / "0000")
    said = findings(results)
    assert any(one.endswith("interact/beam/0001.h5: is missing") for one in said), "\n".join(said)
    assert any(one.startswith("scenarios/varied/tables/beam/0000") for one in said), said


def test_another_scenario_shows_the_same_event(pristine: Path) -> None:
    with served(pristine) as server, browser() as page:
        look(page, 1400)
        page.get(server.address)
        wait_for(page, SHOWN, "the first event")
        page.find_elements("css selector", "#list tbody tr button")[2].click()
        wait_for(page, f"{SHOWN}.startsWith('2/')", "the third event")
        page.find_element("css selector", "#scenario option:last-child").click()
        wait_for(page, "return location.hash.includes('scenario=varied')", "the scenario")
        assert page.execute_script(SHOWN).startswith("2/") and "beam%2F0000%2F2" in page.current_url
        assert not errors(page)
