"""The event store: what is written reads back, and what does not fit together is refused."""

import json
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ALL_PRODUCTS, BOX, ODD_EVENTS, labelled, typical
from handmade import write_shard

from lartpc.event import PRODUCTS, Event, empty
from lartpc.provenance import fingerprint, provenance
from lartpc.store import EventWriter, open_events


def write(
    path: Path, events: list[Event], products: tuple[str, ...] = ALL_PRODUCTS, uid: str = "s/0"
) -> Path:
    attrs = provenance("ingest", 1, config={})
    with EventWriter(path, products, file_uid=uid, box=BOX, attrs=attrs) as writer:
        for event in events:
            writer.append(event.entry, {name: event[name] for name in products})
    return path


def test_events_read_back_one_by_one_and_streamed(tmp_path: Path) -> None:
    given = [typical(0), ODD_EVENTS["empty"](1), typical(2), ODD_EVENTS["one_voxel"](3)]
    with open_events(write(tmp_path / "a.h5", given)) as events:
        assert len(events) == 4
        assert events.box == BOX
        assert events.num_voxels().tolist() == [event.num_voxels for event in given]
        for read in (list(events), list(events.stream())):
            for event, expected in zip(read, given, strict=True):
                assert event.entry == expected.entry
                for product in ALL_PRODUCTS:
                    for name, values in expected[product].items():
                        np.testing.assert_array_equal(event[product][name], values)


def test_zero_bytes_in_texts_are_written_out(tmp_path: Path) -> None:
    """As damaged sources have them in names; HDF5 cannot hold them."""
    attrs = provenance("ingest", 1, config={}) | {"selection": "a\0b"}
    with EventWriter(tmp_path / "a.h5", ("voxel",), file_uid="s/0", box=BOX, attrs=attrs) as writer:
        writer.quarantine(0, "no tree 'c\0d'")
        writer.set_attribute("source_files", "e\0f")
    with open_events(tmp_path / "a.h5") as events:
        said = events.attributes()["ingest"]
        assert (said["selection"], said["source_files"]) == ("a\\0b", "e\\0f")
        assert events.quarantined() == {0: ("ingest", "no tree 'c\\0d'")}
        events.check()


def test_units_and_codes_stand_in_the_file(tmp_path: Path) -> None:
    with h5py.File(write(tmp_path / "a.h5", [typical()])) as file:
        assert file["voxel/energy"].attrs["unit"] == "MeV"
        assert "low_energy" in file["truth_voxel/semantic"].attrs["codes"]
        assert file.attrs["schema_version"] and file.attrs["package_version"]


def test_files_overlay_and_a_missing_product_names_its_stage(tmp_path: Path) -> None:
    image = write(tmp_path / "a.h5", [typical(0)], ("event", "voxel"))
    with open_events(image) as events, pytest.raises(ValueError, match=r"by segment.*give that step's file"):
        events.require(["voxel", "semantic"])
    # a file of segment of before affinities
    attrs, products = provenance("segment", 3, config={}), ("semantic", "proposal")
    with EventWriter(tmp_path / "old.h5", products, file_uid="s/0", box=BOX, attrs=attrs) as writer:
        writer.append(
            0, {name: empty(name, typical(0).num_voxels * (name == "semantic")) for name in products}
        )
    with open_events(image, tmp_path / "old.h5") as events:
        with pytest.raises(ValueError, match=r"old\.h5 is of an older version: run that step again"):
            events.require(["voxel", "semantic", "affinity"])
        with pytest.raises(ValueError, match=r"by ingest.*give that step's file"):
            events.require(["plane_hit"])


def test_other_events_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "a.h5", [typical(0)])
    with pytest.raises(ValueError, match="holds other events"):
        open_events(first, write(tmp_path / "b.h5", [typical(1)]))
    with pytest.raises(ValueError, match="holds other events"):
        open_events(first, write(tmp_path / "c.h5", [typical(0)], uid="s/1"))


def test_a_file_knows_its_content_and_is_known_by_it(tmp_path: Path) -> None:
    first = write(tmp_path / "one" / "0000.h5", [typical(0), typical(1)])
    again = write(tmp_path / "two" / "0000.h5", [typical(0), typical(1)])
    name, content = fingerprint(first)
    assert name == "ingest of s/0" and fingerprint(again) == (name, content)
    for events, uid in (([typical(0), typical(2)], "s/0"), ([typical(0), typical(1)], "s/1")):
        assert fingerprint(write(tmp_path / "other.h5", events, uid=uid))[1] != content
    # files of one name are told apart, and other programs' files are known by their bytes
    (tmp_path / "note.txt").write_text("x")
    said = provenance("cluster", 1, config={}, inputs=[first, tmp_path / "note.txt"])
    assert json.loads(said["inputs"])["ingest of s/0"] == content
    assert len(json.loads(said["inputs"])["note.txt"]) == len(content)


