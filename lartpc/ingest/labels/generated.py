"""What was generated, whether or not it is seen: neutrinos that interact, and the particles that leave vertices.

Shape suffixes: S steps, T trajectories, N neutrinos, G generated particles, K true interactions with voxels.
"""

import numpy as np

from lartpc.event import Columns
from lartpc.ingest.keys import rows_of
from lartpc.ingest.labels.roles import Ancestry
from lartpc.ingest.steps import NO_PARENT, IntArray, Steps
from lartpc.neutrinos.record import table
from lartpc.vocab import NONE


def generated(steps: Steps, track_S: IntArray, family: Ancestry, number_K: IntArray) -> dict[str, Columns]:
    """Make the products of `event.GENERATED`.

    Parameters
    ----------
    track_S
        The row of the trajectory of each step.
    number_K
        Numbers of the interactions that became rows of `truth_interaction`, ascending.
    """
    trajectories = steps.trajectories
    assert trajectories is not None
    neutrino = dict(steps.neutrinos) if steps.neutrinos is not None else table([])
    number_N = neutrino["interaction"].astype(np.int64)
    order_N = np.argsort(number_N, kind="stable")
    sorted_N = number_N[order_N]
    row_S = np.append(order_N, NONE)[rows_of(family.interaction[track_S], sorted_N)]
    # of nothing the sum would be whole numbers
    deposited_N = np.bincount(row_S[row_S != NONE], steps.energy[row_S != NONE], len(number_N)).astype(
        np.float64
    )
    primary_G = np.flatnonzero(trajectories.parent_track_id == NO_PARENT)
    interaction_G = family.interaction[primary_G]
    return {
        "truth_neutrino": neutrino
        | {"interaction": rows_of(number_N, number_K), "energy_deposited": deposited_N},
        "truth_primary": {
            "neutrino": np.append(order_N, NONE)[rows_of(interaction_G, sorted_N)],
            "interaction": rows_of(interaction_G, number_K),
            "track_id": trajectories.track_id[primary_G],
            "pdg": trajectories.pdg[primary_G],
            "energy_init": trajectories.kinetic_energy[primary_G],
            "momentum": trajectories.momentum[primary_G],
        },
    }
