import numpy as np
import pytest
from handmade_tracks import BOX, CFG, Event, line_in_y, muon, semantic_at
from scipy.sparse.csgraph import connected_components

from lartpc.event import TRUTH
from lartpc.ingest.keys import number, order_of, order_of_values, rows_of
from lartpc.ingest.labels.connect import Lattice
from lartpc.ingest.labels.labels import label
from lartpc.ingest.labels.roles import Role, ancestry
from lartpc.ingest.steps import Steps, Trajectories
from lartpc.ingest.voxelize import voxelize
from lartpc.vocab import CreationProcess as P
from lartpc.vocab import PointKind, Semantic, Species


def test_stopping_muon_with_michel():
    event = muon(Event())
    event.track(2, -11, P.DECAY, 1, ke=40.0, at=(25.5, 10.5, 10.5), time=2200.0)
    line_in_y(event, 2, 25, 5, time=2200.0)
    image, products = event.label()
    particle = products["truth_particle"]
    assert particle["semantic"].tolist() == [Semantic.TRACK, Semantic.MICHEL]
    assert particle["species"].tolist() == [Species.MUON, Species.ELECTRON]
    assert particle["is_primary"].tolist() == [1, 0]
    assert particle["num_voxels"].tolist() == [21, 5]
    assert particle["parent_track_id"].tolist() == [-1, 1]
    assert np.allclose(particle["start_point"], [[5.5, 10.5, 10.5], [25.5, 11, 10.5]], atol=2e-3)
    assert np.allclose(particle["end_point"], [[25.5, 10.5, 10.5], [25.5, 15.5, 10.5]], atol=2e-3)
    point = products["truth_point"]
    assert point["kind"].tolist() == [PointKind.START, PointKind.END, PointKind.START]
    assert point["particle"].tolist() == [0, 0, 1]
    interaction = products["truth_interaction"]
    assert interaction["num_particles"].tolist() == [2] and interaction["num_primaries"].tolist() == [1]
    assert np.allclose(interaction["vertex"], [[5.5, 10.5, 10.5]])
    assert semantic_at(image, products, 25, 10, 10) == Semantic.TRACK


def test_capture_electron_is_michel_above_the_auger_energies_only():
    event = muon(Event(), pdg=13)
    event.track(2, 11, P.CAPTURE, 1, ke=45.0)
    event.track(3, 11, P.CAPTURE, 1, ke=1.5)
    line_in_y(event, 2, 25, 5)
    event.line(3, (25.5, 9.5, 10.5), (25.5, 9.5, 10.5), 1.5)
    image, products = event.label()
    assert semantic_at(image, products, 25, 12, 10) == Semantic.MICHEL
    # the Auger electron touches the muon and belongs to it
    assert semantic_at(image, products, 25, 9, 10) == Semantic.TRACK
    assert products["truth_particle"]["num_voxels"].tolist() == [22, 5]


def test_michel_photons_far_away_are_low_energy_or_shower_of_the_same_particle():
    event = muon(Event())
    event.track(2, -11, P.DECAY, 1, ke=40.0).track(3, 22, P.BREMSSTRAHLUNG, 2).track(4, 11, P.COMPTON, 3)
    event.track(5, 11, P.CONVERSION, 3)
    line_in_y(event, 2, 25, 5)
    line_in_y(event, 4, 40, 2)
    line_in_y(event, 5, 50, 12)
    image, products = event.label()
    assert semantic_at(image, products, 40, 11, 10) == Semantic.LOW_ENERGY
    assert semantic_at(image, products, 50, 15, 10) == Semantic.SHOWER
    assert products["truth_particle"]["semantic"].tolist() == [Semantic.TRACK, Semantic.MICHEL]
    fragment = products["truth_fragment"]
    assert fragment["semantic"].tolist() == [Semantic.TRACK, Semantic.SHOWER, Semantic.MICHEL]
    assert fragment["particle"].tolist() == [0, 1, 1]


