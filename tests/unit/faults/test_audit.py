"""`lartpc audit` on whole productions and on ones with a fault."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from handmade import write_production, write_shard
from typer.testing import CliRunner

from lartpc.cli import app
from lartpc.run.audit import audit
from lartpc.run.collect import collect, read_summary
from lartpc.run.quality.evaluate import evaluate
from lartpc.tables.consistency import FLAGS
from lartpc.tables.manifest import read_manifest, write_manifest

UIDS = ("beam/0000", "beam/0001")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("production") / "results"
    collect(*write_production(root, UIDS), root / "dataset")
    return root


@pytest.fixture
def results(pristine, tmp_path):
    """A production that a test may spoil."""
    return Path(shutil.copytree(pristine, tmp_path / "results"))


def found(results):
    """Return the findings by file and place, without the weights, which these shards do not have."""
    said = {}
    for one in audit(results, with_sources=False).findings:
        if "a stage took these weights" not in one.what:
            said.setdefault((str(Path(one.file).relative_to(results)), one.where), []).append(one.what)
    return {place: "; ".join(what) for place, what in said.items()}


def rewrite(folder, table, change):
    """Change a table as a fault in its making would: with the manifest in step."""
    path = folder / f"{table}.parquet"
    rows = pq.read_table(path)
    pq.write_table(change(rows).cast(rows.schema), path)
    said = read_manifest(folder, "")
    del said["files"]
    write_manifest(folder, said)


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def times(name, factor):
    return lambda table: table.set_column(
        table.schema.get_field_index(name), name, pc.multiply(table[name], factor)
    )


def test_a_whole_production_has_no_findings(pristine):
    assert found(pristine) == {}
    whole = audit(pristine, with_sources=False)
    assert (whole.num_events, whole.num_quarantined) == (10, 2)
    assert whole.energy_mev - whole.energy_quarantined_mev == pytest.approx(2 * (96 + 0.3))
    assert whole.flags.keys() == FLAGS.keys()
    assert whole.flags == read_summary(pristine / "dataset")["flags"]
    assert whole.reasons == {"cluster: ValueError: drawn to fail": 2}


def test_shards_at_once_are_found_alike(pristine):
    one, two = (audit(pristine, with_sources=False, num_workers=num) for num in (1, 2))
    assert one == two


def chunk_of(path, name):
    """Return where the first chunk of a column lies in its file."""
    with h5py.File(path) as file:
        return file[name].id.get_chunk_info(0).byte_offset


@pytest.mark.parametrize("name", ["voxel/energy", "truth_particle/pdg", "event/energy_mev"])
def test_a_changed_byte_of_an_event_file_is_found_by_its_column(results, name):
    path = results / "events/ingest/beam/0001.h5"
    flip(path, chunk_of(path, name) + 2)
    assert ("events/ingest/beam/0001.h5", name) in found(results)


def test_a_changed_byte_of_a_table_is_found_by_its_column(results):
    for folder in ("tables/beam/0000/particles.parquet", "dataset/particles/part-00000.parquet"):
        path = results / folder
        names = pq.read_schema(path).names
        number = names.index("energy_mev")
        column = pq.read_metadata(path).row_group(0).column(number)
        flip(path, column.dictionary_page_offset + column.total_compressed_size - 2)
        assert (folder, "energy_mev") in found(results)


@pytest.mark.parametrize(
    "name",
    [
        "tables/beam/0000/manifest.json",
        "dataset/manifest.json",
        "dataset/summary.json",
        "metrics/chain/beam/0001.parquet",
    ],
)
def test_a_changed_byte_anywhere_names_the_file(results, name):
    path = results / name
    flip(path, np.random.default_rng(len(name)).integers(path.stat().st_size))
    assert name in {file for file, _ in found(results)}


def test_energies_of_tables_are_those_of_voxels(results):
    rewrite(results / "tables/beam/0000", "particles", times("energy_mev", 0.5))
    seen = found(results)
    assert ("tables/beam/0000/particles.parquet", "energy_mev") in seen
    # interactions, too, are no longer the sum of their particles, and the dataset has the old rows
    assert "interactions: energy_mev is not that of their particles" in seen["tables/beam/0000", ""]
    assert ("dataset/particles", "energy_mev") in seen


def test_a_lost_row_is_found(results):
    rewrite(results / "tables/beam/0000", "points", lambda table: table.slice(1))
    assert "other numbers of rows than 'point'" in found(results)["tables/beam/0000/points.parquet", ""]


def test_an_event_set_aside_has_its_own_reason(results):
    def change(table):
        return table.set_column(
            table.schema.get_field_index("reason"), "reason", pa.array(["another"] * table.num_rows)
        )

    rewrite(results / "tables/beam/0001", "quarantine", change)
    said = found(results)["tables/beam/0001/quarantine.parquet", ""]
    assert "not set aside as in the event files" in said


def test_a_lost_shard_is_found(results):
    shutil.rmtree(results / "tables/beam/0001")
    assert found(results)["tables/beam/0001", ""] == "is missing: the shard was planned"


def test_a_dataset_without_a_shard_is_found(results):
    rows = [[results / "tables" / uid for uid in UIDS[:1]], [results / f"metrics/chain/{UIDS[0]}.parquet"]]
    collect(*rows, [results / f"events/ingest/{UIDS[0]}.h5"], results / "dataset")
    assert "is without the planned shard beam/0001" in found(results)["dataset", ""]


def test_events_made_again_are_not_those_of_the_tables(results):
    with_other = results.parent / "other"
    paths = write_shard(with_other, UIDS[0], not_ingested={1: "another"})
    shutil.copy(paths[0], results / f"events/ingest/{UIDS[0]}.h5")
    assert "was made from another 'ingest of beam/0000'" in found(results)["events/ingest/beam/0000.h5", ""]


def test_figures_made_again_are_not_those_of_the_dataset(results):
    path = results / f"metrics/chain/{UIDS[0]}.parquet"
    evaluate([results / "events" / step / f"{UIDS[0]}.h5" for step in ("ingest", "segment")], path)
    assert "made again since 'lartpc collect'" in found(results)[f"metrics/chain/{UIDS[0]}.parquet", ""]


def test_the_verb_says_it_on_one_screen_and_by_its_status(results):
    (results / "models").mkdir()
    verb = ["audit", str(results), "--no-sources"]
    said = CliRunner().invoke(app, verb)
    assert said.exit_code == 1 and "is missing: a stage took these weights" in said.output
    assert len(said.output.splitlines()) <= 24
    content = json.loads(CliRunner().invoke(app, [*verb, "--json"]).stdout)
    assert content["num_events"] == 10 and {one["what"][:10] for one in content["findings"]} == {"is missing"}


def test_no_production_is_an_error(tmp_path):
    said = CliRunner().invoke(app, ["audit", str(tmp_path)])
    assert said.exit_code == 2 and "holds no tables" in said.output


@pytest.mark.parametrize(
    ("below", "said"),
    [
        ("tables/beam", "is a part of the results in"),
        ("config/ingested.gather", "is a file"),
        ("nothing", "does not exist"),
        ("..", "is the folder of a production; name"),
    ],
)
def test_what_is_no_folder_of_results_is_told_from_one(pristine, below, said):
    found = CliRunner().invoke(app, ["show", str(pristine / below)])
    assert found.exit_code == 2 and said in found.output


def test_the_dataset_itself_is_shown(pristine):
    found = CliRunner().invoke(app, ["show", str(pristine / "dataset")])
    assert found.exit_code == 0 and "flags" in found.output and str(pristine / "dataset") in found.output
