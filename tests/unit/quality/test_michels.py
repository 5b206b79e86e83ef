"""Michels as a standard candle: selection and figures by hand, and fits of known spectra."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lartpc.run.michels import michels
from lartpc.run.michels.selection import _share, select
from lartpc.run.michels.spectrum import EDGES_MEV, fit
from lartpc.simulate.validation.references import michel_density


def drawn(num: int, scale: float, resolution: float, seed: int = 1) -> np.ndarray:
    """Energies of muons at rest, as a detector with this scale and resolution has them."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(0, 52.5, 5000)
    weight = michel_density(grid)
    true = rng.choice(grid, num, p=weight / weight.sum())
    return scale * true * (1 + resolution * rng.standard_normal(num))


def table(folder: Path, name: str, rows: list[dict]) -> None:
    (folder / name).mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(folder / name / "part-00000.parquet")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Entry 0: a Michel found, one not attached, one small; entry 1: a false one, and a true one not found."""

    def reco(entry: int, row: int, num: int, parent: int, distance: float, semantic: str = "michel") -> dict:
        return {
            **{
                "file_uid": "a/0",
                "entry": entry,
                "particle_id": row,
                "semantic": semantic,
                "num_voxels": num,
            },
            **{"parent_id": parent, "parent_distance_cm": distance, "calorimetric_energy_mev": 30.0 + row},
        }

    def true(entry: int, row: int, num: int, semantic: str = "michel") -> dict:
        return {
            **{"file_uid": "a/0", "entry": entry, "truth_particle_id": row, "semantic": semantic},
            **{"num_voxels": num, "kinetic_energy_initial_mev": 40.0},
        }

    def match(entry: int, row: int, other: int, num: int, purity: float, completeness: float) -> dict:
        return {
            **{"file_uid": "a/0", "entry": entry, "kind": "particle", "reco_id": row, "truth_id": other},
            **{"num_shared_voxels": num, "purity": purity, "completeness": completeness},
        }

    folder = tmp_path / "dataset"
    found = [
        reco(0, 0, 20, 5, 0.5),
        reco(0, 1, 30, -1, np.nan),
        reco(0, 2, 6, 5, 0.1),
        reco(1, 0, 15, 3, 1.0),
    ]
    table(folder, "particles", [*found, reco(0, 3, 90, -1, np.nan, "track")])
    table(
        folder,
        "truth_particles",
        [true(0, 7, 25), true(0, 8, 30), true(0, 9, 5), true(1, 4, 40), true(1, 2, 90, "track")],
    )
    pairs = [match(0, 0, 7, 18, 0.9, 0.72), match(0, 1, 8, 30, 1.0, 1.0), match(1, 0, 4, 3, 0.2, 0.075)]
    table(folder, "matches", [*pairs, match(1, 0, 2, 12, 0.8, 0.1)])
    return folder


def test_selection_and_figures_by_hand(dataset: Path) -> None:
    found = select(dataset)
    assert sorted(found.energy_mev) == [30.0, 30.0]  # rows 0 of both entries
    values = {name: figure["value"] for name, figure in found.figures.items()}
    assert values["num_reconstructed"] == 4 and values["num_selected"] == 2 and values["num_true"] == 3
    # three voxels are no match
    assert values["purity"] == 1 / 2 and values["efficiency"] == 1 / 3
    assert values["pixel_purity"] == 0.9 and values["pixel_efficiency"] == 0.72
    assert found.figures["purity"]["num"] == 2 and 0.2 < found.figures["purity"]["lower"] < 0.4


@pytest.mark.parametrize(("scale", "resolution"), [(0.95, 0.12), (0.8, 0.25)])
def test_a_fit_finds_scale_and_resolution(scale: float, resolution: float) -> None:
    found = fit(drawn(20_000, scale, resolution))
    assert found is not None
    assert abs(found.scale - scale) < 4 * found.scale_error < 0.03
    assert abs(found.resolution - resolution) < 4 * found.resolution_error < 0.06
    assert found.chi2 < 3 * found.num_freedom
    assert len(found.curve) == len(EDGES_MEV) - 1
    # four times as many have half the error
    fewer = fit(drawn(5_000, scale, resolution))
    assert fewer is not None and fewer.scale_error == pytest.approx(2 * found.scale_error, rel=0.3)


@pytest.mark.parametrize("num", [1, 57, 61, 1021])
def test_errors_of_all_and_of_none_are_not_negative(num: int) -> None:
    for part in (0, num):
        figure = _share(part, num)
        assert figure["lower"] >= 0 and figure["upper"] >= 0 and figure["value"] in (0, 1)
    assert _share(0, 0)["value"] is None


def test_too_few_are_not_fitted() -> None:
    assert fit(drawn(20, 0.95, 0.12)) is None


def test_datasets_are_compared_in_table_and_figure(dataset: Path, tmp_path: Path) -> None:
    text = michels({"simulation": dataset, "data": dataset}, tmp_path / "out")
    assert "| identification purity | 50.0 ± " in text and text.startswith(
        "| figure | simulation | data | published |"
    )
    assert (tmp_path / "out" / "michels.md").read_text() == text
    assert (tmp_path / "out" / "michels.png").read_bytes().startswith(b"\x89PNG")
    plain = json.loads((tmp_path / "out" / "michels.json").read_text())
    assert plain["data"]["fit"] is None and plain["data"]["figures"]["num_true"]["value"] == 3
    with pytest.raises(ValueError, match="no tables of particles"):
        michels({"a": tmp_path / "nothing"}, tmp_path / "out")