@pytest.mark.parametrize(("own_voxels", "expected"), [(3, Semantic.DELTA), (2, Semantic.TRACK)])
def test_delta_needs_voxels_of_its_own(own_voxels, expected):
    event = muon(Event())
    event.track(2, 11, P.IONISATION, 1, ke=5.0)
    event.line(2, (15.5, 10.5, 10.5), (15.5, 10.9, 10.5), 0.1)  # in the muon's voxel
    line_in_y(event, 2, 15, own_voxels)
    image, products = event.label()
    assert semantic_at(image, products, 15, 11, 10) == expected
    assert semantic_at(image, products, 15, 10, 10) == Semantic.TRACK
    assert len(products["truth_particle"]["semantic"]) == (2 if expected == Semantic.DELTA else 1)
    assert products["truth_fragment"]["num_voxels"].sum() == 21 + own_voxels


def test_ionisation_electron_of_a_shower_is_part_of_it():
    event = Event().track(1, 11, P.PRIMARY, interaction=0).track(2, 11, P.IONISATION, 1)
    line_in_y(event, 1, 10, 12)
    event.line(2, (11.5, 15.5, 10.5), (16.5, 15.5, 10.5), 3.0)
    _, products = event.label()
    assert products["truth_particle"]["semantic"].tolist() == [Semantic.SHOWER]
    assert products["truth_particle"]["num_voxels"].tolist() == [18]


def test_shower_of_two_fragments_and_a_blip():
    event = Event().track(1, 11, P.PRIMARY, at=(10.5, 11, 10.5), interaction=4)
    event.track(2, 22, P.BREMSSTRAHLUNG, 1).track(3, -11, P.CONVERSION, 2).track(4, 11, P.COMPTON, 2)
    line_in_y(event, 1, 10, 15, time=0.0)
    line_in_y(event, 3, 20, 10, time=1.0)
    event.line(4, (30.5, 30.5, 30.5), (30.5, 30.5, 30.5), 0.3, 1.5)
    image, products = event.label()
    fragment, particle = products["truth_fragment"], products["truth_particle"]
    assert fragment["num_voxels"].tolist() == [15, 10]
    assert fragment["is_primary"].tolist() == [1, 0]
    assert particle["num_voxels"].tolist() == [25]
    assert semantic_at(image, products, 30, 30, 30) == Semantic.LOW_ENERGY
    # both pieces have a start; both belong to the one shower
    point = products["truth_point"]
    assert point["kind"].tolist() == [PointKind.START] * 2 and point["particle"].tolist() == [0, 0]
    assert np.allclose(point["position"], [[10.5, 11, 10.5], [20.5, 11, 10.5]], atol=2e-3)
    assert np.allclose(particle["start_point"], [[10.5, 11, 10.5]], atol=2e-3)
    # the end of a shower is its farthest voxel
    assert np.allclose(particle["end_point"], [[10.5, 25.5, 10.5]])


def test_photons_of_a_pi_zero_are_showers_of_their_own_and_primary():
    event = Event().track(1, 111, P.PRIMARY, at=(30, 30, 30), interaction=2)
    event.track(2, 22, P.DECAY, 1).track(3, 22, P.DECAY, 1).track(4, 11, P.CONVERSION, 2)
    event.track(5, -11, P.CONVERSION, 3)
    line_in_y(event, 4, 10, 12)
    line_in_y(event, 5, 20, 12)
    _, products = event.label()
    particle = products["truth_particle"]
    assert particle["track_id"].tolist() == [2, 3]
    assert particle["species"].tolist() == [Species.PHOTON] * 2
    assert particle["is_primary"].tolist() == [1, 1]
    assert np.allclose(products["truth_interaction"]["vertex"], [[30, 30, 30]])


def test_compton_electron_that_names_a_muon_is_no_delta():
    # edep-sim drops the photon in between: the process counts, not the parent
    event = muon(Event())
    event.track(2, 11, P.COMPTON, 1).track(3, 11, P.COMPTON, 1)
    line_in_y(event, 2, 40, 4)
    line_in_y(event, 3, 50, 12)
    image, products = event.label()
    assert semantic_at(image, products, 40, 12, 10) == Semantic.LOW_ENERGY
    assert semantic_at(image, products, 50, 12, 10) == Semantic.SHOWER


