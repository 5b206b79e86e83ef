"""The active volumes that a shard is judged by."""

import json

import numpy as np
from numpy.typing import NDArray

from lartpc import config
from lartpc.store import Events


def active_volumes_cm(events: Events, section: config.Summarize) -> NDArray[np.float64]:
    """Return the corners (N, 2, 3) of the active volumes of a shard [cm].

    They are those of the settings, else those that the events were ingested with, else the imaged box.
    """
    box = events.box
    # the coordinates of wires are not those of volumes
    volumes = () if box.dimension == 2 else section.volumes
    if volumes is None:
        settings = json.loads(str(events.attributes().get("ingest", {}).get("config", "{}")) or "{}")
        volumes = tuple(config.Volume.model_validate(item) for item in settings.get("volumes", ()))
    if not volumes:
        return box.to_cm([[(0, 0, 0), box.shape]])
    return box.to_cm(box.clip([(volume.low_cm, volume.high_cm) for volume in volumes]))
