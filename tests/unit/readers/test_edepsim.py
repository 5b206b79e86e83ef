"""edep-sim HDF5 as the converters of larnd-sim and the 2x2 simulation wrote it, from 2020 to today."""

import h5py
import numpy as np
import pytest

from lartpc.config import Ingest
from lartpc.ingest import open_source
from lartpc.ingest.physics import kinetic_from_momentum_mev
from lartpc.run.ingest import ingest
from lartpc.store import open_events
from lartpc.vocab import Semantic

POSITIONS = tuple(f"{axis}_{side}" for side in ("start", "end") for axis in "xyz")
NEW_SEGMENTS = [
    *(("event_id", "u4"), ("vertex_id", "u8"), ("segment_id", "u4"), ("traj_id", "u4"), ("pdg_id", "i4")),
    *((name, "f4") for name in (*POSITIONS, "t_start")),
    *(("t0_start", "f8"), ("t0_end", "f8"), ("t0", "f8"), ("dx", "f4"), ("dEdx", "f4"), ("dE", "f4")),
]
NEW_TRAJECTORIES = [
    *(("event_id", "u4"), ("vertex_id", "u8"), ("traj_id", "u4"), ("parent_id", "i4"), ("primary", "?")),
    *(("E_start", "f4"), ("pxyz_start", "f4", (3,)), ("xyz_start", "f4", (3,)), ("t_start", "f8")),
    *(("pdg_id", "i4"), ("start_process", "u4"), ("start_subprocess", "u4")),
]
VERTICES = [("event_id", "u4"), ("vertex_id", "u8"), ("x_vert", "f4"), ("y_vert", "f4"), ("z_vert", "f4")]
MC_HDR = [*VERTICES, ("target", "u4"), ("reaction", "i4"), ("isCC", "?"), ("nu_pdg", "i4"), ("Enu", "f4")]
OLD_NAMES = {
    "event_id": "eventID",
    "vertex_id": "vertexID",
    "traj_id": "trackID",
    "parent_id": "parentID",
    "pdg_id": "pdgId",
}
MUON_MASS = 105.6583755


def segment(event, start, end, energy, *, track=0, pdg=13, time=1.0):
    row = np.zeros(1, NEW_SEGMENTS)
    row["event_id"], row["traj_id"], row["pdg_id"], row["dE"] = event, track, pdg, energy
    for name, value in zip(POSITIONS, (*start, *end), strict=True):
        row[name] = value
    row["t0_start"] = row["t0"] = time
    row["dx"] = np.linalg.norm(np.subtract(end, start))
    return row


def trajectory(event, track=0, *, parent=-1, pdg=13, momentum=(0.0, 0.0, 0.0), at=(0, 0, 0), vertex=0):
    row = np.zeros(1, NEW_TRAJECTORIES)
    row["event_id"], row["traj_id"], row["parent_id"], row["pdg_id"] = event, track, parent, pdg
    row["pxyz_start"], row["xyz_start"], row["vertex_id"] = momentum, at, vertex
    row["E_start"] = np.sqrt(MUON_MASS**2 + np.square(momentum).sum())
    return row


def muon(event, *, track=0, x=0.0):
    """A muon of 12 cm along y."""
    return (
        segment(event, (x, 0, 0), (x, 12, 0), 25.0, track=track),
        trajectory(event, track, momentum=(0, 200, 0), at=(x, 0, 0), vertex=1000 + track),
    )


def heads(dtype, *events):
    rows = np.zeros(len(events), dtype)
    rows["event_id"] = events
    return rows


def write(path, *, without=(), rename=(), **tables):
    """Write tables, with fields left out, under old names, and in another order."""
    with h5py.File(path, "w") as file:
        for name, rows in tables.items():
            rows = np.concatenate(rows) if isinstance(rows, list) else rows
            kept = [field for field in rows.dtype.names if field not in without]
            order = kept[::-1] if rename else kept
            named = [
                (OLD_NAMES.get(field, field) if rename else field, *rows.dtype.fields[field][:1])
                for field in order
            ]
            data = np.zeros(len(rows), named)
            for field, (new, _) in zip(order, named, strict=True):
                data[new] = rows[field]
            file[name] = data
    return path