def test_neutron_photoelectron_and_small_pieces_are_low_energy():
    event = muon(Event())
    event.track(2, 2112, P.HADRONIC, 1).track(3, 11, P.PHOTO_ELECTRIC, 1)
    event.track(4, 2212, P.HADRONIC, 2).track(5, 1000180400, P.HADRONIC, 2)
    line_in_y(event, 2, 35, 12)
    line_in_y(event, 3, 40, 12)
    line_in_y(event, 4, 45, 2)
    line_in_y(event, 5, 50, 9)
    image, products = event.label()
    for x in (35, 40, 45, 50):
        assert semantic_at(image, products, x, 11, 10) == Semantic.LOW_ENERGY, x
    assert len(products["truth_particle"]["semantic"]) == 1


def test_long_nucleus_is_a_track_without_points():
    event = Event().track(1, 1000020040, P.PRIMARY, interaction=0)
    line_in_y(event, 1, 10, 11)
    _, products = event.label()
    assert products["truth_particle"]["semantic"].tolist() == [Semantic.TRACK]
    assert products["truth_particle"]["species"].tolist() == [-1]
    assert len(products["truth_point"]["kind"]) == 0


def test_track_that_enters_starts_at_the_face_and_electron_that_enters_has_no_point():
    event = Event().track(1, 13, P.PRIMARY, at=(-10, 5.5, 5.5), interaction=0)
    event.track(2, 11, P.PRIMARY, at=(-10, 20.5, 5.5), interaction=1)
    event.track(3, 22, P.BREMSSTRAHLUNG, 2).track(4, -11, P.CONVERSION, 3)
    event.line(1, (-10, 5.5, 5.5), (20, 5.5, 5.5), 30.0)
    event.line(2, (-10, 20.5, 5.5), (20, 20.5, 5.5), 30.0)
    event.line(4, (30, 30.5, 5.5), (42, 30.5, 5.5), 12.0, 1.0)
    _, products = event.label()
    point = products["truth_point"]
    # the piece that the electron's photon makes inside the box has its start there
    assert point["particle"].tolist() == [0, 0, 1]
    assert np.allclose(point["position"], [[0, 5.5, 5.5], [20, 5.5, 5.5], [30, 30.5, 5.5]], atol=2e-3)
    assert np.allclose(products["truth_interaction"]["vertex"][0], [-10, 5.5, 5.5])
    assert products["truth_particle"]["interaction"].tolist() == [0, 1]


def test_leaving_and_returning_track_is_one_particle_of_two_fragments():
    event = Event().track(1, 13, P.PRIMARY, interaction=0)
    event.line(1, (2.5, 5.5, 5.5), (-3, 5.5, 5.5), 1.0, 0.0).line(
        1, (-3, 9.5, 5.5), (4.5, 9.5, 5.5), 1.0, 1.0
    )
    _, products = event.label()
    assert products["truth_particle"]["num_voxels"].tolist() == [8]
    assert products["truth_fragment"]["num_voxels"].tolist() == [3, 5]


def test_shared_voxel_goes_to_the_strongest_class_then_to_most_energy():
    event = muon(muon(Event(), 1, y=10), 2, y=10)
    event.steps[1] = (2, *event.steps[1][1:3], 60.0, 0.0)
    event.track(3, 11, P.PRIMARY, interaction=0)
    event.line(3, (15.5, 4.5, 10.5), (15.5, 20.5, 10.5), 1000.0)
    image, products = event.label()
    assert semantic_at(image, products, 15, 10, 10) == Semantic.TRACK
    assert products["truth_particle"]["track_id"].tolist() == [2, 3]
    shower_first = CFG.model_copy(update={"precedence": (0, 1, 2, 3, 4)})
    image, products = event.label(shower_first)
    assert semantic_at(image, products, 15, 10, 10) == Semantic.SHOWER


