"""Neutrinos by their whole image (stage `classify`), beside what the graph of particles says of the same ones."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lartpc.event import COUNTED
from lartpc.run.quality.neutrinos import CVN, ENERGY_BINS_GEV, FLAVOURS, Line, bins, share

WAYS = {"image_flavour": "image", "flavour": "graph"}
"""Columns that call a flavour, and what they go by."""


def image_lines(judged: pd.DataFrame) -> Iterator[Line]:
    """Yield flavours and numbers by the image, of the judged neutrinos that are alone in their event.

    Purities are among these neutrinos, for both ways: whether something else is taken for one is not in them. One that
    was not found has no flavour by the graph.
    """
    if "image_flavour" not in judged:
        return
    of = judged[judged["image_flavour"].notna()]
    for kind, name in FLAVOURS.items():
        mine = of[of["kind"] == kind]
        for column, way in WAYS.items():
            right = mine[column] == kind
            yield share(f"{name}, efficiency by the {way}", right, published=CVN.get(kind, ""))
            for label, inside in bins(ENERGY_BINS_GEV, mine["neutrino_energy_mev"]):
                yield share(f"— {label}", right[inside])
            yield share("— purity", of.loc[of[column] == kind, "kind"] == kind)
    for name, words in COUNTED.items():
        true = of[f"true_{name}_count"]
        known = (true >= 0) & (of[f"image_{name}_count"] >= 0)
        right = (of[f"image_{name}_count"] == true)[known]
        yield share(f"number of {words} right by the image", right)
        for number in range(4):
            more = " or more" if number == 3 else ""
            yield share(f"— {number}{more}", right[true[known] == number])
        if f"{name}_count" in of:
            found = known & of["is_found"]
            both = found & (of[f"image_{name}_count"] == true)
            yield share("— of those found: by the image", both[found])
            yield share("— of those found: by the graph", (of[f"{name}_count"] == true)[found])
    yield from _sign(of)


def _sign(of: pd.DataFrame) -> Iterator[Line]:
    score, is_anti = of["image_antineutrino_score"], of["neutrino_pdg"] < 0
    known = score.notna()
    # with neutrinos of one sign alone there is nothing to tell
    if len(np.unique(is_anti[known])) == 2:
        for words, sign in (("neutrinos", False), ("antineutrinos", True)):
            mine = known & (is_anti == sign)
            yield share(f"{words} called so by the image", (score >= 0.5)[mine] == sign)
