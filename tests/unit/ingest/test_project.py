"""Views of wire planes: where a known line is seen, what is conserved, and whose a shared pixel is."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from lartpc import config
from lartpc.event import TRUTH, Columns, conform
from lartpc.geometry import Box
from lartpc.ingest.detector.project import Plane, View, flat_box, project
from lartpc.ingest.source import Voxels
from lartpc.ingest.steps import Steps
from lartpc.ingest.voxelize import Image, place, voxelize
from lartpc.nets.augment import shift, turn
from lartpc.run.ingest import ingest
from lartpc.simulate.steps import EVENT, SEGMENTS, TRAJECTORIES
from lartpc.store import open_events
from lartpc.vocab import Semantic

# Six ticks of 0.5 us at 0.1 cm/us: pixels as long as wide.
WIRES = {"angles_deg": (0, 60, -60), "drift_velocity_cm_us": 0.1, "num_pixels": 128}
CFG = config.Ingest.model_validate({"num_voxels": 64, "wires": WIRES})
BOX = Box.centred((0.0, 0.0, 0.0), 0.3, 64)
FLAT = flat_box(BOX, CFG)
OFF = np.array([0.01, 0.0, 0.0])


def line(end_cm: tuple[float, float, float], energy_mev: float = 12.0) -> Image:
    """A straight step from the mirror image of a point to the point, 0.1 mm off the centre of the box in x."""
    end = np.array([end_cm], np.float64)
    one = np.ones(1, np.int64)
    return voxelize(
        Steps(0, 0, 0, -end + OFF, end + OFF, np.full(1, energy_mev), np.zeros(1), one, 13 * one), BOX
    )


def seen(image: Image, angle_deg: float, flat: Box = FLAT, threshold_mev: float = 0.0) -> View:
    return project(image, {}, Plane(angle_deg, BOX, flat), threshold_mev, is_grid=False)


@pytest.mark.parametrize(
    ("end_cm", "angle_deg", "num_drift", "num_wires"),
    [
        ((0.0, 0.0, 3.0), 0, 1, 20),  # along the beam: vertical wires see all of its length,
        ((0.0, 0.0, 3.0), 60, 1, 10),  # inclined ones its cosine,
        ((0.0, 0.0, 3.0), 90, 1, 1),  # and horizontal ones nothing
        ((0.0, 3.0, 0.0), 0, 1, 1),  # upwards: the other way round
        ((0.0, 3.0, 0.0), 90, 1, 20),
        ((0.0, 3.0, 0.0), 30, 1, 10),
        ((3.0, 0.0, 0.0), 60, 20, 1),  # along the drift: each plane the same
        ((3.0, 0.0, 0.0), 0, 20, 1),
    ],
)
def test_a_line_is_as_long_as_the_wires_see_it(
    end_cm: tuple[float, float, float], angle_deg: float, num_drift: int, num_wires: int
) -> None:
    view = seen(line(end_cm), angle_deg)
    assert (view.coord[:, 2] == 0).all()
    filled = view.energy > 0.05  # ends lie on edges of pixels, or 0.1 mm off
    extent = np.ptp(view.coord[filled], axis=0) + 1
    assert extent.tolist() == [num_drift, num_wires, 1]
    np.testing.assert_allclose(view.energy[filled], 12.0 / (num_drift * num_wires), rtol=0.05)


def test_planes_at_opposite_angles_tell_up_from_down() -> None:
    # From below to above: the coordinate across the wires, z cos(a) - y sin(a), falls with y for a > 0.
    up = line((2.0, 3.0, 0.0))
    for angle_deg, sign in ((60, -1), (-60, 1)):
        coord = seen(up, angle_deg).coord
        assert np.sign(np.corrcoef(coord[:, 0], coord[:, 1])[0, 1]) == sign
        assert np.ptp(coord[:, 1]) == pytest.approx(6 * np.sin(np.pi / 3) / 0.3, abs=1)


def test_positions_and_momenta_are_those_that_the_plane_sees() -> None:
    plane = Plane(60, BOX, FLAT)
    position_cm = np.array([[1.2, -0.9, 2.1]])
    pixel = plane.see(BOX.to_voxel(position_cm))
    across_cm = 2.1 * np.cos(np.pi / 3) + 0.9 * np.sin(np.pi / 3)
    np.testing.assert_allclose(pixel, [[64 + 1.2 / 0.3, 64 + across_cm / 0.3, 0.5]])
    np.testing.assert_allclose(FLAT.to_cm(pixel), [[1.2, across_cm, 0.0]], atol=1e-12)
    momentum = plane.turn([[30.0, 40.0, 50.0]])
    assert np.linalg.norm(momentum) == pytest.approx(np.sqrt(5000))
    assert momentum[0, :2].tolist() == pytest.approx([30.0, 50 * 0.5 - 40 * np.sqrt(0.75)])


def test_ticks_make_the_length_of_pixels() -> None:
    wires = {"angles_deg": (0,), "tick_us": 0.5, "ticks_per_pixel": 6, "drift_velocity_cm_us": 0.11}
    flat = flat_box(BOX, config.Ingest.model_validate({"num_voxels": 64, "wires": wires}))
    assert flat.pitch_cm == pytest.approx((0.33, 0.3, 0.3)) and flat.shape == (1152, 1152, 1)
    assert Box.from_dict(flat.as_dict()) == flat
    # Without a velocity it is that of argon: MicroBooNE measured 0.1098 cm/us at 0.2739 kV/cm and 89 K.
    argon = {"response": {"field_kv_cm": 0.2739, "temperature_k": 89.0}, "wires": {"angles_deg": (0,)}}
    flat = flat_box(BOX, config.Ingest.model_validate(argon))
    assert flat.pitch_cm[0] == pytest.approx(3 * 0.1098, rel=0.02)


@pytest.mark.parametrize("num_pixels", [128, 32])
def test_energy_is_conserved(num_pixels: int) -> None:
    rng = np.random.default_rng(1)
    start = rng.uniform(-9, 9, (200, 3))
    one = np.ones(200, np.int64)
    end = start + rng.normal(0, 0.5, (200, 3)) * (rng.random((200, 1)) > 0.2)  # some of no length
    image = voxelize(Steps(0, 0, 0, start, end, rng.exponential(1, 200), np.zeros(200), one, 11 * one), BOX)
    flat = Box.flat(0.0, 0.3, 0.3, num_pixels)
    for angle_deg in (0, 60, -60, 17):
        view = seen(image, angle_deg, flat, threshold_mev=0.2)
        assert view.energy_below_mev > 0 and (view.energy >= 0.2).all()
        assert (view.energy_outside_mev > image.energy_outside_mev + 1) == (num_pixels == 32)
        counted = view.energy.sum() + view.energy_outside_mev + view.energy_below_mev
        assert counted == pytest.approx(image.energy_mev) == pytest.approx(view.energy_mev)
        key = view.coord[:, 0] * num_pixels + view.coord[:, 1]
        assert (np.diff(key) > 0).all()


def test_voxels_of_a_source_fill_their_pixels() -> None:
    voxels = Voxels(np.array([[10, 20, 30], [10, 25, 30]]), np.array([2.0, 3.0]), BOX.origin_cm)
    image = place(voxels, BOX)
    for angle_deg, num_pixels in ((0, 1), (90, 2)):
        view = project(image, {}, Plane(angle_deg, BOX, FLAT), 0.0, is_grid=True)
        assert len(view.energy) == num_pixels
    # Centres 11.5 and 6.5 voxels below that of the box in y, which horizontal wires see from above.
    assert view.coord.tolist() == [[42, 70, 0], [42, 75, 0]]
    assert view.energy.tolist() == pytest.approx([3.0, 2.0])
    inclined = project(image, {}, Plane(60, BOX, FLAT), 0.0, is_grid=True)
    assert 4 <= len(inclined.energy) <= 8 and inclined.energy.sum() == pytest.approx(5.0)


def stacked(energies: list[float]) -> tuple[Image, dict[str, Columns]]:
    """Voxels above each other, in one pixel of vertical wires, and one apart, of four particles.

    Their particles are 0, 1, 0, 2 and 3; 2 is nobody's low energy.
    """
    coord = np.array([[10, 20 + y, 30] for y in range(4)] + [[12, 20, 30]])
    image = place(Voxels(coord, np.array([*energies, 1.0]), BOX.origin_cm), BOX)
    kinds = np.array([Semantic.TRACK, Semantic.SHOWER, Semantic.TRACK, Semantic.LOW_ENERGY, Semantic.DELTA])
    particle = np.array([0, 1, 0, -1, 2])
    table = {
        "track_id": np.array([7, 8, 9]),
        "pdg": np.array([13, 11, 11]),
        "interaction": np.array([0, 1, 1]),
    }
    table |= {"semantic": kinds[[0, 1, 4]], "is_primary": np.array([1, 1, 0])}
    place_3 = np.array([[10.5, 20.5, 30.5], [10.5, 21.5, 30.5], [12.5, 20.5, 30.5]])
    table |= {"start_point": place_3, "end_point": place_3, "momentum": np.full((3, 3), 5.0)}
    table |= {"num_voxels": np.array([2, 1, 1]), "energy": np.ones(3)}
    truth = {
        "truth_voxel": {
            "semantic": kinds,
            "fragment": np.array([0, 2, 1, -1, 3]),
            "particle": particle,
            "interaction": np.array([0, 1, 0, -1, 1]),
        },
        "truth_particle": table,
        "truth_fragment": {
            "particle": np.array([0, 0, 1, 2]),
            "interaction": np.array([0, 0, 1, 1]),
            "start_point": place_3[[0, 0, 1, 2]],
            "end_point": place_3[[0, 0, 1, 2]],
            "num_voxels": np.ones(4),
            "energy": np.ones(4),
        },
        "truth_interaction": {
            "vertex": place_3[:2],
            "num_particles": np.array([1, 2]),
            "num_primaries": np.array([1, 1]),
            "energy": np.ones(2),
        },
        "truth_point": {
            "position": place_3,
            "semantic": kinds[[0, 1, 4]],
            "kind": np.zeros(3),
            "particle": np.arange(3),
        },
    }
    return image, truth


def test_a_pixel_is_of_the_particle_with_most_energy_in_it() -> None:
    plane = Plane(0, BOX, FLAT)
    # 1.2 + 1.0 of the track's two pieces exceed the shower's 2.1; the first piece is the larger one.
    image, truth = stacked([1.2, 2.1, 1.0, 0.3])
    view = project(image, truth, plane, 0.0, is_grid=True)
    found = view.truth
    assert view.energy.tolist() == pytest.approx([4.6, 1.0])
    assert found["truth_voxel"]["semantic"].tolist() == [Semantic.TRACK, Semantic.DELTA]
    assert found["truth_particle"]["track_id"].tolist() == [7, 9]  # the shower has no pixel left
    assert found["truth_voxel"]["particle"].tolist() == [0, 1]
    assert found["truth_voxel"]["fragment"].tolist() == [0, 1]
    assert found["truth_fragment"]["particle"].tolist() == [0, 1]
    assert found["truth_particle"]["num_voxels"].tolist() == [1, 1]
    assert found["truth_particle"]["energy"].tolist() == pytest.approx([4.6, 1.0])
    assert found["truth_interaction"]["num_particles"].tolist() == [1, 1]
    assert found["truth_interaction"]["num_primaries"].tolist() == [1, 0]
    assert found["truth_point"]["particle"].tolist() == [0, 1]
    np.testing.assert_allclose(found["truth_point"]["position"][0], [42.5, 62.5, 0.5])
    # With more energy the shower takes the pixel, and then low energy does.
    image, truth = stacked([1.2, 2.3, 1.0, 0.3])
    taken = project(image, truth, plane, 0.0, is_grid=True).truth
    assert taken["truth_particle"]["track_id"].tolist() == [8, 9]
    image, truth = stacked([1.2, 2.3, 1.0, 5.0])
    lost = project(image, truth, plane, 0.0, is_grid=True).truth
    assert lost["truth_voxel"]["semantic"].tolist() == [Semantic.LOW_ENERGY, Semantic.DELTA]
    assert lost["truth_voxel"]["particle"].tolist() == [-1, 0]
    assert lost["truth_voxel"]["interaction"].tolist() == [-1, 0]


def test_an_empty_event_has_empty_views() -> None:
    _, truth = stacked([1.0, 1.0, 1.0, 1.0])
    nothing = place(Voxels(np.zeros((0, 3), np.int64), np.zeros(0), BOX.origin_cm), BOX)
    none = {name: {column: value[:0] for column, value in table.items()} for name, table in truth.items()}
    for is_grid in (True, False):
        view = project(nothing, none, Plane(60, BOX, FLAT), 0.0, is_grid=is_grid)
        assert len(view.energy) == 0 and view.coord.shape == (0, 3)
        assert {len(next(iter(table.values()))) for table in view.truth.values()} == {0}


def write_steps(path: Path) -> Path:
    """Entry 0: a muon along z and one along y; 1: a negative energy; 2: empty."""
    steps = [
        (0, 1, 13, 0, 0, -40, 0, 0, 40, 16.0, 1.0, 0.0),
        (0, 2, 13, 10, -40, 20, 10, 40, 20, 16.0, 1.0, 0.0),
        (1, 1, 13, 0, 0, 0, 9, 0, 0, -1.0, 1.0, 0.0),
    ]
    trajectories = [
        (event, track, 0, 13, b"primary", 60.0, (0, 0, 0), (0, 0, 120), 0.0, track)
        for event, track in ((0, 1), (0, 2), (1, 1))
    ]
    with h5py.File(path, "w") as file:
        file.attrs.update(format="lartpc-geant4-steps", centre_cm=(0.0, 0.0, 0.0))
        file["segments"] = np.array(steps, SEGMENTS)
        file["trajectories"] = np.array(trajectories, TRAJECTORIES)
        file["event"] = np.array([(event, 1) for event in range(3)], EVENT)
    return path


def test_ingestion_makes_an_image_an_event_and_plane(tmp_path: Path) -> None:
    out = tmp_path / "views.h5"
    summary = ingest(write_steps(tmp_path / "steps.h5"), CFG, out=out, file_uid="s/0")
    assert summary.num_events == 9 and summary.num_quarantined == 3
    assert "9 images of 3 planes, 3 of them set aside" in str(summary)
    with open_events(out) as events:
        assert events.box == FLAT and events.entries.tolist() == list(range(9))
        assert set(events.quarantined()) == {3, 4, 5}
        found = events[:]
        assert [int(event["event"]["plane"][0]) for event in found] == [0, 1, 2] * 3
        assert [int(event["event"]["event"][0]) for event in found] == [0] * 3 + [1] * 3 + [2] * 3
    for event in found[:3]:
        for name in TRUTH:
            conform(name, event[name])
        assert event["voxel"]["energy"].sum() == pytest.approx(32.0)
        assert (event["voxel"]["coord"][:, 2] == 0).all()
        assert len(event["truth_particle"]["pdg"]) == 2
        assert event["truth_particle"]["energy"].sum() == pytest.approx(32.0)
        # Ends of tracks lie in pixels of theirs.
        for position, owner in zip(*(event["truth_point"][n] for n in ("position", "particle")), strict=True):
            assert position[2] == 0.5
            near = np.abs(event["voxel"]["coord"][:, :2] + 0.5 - position[:2]).max(axis=1) <= 0.5001
            assert event["truth_voxel"]["particle"][near].tolist() == [owner]
    # Vertical wires see the vertical muon in one or two pixels, inclined ones both in full.
    assert [event.num_voxels for event in found[6:]] == [0, 0, 0]
    vertical = found[0]["truth_particle"]["num_voxels"].min()
    assert vertical <= 2 < found[1]["truth_particle"]["num_voxels"].min()


def test_flat_events_stay_flat_when_they_are_changed(tmp_path: Path) -> None:
    out = tmp_path / "views.h5"
    ingest(write_steps(tmp_path / "steps.h5"), CFG, out=out, file_uid="s/0")
    with open_events(out) as events:
        event, rng, seen_flips = events[1], np.random.default_rng(1), set()
    for _ in range(12):
        other = shift(turn(event, rng), rng, 5)
        coord, position = other["voxel"]["coord"], other["truth_point"]["position"]
        assert (coord >= 0).all() and (coord < event.box.shape).all()
        assert (np.diff(coord[:, 0] * 128 + coord[:, 1]) > 0).all() and (position[:, 2] == 0.5).all()
        # The drift stays the drift: lengths along each axis are the same.
        np.testing.assert_array_equal(np.ptp(coord, axis=0), np.ptp(event["voxel"]["coord"], axis=0))
        seen_flips.add(tuple(np.sign(other["truth_particle"]["momentum"][0] + 1e-3)))
    assert len(seen_flips) >= 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ingest": {"wires": {"angles_deg": [0]}}}, "set segment.dimension: 2"),
        ({"segment": {"dimension": 2}}, "set ingest.wires.angles_deg"),
        ({"ingest": {"wires": {"pitch_cm": 0.5}}}, "pitch_cm without effect"),
        ({"ingest": {"wires": {"angles_deg": [0, 0]}}}, "names a plane twice"),
        ({"ingest": {"wires": {"angles_deg": [-90]}}}, "above -90"),
        (
            {"ingest": {"wires": {"angles_deg": [0], "num_pixels": 100}}, "segment": {"dimension": 2}},
            r"ingest.wires.num_pixels \(100\) must be divisible",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config.Config.model_validate(wrong)