def test_a_file_appears_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with (
        pytest.raises(RuntimeError),
        EventWriter(path, ("voxel",), file_uid="s", box=BOX, attrs={}) as writer,
    ):
        writer.append(0, {"voxel": empty("voxel", 3)})
        raise RuntimeError("cut off")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_in_one_line_and_keeps_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    path, other = disk / "a.h5", disk / "other"
    try:
        with (
            pytest.raises(ValueError, match=r"a\.h5: No space left on device; make room"),
            EventWriter(path, ("voxel",), file_uid="s", box=BOX, attrs={}) as writer,
        ):
            writer.append(0, {"voxel": empty("voxel", 3)})
            other.write_bytes(bytes(20_000_000))  # somebody else's, meanwhile
        assert list(disk.iterdir()) == [other]
        with pytest.raises(ValueError, match="No space left on device"):
            write(path, [typical()])
        assert list(disk.iterdir()) == [other]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_quarantined_events_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    attrs = provenance("ingest", 1, config={})
    with EventWriter(path, ("voxel",), file_uid="s", box=BOX, attrs=attrs) as writer:
        writer.append(0, {"voxel": empty("voxel", 2)})
        writer.quarantine(7, "energy is NaN")
        writer.append(9, {"voxel": empty("voxel", 1)})
    with open_events(path) as events:
        assert events.entries.tolist() == [0, 7, 9]
        assert events.num_voxels().tolist() == [2, 0, 1]
        assert events.quarantined() == {7: ("ingest", "energy is NaN")}


def test_a_product_that_breaks_the_contract_is_refused(tmp_path: Path) -> None:
    wrong = {"voxel": {"coord": np.zeros((3, 2)), "energy": np.zeros(3)}}
    with (
        pytest.raises(ValueError, match=r"voxel\.coord"),
        EventWriter(tmp_path / "a.h5", ("voxel",), file_uid="s", box=BOX, attrs={}) as writer,
    ):
        writer.append(0, wrong)


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(ValueError, match="does not exist"):
        open_events(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a readable HDF5 file"):
        open_events(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=[1])
    with pytest.raises(ValueError, match="not an event store"):
        open_events(path)
    whole = write(tmp_path / "b.h5", [typical()])
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match="not a readable HDF5 file"):
        open_events(whole)
    with pytest.raises(ValueError, match=r"b\.h5 is not a readable HDF5 file"):
        provenance("cluster", 1, config={}, inputs=[whole])


def test_memory_is_flushed_as_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lartpc.store.write.FLUSH_ROWS", 50)
    given = [typical(i) for i in range(3)]
    with open_events(write(tmp_path / "a.h5", given)) as events:
        np.testing.assert_array_equal(events[2]["voxel"]["coord"], given[2]["voxel"]["coord"])


def test_every_column_has_a_description() -> None:
    for name, product in PRODUCTS.items():
        for column, spec in product.columns.items():
            assert spec.description, f"{name}.{column}"


def test_hand_made_truth_is_consistent() -> None:
    event = labelled([{"coord": [[1, 1, 1], [1, 1, 2]]}], num_blips=3)
    assert event.num_voxels == 5
    assert (event["truth_voxel"]["particle"] >= 0).sum() == 2


