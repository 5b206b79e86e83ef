"""Truth in the place of predictions, so that a stage can be trained or measured on true input."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lartpc.event import PRODUCTS, TRUTH, Columns, Event, conform, empty, num_rows
from lartpc.kinematics import Clusters, describe
from lartpc.vocab import NONE, PointKind, Semantic


def upstream_from_truth(event: Event, products: Sequence[str]) -> Event:
    """Return the event with the given products made from its truth, others as they are.

    Rows keep the order of the truth: row `i` of `particle` is row `i` of `truth_particle`, and likewise
    for `fragment` and `point`. Scores are 0 and 1.

    Parameters
    ----------
    event
        An event with `voxel` and the truth products.
    products
        Any of `semantic`, `point`, `group`, `fragment`, `particle`.

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
    return event.with_products(made)


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
    return {"score": one_hot(label), "label": label}


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
    truth = event["truth_particle"]
    owner = event["truth_fragment"]["particle"]
    count = np.bincount(owner[owner >= 0], minlength=num_rows(truth))
    return {
        "semantic": truth["semantic"],
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
    "point": _point,
    "group": _group,
    "fragment": _fragment,
    "particle": _particle,
}

_MADE_FROM = {
    "semantic": ("truth_voxel",),
    "point": ("truth_point",),
    "group": ("truth_voxel", "truth_fragment", "truth_particle"),
    "fragment": ("truth_voxel", "truth_fragment", "truth_point"),
    "particle": ("truth_voxel", "truth_fragment", "truth_particle", "truth_point"),
}
