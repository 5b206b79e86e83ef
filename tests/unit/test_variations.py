"""Detectors drawn for each file, and the domain of weights trained on them."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lartpc.config import Ingest, Response, Variations
from lartpc.ingest.detector.variations import RESPONSE_RANGES, vary
from lartpc.run.domain import domain_of, in_words, outside
from lartpc.run.ingest import ingest
from lartpc.store import DRAWN, open_events

DATA = Path(__file__).parents[1] / "data"
RANGES = Variations(
    voxel_size_cm=(0.3, 0.5),
    response_share=0.5,
    recombination=("birks", "box"),
    lifetime_us=(1500, 6000),
    noise_electrons=(0, 1000),
)
VARIED = Ingest(variations=RANGES)


def test_what_is_drawn_follows_from_the_uid_and_fills_its_ranges():
    drawn = [vary(VARIED, f"sample/{number}") for number in range(400)]
    assert drawn[7] == vary(VARIED, "sample/7")
    sizes = np.array([one.voxel_size_cm for one in drawn])
    assert sizes.min() >= 0.3 and sizes.max() <= 0.5
    # 400 even draws between 0.3 and 0.5: mean 0.4 with an error of 0.0029
    assert abs(sizes.mean() - 0.4) < 0.015 and sizes.max() - sizes.min() > 0.19
    seen = [one.response for one in drawn if one.response != Response()]
    assert 140 < len(seen) < 260
    assert {one.recombination for one in seen} == {"birks", "box"}
    assert all(1500 <= one.lifetime_us <= 6000 and 0 <= one.noise_electrons <= 1000 for one in seen)
    # what has no range is as it was set
    assert all(one.field_kv_cm == 0.5 and one.diffusion_transverse_cm2_s == 0 for one in seen)


def test_another_range_does_not_change_what_is_drawn_of_the_others():
    more = VARIED.model_copy(update={"variations": RANGES.model_copy(update={"field_kv_cm": (0.4, 0.6)})})
    for number in range(20):
        one, other = vary(VARIED, str(number)), vary(more, str(number))
        assert one.voxel_size_cm == other.voxel_size_cm
        assert one.response.lifetime_us == other.response.lifetime_us


def test_without_ranges_nothing_is_drawn():
    plain = Ingest(response=Response(noise_electrons=300))
    assert vary(plain, "a") is plain
    assert set(RESPONSE_RANGES) <= set(Response.model_fields) & set(Variations.model_fields)


@pytest.mark.parametrize(
    "wrong",
    [
        {"voxel_size_cm": (0.5, 0.3)},
        {"voxel_size_cm": (0, 0.3)},
        {"noise_electrons": (-1, 5)},
        {"response_share": 1.5},
    ],
)
def test_wrong_ranges_are_refused(wrong):
    with pytest.raises(ValidationError):
        Variations(**wrong)


def test_a_drawn_response_is_checked_as_one_that_is_set():
    with pytest.raises(ValidationError):
        vary(Ingest(variations=Variations(field_kv_cm=(3, 4))), "a")


def read(path: Path, uid: str, **settings: object) -> Path:
    ingest(DATA / "edepsim_5ev.root", Ingest(**settings), out=path, file_uid=uid)
    return path


def test_the_domain_states_what_detectors_were_drawn_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lartpc.run.domain.FEW", 1)  # files of many events
    files = [read(tmp_path / f"{number}.h5", f"train/{number}", variations=RANGES) for number in range(3)]
    with open_events(files[0]) as events:
        drawn = json.loads(events.attributes()["ingest"][DRAWN])
        assert drawn["voxel_size_cm"] == events.box.voxel_size_cm == vary(VARIED, "train/0").voxel_size_cm
    domain = domain_of([[path] for path in files])
    words = in_words(domain)
    assert "voxels of 0.3 to 0.5 cm" in words
    assert "recombination none or birks or box" in words and "lifetime_us 1500 to 6000 or none" in words
    # one detector's typical event is not that of all: among the middle 98 % is enough
    del domain["varied"]["birks_k"]  # as of weights that are older than this setting
    domain |= {"energy_mev": [0, 5, 6, 7, 9], "num_voxels": [0, 1e5, 2e5, 3e5, 1e6]}
    inside = {
        "voxel_size_cm": 0.38,
        "response": {"recombination": "box", "lifetime_us": 9000, "noise_electrons": 500},
    }
    for change, told in (
        ({}, []),
        ({"voxel_size_cm": 0.3}, []),
        ({"voxel_size_cm": 0.52}, ["voxels of 0.52 cm, trained on 0.3 to 0.5 cm"]),
        ({"response": {"noise_electrons": 1500}}, ["noise_electrons 1500"]),
        ({"response": {"diffusion_transverse_cm2_s": 8.8}}, ["diffusion_transverse_cm2_s 8.8"]),
        ({"response": {"lifetime_us": 1000}}, ["lifetime_us 1000"]),
        # one standard deviation of ICARUS' constant, and far more
        ({"response": {**inside["response"], "recombination": "birks", "birks_k": 0.0492}}, []),
        ({"response": {**inside["response"], "recombination": "birks", "birks_k": 0.06}}, ["birks_k 0.06"]),
    ):
        with open_events(read(tmp_path / "other.h5", "other", **(inside | change))) as events:
            found, _ = outside(domain, events)
        assert len(found) == len(told), found
        assert all(text in one for one, text in zip(found, told, strict=True))
