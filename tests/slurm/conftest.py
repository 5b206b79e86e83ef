"""The cluster, once for each file of tests, and checkouts to run in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import copy_checkout

from slurm.cluster import Cluster, missing
from slurm.production import Production, produce


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> Production:
    """Run the miniature production through a SLURM of its own, or skip."""
    if reason := missing():
        pytest.skip(f"no SLURM can be started here: {reason}")
    with Cluster() as running:
        return produce(copy_checkout(tmp_path_factory.mktemp("production")), running)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start a SLURM of four virtual nodes, two of them with a GPU of sorts, or skip."""
    if reason := missing():
        pytest.skip(f"no SLURM can be started here: {reason}")
    with Cluster() as running:
        yield running


@pytest.fixture(scope="module")
def accounted() -> Iterator[Cluster]:
    """Start the same with slurmdbd and its database, or skip."""
    if reason := missing(accounting=True):
        pytest.skip(f"no SLURM with accounting can be started here: {reason}")
    with Cluster(accounting=True) as running:
        yield running


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the checkout."""
    return copy_checkout(tmp_path)
