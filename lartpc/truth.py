"""Truth in the place of predictions, so that a stage can be trained or measured on true input."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lartpc.affinities import neighbours, pack
from lartpc.event import GENERATED, MAX_COUNT, PRODUCTS, TRUTH, Columns, Event, conform, empty, num_rows
from lartpc.kinematics import Clusters, describe
from lartpc.kinematics.classes import class_scores
from lartpc.vocab import GHOST, NONE, CreationProcess, Flavour, Origin, PointKind, Semantic, Species

UNKNOWN_PARENT = -2
"""What `parents` says of a particle whose source does not state where it comes from."""
MICHEL_RADIUS = 3.0
"""A Michel that starts nearer than this to the end of a track belongs to it, if its muon is not seen [voxel]."""
MIN_TURN = 2.0
"""The ends of a true track differ by more than this in their distance to its start, or it has none [voxel]."""
SURE_LOGIT = 8.0
"""Logit of a true affinity: minus this where two voxels are of two particles."""
FLAVOUR_OF = {int(Species.MUON): int(Flavour.NUMU_LIKE), int(Species.ELECTRON): int(Flavour.NUE_LIKE)}


def upstream_from_truth(event: Event, products: Sequence[str]) -> Event:
    """Return the event with the given products made from its truth, others as they are.

    Rows keep the order of the truth: row `i` of `particle` is row `i` of `truth_particle`, and likewise
    for `fragment` and `point`. Scores are 0 and 1.

    Parameters
    ----------
    event
        An event with `voxel` and the truth products.
    products
        Any of `semantic`, `affinity`, `point`, `candidate` (none: the truth leaves no choice), `group`, `fragment`,
        `particle`.

    Raises
    ------
    ValueError
        A product has no counterpart in the truth.
    """
    if unknown := [name for name in products if name not in _MAKERS]:
        raise ValueError(f"cannot make {unknown} from truth; possible are {sorted(_MAKERS)}")
    return event.with_products({name: conform(name, _MAKERS[name](event)) for name in products})


def truth_for(products: Sequence[str]) -> tuple[str, ...]:
    """Return the truth products that `upstream_from_truth` makes the given products from."""
    needed = {name for product in products for name in _MADE_FROM.get(product, ())}
    return tuple(name for name in TRUTH if name in needed)


def completed(event: Event) -> Event:
    """Return the event with all truth products: those that its source lacks are empty.

    Where a product is missing, nothing belongs to any of its rows.
    """
    made: dict[str, Columns] = {}
    for name in TRUTH:
        per = PRODUCTS[name].per
        columns = dict(event[name]) if name in event else empty(name, num_rows(event[per]) if per else 0)
        for level in ("fragment", "particle", "interaction"):
            if level in columns and f"truth_{level}" not in event:
                columns[level] = np.full_like(columns[level], NONE)
        made[name] = columns
    made |= {name: empty(name) for name in GENERATED if name not in event}
    return event.with_products(made)


def parents(event: Event) -> NDArray[np.int64]:
    """Return the row of each true particle's parent: -1 for none, -2 where it is not known.

    The parent is the particle whose track the source names as such. A particle without one comes from a
    generated vertex, or from something that left no voxels, such as a neutron or a π⁰. A Michel whose
    muon is too short to be a particle belongs to the track (of the pion) whose end it touches.
    """
    truth = event["truth_particle"]
    num = num_rows(truth)
    order = np.argsort(truth["track_id"], kind="stable")
    place = np.searchsorted(truth["track_id"][order], truth["parent_track_id"])
    row = order[np.minimum(place, num - 1)] if num else np.zeros(0, np.int64)
    named = truth["parent_track_id"] >= 0
    is_there = named & (truth["track_id"][row] == truth["parent_track_id"]) & (row != np.arange(num))
    out = np.where(is_there, row, np.where(named | (truth["is_primary"] == 1), NONE, UNKNOWN_PARENT))
    tracks = np.flatnonzero(truth["semantic"] == Semantic.TRACK)
    for michel in np.flatnonzero((truth["semantic"] == Semantic.MICHEL) & named & (out == NONE)):
        near = tracks[truth["interaction"][tracks] == truth["interaction"][michel]]
        away = np.linalg.norm(truth["end_point"][near] - truth["start_point"][michel], axis=1)
        if len(near) and away.min() <= MICHEL_RADIUS:
            out[michel] = near[away.argmin()]
    return np.asarray(out, np.int64)


def pi_zeros(event: Event) -> NDArray[np.int64]:
    """Return the number of the π⁰ in the event that each true particle is a photon of, -1 for none.

    Photons that come of one decay, whose parent left no voxels, are of a π⁰; one of the two may be lost.
    """
    truth = event["truth_particle"]
    is_photon = (truth["species"] == Species.PHOTON) & (truth["process"] == CreationProcess.DECAY)
    is_photon &= (truth["parent_track_id"] >= 0) & (parents(event) == NONE)
    number = np.full(num_rows(truth), NONE, np.int64)
    number[is_photon] = np.unique(truth["parent_track_id"][is_photon], return_inverse=True)[1]
    return number


def compositions(event: Event, num: int) -> Columns:
    """Return the flavour-like class and the numbers of protons, pions and π⁰ of `num` true interactions (N,).

    They are counted over its primaries with voxels. The flavour is that of the primary muon or electron of the
    highest energy, and `NC_LIKE` without any, whatever the generator says of a neutrino. What is not
    known is -1. Numbers are cut at `event.MAX_COUNT`.
    """
    truth = event["truth_particle"]
    seen = (
        (truth["num_voxels"] > 0) & (truth["semantic"] != Semantic.LOW_ENERGY) & (truth["interaction"] >= 0)
    )
    primary = seen & (truth["is_primary"] == 1)
    flavour = np.full(num, int(Flavour.NC_LIKE), np.int64)
    energy = np.where(np.isfinite(truth["energy_init"]), truth["energy_init"], truth["energy"])
    leptons = np.flatnonzero(primary & np.isin(truth["species"], list(FLAVOUR_OF)))
    for row in leptons[np.argsort(energy[leptons], kind="stable")]:
        flavour[truth["interaction"][row]] = FLAVOUR_OF[int(truth["species"][row])]
    found = {"flavour": flavour}
    for name, species in (("protons", Species.PROTON), ("pions", Species.PION)):
        members = truth["interaction"][primary & (truth["species"] == species)]
        found[f"num_{name}"] = np.minimum(np.bincount(members, minlength=num), MAX_COUNT)
    number = np.where(primary, pi_zeros(event), NONE)
    number, first = np.unique(number, return_index=True)
    members = truth["interaction"][first[number >= 0]]
    found["num_pi_zeros"] = np.minimum(np.bincount(members, minlength=num), MAX_COUNT)
    found["num_pi_zeros"][truth["interaction"][primary & (truth["process"] < 0)]] = NONE
    for values in found.values():
        values[truth["interaction"][seen & (truth["is_primary"] < 0)]] = NONE
    return found


def origins(event: Event) -> NDArray[np.int64]:
    """Return what brought each voxel (V,): `vocab.Origin`, -1 where the truth does not say.

    An interaction that the generator's record has is a neutrino's, all others are cosmic; ghosts are background, and
    low-energy deposits, which belong to no interaction, are not known.
    """
    voxel = event["truth_voxel"]
    owner = np.asarray(voxel["interaction"], np.int64)
    found = np.where(np.isin(owner, event["truth_neutrino"]["interaction"]), Origin.NEUTRINO, Origin.COSMIC)
    found = np.where(owner == NONE, NONE, found)
    return np.where(voxel["semantic"] == GHOST, int(Origin.BACKGROUND), found)


def neutrino_boxes(
    event: Event, min_voxels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and upper corners and the vertices (T, 3) [voxel] of the neutrinos in an image.

    A box is the smallest one with all voxels of the interaction but low-energy ones; without `min_voxels` of these it
    has none. A vertex is that of the truth, or, where that is outside of the image or not known, the middle of the box.
    """
    voxel, coord = event["truth_voxel"], event["voxel"]["coord"]
    visible = voxel["semantic"] != Semantic.LOW_ENERGY
    found = []
    for owner in np.unique(event["truth_neutrino"]["interaction"]):
        own = coord[visible & (voxel["interaction"] == owner)]
        if owner == NONE or len(own) < max(min_voxels, 1):
            continue
        low, high = own.min(0).astype(np.float64), own.max(0) + 1.0
        vertex = np.asarray(event["truth_interaction"]["vertex"][owner], np.float64)
        is_there = bool(np.isfinite(vertex).all()) and bool(event.box.contains(vertex[None])[0])
        found.append((low, high, vertex if is_there else 0.5 * (low + high)))
    low, high, vertex = np.array(found, np.float64).reshape(-1, 3, 3).swapaxes(0, 1)
    return low, high, vertex


