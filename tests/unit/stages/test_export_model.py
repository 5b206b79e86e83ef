"""The network as a program: run where lartpc cannot be imported, it says what the network says."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from checkout import REPOSITORY

from lartpc import config
from lartpc.config import shared_slice
from lartpc.images import passes_masks
from lartpc.nets.uncertainty import mean_and_vacuity
from lartpc.nets.unet import levels
from lartpc.run.export.model import DESCRIPTION, export_model
from lartpc.run.export.programs import image
from lartpc.run.weights import save_weights
from lartpc.stages import segment, stage

SMALL = {"unet": {"filters": 4, "depth": 3, "repetitions": 1}, "infer": {"symmetries": 1}}
HEADS = {"heads": {"evidential": True, "ghost": True}}

RUN = """
import sys
sys.modules["lartpc"] = None  # an import of it fails
import json, numpy, torch
path, out = sys.argv[1:]
given = numpy.load(out + "/in.npz")
coord, energy = torch.from_numpy(given["coord"]), torch.from_numpy(given["energy"])
said = {"lartpc.json": ""}
if path.endswith(".ts"):
    found = torch.jit.load(path, _extra_files=said)(coord, energy)
elif path.endswith(".pt2"):
    found = torch.export.load(path, extra_files=said).module()(coord, energy)
else:
    import onnxruntime
    session = onnxruntime.InferenceSession(path)
    said = session.get_modelmeta().custom_metadata_map
    found = session.run(None, {"coord": given["coord"], "energy": given["energy"]})
names = json.loads(said["lartpc.json"])["outputs"]
numpy.savez(out + "/out.npz", **{name: numpy.asarray(value) for name, value in zip(names, found, strict=True)})
"""


def small_network(folder, more=None):
    """Write weights of a small network whose normalisations have seen something, and return it with its settings."""
    torch.manual_seed(3)
    cfg = config.Segment.model_validate(SMALL | (more or {}))
    net = segment.network(cfg)
    net.train()
    with torch.no_grad():
        coord, energy = image(3000, cfg.dimension, 7)
        for _ in range(40):
            net(coord, energy, 2, 768)
    net.eval()
    path = folder / "segment.pt"
    save_weights(path, stage("segment"), cfg, net.state_dict(), {})
    return path, net, cfg


@torch.no_grad()
def said_by(net, cfg, coord, energy):
    logit, proposals, lattice, ghost, _ = net(coord, energy, 2, 768)
    parents = [one.coarser.parent_V for one in levels(lattice, len(proposals.masks))[:-1]]
    looks = torch.from_numpy(
        passes_masks(
            [mask.numpy() for mask in proposals.masks],
            [parent.numpy() for parent in parents],
            cfg.ppn.mask_threshold,
        )
    )
    said = {
        "point_score": torch.sigmoid(proposals.masks[0]) * looks,
        "point_position": coord[:, 1:] + 0.5 + proposals.offset_VD,
        "point_class_score": torch.softmax(proposals.class_VK, 1),
        "point_end_score": torch.sigmoid(proposals.end_V),
    }
    if cfg.heads.evidential:
        said["score"], said["uncertainty"] = mean_and_vacuity(logit)
        said["ghost_score"] = torch.sigmoid(ghost)
    else:
        said["score"] = torch.softmax(logit, 1)
    return {name: value.numpy() for name, value in said.items()}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("a.ts", {}),
        ("a.ts", HEADS | {"dimension": 2}),
        pytest.param("a.pt2", {}, marks=pytest.mark.slow),
        pytest.param("a.onnx", {}, marks=pytest.mark.slow),
    ],
)
def test_a_program_says_the_same_without_lartpc(tmp_path, name, more):
    weights, net, cfg = small_network(tmp_path, more)
    written = export_model(weights, tmp_path / name)
    assert written.deviation <= 1e-5
    coord, energy = image(1500, cfg.dimension, 5)
    assert (coord[1:, 0] < coord[:-1, 0]).any(), "voxels are in no order"
    np.savez(tmp_path / "in.npz", coord=coord.numpy(), energy=energy.numpy())
    subprocess.run([sys.executable, "-I", "-c", RUN, tmp_path / name, tmp_path], check=True, cwd="/")
    expected = said_by(net, cfg, coord, energy)
    with np.load(tmp_path / "out.npz") as found:
        assert set(found) == set(expected)
        for key, value in expected.items():
            assert found[key].shape == value.shape and len(np.unique(value.round(4))) > 20, key
            np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5, err_msg=key)
    assert 0 < (expected["point_score"] == 0).mean() < 1, "masks are tried on both sides"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_the_released_network_is_written(tmp_path, suffix):
    """It has five levels, and the sizes of the coarsest are bounded by those of four finer ones."""
    weights = REPOSITORY / "models/segment.pt"
    assert export_model(weights, tmp_path / f"a{suffix}").deviation <= 1e-5


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*:DeprecationWarning")
def test_a_program_says_what_it_is(tmp_path):
    weights, _, cfg = small_network(tmp_path)
    export_model(weights, tmp_path / "a.ts")
    said = {DESCRIPTION: ""}
    torch.jit.load(tmp_path / "a.ts", _extra_files=said)
    found = json.loads(said[DESCRIPTION])
    assert found["classes"] == ["shower", "track", "michel", "delta", "low_energy"]
    assert found["settings"] == json.loads(json.dumps(shared_slice(cfg)))
    assert list(found["inputs"]) == ["coord", "energy"] and len(found["weights_digest"]) == 32


def test_what_cannot_be_a_program_is_refused(tmp_path):
    weights, _, _ = small_network(tmp_path)
    with pytest.raises(ValueError, match=r"must end with one of \.ts \(TorchScript\)"):
        export_model(weights, tmp_path / "a.pth")
    section = config.Classify()
    row = stage("classify")
    save_weights(tmp_path / "other.pt", row, section, row.module().network(section).state_dict(), {})
    with pytest.raises(ValueError, match="holds weights of 'classify', of which no program can be written"):
        export_model(tmp_path / "other.pt", tmp_path / "a.ts")
    assert not (tmp_path / "a.ts").exists()