def test_touch_distance_joins_pieces():
    event = Event().track(1, 11, P.PRIMARY, interaction=0)
    line_in_y(event, 1, 10, 6)
    line_in_y(event, 1, 12, 6)
    assert len(event.label()[1]["truth_particle"]["semantic"]) == 0
    _, products = event.label(CFG.model_copy(update={"touch_distance": 2}))
    assert products["truth_fragment"]["num_voxels"].tolist() == [12]


def test_empty_one_voxel_and_low_energy_events():
    empty = Event().track(1, 13, P.PRIMARY, interaction=0)
    _, products = empty.label()
    # the muon that left nothing is listed among the generated particles all the same
    assert all(len(next(iter(products[name].values()))) == 0 for name in TRUTH)
    one = Event().track(1, 13, P.PRIMARY, interaction=0).line(1, (1.5, 1.5, 1.5), (1.5, 1.5, 1.5))
    _, products = one.label()
    assert products["truth_voxel"]["semantic"].tolist() == [Semantic.LOW_ENERGY]
    _, products = one.label(CFG.model_copy(update={"track_min_voxels": 1}))
    assert products["truth_voxel"]["semantic"].tolist() == [Semantic.TRACK]
    blips = Event().track(1, 22, P.PRIMARY, interaction=0).track(2, 11, P.COMPTON, 1)
    for x in range(5, 40, 5):
        blips.line(2, (x, 8, 8), (x, 8, 8), 0.2)
    _, products = blips.label()
    assert products["truth_voxel"]["semantic"].tolist() == [Semantic.LOW_ENERGY] * 7
    assert len(products["truth_interaction"]["energy"]) == 0
    nothing = Steps(
        0, 0, 0, *(np.zeros((0, 3)),) * 2, *(np.zeros(0),) * 2, *(np.zeros(0, np.int64),) * 2,
        Trajectories(*(np.zeros(0, np.int64),) * 4, np.zeros(0), *(np.zeros((0, 3)),) * 2, np.zeros(0),
                     np.zeros(0, np.int64)),
    )  # fmt: skip
    products = label(nothing, voxelize(nothing, BOX), BOX, CFG)
    assert all(len(next(iter(columns.values()))) == 0 for columns in products.values())


def test_interactions_are_inherited_from_the_generated_ancestor():
    event = muon(muon(Event(), 1, y=10, interaction=5), 2, y=40, interaction=9)
    event.track(3, 2212, P.HADRONIC, 2).line(3, (30.5, 41, 10.5), (30.5, 50, 10.5))
    _, products = event.label()
    assert products["truth_particle"]["interaction"].tolist() == [0, 1, 1]
    assert products["truth_interaction"]["num_particles"].tolist() == [1, 2]
    assert products["truth_interaction"]["num_primaries"].tolist() == [1, 1]


def test_labels_do_not_depend_on_the_order_of_steps_or_tracks():
    event = muon(Event())
    event.track(2, -11, P.DECAY, 1, ke=40.0).track(3, 11, P.IONISATION, 1)
    line_in_y(event, 2, 25, 5, time=9.0)
    line_in_y(event, 3, 15, 4, time=1.0)
    _, expected = event.label()
    event.steps.reverse()
    event.tracks.reverse()
    _, products = event.label()
    for name, columns in expected.items():
        for column, values in columns.items():
            assert np.array_equal(products[name][column], values), (name, column)


@pytest.mark.parametrize(
    ("tracks", "reason"),
    [
        ([(1, 13, P.PRIMARY, -1)], "carries none"),
        ([(1, 13, P.DECAY, 8)], "parent 8 is missing"),
        ([(1, 13, P.DECAY, 2), (2, 13, P.DECAY, 1)], "cycle"),
    ],
)
def test_broken_families_are_refused(tracks, reason):
    event = Event()
    for track_id, pdg, process, parent in tracks:
        event.track(track_id, pdg, process, parent)
    event.line(1, (1, 1, 1), (9, 1, 1))
    with pytest.raises(ValueError, match=reason):
        event.label()


