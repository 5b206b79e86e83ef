"""Which reconstructed Michels are selected, and how good they are, from the tables of a dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from lartpc.run.report.statistics import wilson
from lartpc.tables.written import written_table

MIN_VOXELS = 10
"""Smaller Michels are neither selected nor looked for."""
ATTACHED_CM = 3.0
"""A selected Michel starts no farther from an end of the track that it comes from: 10 voxels of 3 mm."""
MIN_SHARED = 5
"""Voxels that a selected Michel must share with a true one, as in the tutorial of ICARUS (2022)."""
EVENT = ["file_uid", "entry"]


@dataclass(frozen=True)
class Michels:
    """What is selected in a dataset: energies [MeV], true kinetic energies of those looked for, and figures.

    A figure is its value with the lower and the upper error, and what it is a share or a mean of.
    """

    energy_mev: NDArray[np.float64]
    true_energy_mev: NDArray[np.float64]
    figures: dict[str, dict[str, float | int | None]]


def select(dataset: Path) -> Michels:
    """Return the selected Michels of a dataset, and how good selection and pixels are where it has truth.

    Raises
    ------
    ValueError
        It is not the folder of a dataset.
    """
    if not (dataset / "particles").is_dir():
        raise ValueError(f"{dataset} has no tables of particles; give the folder that 'lartpc collect' wrote")
    columns = ["particle_id", "parent_id", "parent_distance_cm", "num_voxels", "calorimetric_energy_mev"]
    reco = _read(dataset, "particles", columns, "michel")
    is_attached = (reco["parent_id"] >= 0) & (reco["parent_distance_cm"] <= ATTACHED_CM)
    chosen = reco[is_attached & (reco["num_voxels"] >= MIN_VOXELS)]
    true = _read(
        dataset,
        "truth_particles",
        ["truth_particle_id", "num_voxels", "kinetic_energy_initial_mev"],
        "michel",
    )
    figures: dict[str, dict[str, float | int | None]] = {
        "num_reconstructed": {"value": len(reco)},
        "num_selected": {"value": len(chosen)},
    }
    if len(true):
        wanted = true[true["num_voxels"] >= MIN_VOXELS]
        shared = _shared(dataset, chosen, true)
        right = shared[shared["num_shared_voxels"] >= MIN_SHARED]
        best = right.sort_values("num_shared_voxels").drop_duplicates([*EVENT, "reco_id"], keep="last")
        found = wanted.merge(
            right[[*EVENT, "truth_id"]].drop_duplicates(),
            left_on=[*EVENT, "truth_particle_id"],
            right_on=[*EVENT, "truth_id"],
        )
        figures |= {
            "num_true": {"value": len(wanted)},
            "purity": _share(len(best), len(chosen)),
            "efficiency": _share(len(found), len(wanted)),
            "pixel_purity": _mean(best["purity"]),
            "pixel_efficiency": _mean(best["completeness"]),
        }
    else:
        wanted = true
    return Michels(
        chosen["calorimetric_energy_mev"].to_numpy(np.float64),
        wanted["kinetic_energy_initial_mev"].to_numpy(np.float64),
        figures,
    )


def _read(dataset: Path, table: str, columns: list[str], semantic: str) -> pd.DataFrame:
    where = pc.field("semantic").cast(pa.string()) == semantic
    found: pd.DataFrame = (
        ds.dataset(written_table(dataset, table)).to_table([*EVENT, *columns], filter=where).to_pandas()
    )
    return found.astype({"file_uid": str})


def _shared(dataset: Path, chosen: pd.DataFrame, true: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of a selected and a true Michel that share voxels."""
    names = ["reco_id", "truth_id", "num_shared_voxels", "purity", "completeness"]
    where = pc.field("kind").cast(pa.string()) == "particle"
    pairs = ds.dataset(written_table(dataset, "matches")).to_table([*EVENT, *names], filter=where).to_pandas()
    pairs = pairs.astype({"file_uid": str})
    for table, key, name in ((chosen, "particle_id", "reco_id"), (true, "truth_particle_id", "truth_id")):
        pairs = pairs.merge(table[[*EVENT, key]], left_on=[*EVENT, name], right_on=[*EVENT, key])
    return pairs


def _share(num: int, total: int) -> dict[str, float | int | None]:
    if not total:
        return {"value": None, "num": 0}
    # of a share of 1 the upper error is a rounding error below 0
    share, lower, upper = (max(float(part), 0.0) for part in wilson(num, total))
    return {"value": share, "lower": lower, "upper": upper, "num": total}


def _mean(values: Any) -> dict[str, float | int | None]:
    num = len(values)
    if not num:
        return {"value": None, "num": 0}
    error = float(np.std(values, ddof=1) / np.sqrt(num)) if num > 1 else None
    return {"value": float(np.mean(values)), "lower": error, "upper": error, "num": num}
