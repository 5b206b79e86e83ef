"""An event as the flat rows of numbers of PILArNet-M. Shape suffixes: V voxels, C clusters, P particles."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lartpc.event import Event
from lartpc.ingest.formats.hits import W_ION_MEV
from lartpc.ingest.formats.pilarnet import MEV_PER_GEV, SIDE
from lartpc.masses import mass_mev
from lartpc.vocab import NONE, SPECIES_TO_PDG, Semantic

Format = Literal["pilarnet-m-v1", "pilarnet-m-v2", "pilarnet-m-v3"]

ROW_TYPES = {"point": np.float32, "cluster": np.int32, "cluster_extra": np.float32}
"""Type of the numbers: the public loaders count with those of `cluster`, so these must be integers."""

UNKNOWN = -1.0
"""Mass, momentum and coordinates of the vertex where there are none."""


def tables_of(to: Format) -> tuple[str, ...]:
    """Return the tables of a revision."""
    return ("point", "cluster") if to == "pilarnet-m-v1" else ("point", "cluster", "cluster_extra")


def rows_of(event: Event, to: Format) -> dict[str, NDArray[Any]]:
    """Flatten an event: its low-energy voxels are the first cluster, each fragment is one after it.

    Raises
    ------
    ValueError
        A voxel has no true class.
    """
    truth, energy_V = event["truth_voxel"], event["voxel"]["energy"].astype(np.float64)
    semantic_V = truth["semantic"].astype(np.int64)
    if (semantic_V < 0).any():
        raise ValueError(
            f"{event.file_uid}, entry {event.entry}: {(semantic_V < 0).sum()} voxels have no true class; "
            "PILArNet-M has a class for each voxel"
        )
    label_V4 = np.stack(
        [truth["fragment"], truth["particle"], truth["interaction"], semantic_V], axis=-1
    ).astype(np.int64)
    low_V = semantic_V == Semantic.LOW_ENERGY
    label_V4[low_V] = (NONE, NONE, NONE, Semantic.LOW_ENERGY)
    # low-energy voxels first, and their cluster is there even if it is empty
    label_C4, cluster_V = np.unique(
        np.concatenate([label_V4, [(NONE, NONE, NONE, Semantic.LOW_ENERGY)]]), axis=0, return_inverse=True
    )
    cluster_V = cluster_V.reshape(-1)
    low = int(cluster_V[-1])
    rank_C = np.argsort(np.r_[low, np.delete(np.arange(len(label_C4)), low)])
    label_C4, cluster_V = label_C4[np.argsort(rank_C)], rank_C[cluster_V[:-1]]
    order_V = np.argsort(cluster_V, kind="stable")
    size_C = np.bincount(cluster_V, minlength=len(label_C4))

    time_V = np.nan_to_num(np.append(event["truth_particle"]["time"], 0.0)[truth["particle"]])
    point_V8 = np.column_stack(
        [
            event["voxel"]["coord"] + _offset(event),
            energy_V,
            energy_V,
            time_V,
            energy_V / W_ION_MEV,
            np.zeros(len(energy_V)),
        ]
    )[order_V]
    cluster_CX = np.column_stack([size_C, label_C4])
    rows = {"point": point_V8, "cluster": cluster_CX}
    if to != "pilarnet-m-v1":
        species_P = event["truth_particle"]["species"]
        rows["cluster"] = np.column_stack([cluster_CX, np.append(species_P, NONE)[label_C4[:, 1]]])
        rows["cluster_extra"] = _extra(event, label_C4[:, 1], label_C4[:, 2], to)
    return {name: np.ascontiguousarray(value, ROW_TYPES[name]).ravel() for name, value in rows.items()}


def _offset(event: Event) -> int:
    return (SIDE - event.box.num_voxels) // 2


def _extra(event: Event, particle_C: NDArray[Any], interaction_C: NDArray[Any], to: Format) -> NDArray[Any]:
    """Return mass [MeV], momentum [GeV/c] and vertex of each cluster, in revision 3 also whether it is of a primary."""
    particle = event["truth_particle"]
    pdg_P = np.where(
        particle["pdg"] != 0,
        particle["pdg"],
        np.array([*SPECIES_TO_PDG.values(), 0])[particle["species"]],
    )
    masses = [mass_mev(int(pdg)) if pdg else None for pdg in pdg_P]
    mass_C = np.array([np.nan if mass is None else mass for mass in [*masses, None]])[particle_C]
    momentum_P = np.linalg.norm(particle["momentum"].astype(np.float64), axis=-1) / MEV_PER_GEV
    vertex_C3 = np.concatenate(
        [event["truth_interaction"]["vertex"] + _offset(event), np.full((1, 3), np.nan)]
    )[interaction_C]
    columns = [mass_C, np.append(momentum_P, np.nan)[particle_C], *vertex_C3.T]
    if to == "pilarnet-m-v3":
        columns.append(np.append(particle["is_primary"], NONE)[particle_C].astype(np.float64))
    return np.column_stack(np.nan_to_num(columns, nan=UNKNOWN).tolist())