def one_hot(semantic: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return scores (N, classes) that are 1 for the class and 0 for the others."""
    score: NDArray[np.float32] = (semantic[:, None] == np.arange(len(Semantic))).astype(np.float32)
    return score


def majority(
    label_V: NDArray[np.integer], value_V: NDArray[np.integer], num: int, least: float
) -> NDArray[np.int64]:
    """Return the most frequent value (F,) of each cluster; -1 if it is -1, or its share is below `least`."""
    row = label_V >= 0
    label, value = label_V[row].astype(np.int64), value_V[row].astype(np.int64)
    width = int(value.max(initial=0)) + 2
    key, count = np.unique(label * width + value + 1, return_counts=True)
    order = np.lexsort((-count, key // width))
    owner, first = np.unique(key[order] // width, return_index=True)
    best = order[first]
    size = np.bincount(label, minlength=num)
    out = np.full(num, NONE, np.int64)
    out[owner] = np.where(count[best] >= least * size[owner], key[best] % width - 1, NONE)
    return out


def _semantic(event: Event) -> Columns:
    label = event["truth_voxel"]["semantic"]
    return {**empty("semantic", len(label)), "score": one_hot(label), "label": label}


def _affinity(event: Event) -> Columns:
    truth, coord = event["truth_voxel"], event["voxel"]["coord"]
    pair_E2, direction_E = neighbours(coord)
    of_V = np.where(truth["semantic"] == Semantic.LOW_ENERGY, NONE, truth["particle"])
    one_E, two_E = of_V[pair_E2].T
    sure_E = np.where(one_E == two_E, SURE_LOGIT, -SURE_LOGIT)
    known_E = (one_E >= 0) & (two_E >= 0)
    return {"logit": pack(len(coord), pair_E2, direction_E, np.where(known_E, sure_E, np.nan))}


def _point(event: Event) -> Columns:
    truth = event["truth_point"]
    return {
        "position": truth["position"],
        "score": np.ones(num_rows(truth), np.float32),
        "class_score": one_hot(truth["semantic"]),
        "semantic": truth["semantic"],
        "end_score": (truth["kind"] == PointKind.END).astype(np.float32),
        "kind": truth["kind"],
    }


def _group(event: Event) -> Columns:
    truth = event["truth_voxel"]
    return {"fragment": truth["fragment"], "particle": truth["particle"]}


def _fragment(event: Event) -> Columns:
    truth = event["truth_fragment"]
    found = _describe(event, "fragment", truth)
    del found["start_direction"]
    return {
        "semantic": truth["semantic"],
        "particle": truth["particle"],
        "primary_score": truth["is_primary"].astype(np.float32),
        **found,
    }


def _particle(event: Event) -> Columns:
    truth, labels = event["truth_particle"], event["truth_voxel"]
    owner = event["truth_fragment"]["particle"]
    count = np.bincount(owner[owner >= 0], minlength=num_rows(truth))
    return {
        "semantic": truth["semantic"],
        "class_score": class_scores(labels["particle"], one_hot(labels["semantic"]), num_rows(truth)),
        "num_fragments": count,
        **_describe(event, "particle", truth),
    }


def _describe(event: Event, column: str, truth: Columns) -> Columns:
    voxel, labels = event["voxel"], event["truth_voxel"][column]
    clusters = Clusters.group(voxel["coord"], voxel["energy"], labels, num_rows(truth))
    start = truth["start_point"].astype(np.float64)
    return describe(clusters, truth["semantic"], _point(event), start_F=start)


_MAKERS: dict[str, Callable[[Event], Columns]] = {
    "semantic": _semantic,
    "affinity": _affinity,
    "point": _point,
    "candidate": lambda event: empty("candidate"),
    "group": _group,
    "fragment": _fragment,
    "particle": _particle,
}

_MADE_FROM = {
    "semantic": ("truth_voxel",),
    "affinity": ("truth_voxel",),
    "point": ("truth_point",),
    "candidate": (),
    "group": ("truth_voxel", "truth_fragment", "truth_particle"),
    "fragment": ("truth_voxel", "truth_fragment", "truth_point"),
    "particle": ("truth_voxel", "truth_fragment", "truth_particle", "truth_point"),
}


def is_far_ghost(event: Event) -> NDArray[np.bool_]:
    """Tell which voxels (V,) are ghosts that share no corner with a real one."""
    is_ghost: NDArray[np.bool_] = np.asarray(event["truth_voxel"]["semantic"]) == GHOST
    is_far: NDArray[np.bool_] = is_ghost.copy()
    is_far[is_ghost] = _nearest_real(event, is_ghost) == NONE
    return is_far


def adopted(event: Event) -> Event:
    """Return the event with the truth for what follows `segment`: ghosts at a real voxel belong to what it does.

    No plane tells such a ghost from the voxel that it shares a corner with, the nearest one of several. It gets the
    class and the objects of that voxel, unless `segment` has called it a ghost.
    """
    if "truth_voxel" not in event:
        return event
    truth = event["truth_voxel"]
    is_ghost = np.asarray(truth["semantic"]) == GHOST
    if not is_ghost.any():
        return event
    if "semantic" in event:
        is_taken = is_ghost & (event["semantic"]["label"] != GHOST)
    elif "group" in event:
        is_taken = is_ghost & (event["group"]["fragment"] >= 0)
    else:
        is_taken = is_ghost
    real = _nearest_real(event, is_ghost)[is_taken[is_ghost]]
    row, real = np.flatnonzero(is_taken)[real >= 0], real[real >= 0]
    changed = {name: np.array(values) for name, values in truth.items()}
    for values in changed.values():
        values[row] = values[real]
    return event.with_products({"truth_voxel": changed})


def _nearest_real(event: Event, is_ghost: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the nearest real voxel (G,) that shares a corner with each ghost, -1 for none; of equal ones the first."""
    coord = event["voxel"]["coord"].astype(np.int64)
    found = np.full(np.count_nonzero(is_ghost), NONE, np.int64)
    row = np.flatnonzero(~is_ghost)
    if not len(row) or not len(found):
        return found
    key = _key_of(coord[row])
    order = np.argsort(key)
    real, row = key[order], row[order]
    for step in sorted(product((-1, 0, 1), repeat=3), key=lambda step: sum(map(abs, step))):
        open_G = np.flatnonzero(found == NONE)
        key = _key_of(coord[is_ghost][open_G] + step)
        place = np.searchsorted(real, key).clip(max=len(real) - 1)
        is_there = real[place] == key
        found[open_G[is_there]] = row[place[is_there]]
    return found


def _key_of(coord: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number (V,) for each voxel of indices (V, 3) from -1 to 2^20 - 2."""
    x, y, z = (coord + 1).T
    key: NDArray[np.int64] = (x << 40) + (y << 20) + z
    return key
