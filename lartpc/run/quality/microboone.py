"""MicroBooNE's table of misclassified pixels (arXiv:1808.07269), for neutrinos that are selected as its samples."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lartpc import metrics
from lartpc.run.quality.neutrinos import KEY, Line, is_signal, number
from lartpc.run.quality.pool import ICPF_QUANTILE, TRACK_OR_SHOWER
from lartpc.vocab import Semantic

LOW_ENERGY_MEV = 500.0
"""Neutrinos below it are of the samples called LE: where MiniBooNE's excess is. MicroBooNE's own ranges of its LE
samples are not known here."""


@dataclass(frozen=True)
class Sample:
    """One line of the table: neutrinos of a kind, with a topology above the thresholds or any, up to an energy.

    `published` are mean and 90 % quantile of the share of wrong pixels, and those of shower and of track pixels [%].
    """

    name: str
    kind: str
    topology: str | None
    most_mev: float
    published: tuple[float, float, float, float]


SAMPLES = (
    Sample("νe", "nue_like", None, np.inf, (6.0, 13.8, 7.6, 13.8)),
    Sample("νμ", "numu_like", None, np.inf, (3.9, 4.5, 14.2, 4.3)),
    Sample("1e1p", "nue_like", "1e1p", np.inf, (2.2, 5.7, 2.8, 4.0)),
    Sample("1µ1p-LE", "numu_like", "1mu1p", LOW_ENERGY_MEV, (2.3, 2.2, 6.2, 2.4)),
    Sample("1e1p-LE", "nue_like", "1e1p", LOW_ENERGY_MEV, (3.9, 11.5, 3.8, 8.0)),
)


def pixel_lines(images: pd.DataFrame) -> Iterator[Line]:
    """Yield the share of wrong pixels, or voxels, of each sample: mean, 90 % quantile, of shower and of track pixels.

    Parameters
    ----------
    images
        Rows of `metrics` of the images of one neutrino each (column `semantic_confusion`), with its kind, topology
        and energy.
    """
    for sample in SAMPLES:
        chosen = (images["kind"] == sample.kind) & (images["neutrino_energy_mev"] < sample.most_mev)
        if sample.topology:
            chosen &= is_signal(images, sample.topology, sample.kind)
        of = images[chosen]
        size = len(Semantic)
        confusion = np.array(of["semantic_confusion"].tolist(), np.int64).reshape(-1, size, size)
        two = metrics.merge_classes(confusion, TRACK_OR_SHOWER, 2)
        of_image, of_class = metrics.incorrect_fractions(two)
        columns: tuple[tuple[str, Any, Any], ...] = (
            ("mean", of_image, np.mean),
            (f"{ICPF_QUANTILE:.0%} quantile", of_image, lambda values: np.quantile(values, ICPF_QUANTILE)),
            *((word, of_class[:, row], np.mean) for row, word in enumerate(("shower", "track"))),
        )
        for (what, values, figure), published in zip(columns, sample.published, strict=True):
            yield number(
                f"{sample.name}: {what}", values, of[KEY], figure, "%", f"MicroBooNE: {published:g} %"
            )
