"""HDF5 as it may also be written: links, data elsewhere, other types and filters; and files cut off anywhere."""

import h5py
import numpy as np
import pytest
from test_edepsim import muon, write

from lartpc.config import Ingest
from lartpc.run.ingest import ingest
from lartpc.store import open_events

DEFLATE = b"\x01\x00\x08\x00\x01\x00\x01\x00deflate\x00"
"""How old HDF5 names its filter in a file: number 1, eight letters."""


@pytest.fixture
def good(tmp_path):
    """A file of two events."""
    rows = [muon(1), muon(4)]
    return write(
        tmp_path / "good.h5", segments=[row[0] for row in rows], trajectories=[row[1] for row in rows]
    )


def read(path):
    """Return the voxels of the events of a file."""
    out = path.with_name("out.h5")
    out.unlink(missing_ok=True)
    ingest(path, Ingest(), out=out, file_uid="odd")
    with open_events(out) as events:
        return [{name: rows.tolist() for name, rows in event["voxel"].items()} for event in events]


def again(file, name="segments", **how):
    """Write a table again."""
    rows, kind = file[name][:], how.pop("dtype", None)
    del file[name]
    return file.create_dataset(name, data=rows if kind is None else rows.astype(kind), **how)


def with_types(kind):
    """Return the types of the segments with another one for all numbers of 4 bytes."""

    def change(file):
        types = file["segments"].dtype
        again(
            file,
            dtype=[(name, kind if types[name].str == "<f4" else types[name].str) for name in types.names],
        )

    return change


def with_field(field, kind):
    def change(file):
        types = file["segments"].dtype
        again(file, dtype=[(name, kind if name == field else types[name]) for name in types.names])

    return change


def move(file, to):
    """Put the segments elsewhere in the file, or into another file, and a link in their place."""
    if isinstance(to, h5py.ExternalLink):
        with h5py.File(to.filename, "w") as other:
            file.copy("segments", other, "segments")
        del file["segments"]
    else:
        file.move("segments", "moved")
    file["segments"] = to


def virtual(file):
    move(file, h5py.ExternalLink(file.filename + ".other", "segments"))
    del file["segments"]
    with h5py.File(file.filename + ".other") as other:
        layout = h5py.VirtualLayout((10**10,), other["segments"].dtype)
        layout[:2] = h5py.VirtualSource(other["segments"])
    file.create_virtual_dataset("segments", layout)


def stored_elsewhere(file):
    kind = file["segments"].dtype
    del file["segments"]
    file.create_dataset("segments", (10**8,), kind, external=[("/dev/zero", 0, 10**8 * kind.itemsize)])


def wrong_way_round(file):
    types = file["segments"].dtype
    again(file, dtype=[(name, types[name].newbyteorder(">")) for name in types.names])


def many_attributes(file):
    for number in range(300):
        file["segments"].attrs[f"note {number}"] = np.zeros(7_000)


def nothing(file):
    kind = file["segments"].dtype
    del file["segments"]
    file["segments"] = h5py.Empty(kind)


def only_a_type(file):
    kind = file["segments"].dtype
    del file["segments"]
    file["segments"] = kind


def of(value):
    """Put something else in the place of the segments."""

    def change(file):
        del file["segments"]
        file["segments"] = value

    return change


SAME = {
    "a link within the file": lambda file: move(file, h5py.SoftLink("/moved")),
    "a second name": lambda file: file.__setitem__("again", file["segments"]),
    "a group that holds itself": lambda file: file.create_group("ring").__setitem__("ring", file["ring"]),
    "the other order of bytes": wrong_way_round,
    "more digits": with_types("<f8"),
    "17 MB of attributes": many_attributes,
    "compressed, with checksums": lambda file: again(
        file, compression="gzip", fletcher32=True, shuffle=True, chunks=(1,)
    ),
    "LZF": lambda file: again(file, compression="lzf"),
    "scaled and cut into more chunks than rows": lambda file: again(file, chunks=(64,), maxshape=(None,)),
}
REFUSED = {
    "another file": (
        lambda file: move(file, h5py.ExternalLink(file.filename + ".other", "segments")),
        "'segments' lies in another file",
    ),
    "a virtual dataset": (virtual, "'segments' lies in another file"),
    "rows in a device": (stored_elsewhere, "'segments' lies in another file"),
    "a link to nothing": (lambda file: move(file, h5py.SoftLink("/nowhere")), "segments"),
    "a link to itself": (lambda file: move(file, h5py.SoftLink("/segments")), "segments"),
    "a file that is not there": (
        of(h5py.ExternalLink("nowhere.h5", "segments")),
        "'segments' lies in another file",
    ),
    "one row without a dimension": (of(np.zeros((), [("event_id", "i4")])), "segments"),
    "nothing": (nothing, "segments"),
    "a type": (only_a_type, "segments"),
    "a group": (lambda file: (file.move("segments", "moved"), file.create_group("segments")), "segments"),
    "energies that are lists": (with_field("dE", ("f4", (2,))), "'dE'"),
    "numbers of events above 2⁶³": (with_field("event_id", "f4"), "event"),
    "energies that are true or false": (with_field("dE", "?"), "'dE'"),
}


@pytest.mark.parametrize("name", SAME)
def test_what_is_written_otherwise_is_read_alike(good, name):
    wanted = read(good)
    with h5py.File(good, "r+", libver=("earliest", "v110")) as file:
        SAME[name](file)
    assert read(good) == wanted


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_in_the_file_or_of_another_kind_is_refused(good, name):
    change, words = REFUSED[name]
    with h5py.File(good, "r+") as file:
        change(file)
    with pytest.raises(ValueError, match=words) as said:
        read(good)
    assert str(good) in str(said.value) and "\n" not in str(said.value)


def test_a_filter_that_is_not_there_is_named(good):
    with h5py.File(good, "r+") as file:
        again(file, compression="gzip", chunks=(2,))
    content = good.read_bytes()
    assert DEFLATE in content
    good.write_bytes(content.replace(DEFLATE, b"\x33\x01" + DEFLATE[2:]))
    with pytest.raises(
        ValueError, match=r"'segments' is packed by a filter of HDF5 that is not here, deflate \(number 307\)"
    ):
        read(good)


@pytest.mark.parametrize("event_id", [2**63 - 1, 2**63, 2**64 - 1])
def test_numbers_of_events_are_kept_or_refused(good, event_id):
    with h5py.File(good, "r+") as file:
        for name in ("segments", "trajectories"):
            types = file[name].dtype
            rows = file[name][:].astype(
                [(one, "u8" if one == "event_id" else types[one]) for one in types.names]
            )
            rows["event_id"][rows["event_id"] == 4] = event_id
            del file[name]
            file[name] = rows
    if event_id < 2**63:
        read(good)
        with open_events(good.with_name("out.h5")) as events:
            assert [int(event["event"]["event"][0]) for event in events] == [1, event_id]
    else:
        with pytest.raises(ValueError, match="event_id"):
            read(good)


@pytest.mark.parametrize("power", range(13))
def test_a_file_cut_off_at_any_power_of_two_is_refused(good, power):
    content = good.read_bytes()
    assert len(content) < 2**13
    good.write_bytes(content[: 2**power])
    with pytest.raises(ValueError, match=r"good\.h5"):
        read(good)
