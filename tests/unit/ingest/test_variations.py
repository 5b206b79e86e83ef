"""Detectors drawn for each file, and the domain of weights trained on them."""

import json
from pathlib import Path

import numpy as np
import pytest
from checkout import REPOSITORY
from pydantic import ValidationError

from lartpc.config import Ingest, Response, Variations
from lartpc.ingest.detector.variations import RESPONSE_RANGES, vary
from lartpc.run.domain import domain_of, in_words, outside
from lartpc.run.ingest import ingest
from lartpc.store import DRAWN, open_events

DATA = REPOSITORY / "tests" / "data"
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


WIRES = {"angles_deg": (0.0, 60.0), "num_pixels": 64, "readout": {"shaping_us": 2.0, "adc_electrons": 200.0}}
OF_WIRES = {
    "readout_share": 0.8,
    "readout_shaping_us": (1.0, 3.0),
    "readout_noise_electrons": (200.0, 700.0),
    "readout_dead_share": (0.0, 0.2),
}


def test_wires_are_read_out_otherwise_in_each_file_and_the_domain_says_so(tmp_path: Path):
    cfg = Ingest.model_validate({"wires": WIRES, "variations": OF_WIRES})
    drawn = [vary(cfg, f"sample/{number}").wires.readout for number in range(400)]
    seen = [one for one in drawn if one.shaping_us]
    # 320 expected, with an error of 8
    assert 280 < len(seen) < 360 and drawn[3] == vary(cfg, "sample/3").wires.readout
    assert all(1 <= one.shaping_us <= 3 and 200 <= one.noise_electrons <= 700 for one in seen)
    assert max(one.dead_share for one in seen) > 0.18 and {one.adc_electrons for one in seen} == {200.0}
    assert len({one.dead_seed for one in seen}) == len(seen)
    assert all(vary(cfg, str(number)).response == Response() for number in range(5))
    files = [read(tmp_path / f"{i}.h5", f"train/{i}", wires=WIRES, variations=OF_WIRES) for i in range(2)]
    domain = domain_of([[path] for path in files])
    words = in_words(domain)
    assert "planes of wires at 0, 60°, read-out: shaping_us 1 to 3 or none, noise_electrons 0 to 700" in words
    shaping = {vary(cfg, f"train/{i}").wires.readout.shaping_us: path for i, path in enumerate(files)}
    assert None in shaping and len(shaping) == 2
    (read_out,) = (path for value, path in shaping.items() if value)
    all_read_out = domain_of([[read_out]])  # a fifth of the files would have none, but there is no such one
    assert "shaping_us 1 to 3, noise_electrons 200 to 700" in in_words(all_read_out)
    plain = domain_of([[read(tmp_path / "plain.h5", "plain", wires=WIRES | {"readout": {}})]])
    assert "planes of wires at 0, 60°, read-out: none" in in_words(plain)
    inside = {"shaping_us": 2.0, "adc_electrons": 200.0, "noise_electrons": 400.0, "dead_share": 0.1}
    for change, told in (
        ({}, None),
        ({"dead_seed": 7}, None),
        ({"shaping_us": 5.0}, "shaping_us 5.0"),
        ({"noise_electrons": 900.0}, "noise_electrons 900"),
        ({"threshold_sigma": 6.0}, "threshold_sigma 6"),
    ):
        with open_events(read(tmp_path / "o.h5", "o", wires=WIRES | {"readout": inside | change})) as events:
            (found, others), (unread, _) = outside(domain, events), outside(plain, events)
        assert not others and any(text.startswith("read-out of wires") for text in unread)
        assert [text for text in found if "read-out" in text] == [
            text for text in found if told and told in text
        ]
    old = {name: value for name, value in plain.items() if name not in ("readout", "angles_deg")}
    read_out = read(tmp_path / "o.h5", "o", wires=WIRES | {"readout": inside})
    with open_events(read_out) as events:  # weights that are older than this were trained without
        assert any("trained on none" in text for text in outside(old, events)[0])
    with open_events(tmp_path / "plain.h5") as events:
        assert not outside(plain, events)[1] and not any(
            "read-out" in one for one in outside(domain, events)[0]
        )
        assert any("read-out" in one for one in outside(all_read_out, events)[0])
    with open_events(read(tmp_path / "a.h5", "a", wires={"angles_deg": (20.0,), "num_pixels": 64})) as events:
        assert outside(plain, events)[1] == ["planes of wires at 20°, trained on 0, 60°"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"variations": {"readout_share": 0.5}}, "readout_\\* without effect"),
        ({"wires": WIRES, "variations": {"noise_electrons": (0, 5)}}, "only the read-out is varied"),
    ],
)
def test_variations_that_do_not_fit_the_images_are_refused(wrong: dict[str, object], said: str):
    with pytest.raises(ValidationError, match=said):
        Ingest.model_validate(wrong)
