"""Samples of a neutrino generator's files in the workflow, to their events, and the figures of neutrinos on demand."""

from pathlib import Path

import pytest
from checkout import copy_checkout, run
from handmade_nuhepmc import Written, write
from test_dag import jobs

from lartpc.store import open_events


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_checkout(tmp_path_factory.mktemp("neutrinos"))
    for kind in ("nue_cc_a", "numu_cc_a", "nc_numu_a"):
        write(folder / f"{kind}_2000ev.hepmc3.gz", Written(), 4)
    return folder


def test_figures_of_neutrinos_are_made_on_demand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUTRINO_FILES", str(folder))
    found = jobs(folder, "neutrino_quality", "--configfile", "config/neutrinos.yaml")
    assert found["neutrino_quality"] == found["collect_tables"] == 1 and not found["train"]
    assert found["simulate"] == found["interact"] == 24


@pytest.mark.slow
def test_shards_share_the_interactions_of_a_file(folder: Path) -> None:
    """Two shards take every other interaction, and each event says which it is."""
    (folder / "nu.tsv").write_text(
        f"sample\tsplit\tsource\tnum_events\tnum_shards\nnu\ttest\tnuhepmc:{folder}/nue_cc_a*\t-\t2\n"
    )
    (folder / "nu.yaml").write_text("samples: [nu.tsv]\n")
    targets = [f"results/events/ingest/nu/000{shard}.h5" for shard in (0, 1)]
    command = ("snakemake", "--cores", "1", "--configfile", "nu.yaml", "--quiet", "all", "--", *targets)
    run(folder, *command, seconds=900)
    entries = []
    for target in targets:
        with open_events(folder / target) as events:
            entries.append([int(event["truth_neutrino"]["entry"][0]) for event in events.stream()])
    assert entries == [[0, 2], [1, 3]]