def test_old_and_new_names_in_any_order_are_the_same(tmp_path):
    rows = [muon(5), muon(5, track=1, x=3.0), muon(8)]
    tables = {"segments": [row[0] for row in rows], "trajectories": [row[1] for row in rows]}
    new = open_source(write(tmp_path / "new.h5", **tables))
    old = open_source(write(tmp_path / "old.h5", rename=True, **tables))
    assert new.num_events == old.num_events == 2 and new.truth == old.truth != ()
    for entry in range(2):
        one, other = new.read(entry), old.read(entry)
        for name in ("start", "end", "energy", "time", "track_id", "pdg"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
        for name in ("track_id", "parent_track_id", "kinetic_energy", "interaction", "time"):
            assert np.array_equal(getattr(one.trajectories, name), getattr(other.trajectories, name)), name
    assert new.read(0).time.tolist() == [1000.0, 1000.0]
    assert new.read(0).trajectories.interaction.tolist() == [1000, 1001]


def test_the_first_trajectories_have_neither_energy_nor_vertex(tmp_path):
    rows = [muon(1), muon(1, track=1), muon(1, track=2, x=7.0)]
    child = trajectory(1, 3, parent=0, momentum=(1.0, 0, 0), at=(0, 12, 0), pdg=11)
    child["start_process"], child["start_subprocess"] = 6, 201
    tables = {"segments": [row[0] for row in rows], "trajectories": [*(row[1] for row in rows), child]}
    path = write(tmp_path / "old.h5", rename=True, without=("E_start", "vertex_id"), **tables)
    found = open_source(path).read(0).trajectories
    # two muons leave one point, the third another; the electron is the muon's
    assert found.interaction.tolist() == [0, 0, 1, -1]
    kinetic = np.hypot(200, MUON_MASS) - MUON_MASS
    assert np.allclose(found.kinetic_energy, [kinetic] * 3 + [np.hypot(1, 0.510999) - 0.510999], rtol=1e-5)
    ingest(path, Ingest(), out=tmp_path / "out.h5")
    with open_events(tmp_path / "out.h5") as events:
        vertices_cm = events.box.to_cm(events[0]["truth_interaction"]["vertex"])
        assert np.allclose(vertices_cm, [[0, 0, 0], [7, 0, 0]], atol=1e-3)


def test_vertices_and_headers_list_events_without_steps(tmp_path):
    first = 1_000_000_003  # the 2x2 simulation numbers events by run and spill
    step, track = muon(first)
    tables = {
        "segments": step,
        "trajectories": track,
        "vertices": heads(VERTICES, first, first, first + 7),
        "mc_hdr": heads(MC_HDR, first, first, first + 7, first + 9),
    }
    path = write(tmp_path / "2x2.h5", **tables)
    summary = ingest(path, Ingest(), out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_quarantined) == (3, 0)
    with open_events(tmp_path / "out.h5") as events:
        assert [event["event"]["event"][0] - first for event in events] == [0, 7, 9]
        assert (events.num_voxels() > 0).tolist() == [True, False, False]
    path = write(tmp_path / "early.h5", segments=step, genie_hdr=heads(MC_HDR, first - 1, first))
    assert open_source(path).num_events == 2 and open_source(path).truth == ()


def test_event_ids_with_gaps_and_repeats(tmp_path):
    rows = [muon(event) for event in (9, 3, 9)]
    tables = {"segments": [row[0] for row in rows], "trajectories": [row[1] for row in rows]}
    path = write(tmp_path / "repeats.h5", **tables)
    assert [open_source(path).identity(entry)[2] for entry in range(3)] == [9, 3, 9]
    path = write(tmp_path / "mixed.h5", **tables, mc_hdr=heads(MC_HDR, 3, 9))
    with pytest.raises(
        ValueError, match=r"mixed\.h5: event 9 comes again with the same tracks.*'mc_hdr' list d"
    ):
        open_source(path)


def test_long_segments_are_split_and_those_of_no_length_stay(tmp_path):
    steps = [
        segment(0, (0.15, 0.15, -15), (0.15, 0.15, 15), 63.0),
        segment(0, (9.15, 0.15, 0.15), (9.15, 0.15, 0.15), 1e-8, pdg=11),
        segment(0, (9.15, 0.15, 0.15), (9.15, 0.15, 0.15), 2.0, pdg=11),
    ]
    path = write(tmp_path / "long.h5", segments=steps)
    ingest(path, Ingest(centre_cm=(0, 0, 0)), out=tmp_path / "out.h5")
    with open_events(tmp_path / "out.h5") as events:
        voxel = events[0]["voxel"]
        along = voxel["coord"][:, 0] == 384
        assert along.sum() == 100 and np.allclose(voxel["energy"][along], 0.63)
        assert voxel["energy"][~along].tolist() == [2.0]


def test_a_file_of_no_rows(tmp_path):
    path = write(
        tmp_path / "none.h5", segments=np.zeros(0, NEW_SEGMENTS), trajectories=np.zeros(0, NEW_TRAJECTORIES)
    )
    assert ingest(path, Ingest(), out=tmp_path / "out.h5").num_events == 0
    with open_events(tmp_path / "out.h5") as events:
        assert len(events) == 0 and "truth_voxel" in events.products


@pytest.mark.parametrize(
    ("lengths", "energies", "words"),
    [
        (10.0, 1.0, r"units\.h5: fast charged particles lose 0\.208 MeV/cm.*may be in mm"),
        (1.0, 1e-3, "lose 0.00208 MeV/cm.*energies in GeV"),
        (0.01, 1.0, "lose 208 MeV/cm.*may be in m, or energies in keV"),
    ],
)
def test_other_units_are_refused(tmp_path, lengths, energies, words):
    at = np.array([0.0, 1200.0, 0.0]) * lengths
    step = segment(0, (0, 0, 0), at, 2500.0 * energies)
    photon = segment(0, (0, 0, 0), (0, 1e4, 0), 1e-3, pdg=22)  # neutral: its way says nothing
    path = write(tmp_path / "units.h5", segments=[photon, step])
    with pytest.raises(ValueError, match=words):
        ingest(path, Ingest(), out=tmp_path / "out.h5")


def test_files_of_blips_say_nothing_about_units(tmp_path):
    steps = [segment(0, (i, 0, 0), (i + 1e-4, 0, 0), 1.0, pdg=11) for i in range(9)]
    assert open_source(write(tmp_path / "blips.h5", segments=steps)).num_events == 1


@pytest.mark.parametrize("name", ["mixed_100ev", "small_10ev", "corsika_25ev"])
def test_genuine_files_in_mm_are_refused(data_folder, tmp_path, name):
    source = data_folder / f"edepsim_hdf5_{name}.h5"
    assert open_source(source).num_events > 0
    with h5py.File(source) as file:
        rows = file["segments"][:]
    for field in POSITIONS:
        rows[field] *= 10
    with h5py.File(tmp_path / "mm.h5", "w") as file:
        file["segments"] = rows
    with pytest.raises(ValueError, match="may be in mm"):
        ingest(tmp_path / "mm.h5", Ingest(), out=tmp_path / "out.h5")


def test_genuine_long_and_short_segments(data_folder, tmp_path):
    """Segments up to 29 cm long, and of no length: every voxel between their ends is hit."""
    source = data_folder / "edepsim_hdf5_mixed_100ev.h5"
    steps = open_source(source).read(0)
    length = np.linalg.norm(steps.end - steps.start, axis=-1)
    cfg = Ingest(centre_cm=(0, 0, 0))
    ingest(source, cfg, out=tmp_path / "out.h5")
    with open_events(tmp_path / "out.h5") as events:
        box, coord = events.box, events[0]["voxel"]["coord"]
    assert (length == 0).any() and length.max() > 10
    hit = set(map(tuple, coord.tolist()))
    for row in (np.argmax(length), np.argmin(length)):
        inner = np.linspace(0.001, 0.999, 1000)[:, None]
        path = box.to_voxel(steps.start[row] + inner * (steps.end - steps.start)[row])
        assert {tuple(cell) for cell in np.floor(path).astype(int).tolist()} <= hit


def test_kinetic_energy_of_a_momentum():
    found = kinetic_from_momentum_mev([2212, 22, 1000180400, 999999, 0], [[0, 0, 300.0]] * 5)
    assert np.allclose(found[:3], [46.795, 300.0, 1.208], rtol=1e-3) and np.isnan(found[3:]).all()


def test_captured_muons_give_a_michel(tmp_path):
    """Trap: the electron of a mu- carries (4, 151), not a decay; edep-sim names the muon as its parent."""
    step, track = muon(0)
    electron = trajectory(0, 1, parent=0, pdg=11, momentum=(40.0, 0, 0), at=(0, 12, 0))
    electron["E_start"], electron["start_process"], electron["start_subprocess"] = 40.0033, 4, 151
    far = segment(0, (0, 12, 0), (4, 12, 0), 9.0, track=1, pdg=11, time=2.0)
    path = write(tmp_path / "capture.h5", segments=[step, far], trajectories=[track, electron])
    ingest(path, Ingest(), out=tmp_path / "out.h5")
    with open_events(tmp_path / "out.h5") as events:
        assert events[0]["truth_particle"]["semantic"].tolist() == [Semantic.TRACK, Semantic.MICHEL]
