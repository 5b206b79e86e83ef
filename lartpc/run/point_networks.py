"""What networks say of the 3D points of wire planes (docs/explanation/projections.md).

Shape suffixes: N points.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.config.learned import SegmentInfer
from lartpc.event import Columns, Event
from lartpc.ingest.detector.backproject import added
from lartpc.stages import stage

Products = dict[str, Columns]


class PointNetworks:
    """Networks of `segment` or `flow` that tell the ghosts of points; one of `segment` tells all that it does.

    Parameters
    ----------
    weights
        Files of weights of a `segment` of 3D points with `heads.ghost`, or of `flow`.
    infer
        Arithmetic, and the scores from which a point is a ghost and a proposal is one.

    Raises
    ------
    ValueError
        Weights do not tell ghosts, or not one of them is of a `segment` where `infer.point_classes` asks for it.
    """

    def __init__(self, weights: Sequence[Path], infer: SegmentInfer) -> None:
        self._flows: list[Callable[[Event], NDArray[np.float32]]] = []
        self._segments: list[Callable[[Event], Products]] = []
        for path in weights:
            self._add(path, infer)
        if infer.point_classes != "planes" and len(self._segments) != 1:
            raise ValueError(
                f"segment.infer.point_classes: {infer.point_classes} needs one segment of 3D points among the "
                f"ghost_weights; {len(self._segments)} of {', '.join(map(str, weights)) or 'none'} are"
            )

    def __call__(self, event: Event) -> tuple[NDArray[np.float32], Products]:
        """Return the ghost scores (N,) of points, and the products of the first `segment` (none: empty).

        The logits of the scores of all networks are added.
        """
        said = [segment(event) for segment in self._segments]
        scores = [found["semantic"]["ghost_score"] for found in said] + [flow(event) for flow in self._flows]
        return added(scores), said[0] if said else {}

    def _add(self, path: Path, infer: SegmentInfer) -> None:
        from lartpc.run.weights import load_weights, read_weights
        from lartpc.stages import flow, segment

        content = read_weights(path)
        said: dict[str, Any] = json.loads(content["settings"])
        if content["stage"] == "flow":
            pairing = config.Flow.model_validate(said)
            pairs = cast(flow.PixelFlow, load_weights(path, stage("flow"), pairing, content))
            self._flows.append(lambda event: 1 - flow.infer(pairs, [event], pairing)[0]["pairing"]["score"])
            return
        section = config.Segment.model_validate(said) if content["stage"] == "segment" else None
        if section is None or section.dimension != 3 or not section.heads.ghost:
            raise ValueError(
                f"{path} does not tell ghosts of 3D points; give weights of segment with heads.ghost, or of flow"
            )
        own = {
            "precision": infer.precision,
            "proposal_floor": infer.proposal_floor,
            "label_weights": infer.label_weights,
            "ghost_threshold": infer.point_ghost_score,
        }
        section = section.model_copy(update={"infer": section.infer.model_copy(update=own)})
        net = cast(segment.Network, load_weights(path, stage("segment"), section, content))
        self._segments.append(lambda event: segment.infer(net, [event], section)[0])
