"""The cluster, once for all tests, and a checkout for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import copy_checkout

from slurm.cluster import Cluster, missing


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Start a SLURM of four virtual nodes, two of them with a GPU of sorts, or skip."""
    if reason := missing():
        pytest.skip(f"no SLURM can be started here: {reason}")
    with Cluster() as running:
        yield running


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the checkout."""
    return copy_checkout(tmp_path)
