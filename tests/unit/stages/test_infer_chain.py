"""`lartpc infer chain`: files of the single stages and tables, in one process; what has the same origin stays."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from checkout import REPOSITORY
from conftest import line
from handmade import write_shard
from typer.testing import CliRunner, Result

from lartpc import config
from lartpc.cli import app
from lartpc.event import empty
from lartpc.geometry import Box
from lartpc.provenance import provenance
from lartpc.run import infer as verb
from lartpc.run import progress
from lartpc.run.weights import save_weights
from lartpc.stages import CHAIN, cluster, upstream_of
from lartpc.store import EventWriter

MODELS = REPOSITORY / "models"
STAGES = [row.name for row in CHAIN]
MADE = {**{name: f"{name}.h5" for name in STAGES}, "tables": "tables"}
"""What the chain makes in its folder, by what makes it."""
FLAT = Box((0.0, 0.0, 0.0), 0.3, 64, 2)
KEPT = "there already, of the same input and settings; kept"


def lartpc(*words: object, status: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == status, result.output
    return result


def chain(ingested: Path, out: Path, *more: object, status: int = 0) -> str:
    return lartpc("infer", "chain", ingested, "--weights", MODELS, "-o", out, *more, status=status).output


def kept(said: str) -> list[str]:
    """Return what was kept."""
    return [name for name, made in MADE.items() if f"/{made}: {KEPT}" in said]


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of ingest, with the handmade events of other tests, of which one has nothing in it."""
    return write_shard(tmp_path_factory.mktemp("shard"), "beam/0000")[0]


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock: the seconds that a stage took are all that two files of the same may differ in."""
    monkeypatch.setattr(verb.time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(progress, "_clock", lambda seconds: "0 s")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A folder of settings as that of a production, all defaults."""
    folder = tmp_path / "config"
    folder.mkdir()
    for name in (*STAGES, "summarize"):
        section = config.load_section(name, None)
        (folder / f"{name}.infer.json").write_text(json.dumps(config.slice_of(section, "infer")))
    return folder


@pytest.mark.usefixtures("stopped")
def test_files_are_those_of_the_single_stages_byte_for_byte(ingested: Path, tmp_path: Path) -> None:
    said = chain(ingested, tmp_path / "chain")
    assert sorted(path.name for path in (tmp_path / "chain").iterdir()) == sorted(MADE.values())
    for row in CHAIN:
        files = [ingested, *(tmp_path / f"{other.name}.h5" for other in upstream_of(row))]
        weights = ["--weights", MODELS / f"{row.name}.pt"] if row.learned else []
        alone = lartpc("infer", row.name, *files, *weights, "--out", tmp_path / f"{row.name}.h5").output
        name = f"{row.name}.h5"
        assert (tmp_path / name).read_bytes() == (tmp_path / "chain" / name).read_bytes()
        # what is said of it, too: the warnings, the bar and the account
        assert alone.replace(str(tmp_path), str(tmp_path / "chain")) in said
    files = [ingested, *(tmp_path / f"{name}.h5" for name in STAGES)]
    alone = lartpc("summarize", *files, "--out", tmp_path / "tables").output
    assert alone.replace(str(tmp_path), str(tmp_path / "chain")) in said
    tables = {path.name: path.read_bytes() for path in (tmp_path / "tables").glob("*.parquet")}
    assert len(tables) == 15
    assert tables == {path.name: path.read_bytes() for path in (tmp_path / "chain/tables").glob("*.parquet")}
    with h5py.File(tmp_path / "chain/interact.h5") as file:
        assert len(file["entry"]) == 5 and len(file["identity/semantic"]) >= 4


