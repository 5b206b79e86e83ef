"""A dataset of several scenarios: each table has a folder `scenario=NAME` for each, which readers make a column of.

One scenario of a dataset is named by the path `DATASET/scenario=NAME`, which is no folder: what reads a dataset
takes it as one. A dataset without scenarios has no such folders.
"""

from pathlib import Path

NOMINAL = "nominal"
_COLUMN = "scenario="


def scenario_of(dataset: Path) -> tuple[Path, str]:
    """Return the folder of a dataset, and the scenario that a path names; "" where it names none."""
    if dataset.name.startswith(_COLUMN):
        return dataset.parent, dataset.name.removeprefix(_COLUMN)
    return dataset, ""


def of_scenario(dataset: Path, scenario: str) -> Path:
    """Return the path that names one scenario of a dataset; the dataset itself for ""."""
    return dataset / f"{_COLUMN}{scenario}" if scenario else dataset


def scenarios_in(dataset: Path, table: str) -> list[str]:
    """Return the scenarios that a table of a dataset has, the nominal production first; [] where there are none."""
    names = {path.name.removeprefix(_COLUMN) for path in (dataset / table).glob(f"{_COLUMN}*")}
    return [*sorted(names & {NOMINAL}), *sorted(names - {NOMINAL})]


def table_folder(dataset: Path, table: str) -> Path:
    """Return the folder of a table of a dataset: of the scenario that the path names, or else the nominal one."""
    folder, scenario = scenario_of(dataset)
    below = folder / table / f"{_COLUMN}{scenario or NOMINAL}"
    return below if scenario or below.is_dir() else folder / table
