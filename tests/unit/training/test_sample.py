"""What a training reads: the same events however they are read, resumed and dealt."""

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from conftest import ALL_PRODUCTS, BOX, ODD_EVENTS, typical

from lartpc.config import Cluster, Interact, Segment
from lartpc.event import Event
from lartpc.provenance import provenance
from lartpc.run.training import sample as sample_module
from lartpc.run.training.sample import Sample
from lartpc.stages import stage
from lartpc.store import EventWriter
from lartpc.truth import upstream_from_truth

ATTRS = provenance("ingest", 1, config={})


def write(path: Path, entries: list[int], *, odd: bool = False) -> Path:
    with EventWriter(path, ALL_PRODUCTS, file_uid=path.stem, box=BOX, attrs=ATTRS) as writer:
        for entry in entries:
            writer.append(entry, typical(entry).products)
        if odd:
            writer.append(1000, ODD_EVENTS["empty"](1000).products)
            writer.quarantine(1001, "for the test")
            writer.append(1002, ODD_EVENTS["one_voxel"](1002).products)
    return path


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write three shards of 40 events in all, and three more, of which two cannot be trained on."""
    folder = tmp_path_factory.mktemp("shards")
    parts = [list(range(20)), list(range(20, 25)), list(range(25, 40))]
    return [write(folder / f"{i}.h5", part, odd=i == 1) for i, part in enumerate(parts)]


def rank(number: int = 0, size: int = 1) -> SimpleNamespace:
    return SimpleNamespace(rank=number, size=size, comm=None)


def assert_same(found: list[Event], expected: list[Event]) -> None:
    assert [event.entry for event in found] == [event.entry for event in expected]
    for one, other in zip(found, expected, strict=True):
        assert set(one) == set(other)
        for product in one:
            for name, column in one[product].items():
                assert column.dtype == other[product][name].dtype
                np.testing.assert_array_equal(column, other[product][name])


def test_only_usable_events_are_drawn_each_once(shards: list[Path]) -> None:
    section = Segment()
    sample = Sample(stage("segment"), shards, section)
    settings = section.train.model_copy(update={"batch_size": 41, "augment": False})
    assert len(sample) == 41
    found = sample.batch(0, settings, rank())
    assert sorted(event.entry for event in found) == [*range(40), 1002]
    expected = {entry: typical(entry) for entry in range(40)} | {1002: ODD_EVENTS["one_voxel"](1002)}
    for event in found:
        for product in ("voxel", "truth_voxel", "truth_point"):
            for name, column in expected[event.entry][product].items():
                np.testing.assert_array_equal(event[product][name], column)


def test_processes_read_what_one_does_from_any_step_on(shards: list[Path]) -> None:
    section = Interact()
    sample = Sample(stage("interact"), shards, section)
    settings = section.train.model_copy(update={"num_workers": 2, "shift": 5, "charge_jitter": 0.1})
    with sample.batches(range(3, 8), settings, rank(1, 2)) as batches:
        for step, batch in zip(range(3, 8), batches, strict=True):
            assert_same(batch, sample.batch(step, settings, rank(1, 2)))


@pytest.mark.parametrize("num_ranks", [2, 5, 64])
def test_ranks_and_workers_part_the_batch_of_one(shards: list[Path], num_ranks: int) -> None:
    section = Segment()
    sample = Sample(stage("segment"), shards, section)
    whole = {event.entry: event for event in sample.batch(1, section.train, rank())}
    parts = [sample.batch(1, section.train, rank(number, num_ranks)) for number in range(num_ranks)]
    entries = [event.entry for part in parts for event in part]
    assert sorted(entries) == sorted(whole)
    for part in parts:
        assert_same(part, [whole[event.entry] for event in part])
    of_workers = [sample.part(1, section.train, (0, 2), (worker, 3)) for worker in range(3)]
    places = sorted(place for part in of_workers for place, _ in part)
    assert len(places) == len(set(places)) == len(sample.batch(1, section.train, rank(0, 2)))


def test_mixed_input_is_either_by_chance_and_the_same_each_time(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with EventWriter(
        path, (*ALL_PRODUCTS, "semantic", "affinity", "point"), file_uid="a", box=BOX, attrs=ATTRS
    ) as writer:
        for entry in range(40):
            event = upstream_from_truth(typical(entry), ["semantic", "affinity", "point"])
            nothing = {name: values[:0] for name, values in event["point"].items()}
            writer.append(entry, {**event.products, "point": nothing})
    section = Cluster(upstream="mixed")
    sample = Sample(stage("cluster"), [path], section)
    batch = sample.batch(0, section.train.model_copy(update={"batch_size": 40}), rank())
    on_truth = np.array([len(event["point"]["kind"]) > 0 for event in batch])
    assert 8 < on_truth.sum() < 32
    assert_same(batch, sample.batch(0, section.train.model_copy(update={"batch_size": 40}), rank()))
    assert not any(len(event["point"]["kind"]) for event in sample.share(40, rank()))
    with pytest.raises(ValueError, match="semantic"):
        Sample(stage("cluster"), [write(tmp_path / "b.h5", [0])], section)


def test_held_out_events_are_shared(shards: list[Path]) -> None:
    sample = Sample(stage("segment"), shards, Segment())
    shares = [[event.entry for event in sample.share(10, rank(number, 3))] for number in range(3)]
    assert shares == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert [event.entry for event in sample.share(100, rank())] == [*range(25), 1002, *range(25, 40)]


def test_large_events_can_be_left_out(shards: list[Path]) -> None:
    sample = Sample(stage("segment"), shards, Segment(), max_voxels=100)
    assert (len(sample), sample.num_large) == (1, 40)


def test_few_files_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_module, "OPEN_SHARDS", 2)
    paths = [write(tmp_path / f"{i}.h5", [i]) for i in range(4)]
    section = Segment()
    sample = Sample(stage("segment"), paths, section)
    settings = section.train.model_copy(update={"batch_size": len(paths)})

    assert len({event.entry for event in sample.batch(0, settings, rank())}) == len(paths)
    opened = {file.resolve() for file in Path("/proc/self/fd").iterdir()}
    assert len(opened & set(paths)) == 2


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", list(range(20)))
    section = Segment()
    with h5py.File(path) as file:
        chunk = file["voxel/coord"].id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * chunk.size)
    sample = Sample(stage("segment"), [path], section)
    with pytest.raises(ValueError, match=r"a\.h5 is damaged: .*; remove it and make it again"):
        sample.batch(0, section.train, rank())
