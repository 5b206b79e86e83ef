"""The mean of weights: its numbers, what it says of itself, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lartpc import config
from lartpc.cli import app
from lartpc.provenance import fingerprint
from lartpc.run.average import average
from lartpc.run.weights import load_weights, read_weights, save_weights
from lartpc.stages import interact, stage

SMALL = config.Interact.model_validate({"graph": {"num_hidden": 16}})


def weights(
    path: Path, seed: int, cfg: config.Interact = SMALL, domain: str = "0.3 cm"
) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    state = interact.network(cfg).state_dict()
    save_weights(
        path,
        stage("interact"),
        cfg,
        state,
        {"seed": seed},
        {"voxel_size_cm": domain, "num_events": 100 + seed},
    )
    return state


def test_each_parameter_is_the_mean_of_those_of_all(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.pt" for seed in range(3)]
    states = [weights(path, seed) for seed, path in enumerate(paths)]
    out = tmp_path / "mean.pt"
    average(paths, out)
    found = read_weights(out)
    for name, values in found["state"].items():
        wanted = sum(state[name] for state in states) / 3
        np.testing.assert_allclose(values, wanted, rtol=1e-6, atol=1e-7)
    # it is of the last one, and says of which all it is
    origin = json.loads(found["provenance"])
    assert origin == {"seed": 2, "averaged": [fingerprint(path)[1] for path in paths]}
    assert json.loads(found["domain"]) == {"voxel_size_cm": "0.3 cm", "num_events": 102}
    load_weights(out, stage("interact"), SMALL)


def test_the_mean_of_equal_weights_is_these(tmp_path: Path) -> None:
    state = weights(tmp_path / "one.pt", 1)
    average([tmp_path / "one.pt"] * 4, tmp_path / "mean.pt")
    for name, values in read_weights(tmp_path / "mean.pt")["state"].items():
        torch.testing.assert_close(values, state[name], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"cfg": config.Interact.model_validate({"graph": {"num_hidden": 32}})}, "settings"),
        ({"domain": "0.5 cm"}, "domain"),
    ],
)
def test_weights_that_are_not_alike_have_no_mean(
    tmp_path: Path, other: dict[str, config.Interact], said: str
) -> None:
    weights(tmp_path / "one.pt", 1)
    weights(tmp_path / "two.pt", 2, **other)  # type: ignore[arg-type]
    arguments = [
        "average",
        *(str(tmp_path / name) for name in ("one.pt", "two.pt")),
        "-o",
        str(tmp_path / "mean.pt"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert f"they differ in {said}" in " ".join(result.stderr.split())
    assert not (tmp_path / "mean.pt").exists()


def test_one_file_has_no_mean(tmp_path: Path) -> None:
    weights(tmp_path / "one.pt", 1)
    with pytest.raises(ValueError, match="at least two"):
        average([tmp_path / "one.pt"], tmp_path / "mean.pt")
