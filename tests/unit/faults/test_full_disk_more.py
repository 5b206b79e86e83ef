"""The same of the verbs that train, measure, draw, list and copy: see `test_full_disk`."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from servers import http_server
from test_achilles import program
from test_budget import SMALL
from test_full_disk import fill, folder  # noqa: F401
from test_neutrino_figures import dataset  # noqa: F401
from test_resources import benchmark
from training import section, write_events
from typer.testing import CliRunner

from lartpc import config
from lartpc.cli import app
from lartpc.config import slice_of
from lartpc.faults import EXIT_STATUS
from lartpc.run.weights import save_weights
from lartpc.simulate import achilles
from lartpc.stages import CHAIN, stage

UID = "beam/0000"
UNET = {"unet": {"filters": 4, "depth": 3, "repetitions": 1}}
NETWORKS = {"segment": UNET, "cluster": SMALL, "interact": SMALL}
GRAPHS = (
    "--cluster-weights cluster.pt --interact-weights interact.pt --cluster graph.json --interact graph.json"
)
MEASURE = {
    "budget.parquet": "quality measure {ingest} {segment} " + GRAPHS,
    "clustering.parquet": "clustering measure {ingest} {segment} {points} --weights cluster.pt --config graph.json",
}
LOG = "--log disk/training.jsonl"
VERBS = {
    f"train interact train.h5 --validation train.h5 --config interact.train.json {LOG}": "weights.pt",
    f"train segment train.h5 --validation train.h5 --config segment.train.json {LOG}": "weights.pt",
    "reconstruct steps.h5": "mine",
    "resources results": "learned",
    "michels results/dataset": "michels",
    "interactions --graph {figures} --rules {figures}": "interactions.md",
    "explain {ingest} --weights segment.small.pt --config segment.json": "explain",
    **{words: f"other.{name}" for name, words in MEASURE.items()},
    "quality budget budget.parquet": "budget.md",
    "clustering table clustering.parquet": "clustering.md",
    "export-model segment.small.pt": "a.ts",
    "catalogue {server}/report.html": "catalogue.tsv",
    "publish results {server}/there": "published.tsv",
    "generate --energy-mev 1000 --num-events 2 --data made": "a.hepmc3.gz",
    "view {ingest} --event beam/0000/0 --view zy --svg": "event.svg",
}
NO_ROOM = (
    "resources",
    "catalogue",
    "publish",
    "generate",
    "view",
    "interactions",
    "clustering",
    "quality",
)
"""Verbs whose outputs are smaller than the room of the second try, or take long."""


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):  # noqa: F811
    """What these verbs need, beside the production: weights, settings, figures, and a program in Achilles' place."""
    files = {step: f"results/events/{step}/{UID}.h5" for step in ("ingest", *(row.name for row in CHAIN))}
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        write_events(Path("train.h5"))
        Path("graph.json").write_text(json.dumps(SMALL))
        Path("segment.json").write_text(json.dumps(UNET))
        for name, settings in NETWORKS.items():
            cfg = config.SECTIONS[name].model_validate(settings)
            path = Path("segment.small.pt" if name == "segment" else f"{name}.pt")
            net = stage(name).module().network(cfg)
            save_weights(path, stage(name), cfg, net.state_dict(), {"by": "a test"})
            train = (
                slice_of(section(name, num_steps=2, validate_every=1), "train") if name != "cluster" else {}
            )
            Path(f"{name}.train.json").write_text(json.dumps(train))
        benchmark(Path("results"), f"segment/{UID}", 10, 500, 5)
        Path("results/config/configuration.json").write_text("{}")
        ends = {
            "results/report.html": "report results/dataset",
            "results/audit.json": "audit results --no-sources",
        }
        for out, words in (MEASURE | ends).items():
            said = CliRunner().invoke(app, [*words.format(**files).split(), "--out", out])
            assert said.exit_code == 0 or "audit" in out, said.output
        for name in achilles.NEEDED:
            Path("made", name).parent.mkdir(parents=True, exist_ok=True)
            Path("made", name).touch()
        program(folder, 2, achilles.SUCCESS)
    served = tmp_path_factory.mktemp("served")
    shutil.copy(folder / "results/report.html", served)
    with http_server(served) as (server, _):
        figures = f"results/metrics/chain/{UID}.parquet"
        yield files | {"server": server, "figures": figures}


@pytest.mark.parametrize("words", VERBS)
def test_a_full_disk_is_told_and_nothing_is_left(folder, made, monkeypatch, words):  # noqa: F811
    verb = words.format(**made).split()
    if verb[0] == "view" and not shutil.which("chromium"):
        pytest.skip("needs Chromium")
    monkeypatch.chdir(folder)
    if verb[0] == "generate":
        monkeypatch.setattr(sys, "executable", str(folder / "python"))
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    out = Path("disk") / VERBS[words]
    for room_b in (0,) if verb[0] in NO_ROOM else (0, 8192):
        filler = fill(folder, room_b)
        said = CliRunner().invoke(app, [*verb, *([] if verb[-1] == "--svg" else ["--out"]), str(out)])
        assert said.exit_code in (2, EXIT_STATUS), f"{said.output} {said.exception!r}"
        assert "No space left on device: '" in said.output and "Traceback" not in said.output
        assert "'disk/" in said.output
        assert [path for path in (folder / "disk").rglob("*") if path.is_file()] == [filler]


def test_the_table_of_neutrinos_too(folder, dataset, monkeypatch):  # noqa: F811
    monkeypatch.chdir(folder)
    filler = fill(folder, 0)
    said = CliRunner().invoke(app, ["neutrinos", str(dataset), "--out", "disk/neutrinos.md"])
    assert said.exit_code == EXIT_STATUS and "No space left on device: 'disk/neutrinos.md'" in said.output
    assert list((folder / "disk").iterdir()) == [filler]
