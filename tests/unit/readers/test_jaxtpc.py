"""JAXTPC's Geant4 steps: a genuine muon that stops, and files by hand."""

import h5py
import numpy as np
import pytest

from lartpc.config import Ingest
from lartpc.event import TRUTH
from lartpc.ingest import open_source
from lartpc.ingest.formats.jaxtpc import UNSET, JaxtpcReader
from lartpc.run.ingest import ingest
from lartpc.store import open_events
from lartpc.vocab import Semantic, Species

STEP = np.dtype(
    [
        *((name, "f4") for name in ("x", "y", "z", "t", "theta", "phi", "p")),
        *(("pdg", "i4"), ("track_id", "i4"), ("de", "f4"), ("dx", "f4")),
    ]
)
PARTICLE = np.dtype(
    [
        *((name, "f4") for name in ("x", "y", "z", "t", "px", "py", "pz", "ke")),
        *((name, "i4") for name in ("track_id", "parent_track_id", "pdg", "proc_start", "subproc_start")),
    ]
)
PRIMARY = np.dtype([("track_id", "i4"), ("interaction_id", "i4")])
EVENT = np.dtype([("run_id", "i4"), ("event_id", "i4")])


def rows(dtype, *values):
    return np.array(list(values), dtype)


def write(path, events, change=lambda file: None):
    """Write events, each of steps, particles and primaries."""
    with h5py.File(path, "w") as file:
        for name, dtype, column in (
            ("pstep/lar_vol", STEP, 0),
            ("particle/geant4", PARTICLE, 1),
            ("primary/geant4", PRIMARY, 2),
        ):
            data = file.create_dataset(name, (len(events),), h5py.vlen_dtype(dtype))
            for entry, event in enumerate(events):
                data[entry] = event[column]
        file["event/geant4"] = rows(EVENT, *((7, 100 + entry) for entry in range(len(events))))
        change(file)
    return path


def muon(y=0.0, track=0):
    """A muon of 12 cm along x at a height y, in mm: 120 steps of 1 mm, of which their middles are given."""
    steps = rows(
        STEP, *((i + 0.5, y, 0, i / 300, np.pi / 2, 0, 200, 13, track, 0.21, 1.0) for i in range(120))
    )
    particle = (0, y, 0, 0, 200, 0, 0, 120.0, track, -1, 13, 0, 0)
    return steps, rows(PARTICLE, particle), rows(PRIMARY, (track, 0))


def test_steps_go_to_both_sides_of_their_middle(tmp_path):
    source = open_source(write(tmp_path / "a.h5", [muon(), muon(y=30)]))
    assert isinstance(source, JaxtpcReader) and source.truth == TRUTH
    assert [source.identity(entry) for entry in range(2)] == [(7, 0, 100), (7, 0, 101)]
    steps = source.read(1)
    assert np.allclose(steps.start[:2], [[0, 3, 0], [0.1, 3, 0]], atol=1e-6)
    assert np.allclose(steps.end[:2], [[0.1, 3, 0], [0.2, 3, 0]], atol=1e-6)
    assert steps.trajectories.interaction.tolist() == [0]


def test_two_interactions_and_steps_of_nobody(tmp_path):
    one, other = muon(), muon(y=90, track=1)
    other[2]["interaction_id"] = 4
    lost = rows(STEP, (61, 31, 1, 5, 0, 0, 0, UNSET, UNSET, 0.4, 0.05))
    event = tuple(np.concatenate(pair) for pair in zip(one, other, strict=True))
    path = write(tmp_path / "a.h5", [(np.concatenate([event[0], lost]), *event[1:])])
    summary = ingest(path, Ingest(), out=tmp_path / "out.h5")
    assert summary.num_quarantined == 0 and summary.energy_mev == pytest.approx(240 * 0.21 + 0.4)
    with open_events(tmp_path / "out.h5") as events:
        assert events[0]["truth_particle"]["interaction"].tolist() == [0, 1]
        label = events[0]["truth_voxel"]["semantic"]
        lonely = events.box.to_cm(events[0]["voxel"]["coord"] + 0.5)[:, 1] > 2
        lonely &= events.box.to_cm(events[0]["voxel"]["coord"] + 0.5)[:, 1] < 4
        assert label[lonely].tolist() == [int(Semantic.LOW_ENERGY)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.pop("particle"), "no dataset 'particle/geant4'"),
        (
            lambda file: file["primary/geant4"].resize(1, axis=0),
            "'primary/geant4' has 1 events, 'pstep/lar_vol' has 2",
        ),
        (
            lambda file: (file.pop("pstep"), file.create_dataset("pstep/lar_vol", data=rows(STEP))),
            "dataset 'pstep/lar_vol' has no field 'x'; it has none",
        ),
    ],
)
def test_files_that_lack_something_are_refused(tmp_path, change, words):
    def changed(file):
        data = file["primary/geant4"][:]
        del file["primary/geant4"]
        again = file.create_dataset("primary/geant4", (2,), h5py.vlen_dtype(PRIMARY), maxshape=(None,))
        for entry, row in enumerate(data):
            again[entry] = row
        change(file)

    with pytest.raises(ValueError, match=words):
        open_source(write(tmp_path / "a.h5", [muon(), muon()], changed))


def test_the_genuine_muon_stops_and_decays(data_folder, tmp_path):
    path = data_folder / "jaxtpc_muon.h5"
    with h5py.File(path) as file:
        deposited_mev = file["pstep/lar_vol"][0]["de"].sum(dtype=np.float64)
    summary = ingest(path, Ingest(), out=tmp_path / "out.h5")
    assert (summary.num_events, summary.num_quarantined) == (1, 0)
    assert summary.energy_mev == pytest.approx(deposited_mev) and summary.energy_outside_mev == 0
    with open_events(tmp_path / "out.h5") as events:
        table = events[0]["truth_particle"]
        assert table["semantic"].tolist() == [Semantic.TRACK, Semantic.MICHEL]
        assert table["species"].tolist() == [Species.MUON, Species.ELECTRON]
        assert table["energy_init"] == pytest.approx([176.44, 40.62], abs=0.01)
        ends_cm = events.box.to_cm(np.stack([table["start_point"][0], table["end_point"][0]]))
        assert np.allclose(ends_cm, [[-55.0, 0.0, -45.0], [-56.87, 30.24, -38.87]], atol=0.1)
