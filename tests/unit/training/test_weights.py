"""Weights files: sealed, the same bytes for equal trainings, and valid where they say."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import REPOSITORY
from conftest import typical
from training import train_here, write_events

from lartpc.config import Ingest, Segment
from lartpc.event import Event
from lartpc.geometry import Box
from lartpc.provenance import fingerprint, provenance
from lartpc.run.domain import domain_of, outside
from lartpc.run.infer import infer
from lartpc.run.release import release
from lartpc.run.weights import read_weights, save_weights
from lartpc.stages import segment, stage
from lartpc.store import EventWriter, open_events

SMALL = Segment.model_validate({"unet": {"filters": 2, "depth": 2, "repetitions": 1}})


def write_weights_file(path: Path, domain: dict | None = None) -> Path:
    torch.manual_seed(1)
    save_weights(path, stage("segment"), SMALL, segment.network(SMALL).state_dict(), {"seed": 1}, domain)
    return path


def write(path: Path, voxel_size_cm: float = 0.3, scale: float = 1.0, **settings: object) -> Path:
    """Write 16 events of some voxel size, energy scale and settings of their ingestion."""
    box = Box.centred((0.0, 0.0, 0.0), voxel_size_cm, 768)
    attrs = provenance("ingest", 1, config=Ingest.model_validate(settings).model_dump(mode="json"))
    with EventWriter(
        path, ("event", "voxel"), file_uid="s/0", box=box, attrs=attrs | {"generator": "by hand"}
    ) as writer:
        for entry in range(16):
            event: Event = typical(entry)
            voxel = {**event["voxel"], "energy": scale * event["voxel"]["energy"]}
            writer.append(entry, {"event": event["event"], "voxel": voxel})
    return path


def test_a_changed_byte_anywhere_is_refused(tmp_path: Path) -> None:
    path = write_weights_file(tmp_path / "w.pt")
    content, spoilt = path.read_bytes(), tmp_path / "spoilt.pt"
    rng = np.random.default_rng(1)
    for place in [*rng.integers(0, len(content), 200), *range(len(content) - 110, len(content))]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        spoilt.write_bytes(changed)
        with pytest.raises(ValueError, match=r"spoilt\.pt"):
            read_weights(spoilt)
    for cut in (0, 1, len(content) // 2, len(content) - 1):
        spoilt.write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"spoilt\.pt"):
            read_weights(spoilt)


def test_a_pointer_of_git_lfs_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n")
    with pytest.raises(ValueError, match="is a Git LFS pointer, not the file"):
        read_weights(tmp_path / "w.pt")


def test_equal_trainings_write_the_same_bytes(tmp_path: Path) -> None:
    events = write_events(tmp_path / "ingest.h5")
    for name in ("one", "two"):
        train_here(tmp_path / name, events)
    for file in ("weights.pt", "weights.best.pt", "weights.last.pt"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    train_here(tmp_path / "other", events, seed=2)
    found = [fingerprint(tmp_path / name / "weights.pt")[1] for name in ("one", "other")]
    assert found[0] != found[1]


def test_the_digest_of_weights_is_of_what_they_say(tmp_path: Path) -> None:
    """Another revision of the code writes other bytes, and all that is made with the weights stays as it is."""
    found = []
    for revision in ("a", "b"):
        path = tmp_path / f"{revision}.pt"
        save_weights(
            path, stage("segment"), SMALL, {"x": torch.ones(2)}, {"git_revision": revision, "seed": 1}
        )
        found.append(
            (path.read_bytes(), fingerprint(path)[1], provenance("segment", 1, config={}, weights=path))
        )
    assert found[0][0] != found[1][0] and found[0][1] == found[1][1] == found[0][2]["weights"]


def test_released_weights_given_again_keep_numbers_and_figures(tmp_path: Path) -> None:
    """Also of files that an older version wrote without a seal."""
    events = write(tmp_path / "events.h5")
    (first,) = release([write_weights_file(tmp_path / "w.pt")], tmp_path / "models")
    content = read_weights(first)
    del content["domain"]
    torch.save(content, first)
    with pytest.raises(ValueError, match="older than seals"):
        read_weights(first)
    (tmp_path / "models" / "README.md").write_text("# Old\n\n## Figures\n\n99 %\n")
    (again,) = (found := release([first], tmp_path / "models", events=[events])).keys()
    assert found[again] and all(
        torch.equal(value, content["state"][name]) for name, value in read_weights(again)["state"].items()
    )
    assert read_weights(again)["released"] == content["released"]
    assert json.loads(read_weights(again)["domain"])["voxel_size_cm"] == [0.3]


def test_the_domain_is_measured(tmp_path: Path) -> None:
    found = domain_of([[write(tmp_path / "a.h5")]])
    assert (found["voxel_size_cm"], found["response"], found["generator"]) == ([0.3], ["none"], ["by hand"])
    sizes = [typical(entry).num_voxels for entry in range(16)]
    assert (
        found["num_events"] == 16
        and found["num_voxels"] == np.quantile(sizes, [0.01, 0.16, 0.5, 0.84, 0.99]).tolist()
    )
    assert found["energy_mev"] == pytest.approx([0.6] * 5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"voxel_size_cm": 0.44}, "voxels of 0.44 cm, trained on 0.3 cm"),
        ({"scale": 1.5}, "median voxel energy of 0.9 MeV, those trained on 0.6 to 0.6"),
        ({"response": {"recombination": "birks"}}, "response recombination birks, trained on none"),
    ],
)
def test_events_outside_the_domain_are_told_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict, said: str
) -> None:
    weights = write_weights_file(tmp_path / "w.pt", domain_of([[write(tmp_path / "a.h5")]]))
    out = tmp_path / "segment.h5"
    infer(stage("segment"), [tmp_path / "a.h5"], SMALL, out=out, weights=weights)
    with open_events(out) as events:
        assert json.loads(events.attributes()["segment"]["warnings"]) == []
    other = write(tmp_path / "other.h5", **changed)
    infer(stage("segment"), [other], SMALL, out=out, weights=weights)
    assert said in capsys.readouterr().err
    with open_events(out) as events:
        (warning,) = json.loads(events.attributes()["segment"]["warnings"])
    assert said in warning
    strict = SMALL.model_copy(update={"infer": SMALL.infer.model_copy(update={"outside_domain": "refuse"})})
    out.unlink()
    with pytest.raises(ValueError, match=r"is outside the domain of .*take what comes"):
        infer(stage("segment"), [other], strict, out=out, weights=weights)
    assert not out.exists()
    with open_events(other) as events:
        assert outside(domain_of([[other]]), events) == ([], [])
    (tmp_path / "other").mkdir()
    fit = write_weights_file(tmp_path / "other/w.pt", domain_of([[other]]))
    write_weights_file(tmp_path / "w2.pt", domain_of([[other]]))  # of another name, and so of another stage
    infer(stage("segment"), [other], SMALL, out=out, weights=weights)
    assert f"weights that hold for such events: {fit}\n" in capsys.readouterr().err
    with pytest.raises(ValueError, match=rf"take {fit}, or take what comes"):
        infer(stage("segment"), [other], strict, out=out, weights=weights)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "models").rglob("*.pt")), ids=str)
def test_released_weights_state_their_domain(path: Path) -> None:
    content = read_weights(path)
    domain = json.loads(content["domain"])
    drawn = path.parent.name == "detector"
    if drawn:
        assert domain["varied"]["voxel_size_cm"] == [0.3, 0.5]
        assert domain["varied"]["recombination"] == ["none", "birks", "box"]
    else:
        assert domain["voxel_size_cm"] == [0.3] and domain["response"] == ["none"]
    of_others = {"neutrino": "nuhepmc", "detect": "nuhepmc", "particle": "gun"}
    generator = of_others.get(path.relative_to(REPOSITORY / "models").parts[0], "mpvmpr")
    # pixel flow learns from pairs of pixels, of which an event has hundreds of thousands
    least = 20 if content["stage"] == "flow" else 500
    assert f"lartpc simulate, {generator}" in domain["generator"] and domain["num_events"] >= least
    dimension = json.loads(content["settings"]).get("dimension", 3)
    card = (path.parent / "README.md").read_text()
    line = next(
        line for line in card.splitlines() if line.startswith("| domain | ") and f"in {dimension}D" in line
    )
    size, response = ("0.3 to 0.5", "diffusion_") if drawn else ("0.3", "none")
    assert f"voxels of {size} cm in {dimension}D; " in line and f"; response: {response}" in line
    if path.parent.name == "readout":
        assert "read-out: dead_share 0 to 0.15, noise_electrons 200 to 700, shaping_us 1 to 3;" in line
