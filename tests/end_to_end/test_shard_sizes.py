"""Tables are the same, bit for bit, in whatever shards and batches and on however many threads events are computed.

By another kernel of the convolution they are the same to a tolerance, which docs/how-to/production.md states.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from checkout import REPOSITORY

from lartpc.choice import asked_for
from lartpc.config import SECTIONS, Ingest
from lartpc.run import infer as module
from lartpc.run.infer import infer
from lartpc.run.ingest import ingest
from lartpc.run.summarize import EVENT_TABLES, summarize
from lartpc.stages import CHAIN

SOURCE = REPOSITORY / "tests/data/edepsim_5ev.root"
TIMED = {"throughput"}
"""Tables of seconds."""


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def reconstruct(
    folder: Path, source: Path, events: str, max_voxels: int, **segment: Any
) -> dict[str, pa.Table]:
    """Return the tables of some events of a file, by the released weights, as a shard of the same name."""
    cfg = {"segment": {"infer": {"max_voxels": max_voxels}, **segment}}
    folder.mkdir()
    paths = [folder / "ingest.h5"]
    ingest(source, Ingest(), out=paths[0], file_uid="given/0000", events=asked_for(events))
    for row in CHAIN:
        paths.append(folder / f"{row.name}.h5")
        weights = REPOSITORY / "models" / f"{row.name}.pt" if row.learned else None
        infer(row, paths[:-1], SECTIONS[row.name](**cfg.get(row.name, {})), out=paths[-1], weights=weights)
    summarize(paths, folder / "tables")
    return {name: pq.read_table(folder / "tables" / f"{name}.parquet") for name in EVENT_TABLES}


def same(tables: list[dict[str, pa.Table]], whole: dict[str, pa.Table]) -> None:
    for name in sorted(whole.keys() - TIMED):
        joined = pa.concat_tables([one[name] for one in tables]).replace_schema_metadata()
        wanted = whole[name].replace_schema_metadata()
        for column in wanted.column_names:
            one, other = (
                table[column].cast(pa.string())
                if pa.types.is_dictionary(table[column].type)
                else table[column]
                for table in (joined, wanted)
            )
            left, right = (
                pa.concat_arrays(part.chunks) if part.num_chunks else None for part in (one, other)
            )
            if left is None or right is None:
                assert len(one) == len(other) == 0
                continue
            if pa.types.is_floating(left.type):  # nan is nan
                assert left.to_numpy(False).tobytes() == right.to_numpy(False).tobytes(), f"{name}.{column}"
            else:
                assert left.equals(right), f"{name}.{column}"


def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Path, shards: list[str]) -> None:
    whole = reconstruct(tmp_path / "whole", source, "-", 1_000_000)
    assert whole["particles"].num_rows
    monkeypatch.setattr(module, "MAX_BATCH_EVENTS", 1)
    monkeypatch.setattr(module, "MAX_BATCH_VOXELS", 1)
    parts = [reconstruct(tmp_path / f"part_{number}", source, text, 1) for number, text in enumerate(shards)]
    same(parts, whole)


@pytest.mark.slow
def test_in_shards_of_other_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(tmp_path, monkeypatch, SOURCE, ["0", "1-4"])


@pytest.mark.slow
@pytest.mark.skipif(
    "LARTPC_TEST_DATA" not in os.environ, reason="LARTPC_TEST_DATA names no folder of test data"
)
def test_in_shards_of_other_sizes_with_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(os.environ["LARTPC_TEST_DATA"]) / "geant4_steps_20ev.h5"
    check(tmp_path, monkeypatch, source, ["0-6", "7", "8-19"])


TOLERANCES = {"_mev": 1e-2, "_mev_c": 1e-2, "_cm": 1e-3, "score": 1e-4}
"""By how much a number may differ by another kernel, by the end of its column's name (or a part of it: scores)."""
OTHER = 1e-2
"""Of all others: this part of them, or a tenth of this."""


@pytest.mark.slow
def test_on_another_number_of_threads(tmp_path: Path) -> None:
    one = reconstruct(tmp_path / "one", SOURCE, "-", 300_000)
    torch.set_num_threads(2)
    same([reconstruct(tmp_path / "two", SOURCE, "-", 300_000)], one)


@pytest.mark.slow
@pytest.mark.skipif(
    "LARTPC_TEST_DATA" not in os.environ, reason="LARTPC_TEST_DATA names no folder of test data"
)
def test_by_another_kernel(tmp_path: Path) -> None:
    source = Path(os.environ["LARTPC_TEST_DATA"]) / "geant4_steps_20ev.h5"
    one = reconstruct(tmp_path / "one", source, "-", 300_000)
    two = reconstruct(tmp_path / "two", source, "-", 300_000, backend="torch")
    assert not one["points"]["score"].equals(two["points"]["score"]), "it was another kernel"
    for name in sorted(one.keys() - TIMED):
        assert one[name].num_rows == two[name].num_rows
        for column in one[name].column_names:
            left, right = (table[name][column].combine_chunks() for table in (one, two))
            while pa.types.is_list(left.type) or pa.types.is_fixed_size_list(left.type):
                left, right = left.flatten(), right.flatten()
            if not pa.types.is_floating(left.type):
                assert left.to_pylist() == right.to_pylist(), f"{name}.{column}"
                continue
            found = [end for end in TOLERANCES if column.endswith(end) or (end == "score" and end in column)]
            least = TOLERANCES[found[0]] if found else OTHER / 10
            np.testing.assert_allclose(
                left.to_numpy(zero_copy_only=False),
                right.to_numpy(zero_copy_only=False),
                rtol=0 if found else OTHER,
                atol=least,
                err_msg=f"{name}.{column}",
            )
