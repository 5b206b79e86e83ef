"""Write spine_v1.h5 and spine_v2.h5 with SPINE's own writer: the same two events in both layouts.

Run in an environment that has SPINE (pip install spine==1.4.3): python make_spine.py
"""

from pathlib import Path

import numpy as np
from spine.data import ImageMeta3D, RunInfo, TruthInteraction, TruthParticle
from spine.io.write.hdf5 import HDF5Writer

PITCH_CM = np.float32(0.4)
COUNT = np.array([320, 240, 160])
LOWER_CM = np.array([-64, -48, 10], np.float32)


def event(number, meta, rng):
    """Return a track of 8 voxels, a shower of 12 and two voxels that belong to nothing."""
    track = [[20 + i, 30, 40] for i in range(8)]
    shower = [[60 + i, 70 + j, 50] for i in range(3) for j in range(4)]
    voxels = np.array([*track, *shower, [100, 100, 100], [5, 5, 5]], np.float32)
    points = meta.to_cm(voxels, center=True).astype(np.float32)
    energy = rng.uniform(0.1, 2, len(points)).astype(np.float32)
    muon = TruthParticle(
        id=0, track_id=11, parent_track_id=11, pdg_code=13, pid=2, shape=1, interaction_id=0, is_primary=True,
        creation_process="primary", units="cm", index=np.arange(8, dtype=np.int32), first_step=points[0],
        last_step=points[7], t=1.5, momentum=np.array([100, 0, 0], np.float32), energy_init=145.7,
    )  # fmt: skip
    photon = TruthParticle(
        id=1, track_id=12, parent_track_id=11, pdg_code=22, pid=0, shape=0, interaction_id=0, is_primary=False,
        creation_process="conv", units="cm", index=np.arange(8, 20, dtype=np.int32), first_step=points[8],
        last_step=points[19], t=2.5, momentum=np.array([0, 50, 0], np.float32), energy_init=50.0,
    )  # fmt: skip
    vertex = TruthInteraction(id=0, vertex=points[0], units="cm", index=np.arange(20, dtype=np.int32))
    return points, energy, [muon, photon], [vertex], RunInfo(run=7, subrun=2, event=100 + number)


def main():
    """Write both files beside this one."""
    meta = ImageMeta3D(lower=LOWER_CM, upper=LOWER_CM + PITCH_CM * COUNT.astype(np.float32), size=np.full(3, PITCH_CM), count=COUNT)  # fmt: skip # noqa: E501
    rng = np.random.default_rng(1)
    points, energy, particles, interactions, run_info = zip(
        *(event(i, meta, rng) for i in range(2)), strict=True
    )
    data = {
        "index": [0, 1],
        "run_info": list(run_info),
        "meta": [meta, meta],
        "points": [each[:20] for each in points],
        "depositions": [each[:20] for each in energy],
        "points_label": list(points),
        "depositions_label": list(energy),
        "truth_particles": list(particles),
        "truth_interactions": list(interactions),
    }
    for version in (1, 2):
        path = Path(__file__).with_name(f"spine_v{version}.h5")
        HDF5Writer(str(path), overwrite=True, format_version=version, keys=list(data))(data, cfg={})


if __name__ == "__main__":
    main()
