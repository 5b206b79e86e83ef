"""Inputs that are damaged, or not what they seem: each with the right end."""

import os
import re
import shutil

import h5py
import numpy as np
import pytest
from test_edepsim import NEW_SEGMENTS, muon, segment, trajectory, write

from lartpc.config import Ingest
from lartpc.faults import PassingError
from lartpc.ingest import open_source
from lartpc.run import guard
from lartpc.run.ingest import ingest
from lartpc.store import open_events


@pytest.mark.parametrize(
    ("name", "cfg", "words"),
    [
        (
            "bomb_declared_1e10_rows",
            {},
            "'segments' declares 10000000000 rows in 152588 chunks, and 0 of these are",
        ),
        ("crash_one_byte", {}, "field 'x_end' of dataset 'segments' is float128; it must be a real number"),
        ("flow_region_short", {}, "leaves out hit 1 of event 0, and 2 of 5 in all"),
        (
            "moved_origin",
            {"detector": "2x2"},
            r"nothing is left of its 734\.4 MeV.*around \(-14\.5, -259\.3, 1302\.0\) cm",
        ),
        ("p2_identity_1_of_3", {}, r"'identity' has the shape \(1, 3\); it must be \(3, 3\)"),
        ("truth_lost_one_byte", {}, "'trajectories' cannot be read"),
    ],
)
def test_files_that_are_refused(data_folder, tmp_path, name, cfg, words):
    path = data_folder / "faults" / f"{name}.h5"
    with pytest.raises(ValueError, match=words) as error:
        ingest(path, Ingest(**cfg), out=tmp_path / "out.h5")
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "cfg", "num_events", "reasons"),
    [
        (
            "one_bad_step",
            {},
            60,
            [r"step \d+ of 4971 cm has .* a charged particle loses 1.5 MeV/cm and more"],
        ),
        ("one_far_step", {}, 10, []),
        ("rows_interleaved", {}, 3, []),
        ("traj_inf_mom", {}, 3, [r"the (kinetic_energy|momentum) of track \d+ is not finite"]),
        (
            "s2_lower_nan_event1",
            {"voxel_size_cm": 0.4},
            2,
            ["'meta' of event 1 has its lower corner at .*nan"],
        ),
    ],
)
def test_files_of_which_events_are_used(data_folder, tmp_path, name, cfg, num_events, reasons):
    summary = ingest(data_folder / "faults" / f"{name}.h5", Ingest(**cfg), out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_quarantined) == (num_events, len(reasons))
    assert summary.energy_outside_mev < 0.01 * summary.energy_mev
    with open_events(tmp_path / "out.h5") as events:
        for (_, found), reason in zip(events.quarantined().values(), reasons, strict=True):
            assert re.search(reason, found)


def test_a_file_that_hdf5_would_read_without_end_is_refused_before(data_folder, tmp_path):
    with pytest.raises(
        ValueError, match=r"hang_64_zero_bytes\.h5 cannot be read \(of its heap .* has no size\)"
    ):
        ingest(data_folder / "faults" / "hang_64_zero_bytes.h5", Ingest(), out=tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == []


def test_reading_without_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "READ_S", 0.3)
    (tmp_path / "a.h5").touch()

    def work():
        with guard.within(tmp_path / "a.h5"):
            while True:
                pass

    with pytest.raises(ValueError, match=r"a\.h5 cannot be read: reading does not end"):
        guard.in_child(work, "a.h5")


def test_a_library_that_crashes_ends_the_child_only(tmp_path):
    with pytest.raises(
        ValueError, match=r"a\.h5 cannot be read: the library that reads it crashed \(SIGABRT\)"
    ):
        guard.in_child(os.abort, "a.h5")
    with pytest.raises(KeyError, match="x"):
        guard.in_child(lambda: {}["x"], "a.h5")
    assert guard.in_child(lambda: [1, "two"], "a.h5") == [1, "two"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer, not the file"),
        (b"/annex/objects/MD5E-s1--x", "is a git-annex pointer"),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip: unpack it"),
        (b"\x93NUMPY\x01\x00", "is a numpy array"),
        (b"PAR1....", "cannot be read"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"HepMC::Version 3.02.05\n", "is a HepMC record of generated particles"),
        (b"\0" * 4096, "begins with zeros"),
        (b"a,b\n1,2\n", r"is neither HDF5, ROOT nor Parquet, but text \(8 bytes\)"),
        (bytes(range(1, 256)), "is neither HDF5, ROOT nor Parquet, but other data"),
    ],
)
def test_a_refusal_says_what_the_file_is(tmp_path, content, words):
    path = tmp_path / ("n" * 240 + ".h5")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} {words}"):
        ingest(path, Ingest(), out=tmp_path / "out.h5")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda file: file.attrs.update(file_uid="a", step="segment"),
            "is an event file that 'lartpc segment' wrote",
        ),
        (lambda file: file.create_dataset("tracks", data=[1]), r"larnd-sim of 2021.*give the edep-sim file"),
        (
            lambda file: file.create_group("Events") and file.create_group("Data/bbox2d_a_group"),
            "is LArCV 3 without",
        ),
        (
            lambda file: file.create_group("Events") and file.create_group("Data/sparse2d_a_semantics_group"),
            r"is LArCV 3 without images of deposits, with sparse2d_a_semantics_group",
        ),
        (
            lambda file: [file.create_dataset(name, data=[1]) for name in ("adc", "pixels", "ticks")],
            r"of an early larnd-sim-jax: .*make it again with a later version",
        ),
        (lambda file: None, "is an HDF5 file with nothing in it"),
        (
            lambda file: [file.create_group(f"g{i:03d}") for i in range(99)],
            "with g000, .*g009 and 89 more; docs",
        ),
    ],
)
def test_a_refusal_says_what_is_in_an_hdf5_file(tmp_path, change, words):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        change(file)
    with pytest.raises(ValueError, match=words) as error:
        open_source(tmp_path / "a.h5")
    assert len(str(error.value)) < 400


