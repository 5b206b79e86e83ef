"""Flags of particles that contradict themselves."""

import numpy as np
import pytest
from handmade import BOX, good_event

from lartpc.event import Event, conform
from lartpc.tables import SCHEMA_VERSION, TABLES
from lartpc.tables.consistency import FLAGS, flag_rows
from lartpc.tables.rows import event_rows
from lartpc.vocab import EnergyMethod, Semantic, Species

RIGHT = {
    "semantic": Semantic.TRACK,
    "class_score": [0.1, 0.8, 0.0, 0.1, 0.0],
    "species": Species.MUON,
    "energy": 100.0,
    "kinetic_energy_mev": 110.0,
    "kinetic_energy_error_mev": 60.0,
    "range_energy_mev": 110.0,
    "energy_method": EnergyMethod.RANGE,
    "is_contained": True,
    "parent_id": -1,
    "parent_distance_cm": np.nan,
}
MICHEL = RIGHT | {
    "semantic": Semantic.MICHEL,
    "class_score": [0.6, 0.0, 0.4, 0.0, 0.0],
    "species": Species.ELECTRON,
    "energy": 30.0,
    "kinetic_energy_mev": 36.0,
    "range_energy_mev": np.nan,
    "energy_method": EnergyMethod.CALORIMETRY,
    "parent_id": 0,
    "parent_distance_cm": 0.4,
}


def flags(what):
    """Return the names of the flags of one particle."""
    rows = {name: np.array([value]) for name, value in what.items()}
    found = flag_rows(rows, rows["semantic"], rows["species"], rows)
    assert list(found) == list(FLAGS)
    return [name.removeprefix("flag_") for name, value in found.items() if value[0]]


@pytest.mark.parametrize(
    ("what", "raised"),
    [
        (RIGHT, []),
        (MICHEL, []),
        # a Michel of 977 MeV, of a shower's voxels
        (
            MICHEL
            | {"class_score": [0.97, 0.0, 0.03, 0.0, 0.0], "energy": 977.0, "kinetic_energy_mev": 1200.0},
            ["class_share_low", "michel_energy_high"],
        ),
        (MICHEL | {"energy": 59.9}, []),
        (MICHEL | {"parent_distance_cm": 12.0}, ["michel_apart"]),
        (MICHEL | {"parent_id": -1, "parent_distance_cm": np.nan}, ["without_parent"]),
        # an electron whose energy is by range
        (
            MICHEL | {"energy_method": EnergyMethod.RANGE, "range_energy_mev": 36.0},
            ["range_without_track"],
        ),
        (RIGHT | {"species": Species.ELECTRON}, ["species_of_other_class"]),
        (RIGHT | {"species": -1}, []),
        (
            RIGHT
            | {"is_contained": False, "energy_method": EnergyMethod.CALORIMETRY, "kinetic_energy_mev": 60.0},
            ["leaving_below_range"],
        ),
        (RIGHT | {"energy": 230.0}, ["energy_below_deposited"]),
        (RIGHT | {"is_contained": False, "energy_method": EnergyMethod.SCATTERING}, ["scattering_unbounded"]),
        (
            RIGHT
            | {
                "is_contained": False,
                "energy_method": EnergyMethod.SCATTERING,
                "kinetic_energy_error_mev": 50.0,
            },
            [],
        ),
        # files of before have no scores
        (RIGHT | {"class_score": [np.nan] * 5}, []),
    ],
)
def test_what_contradicts_itself_is_flagged(what, raised):
    assert flags(what) == raised


def test_flags_are_columns_of_particles():
    event = Event(
        "beam/0000", 0, BOX, {name: conform(name, columns) for name, columns in good_event().items()}
    )
    rows = event_rows(event, ("source", 0))["particles"]
    assert all(rows[name].dtype == bool and len(rows[name]) == 4 for name in FLAGS)
    assert set(FLAGS) < set(TABLES["particles"].fields) and tuple(map(int, SCHEMA_VERSION.split("."))) >= (
        2,
        3,
    )