def test_events_are_packed_by_their_voxels(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with EventWriter(
        path, ("voxel",), file_uid="s", box=BOX, attrs=provenance("ingest", 1, config={})
    ) as writer:
        for entry, size in enumerate([3, 2, 5, 0, 6, 0, 1]):
            writer.append(entry, {"voxel": empty("voxel", size)})
    with open_events(path) as events:
        assert events.packs(5, 64) == [(0, 2), (2, 4), (4, 5), (5, 7)], "the event of 6 is one by itself"
        assert events.packs(100, 3) == [(0, 3), (3, 6), (6, 7)]
        assert events.packs(1, 1) == [(i, i + 1) for i in range(7)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lartpc.store.read.STREAM_VOXELS", 5)
            assert [event.num_voxels for event in events.stream()] == [3, 2, 5, 0, 6, 0, 1]


def test_a_file_of_an_older_minor_version_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "old.h5", [typical(0), typical(1)])
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = "1.0"
        del file.attrs["digests"], file.attrs["seal"]
        del file["event"]["energy_lost_mev"]
    with open_events(path) as events:
        assert [event["event"]["energy_lost_mev"].tolist() for event in events] == [[0.0], [0.0]]


@pytest.mark.parametrize(
    "column", ["identity/start_point", "identity/pi_zero", "particle/class_score", "point/score"]
)
def test_a_file_of_a_stage_that_knew_less_is_refused(tmp_path: Path, column: str) -> None:
    """What an older stage did not work out is no "not known": its file is made again, and nothing is read as nan."""
    product, name = column.split("/")
    paths = write_shard(tmp_path, "s/0")
    for path in paths:
        with h5py.File(path, "r+") as file:
            if column in file:
                file.attrs["schema_version"] = "1.2"
                del file.attrs["digests"], file.attrs["seal"], file[product][name]
    with open_events(*paths) as events:
        with pytest.raises(ValueError, match=rf"'{column}'.*schema 1\.2.*make it again with 'lartpc infer"):
            list(events.stream())
        assert list(events.stream(["event", "voxel"]))


def test_a_file_made_from_another_one_is_refused(tmp_path: Path) -> None:
    """Ingested again with doubled energies under the same uid, the stages' old files do not fit any more."""
    first = write(tmp_path / "ingest.h5", [typical(0)], ("event", "voxel"))
    attrs = provenance("points", 1, config={}, inputs=[first])
    second = tmp_path / "points.h5"
    with EventWriter(second, ("point",), file_uid="s/0", box=BOX, attrs=attrs) as writer:
        writer.append(0, {"point": empty("point")})
    open_events(first, second).close()
    event = typical(0)
    doubled = {**event["voxel"], "energy": 2 * event["voxel"]["energy"]}
    write(first, [event.with_products({"voxel": doubled})], ("event", "voxel"))
    with pytest.raises(
        ValueError, match=r"points\.h5 was made from another 'ingest of s/0' than .*ingest\.h5"
    ):
        open_events(first, second)


def said(path: Path) -> list[object]:
    """Return all that a reader can get from a file: its events and its attributes."""
    with open_events(path) as events:
        read = [
            {name: {k: v.tobytes() for k, v in event[name].items()} for name in event}
            for event in events.stream()
        ]
        return [
            read,
            events.quarantined(),
            events.box,
            {k: str(v) for k, v in events.attributes()["ingest"].items()},
        ]


def test_a_changed_byte_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path, damaged = write(tmp_path / "a.h5", [typical(0), typical(1)]), tmp_path / "b.h5"
    whole, content = said(path), path.read_bytes()
    rng = np.random.default_rng(1)
    # every column's bytes, and others all over the file
    places = [*rng.integers(0, len(content), 150), *range(0, 120, 3)]
    num_noticed = 0
    for place in places:
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << int(rng.integers(8))
        damaged.write_bytes(spoilt)
        try:
            found = said(damaged)
        except ValueError as error:
            assert "b.h5" in str(error)
            num_noticed += 1
        else:
            assert found == whole, f"byte {place} of {len(content)}"
    assert num_noticed > 20


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path, cut = write(tmp_path / "a.h5", [typical(0)]), tmp_path / "b.h5"
    with h5py.File(path) as file:
        names: list[str] = []
        file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
    assert len(names) > 50
    for name in names:
        shutil.copy(path, cut)
        with h5py.File(cut, "r+") as file:
            del file[name]
        with pytest.raises(ValueError, match=rf"b\.h5 is damaged: '{name}' is missing"):
            said(cut)


@pytest.mark.parametrize("name", ["voxel/coord", "voxel/energy", "voxel/offsets", "entry"])
def test_numbers_of_another_type_with_the_same_bytes_are_noticed(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.h5", [typical(0), typical(1)])
    with h5py.File(path, "r+") as file:
        rows = file[name][:]
        other = {"i": "u", "f": "i"}[rows.dtype.kind]
        del file[name]
        file[name] = rows.view(f"{other}{rows.dtype.itemsize}")
    with pytest.raises(ValueError, match=rf"a\.h5 is damaged: '{name}' has numbers of another type"):
        said(path)