def test_the_seconds_are_all_that_varies(ingested: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        chain(ingested, tmp_path / name)
    for name in STAGES:
        with h5py.File(tmp_path / f"one/{name}.h5") as one, h5py.File(tmp_path / f"other/{name}.h5") as other:
            differing = {key for key in one.attrs if one.attrs[key] != other.attrs[key]}
            assert differing <= {"seconds", "seal"}


def test_what_is_there_stays_and_what_follows_from_a_change_is_made_again(
    ingested: Path, tmp_path: Path, settings: Path
) -> None:
    out = tmp_path / "chain"
    assert kept(chain(ingested, out, "--config", settings)) == []
    before = {name: (out / f"{name}.h5").stat() for name in STAGES}
    assert kept(chain(ingested, out)) == list(MADE), "the defaults are the same settings"
    assert {name: (out / f"{name}.h5").stat().st_mtime_ns for name in STAGES} == {
        name: status.st_mtime_ns for name, status in before.items()
    }
    path = settings / "cluster.infer.json"
    values = json.loads(path.read_text())
    values["infer"]["edge_threshold"] = 0.9
    path.write_text(json.dumps(values))
    assert kept(chain(ingested, out, "--config", settings)) == ["segment", "points"]
    assert kept(chain(ingested, out, "--config", settings)) == list(MADE)


def test_an_ingest_file_of_other_events_makes_all_again(ingested: Path, tmp_path: Path) -> None:
    out = tmp_path / "chain"
    chain(ingested, out)
    (other,) = write_shard(tmp_path / "other", "beam/0001")[:1]
    assert kept(chain(other, out)) == []
    assert kept(chain(ingested, out)) == []


def test_other_weights_or_another_version_make_their_stage_again(
    ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "chain"
    chain(ingested, out)
    monkeypatch.setattr("lartpc.run.chain.provenance", lambda *args, **more: of_now(*args, **more))

    def of_now(*args: object, **more: object) -> dict[str, object]:
        said = provenance(*args, **more)
        return (
            said
            | {"git_revision": "another"}
            | ({"weights": "another"} if said["step"] == "interact" else {})
        )

    assert kept(chain(ingested, out)) == [
        "segment",
        "points",
        "cluster",
        "tables",
    ], "other code of the same versions, and the same said of the events"


@pytest.mark.parametrize("damage", ["a byte of a column", "an attribute", "cut short", "not HDF5"])
def test_a_damaged_file_is_made_again_and_what_follows_stays(
    ingested: Path, tmp_path: Path, damage: str
) -> None:
    out = tmp_path / "chain"
    chain(ingested, out)
    path = out / "points.h5"
    whole = path.read_bytes()
    if damage == "a byte of a column":
        with h5py.File(path, "r+") as file:
            file["point/score"][0] += 0.25
    elif damage == "an attribute":
        with h5py.File(path, "r+") as file:
            file.attrs["num_events"] = 7
    else:
        path.write_bytes(whole[:-100] if damage == "cut short" else b"points")
    assert kept(chain(ingested, out)) == ["segment", "cluster", "interact", "tables"]
    assert kept(chain(ingested, out)) == list(MADE)


def test_a_fault_leaves_what_is_whole_and_the_same_command_goes_on(
    ingested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "chain"

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "infer", fails)
        said = chain(ingested, out, status=74)
    assert said.splitlines()[-1].startswith("lartpc infer: ") and "the same command goes on" in said
    assert sorted(path.name for path in out.iterdir()) == ["points.h5", "segment.h5"]
    assert kept(chain(ingested, out)) == ["segment", "points"]


def test_files_made_on_truth_are_not_taken_for_the_chain_s(ingested: Path, tmp_path: Path) -> None:
    out = tmp_path / "chain"
    chain(ingested, out)
    files = [ingested, out / "segment.h5", out / "points.h5"]
    weights = MODELS / "cluster.pt"
    lartpc("infer", "cluster", *files, "--weights", weights, "--on-truth", "-o", out / "cluster.h5")
    assert "cluster" not in kept(chain(ingested, out))


@pytest.mark.parametrize(
    "damage", ["a byte of a table", "a table is missing", "no manifest", "other settings"]
)
def test_tables_that_are_not_those_of_the_files_are_made_again(
    ingested: Path, tmp_path: Path, settings: Path, damage: str
) -> None:
    out = tmp_path / "chain"
    chain(ingested, out)
    path = out / "tables/particles.parquet"
    whole = path.read_bytes()
    more: tuple[object, ...] = ()
    if damage == "a byte of a table":
        path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    elif damage == "a table is missing":
        path.unlink()
    elif damage == "no manifest":
        (out / "tables/manifest.json").unlink()
    else:
        own = settings / "summarize.infer.json"
        values = json.loads(own.read_text())
        values["containment_margin_cm"] = 7.5
        own.write_text(json.dumps(values))
        more = ("--config", settings)
    assert kept(chain(ingested, out, *more)) == STAGES
    assert kept(chain(ingested, out, *more)) == list(MADE)
    if not more:
        assert path.read_bytes() == whole


def test_views_of_wire_planes_go_as_far_as_points(tmp_path: Path, settings: Path) -> None:
    path, weights = tmp_path / "ingest.h5", tmp_path / "weights"
    with EventWriter(
        path, ("event", "voxel"), file_uid="s/0", box=FLAT, attrs=provenance("ingest", 1, config={})
    ) as writer:
        coord = line((10, 20, 0), (1, 0, 0), 40)
        voxel = {"coord": coord, "energy": np.full(40, 0.5)}
        writer.append(0, {"event": empty("event", 1), "voxel": voxel})
    row, section = CHAIN[0], config.Segment(dimension=2, unet={"filters": 4, "depth": 2})
    save_weights(weights / "segment.pt", row, section, row.module().network(section).state_dict(), {})
    (settings / "segment.infer.json").write_text(json.dumps(config.slice_of(section, "infer")))
    for name in ("cluster", "interact"):
        (settings / f"{name}.infer.json").unlink()  # a production of such images has none
    words = ("--weights", weights, "--config", settings, "-o", tmp_path / "out")
    lartpc("infer", "chain", path, *words)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["points.h5", "segment.h5", "tables"]


def test_what_cannot_be_done_is_said_before_anything_is_written(
    ingested: Path, tmp_path: Path, settings: Path
) -> None:
    out, some = tmp_path / "out", tmp_path / "some"
    some.mkdir()
    shutil.copy(MODELS / "segment.pt", some)
    (settings / "points.infer.json").unlink()
    wrong = {
        (ingested,): "stage 'segment' needs --weights: a folder with segment.pt",
        (ingested, "--weights", MODELS / "segment.pt"): "needs --weights: a folder with segment.pt",
        (ingested, "--weights", some): f"{some}/cluster.pt does not exist; stage 'cluster' needs it",
        (ingested, ingested, "--weights", MODELS): "takes one file of 'lartpc ingest', and was given 2",
        (ingested, "--weights", MODELS, "--on-truth"): "--on-truth and --chain are of single stages",
        (
            ingested,
            "--weights",
            MODELS,
            "--config",
            settings / "segment.infer.json",
        ): "is no folder; chain takes",
        (ingested, "--weights", MODELS, "--config", settings): "points.infer.json does not exist",
    }
    for words, reason in wrong.items():
        said = lartpc("infer", "chain", *words, "-o", out, status=2).output
        assert reason in said and said.count("\n") == 1, said
    assert not out.exists()


def test_the_file_that_is_read_is_not_written_over(ingested: Path, tmp_path: Path) -> None:
    path = shutil.copy(ingested, tmp_path / "segment.h5")
    whole = path.read_bytes()
    assert "would be lost; name another folder" in chain(path, tmp_path, status=2)
    assert path.read_bytes() == whole


def test_rules_in_the_place_of_a_network_want_no_weights(
    ingested: Path, tmp_path: Path, settings: Path
) -> None:
    path = settings / "interact.infer.json"
    values = json.loads(path.read_text())
    values["infer"]["interactions"] = "rules"
    path.write_text(json.dumps(values))
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in ("segment", "cluster"):
        shutil.copy(MODELS / f"{name}.pt", weights)
    lartpc("infer", "chain", ingested, "--weights", weights, "--config", settings, "-o", tmp_path / "out")
    with h5py.File(tmp_path / "out/interact.h5") as file:
        assert file.attrs["weights"] == ""
