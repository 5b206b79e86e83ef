"""Flags of particles that contradict themselves. None of them changes a number: they say where to look."""

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Columns
from lartpc.kinematics.classes import ALLOWED, LEAST_SHARE, class_shares
from lartpc.kinematics.clusters import Floats
from lartpc.kinematics.michels import MOST_MEV
from lartpc.tables.fields import Field, Rows, flag
from lartpc.vocab import EnergyMethod, Semantic

APART_CM = 5.0
"""A Michel starts nearer than this to an end of the track that it comes from [cm]."""
UNBOUNDED = 0.5
"""An energy by scattering with a larger error, over it, is a guess: of muons that is from 1.5 GeV on."""
LOST = 0.5
"""A particle has more kinetic energy than this share of what it deposits."""

FLAGS: dict[str, Field] = {
    "flag_class_share_low": flag(
        f"less than {LEAST_SHARE:g} of the class scores of its voxels are for its class"
    ),
    "flag_species_of_other_class": flag("its class does not allow its species"),
    "flag_michel_energy_high": flag(f"a Michel that deposits more than {MOST_MEV:g} MeV"),
    "flag_michel_apart": flag(f"a Michel that starts more than {APART_CM:g} cm from the ends of its parent"),
    "flag_without_parent": flag("a Michel or delta without a particle that it comes from"),
    "flag_range_without_track": flag("its best energy is by range, and it is not a track"),
    "flag_leaving_below_range": flag("a leaving track of less energy than its seen path takes"),
    "flag_scattering_unbounded": flag(
        f"its energy is by scattering, with an error above {UNBOUNDED:g} of it, as of muons above 1.5 GeV"
    ),
    "flag_energy_below_deposited": flag(f"its best energy is less than {LOST:g} of what it deposits"),
}
"""Columns of `particles`; all are false where nothing is wrong."""


def flag_rows(
    particle: Columns, semantic_F: NDArray[np.integer], species_F: NDArray[np.integer], rows: Rows
) -> Rows:
    """Return the flags of particles, of their columns in the event, and of their rows in the table."""
    own_F = np.asarray(semantic_F, np.int64)
    share_F = np.take_along_axis(
        class_shares(particle["class_score"], semantic_F), np.maximum(own_F, 0)[:, None], axis=1
    )[:, 0]
    is_michel, is_delta = semantic_F == Semantic.MICHEL, semantic_F == Semantic.DELTA
    allowed = np.append(ALLOWED, np.ones((len(ALLOWED), 1), bool), axis=1)[own_F, species_F]
    kinetic: Floats = rows["kinetic_energy_mev"]
    with np.errstate(invalid="ignore"):
        found = [
            share_F < LEAST_SHARE,
            ~allowed,
            is_michel & (particle["energy"] > MOST_MEV),
            is_michel & (rows["parent_distance_cm"] > APART_CM),
            (is_michel | is_delta) & (rows["parent_id"] < 0),
            (rows["energy_method"] == EnergyMethod.RANGE) & (semantic_F != Semantic.TRACK),
            ~rows["is_contained"] & (kinetic < rows["range_energy_mev"] * (1 - 1e-6)),
            (rows["energy_method"] == EnergyMethod.SCATTERING)
            & (rows["kinetic_energy_error_mev"] > UNBOUNDED * kinetic),
            kinetic < LOST * particle["energy"],
        ]
    return dict(zip(FLAGS, found, strict=True))