def edep(path, *events, **changes):
    """Write events of a muon each, and change fields of the segment or trajectory of the last one."""
    rows = [muon(event) for event in events]
    for name, value in changes.items():
        table, _, field = name.partition("__")
        rows[-1][table == "trajectories"][field] = value
    return write(path, segments=[row[0] for row in rows], trajectories=[row[1] for row in rows])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"segments__dE": 1e38}, "step 0 has 1e+38 MeV"),
        ({"segments__x_start": 1e30}, "start of step 0 is more than 1e+07 cm away"),
        ({"segments__dE": -1.0}, "energy of step 0 is negative"),
        ({"trajectories__E_start": 1e38}, "a particle has 1e+38 MeV, more than any"),
        ({"trajectories__pxyz_start": np.inf}, "is not finite"),
        ({"trajectories__xyz_start": 1e30}, "has its start more than 1e+07 cm away"),
        ({"trajectories__t_start": np.nan}, "time of track 0 is not finite"),
        ({"trajectories__vertex_id": 2**63 + 5}, "which does not fit into 64 bits"),
        ({"segments__y_end": 0.012}, "lose 2.08e+03 MeV/cm"),
    ],
)
def test_numbers_beyond_physics_set_their_event_aside(tmp_path, changes, reason):
    path = edep(tmp_path / "a.h5", 1, 2, 3, **changes)
    if "segments__y_end" in changes:  # a short step alone cannot be judged
        with h5py.File(path, "r+") as file:
            rows = file["segments"][:]
            rows["y_end"][2] = 12.0
            rows["dE"][2] = 25_000.0
            file["segments"][:] = rows
    summary = ingest(path, Ingest(), out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_quarantined) == (3, 1)
    assert summary.energy_mev == pytest.approx(50.0) and summary.energy_quarantined_mev < 1e6
    with open_events(tmp_path / "out.h5") as events:
        assert reason in events.quarantined()[2][1]


def test_codes_of_more_than_32_bits_are_not_cut_off(tmp_path):
    path = edep(tmp_path / "a.h5", 1, 2)
    with h5py.File(path, "r+") as file:
        rows = file["segments"][:]
        wide = np.zeros(2, [(n, "i8" if n == "pdg_id" else rows.dtype[n]) for n in rows.dtype.names])
        for name in rows.dtype.names:
            wide[name] = rows[name]
        wide["pdg_id"][1] = 2**32 + 13
        del file["segments"]
        file["segments"] = wide
    ingest(path, Ingest(), out=tmp_path / "out.h5")
    with open_events(tmp_path / "out.h5") as events:
        assert (
            list(events.quarantined()) == [1]
            and "PDG code of more than 32 bits" in events.quarantined()[1][1]
        )


