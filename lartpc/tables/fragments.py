"""Rows of fragments, reconstructed and true, and of voxels."""

import numpy as np

from lartpc.event import Event, num_rows
from lartpc.kinematics import Clusters, directions
from lartpc.metrics import Overlaps
from lartpc.tables.fields import Rows, names_of, xyz_rows
from lartpc.tables.measured import reco
from lartpc.vocab import NONE, Semantic


def fragment_rows(event: Event, pairs: Overlaps, has_truth: bool) -> tuple[Rows, Rows]:
    """Return the rows of `fragments` and of `truth_fragments`."""
    found, true = event["fragment"], event["truth_fragment"]
    shape, true_shape = _fragment_shapes(event)
    best, iou = pairs.best_true()
    best_reco, reco_iou = pairs.best_reco()
    order = np.lexsort((-found["primary_score"], found["particle"]))
    first = order[np.unique(found["particle"][order], return_index=True)[1]]
    is_primary = np.zeros(num_rows(found), bool)
    is_primary[first[found["particle"][first] >= 0]] = True
    return {
        "fragment_id": np.arange(num_rows(found)),
        "particle_id": found["particle"],
        "interaction_id": np.append(event["identity"]["interaction"], NONE)[found["particle"]],
        "is_primary": is_primary,
        "primary_score": found["primary_score"],
        **shape,
        "truth_fragment_id": best,
        "truth_iou": iou if has_truth else np.full(num_rows(found), np.nan),
    }, {
        "truth_fragment_id": np.arange(num_rows(true)),
        "truth_particle_id": true["particle"],
        "truth_interaction_id": true["interaction"],
        "is_primary": true["is_primary"],
        **true_shape,
        "fragment_id": best_reco,
        "iou": reco_iou,
    }


def _fragment_shapes(event: Event) -> tuple[Rows, Rows]:
    """Return what is measured of the reconstructed and of the true fragments, both in one go."""
    voxel, box, both = event["voxel"], event.box, (event["fragment"], event["truth_fragment"])
    labels = event["group"]["fragment"], event["truth_voxel"]["fragment"]
    num, num_true = (num_rows(columns) for columns in both)
    clusters = Clusters.side_by_side(voxel["coord"], voxel["energy"], labels, (num, num_true))
    start, end = (
        np.concatenate([columns[name] for columns in both]).astype(np.float64)
        for name in ("start_point", "end_point")
    )
    start_cm, end_cm = box.to_cm(start), box.to_cm(end)
    rows = {
        **{
            name: np.concatenate([columns[of] for columns in both])
            for name, of in (("semantic", "semantic"), ("num_voxels", "num_voxels"), ("energy_mev", "energy"))
        },
        "length_cm": np.linalg.norm(end_cm - start_cm, axis=1),
        **xyz_rows("start", start_cm),
        **xyz_rows("end", end_cm),
    }
    measured = {
        **xyz_rows("direction", directions(clusters, np.nan_to_num(start)), ""),
        **xyz_rows("end_direction", -directions(clusters, np.nan_to_num(end)), ""),
    }
    (found, found_measured), (true, true_measured) = (
        tuple({name: values[part] for name, values in columns.items()} for columns in (rows, measured))
        for part in (slice(num), slice(num, None))
    )
    return found | found_measured, true | reco(true_measured)


def voxel_rows(event: Event, wanted: bool) -> Rows:
    """Return the rows of `voxels`, none unless they are wanted."""
    rows = np.arange(event.num_voxels if wanted else 0)
    voxel, semantic, group, truth = (
        {name: values[rows] for name, values in event[product].items()}
        for product in ("voxel", "semantic", "group", "truth_voxel")
    )
    return {
        "voxel_id": rows,
        **xyz_rows("", event.box.to_cm(voxel["coord"] + 0.5)),
        "energy_mev": voxel["energy"],
        "semantic": semantic["label"],
        **{f"semantic_score_{w}": semantic["score"][:, i] for i, w in enumerate(names_of(Semantic))},
        "fragment_id": group["fragment"],
        "particle_id": group["particle"],
        "interaction_id": np.append(event["identity"]["interaction"], NONE)[group["particle"]],
        "truth_semantic": truth["semantic"],
        **{f"truth_{name}_id": truth[name] for name in ("fragment", "particle", "interaction")},
    }