def test_step_without_trajectory_is_refused():
    event = muon(Event())
    steps = event.build()
    steps.track_id[:] = 77
    with pytest.raises(ValueError, match="track 77 has steps but no trajectory"):
        label(steps, voxelize(steps, BOX), BOX, CFG)


def test_roles_follow_process_first_and_parent_second():
    event = Event().track(1, 211, P.PRIMARY, interaction=0).track(2, -13, P.DECAY, 1)
    event.track(3, -11, P.DECAY, 2).track(4, 11, P.IONISATION, 3).track(5, 11, P.DECAY, 1)
    event.track(6, 22, P.BREMSSTRAHLUNG, 2).track(7, 22, P.HADRONIC, 1).track(8, 22, P.HADRONIC, 6)
    event.line(1, (1, 1, 1), (2, 1, 1))
    roles = ancestry(event.build().trajectories, 2.5).role
    assert roles.tolist() == [
        Role.TRACK, Role.TRACK, Role.MICHEL, Role.FOLLOW, Role.SHOWER, Role.SHOWER, Role.SHOWER, Role.SHOWER,
    ]  # fmt: skip


@pytest.mark.parametrize("distance", [1, 2, 3])
@pytest.mark.parametrize("side", [9, 30])
def test_components_agree_with_all_pairs(distance, side):
    rng = np.random.default_rng(2)
    coord = np.unique(rng.integers(0, side, (400, 3)), axis=0)
    row = np.unique(rng.integers(0, [3, len(coord)], (500, 2)), axis=0)
    group, voxel = row.T
    near = np.abs(coord[voxel][:, None] - coord[voxel]).max(axis=-1) <= distance
    _, expected = connected_components(near & (group[:, None] == group), directed=False)
    lattice = Lattice(group, voxel, coord, distance)
    assert np.array_equal(lattice.components(), expected)
    query = rng.integers(0, len(coord), 50)
    touched = lattice.touching(np.ones(50, np.int64), query)
    near = (np.abs(coord[query][:, None] - coord[voxel]).max(axis=-1) <= distance) & (group == 1)
    last = np.where(near.any(axis=1), len(row) - 1 - np.argmax(near[:, ::-1], axis=1), -1)
    assert np.array_equal(touched, last)


def test_components_of_one_long_chain_in_any_direction():
    # a stair of 600 steps, and a comb whose teeth meet only at the far end
    stair = np.stack([np.arange(600)] * 3, axis=-1)
    teeth = [(x, y, 0) for x in range(0, 40, 2) for y in range(30)]
    comb = np.array(sorted(teeth + [(x, 30, 0) for x in range(39)]))
    for coord in (stair, comb):
        voxel = np.arange(len(coord))
        assert not Lattice(0 * voxel, voxel, coord, 1).components().any()


def test_large_keys_are_sorted_too():
    key = np.array([2**62, 3, 2**62, 1, 2**62 - 1])
    assert order_of(key).tolist() == [3, 1, 4, 0, 2]
    assert order_of(key % 7 + 1).tolist() == np.argsort(key % 7 + 1, kind="stable").tolist()
    distinct, number_N = number(key)
    assert distinct.tolist() == [1, 3, 2**62 - 1, 2**62] and number_N.tolist() == [3, 1, 3, 0, 2]
    assert order_of_values(np.array([2.0, -1.0, 2.0, 2.0, 0.5])).tolist() == [1, 4, 0, 2, 3]


def test_ids_are_found_whether_they_lie_dense_or_far_apart():
    for ids in (np.array([-3, 1, 5]), np.array([-3, 1, 10**12])):
        assert rows_of(np.array([1, -3, ids[2], 0, 7, -4, 2**60]), ids).tolist() == [1, 0, 2, -1, -1, -1, -1]
    assert rows_of(np.array([1, 2]), np.zeros(0, np.int64)).tolist() == [-1, -1]