@pytest.mark.parametrize(
    ("field", "dtype", "words"),
    [
        ("dE", "S8", "field 'dE' of dataset 'segments' is .S8; it must be a real number"),
        ("dE", "c16", "is complex128; it must be a real number"),
        ("event_id", "f4", "field 'event_id' of dataset 'segments' is float32; it must be a whole number"),
        ("pdg_id", "f8", "it must be a whole number"),
    ],
)
def test_fields_of_other_types_are_refused(tmp_path, field, dtype, words):
    rows = np.concatenate([muon(event)[0] for event in (1, 2)])
    other = np.zeros(2, [(n, dtype if n == field else rows.dtype[n]) for n in rows.dtype.names])
    for name in set(rows.dtype.names) - {field}:
        other[name] = rows[name]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["segments"] = other
    with pytest.raises(ValueError, match=words):
        open_source(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([0, 1, 2, 0, 1, 2, 0, 1, 2], {0: 3, 1: 3, 2: 3}),
        ([5, 5, 3, 3, 9, 9, 3, 4, 4], {5: 2, 3: 3, 9: 2, 4: 2}),
        ([2, 2, 1, 1, 0, 0], {2: 2, 1: 2, 0: 2}),
    ],
)
@pytest.mark.parametrize("has_truth", [False, True])
def test_rows_of_an_event_are_put_together(tmp_path, order, expected, has_truth):
    steps = [
        segment(event, (0, 3 * i, 0), (0, 3 * i + 1, 0), 2.0 + i, track=0) for i, event in enumerate(order)
    ]
    tables = {"segments": steps}
    if has_truth:
        tables["trajectories"] = [trajectory(event, momentum=(0, 200, 0)) for event in sorted(expected)]
    source = open_source(write(tmp_path / "a.h5", **tables))
    found = [source.read(entry) for entry in range(source.num_events)]
    assert {steps.event: len(steps) for steps in found} == expected
    for steps in found:
        rows = [i for i, event in enumerate(order) if event == steps.event]
        assert steps.energy.tolist() == [2.0 + i for i in rows]


def test_events_that_come_again_as_after_joining_files_are_refused(tmp_path):
    steps = [segment(event, (0, i, 0), (0, i + 1, 0), 2.0) for event in (0, 1, 2, 0, 1, 2) for i in range(4)]
    with pytest.raises(ValueError, match=r"a\.h5: event 0 comes again in 'segments' after other events"):
        open_source(write(tmp_path / "a.h5", segments=steps))


def test_a_file_whose_events_all_fail_fails(tmp_path):
    path = edep(tmp_path / "a.h5", 1, 2, 3)
    with h5py.File(path, "r+") as file:
        rows = file["segments"][:]
        rows["traj_id"] = [7, 8, 9]
        file["segments"][:] = rows
    with pytest.raises(
        ValueError, match=r"a\.h5: none of its 3 events can be used; 3 of them because: .*no trajectory"
    ):
        ingest(path, Ingest(), out=tmp_path / "out.h5")
    good = edep(tmp_path / "b.h5", 1, 2)
    with pytest.raises(ValueError, match=r"a\.h5: none of its 3 events"):
        ingest([good, path], Ingest(), out=tmp_path / "out.h5", file_uid="x")


@pytest.mark.parametrize("lengths", [1.0, 0.1, 10.0])
def test_our_own_steps_in_other_units_are_refused(data_folder, tmp_path, lengths):
    """Positions in cm in place of mm, or energies in GeV."""
    path = tmp_path / "a.h5"
    shutil.copy(data_folder / "geant4_steps_20ev.h5", path)
    with h5py.File(path, "r+") as file:
        rows = file["segments"][:]
        for axis in "xyz":
            for side in ("start", "end"):
                rows[f"{axis}_{side}"] *= lengths
        if lengths == 1.0:
            rows["dE"] /= 1000
        file["segments"][:] = rows
    with pytest.raises(ValueError, match=r"a\.h5: fast charged particles lose .* convert the file"):
        ingest(path, Ingest(), out=tmp_path / "out.h5")


def test_failures_of_the_system_end_the_job(tmp_path, monkeypatch):
    from lartpc.ingest.formats.edepsim import EdepSimReader

    path = edep(tmp_path / "a.h5", 1, 2)
    for error in (OSError(5, "Input/output error"), MemoryError("no memory")):

        def fail(self, entry, error=error):
            raise error

        monkeypatch.setattr(EdepSimReader, "read", fail)
        with pytest.raises(type(error)):
            ingest(path, Ingest(), out=tmp_path / "out.h5")
        assert not (tmp_path / "out.h5").exists()


def test_an_input_that_is_replaced_while_it_is_read_ends_the_job(tmp_path, monkeypatch):
    from lartpc.ingest.formats.edepsim import EdepSimReader

    path, read = edep(tmp_path / "a.h5", 1, 2), EdepSimReader.read

    def replace(self, entry):
        os.utime(path, ns=(1, 1))
        return read(self, entry)

    monkeypatch.setattr(EdepSimReader, "read", replace)
    with pytest.raises(PassingError, match=r"a\.h5 was changed while it was read"):
        ingest(path, Ingest(), out=tmp_path / "out.h5")


def test_bombs_are_refused_by_what_they_declare(tmp_path):
    zeros = np.zeros(0, NEW_SEGMENTS)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset(
            "segments", data=zeros, maxshape=(None,), chunks=(10_000_000,), compression="gzip"
        )
        data.resize(10_000_000, axis=0)
        data.id.write_direct_chunk((0,), b"x\x9c\x03\x00\x00\x00\x00\x01")
    with pytest.raises(ValueError, match=r"declares \d+ MB, and takes 8e-06 MB on disk"):
        open_source(tmp_path / "a.h5")
