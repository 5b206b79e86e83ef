"""A stage over a shard, file to file: nothing is lost, whatever is packed with what."""

import resource
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import BOX, ODD_EVENTS, image, line
from typer.testing import CliRunner

from lartpc import config
from lartpc.cli import app
from lartpc.config.learned import SegmentInfer
from lartpc.event import Columns, Event, empty
from lartpc.provenance import provenance
from lartpc.run import infer as verb
from lartpc.run import memory
from lartpc.run.infer import infer
from lartpc.run.weights import load_weights, save_weights
from lartpc.stages import points, segment, stage
from lartpc.store import Events, EventWriter, open_events
from lartpc.vocab import Semantic

NEAR_TRACK = 5
"""Columns of each proposal that `shard` makes lie on a track's first voxels."""


def with_proposals(event: Event) -> Event:
    """Call all voxels track, and propose the first ones of them as points."""
    num = min(NEAR_TRACK, event.num_voxels)
    score = np.zeros((event.num_voxels, len(Semantic)), np.float32)
    score[:, Semantic.TRACK] = 1
    return event.with_products(
        {
            "semantic": {
                "score": score,
                "label": np.full(event.num_voxels, Semantic.TRACK),
                "uncertainty": np.full(event.num_voxels, np.nan),
                "ghost_score": np.full(event.num_voxels, np.nan),
            },
            "proposal": {
                "position": event["voxel"]["coord"][:num] + 0.5,
                "score": np.linspace(0.9, 0.8, num),
                "class_score": score[:num],
                "end_score": np.zeros(num),
            },
        }
    )


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight events of different sizes, of which one is empty and one was set aside before."""
    path = tmp_path_factory.mktemp("shard") / "segment.h5"
    sizes = [30, 40, 0, 400, 1, 0, 25, 35]
    products = ("event", "voxel", "semantic", "proposal")
    attrs = provenance("segment", 1, config={})
    with EventWriter(path, products, file_uid="s/0", box=BOX, attrs=attrs) as writer:
        for entry, size in enumerate(sizes):
            event = with_proposals(image(line((10, 20, 30 + entry), (1, 0, 0), size), entry=entry))
            if entry == 5:
                writer.quarantine(entry, "for the test")
            else:
                writer.append(entry, {name: event[name] for name in products})
    return path


def run(shard: Path, out: Path) -> tuple[dict[str, float], list[Columns], dict[int, tuple[str, str]]]:
    summary = infer(stage("points"), [shard], config.Points(), out=out, weights=None)
    with open_events(out) as events:
        return summary, [event["point"] for event in events], events.quarantined()


def test_every_event_is_written_in_its_place(shard: Path, tmp_path: Path) -> None:
    summary, found, set_aside = run(shard, tmp_path / "points.h5")
    assert [len(point["score"]) for point in found] == [1, 1, 0, 1, 1, 0, 1, 1]
    for entry in (0, 1, 3, 4, 6, 7):
        # the middle one of three, where they are densest; event 4 has one voxel
        along = 10.5 if entry == 4 else 11.5
        assert found[entry]["position"].tolist() == [[along, 20.5, 30.5 + entry]]
    assert set_aside == {}, "events set aside before are named by the step that did so"
    assert (summary["num_events"], summary["num_quarantined"], summary["num_voxels"]) == (8, 0, 531)


def test_the_size_of_the_batches_changes_nothing(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(shard, tmp_path / "one.h5")
    for voxels, num_events in ((1, 64), (70, 64), (10_000, 2)):
        monkeypatch.setattr(verb, "MAX_BATCH_VOXELS", voxels)
        monkeypatch.setattr(verb, "MAX_BATCH_EVENTS", num_events)
        run(shard, tmp_path / "other.h5")
        with h5py.File(tmp_path / "one.h5") as one, h5py.File(tmp_path / "other.h5") as other:
            assert one.attrs["content_digest"] == other.attrs["content_digest"]


def test_a_bad_event_goes_alone_and_the_rest_of_its_batch_stays(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = points.infer

    def fails_on_entry_3(net: None, batch: list[Event], cfg: config.Points) -> list[dict[str, Columns]]:
        if any(event.entry == 3 for event in batch):
            raise ValueError("drawn to fail")
        return whole(net, batch, cfg)

    monkeypatch.setattr(points, "infer", fails_on_entry_3)
    summary, found, set_aside = run(shard, tmp_path / "points.h5")
    assert [len(point["score"]) for point in found] == [1, 1, 0, 0, 1, 0, 1, 1]
    assert set_aside == {3: ("points", "ValueError: drawn to fail")}
    assert (summary["num_quarantined"], summary["num_voxels"]) == (1, 131)


def test_a_fault_of_reading_or_writing_ends_the_stage_and_leaves_no_file(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "MAX_BATCH_EVENTS", 1)

    def no_room(*_: object) -> None:
        raise OSError("no space left on device")

    for where, name in ((EventWriter, "append"), (Events, "block")):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, no_room)
            with pytest.raises(OSError, match="no space left"):
                run(shard, tmp_path / "points.h5")
        assert list(tmp_path.iterdir()) == []


def test_an_empty_shard_and_odd_events_go_through(tmp_path: Path) -> None:
    events = [with_proposals(make(entry)) for entry, make in enumerate(ODD_EVENTS.values())]
    for name, kept in (("none", []), ("odd", events)):
        source, out = tmp_path / f"{name}.h5", tmp_path / f"{name}_points.h5"
        attrs = provenance("segment", 1, config={})
        products = ("event", "voxel", "semantic", "proposal")
        with EventWriter(source, products, file_uid="s/0", box=BOX, attrs=attrs) as writer:
            for event in kept:
                writer.append(
                    event.entry,
                    {product: event.products.get(product, empty(product)) for product in products},
                )
        summary, found, _ = run(source, out)
        assert len(found) == summary["num_events"] == len(kept) and summary["num_quarantined"] == 0


def test_large_events_are_named_and_set_aside_where_the_settings_say_so(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verb, "MAX_BATCH_VOXELS", 35)
    monkeypatch.setattr(points, "bytes_per_voxel", lambda cfg: 1e6, raising=False)
    monkeypatch.setattr(verb, "available_bytes", lambda: 100e6)
    with pytest.raises(MemoryError, match=r"400 voxels, which take about 400 MB, and 100 MB are free"):
        run(shard, tmp_path / "points.h5")
    assert not list(tmp_path.iterdir()), "a job with more memory makes it whole"
    assert "2 of 8 events have more voxels than a batch of points (35)" in capsys.readouterr().err
    limit = SegmentInfer(max_event_voxels=399)
    monkeypatch.setattr(config.Points, "infer", limit, raising=False)
    _, found, set_aside = run(shard, tmp_path / "points.h5")
    assert (
        set(set_aside) == {3}
        and "400 voxels, more than points.infer.max_event_voxels (399)" in set_aside[3][1]
    )
    assert [len(point["score"]) for point in found] == [1, 1, 0, 0, 1, 0, 1, 1]


@pytest.mark.parametrize(
    "fault",
    [
        OSError(5, "Input/output error"),
        OSError("one read failed"),
        MemoryError(),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("Can't synchronously read data (file read failed: errno = 5, ...)"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_fault_that_passes_fails_the_job_and_sets_no_event_aside(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    whole = points.infer

    def fails_on_entry_3(net: None, batch: list[Event], cfg: config.Points) -> list[dict[str, Columns]]:
        if any(event.entry == 3 for event in batch):
            raise fault
        return whole(net, batch, cfg)

    monkeypatch.setattr(points, "infer", fails_on_entry_3)
    with pytest.raises(type(fault)):
        run(shard, tmp_path / "points.h5")
    assert not list(tmp_path.iterdir())
    command = ["infer", "points", str(shard), "-o", str(tmp_path / "points.h5")]
    found = CliRunner().invoke(app, command)
    *_, last = found.output.strip().splitlines()
    assert (
        found.exit_code == 74
        and last.startswith("lartpc infer: ")
        and last.endswith("the same command goes on)")
    )


def test_a_batch_that_lacks_memory_is_computed_event_by_event(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = points.infer

    def small(net: None, batch: list[Event], cfg: config.Points) -> list[dict[str, Columns]]:
        if len(batch) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return whole(net, batch, cfg)

    monkeypatch.setattr(points, "infer", small)
    _, found, set_aside = run(shard, tmp_path / "points.h5")
    assert [len(point["score"]) for point in found] == [1, 1, 0, 1, 1, 0, 1, 1] and not set_aside


def test_numbers_that_are_not_finite_set_their_event_aside(
    shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = points.infer

    def spoilt(net: None, batch: list[Event], cfg: config.Points) -> list[dict[str, Columns]]:
        found = whole(net, batch, cfg)
        for event, products in zip(batch, found, strict=True):
            if event.entry == 3:
                products["point"]["score"] = np.full_like(products["point"]["score"], np.nan)
        return found

    monkeypatch.setattr(points, "infer", spoilt)
    _, found, set_aside = run(shard, tmp_path / "points.h5")
    assert set_aside == {3: ("points", "ValueError: point.score of row 0 is nan, not a finite number")}
    assert [len(point["score"]) for point in found] == [1, 1, 0, 0, 1, 0, 1, 1]


def test_weights_with_one_nan_are_refused(tmp_path: Path) -> None:
    row, section = stage("segment"), config.Segment(unet={"filters": 4, "depth": 2})
    state = row.module().network(section).state_dict()
    state["classes.bias"][2] = np.nan
    save_weights(tmp_path / "w.pt", row, section, state, {})
    with pytest.raises(ValueError, match=r"w\.pt: classes\.bias hold numbers that are not finite"):
        load_weights(tmp_path / "w.pt", row, section)


def test_a_dimension_that_is_not_that_of_the_images_sets_no_event_aside(tmp_path: Path) -> None:
    """A single event, which alone may fail: what is wrong is the setting."""
    with EventWriter(
        tmp_path / "a.h5",
        ("event", "voxel"),
        file_uid="s/0",
        box=BOX,
        attrs=provenance("ingest", 1, config={}),
    ) as writer:
        event = image(line((10, 20, 30), (1, 0, 0), 40))
        writer.append(0, {name: event[name] for name in ("event", "voxel")})
    row, section = stage("segment"), config.Segment(dimension=2, unet={"filters": 4, "depth": 2})
    save_weights(tmp_path / "w.pt", row, section, row.module().network(section).state_dict(), {})
    with pytest.raises(ValueError, match=r"segment\.dimension is 2, and these images have 3 dimensions"):
        infer(row, [tmp_path / "a.h5"], section, out=tmp_path / "out.h5", weights=tmp_path / "w.pt")
    assert not (tmp_path / "out.h5").exists()


def test_the_limits_of_a_job_bound_its_memory(tmp_path: Path) -> None:
    job = tmp_path / "slurm" / "job_1"
    (job / "step_0").mkdir(parents=True)
    own = tmp_path / "own"
    own.write_text("0::/slurm/job_1/step_0\n")
    for folder, limit, used in ((job, "4000", "1500"), (job / "step_0", "max", "1000")):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
    (job / "memory.stat").write_text("anon 10\ninactive_file 500\n")
    assert memory._below_limits(tmp_path, own) == [3000.0]
    assert memory._below_limits(tmp_path, tmp_path / "none") == []
    assert 0 < memory.available_bytes() < 2**60


@pytest.mark.slow
def test_an_event_of_300_000_voxels_goes_through_segment_and_points(tmp_path: Path) -> None:
    """Lines and sprays in a box of 768 per side; the network is untrained and proposes nearly everywhere."""
    rng = np.random.default_rng(1)
    start, direction = rng.uniform(100, 668, (1000, 1, 3)), rng.normal(size=(1000, 1, 3))
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    path = start + direction * np.arange(400)[:, None] * 0.9 + rng.normal(0, 0.4, (1000, 400, 3))
    coord = np.unique(path.reshape(-1, 3).astype(np.int32).clip(0, 767), axis=0)[:300_000]
    assert len(coord) == 300_000
    event = image(coord)
    row, section = stage("segment"), config.Segment()
    torch.manual_seed(1)
    save_weights(tmp_path / "w.pt", row, section, row.module().network(section).state_dict(), {})
    attrs = provenance("ingest", 1, config={})
    files = [tmp_path / f"{name}.h5" for name in ("ingest", "segment", "points")]
    with EventWriter(files[0], ("event", "voxel"), file_uid="s/0", box=BOX, attrs=attrs) as writer:
        writer.append(0, event.products)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    infer(row, files[:1], section, out=files[1], weights=tmp_path / "w.pt")
    infer(stage("points"), files[:2], config.Points(), out=files[2], weights=None)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    assert grown < 1.5 * 300_000 * segment.bytes_per_voxel(section), "memory is as documented"
    with open_events(*files) as events:
        assert events.quarantined() == {}
        np.testing.assert_allclose(events[0]["semantic"]["score"].sum(1), 1, rtol=1e-5)
        assert 0 < len(events[0]["point"]["score"]) < len(events[0]["proposal"]["score"])
