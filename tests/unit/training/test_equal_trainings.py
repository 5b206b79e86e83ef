"""Trainings that are equal write the same bytes, of each network that can be trained."""

from pathlib import Path
from typing import Any

import pytest
from conftest import BOX, typical, with_hits
from test_classify import with_neutrino
from test_detect import FLAT, overlaid
from test_ghosts import with_ghosts

from lartpc.config import SECTIONS
from lartpc.event import GENERATED, IMAGE, SEEN, TRUTH, Event, empty
from lartpc.provenance import provenance
from lartpc.run.training.train import train
from lartpc.stages import stage
from lartpc.store import EventWriter

UNET = {"filters": 4, "depth": 3, "repetitions": 1}
GRAPH = {"num_hidden": 8}
TRAIN = {"num_steps": 3, "batch_size": 2, "validate_every": 3, "num_validation_events": 2, "num_workers": 0}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "segment": ("segment", {"unet": UNET}),
    "ghosts": ("segment", {"unet": UNET, "heads": {"ghost": True}}),
    "cluster": ("cluster", {"graph": GRAPH}),
    "embedding": ("cluster", {"graph": GRAPH, "fragments": {"method": "embedding", "unet": UNET}}),
    "Graph-SPICE": ("cluster", {"graph": GRAPH, "fragments": {"method": "graph_spice", "unet": UNET}}),
    "interact": ("interact", {"graph": GRAPH}),
    "classify": ("classify", {"unet": UNET, "num_hidden": 8}),
    "flow": ("flow", {"num_hidden": 8}),
    "detect": ("detect", {"unet": UNET, "level": 1, "num_proposals": 4}),
}


def event_of(network: str, entry: int) -> Event:
    """Return an event with all truth, as the network needs it."""
    if network == "detect":
        made = overlaid(entry, (20 + 15 * entry, 90 - 12 * entry))
        return made.with_products({"truth_primary": empty("truth_primary", 1)})
    made = with_neutrino(typical(entry))
    if network == "flow":
        return with_hits(with_ghosts(made))
    return with_ghosts(made) if network == "ghosts" else made


def files_of(folder: Path, network: str, events: Path, seed: int) -> dict[str, bytes]:
    """Train, and return the contents of all weights."""
    name, settings = NETWORKS[network]
    section = SECTIONS[name].model_validate({**settings, "train": {**TRAIN, "seed": seed}})
    folder.mkdir()
    log = folder / "training.jsonl"
    train(stage(name), [events], [events], section, out=folder / "weights.pt", log=log, num_ranks=1)
    return {path.name: path.read_bytes() for path in folder.glob("*.pt")}


@pytest.mark.parametrize("network", NETWORKS)
def test_equal_trainings_write_the_same_bytes(tmp_path: Path, network: str) -> None:
    events = tmp_path / "events.h5"
    box = FLAT if network == "detect" else BOX
    seen = SEEN if network == "flow" else ()
    products, about = (*IMAGE, *TRUTH, *GENERATED, *seen), provenance("ingest", 1, config={})
    with EventWriter(events, products, file_uid="s/0", box=box, attrs=about) as writer:
        for entry in range(4):
            made = event_of(network, entry)
            writer.append(entry, {name: made[name] for name in products})
    one, two = (files_of(tmp_path / name, network, events, seed=1) for name in ("one", "two"))
    assert {"weights.pt", "weights.best.pt", "weights.last.pt"} <= one.keys()
    assert one == two
    assert files_of(tmp_path / "other", network, events, seed=2)["weights.pt"] != one["weights.pt"]
