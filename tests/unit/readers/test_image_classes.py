"""The table of `lartpc classes`: images by their true class and the one that `classify` gave them."""

from pathlib import Path

import numpy as np
import pytest
from conftest import labelled, line

from lartpc import config
from lartpc.event import IMAGE, Event, empty
from lartpc.provenance import provenance
from lartpc.run.quality.classes import classes
from lartpc.store import EventWriter

OWN = config.Classify(heads=(), classes={"electron": (11,), "muon": (13, -13), "pion": (211, -211)})


def of(pdg: int, entry: int) -> Event:
    """Return an image of one particle."""
    event = labelled([{"coord": line((5, 5, 5), (1, 0, 0), 20), "is_primary": 1}], entry)
    event["truth_particle"]["pdg"][:] = pdg
    primary = empty("truth_primary", 1) | {"pdg": np.array([pdg], "i4"), "energy_init": np.array([200.0])}
    return event.with_products({"truth_primary": primary})


def written(
    folder: Path, called: list[tuple[int, int]], cfg: config.Classify = OWN, name: str = "s"
) -> list[Path]:
    """Write images of particles by PDG code, and the number of the class that each was given."""
    events = [of(pdg, entry) for entry, (pdg, _) in enumerate(called)]
    truth = [product for product in events[0] if product.startswith("truth")]
    paths = [folder / f"{name}.h5", folder / f"{name}.classify.h5"]
    with EventWriter(
        paths[0], (*IMAGE, *truth), file_uid=name, box=events[0].box, attrs=provenance("ingest", 1, config={})
    ) as writer:
        for event in events:
            writer.append(event.entry, dict(event.products))
    about = provenance("classify", 1, config=config.slice_of(cfg, "infer"), inputs=paths[:1])
    with EventWriter(
        paths[1], ("image", "interaction_image"), file_uid=name, box=events[0].box, attrs=about
    ) as writer:
        for event, (_, kind) in zip(events, called, strict=True):
            said = empty("image", 1)
            said["class_score"][:] = 0
            said["class_score"][0, kind] = 1
            writer.append(event.entry, {"image": said, "interaction_image": empty("interaction_image")})
    return paths


def test_the_table_by_hand(tmp_path: Path) -> None:
    one = written(tmp_path, [(11, 0), (11, 0), (11, 1), (-13, 1), (13, 1), (2212, 0)])
    two = written(tmp_path, [(11, 0), (13, 2), (-211, 2)], name="t")
    text = classes([*one, *two], tmp_path / "classes.md")
    assert (tmp_path / "classes.md").read_text() == text
    assert "8 images of a class, 1 of none; 75.0 −" in text
    rows = {
        line.split(" | ")[0][2:]: line.split(" | ") for line in text.splitlines() if line.startswith("| ")
    }
    assert (
        rows["electron"][1] == "4"
        and rows["electron"][2].startswith("75.0 −")
        and rows["electron"][3] == "77.8 ± 0.7 %"
    )
    assert rows["electron"][4:] == ["75.0 %", "25.0 %", "0.0 % |"]
    assert rows["muon"][4:] == ["0.0 %", "66.7 %", "33.3 % |"]
    assert rows["pion"][1:3] == ["1", rows["pion"][2]] and rows["pion"][2].startswith("100.0")


def test_refuses_what_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without classes of their own"):
        classes(written(tmp_path, [(11, 0)], config.Classify(), "a"), tmp_path / "a.md")
    other = config.Classify(heads=(), classes={"muon": (13,), "electron": (11,)})
    assert other == config.Classify(heads=(), classes={"electron": (11,), "muon": (13,)})
    assert list(other.classes) == ["electron", "muon"]
    both = [*written(tmp_path, [(11, 0)], name="b"), *written(tmp_path, [(11, 0)], other, "c")]
    with pytest.raises(ValueError, match=r"different classify\.classes"):
        classes(both, tmp_path / "a.md")
    with pytest.raises(ValueError, match="no image of a class"):
        classes(written(tmp_path, [(2212, 0)], name="d"), tmp_path / "a.md")
    with pytest.raises(ValueError, match="image"):
        classes(both[:1], tmp_path / "a.md")
