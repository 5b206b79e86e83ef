"""Neutrinos and what was made of them, from the tables: flavour, final state, vertex, selections, energies.

A neutrino is found as the reconstructed interaction of the largest IoU with its own, from `metrics.MATCH_IOU` on. Those
whose vertex is fiducial and that leave voxels are judged; docs/explanation/neutrinos.md has the definitions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lartpc.run.report.statistics import bootstrapped, half_width, median, quantile_68, wilson

Floats = NDArray[np.float64]
KEY = ["file_uid", "entry"]

FLAVOURS = {"numu_like": "νμ CC", "nue_like": "νe CC", "nc_like": "NC"}
"""Flavour-like classes, and the true neutrinos that they are for."""
ENERGY_BINS_GEV = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, np.inf)
PARTICLE_BINS_GEV = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 1.5, np.inf)
VERTEX_CM = (0.9, 6.0)
"""Distances up to which a vertex counts as found: 3 and 20 voxels of 3 mm."""
LONG_CM = 100.0
"""Path from which on a track that leaves is judged [cm]."""
CVN = {
    "numu_like": "DUNE CVN: above 90 % from 2 GeV, 96 % at best",
    "nue_like": "DUNE CVN: above 85 % for 2 to 5 GeV, 90 % at best",
}
"""Published efficiencies of selection (arXiv:2006.15052, abstract), with the flux and the energies of DUNE."""


@dataclass(frozen=True)
class Line:
    """A figure: a share or a number, of how many objects, with its errors below and above."""

    label: str
    num: int
    value: float
    below: float
    above: float
    unit: str = "%"
    published: str = ""


@dataclass(frozen=True)
class Tables:
    """What is joined: neutrinos with what they were found as, interactions with what they are, and particles.

    Neutrinos have `kind`, the class of `FLAVOURS` that they should be found as, and what they were found as under the
    names of `interactions`; what is of the truth has the prefix `true_`. Particles are primaries, matched with what
    was made of them (`_found`).
    """

    neutrinos: pd.DataFrame
    interactions: pd.DataFrame
    particles: pd.DataFrame


def figures(tables: Tables) -> dict[str, list[Line]]:
    """Return all figures by the titles of their sections; those of which there is no object are left out."""
    judged = judged_of(tables)
    found = {
        "Found": _found(tables.neutrinos, judged),
        "Flavour": [*_flavours(judged, tables.interactions)],
        "Interactions of no neutrino: cosmics, rain": [*_others(tables.interactions)],
        "Final state": [*_counts(judged, tables.particles)],
        "Vertex": [*_vertices(judged)],
        "Selections": [*_selections(judged, tables.interactions)],
        "Neutrino energy": [*_energies(judged)],
        "Energies of particles": [*_particles(tables.particles)],
    }
    return {title: kept for title, lines in found.items() if (kept := [line for line in lines if line.num])}


def judged_of(tables: Tables) -> pd.DataFrame:
    """Return the neutrinos that are judged: those with a fiducial vertex that leave voxels."""
    neutrinos = tables.neutrinos
    return neutrinos[neutrinos["true_is_fiducial"] & (neutrinos["true_num_voxels"] > 0)]


def share(label: str, hit: Any, unit: str = "%", published: str = "") -> Line:
    """Return the share of hits with Wilson's errors."""
    hit = np.asarray(hit, bool)
    value, below, above = wilson(np.count_nonzero(hit), len(hit))
    return Line(label, len(hit), float(value), float(below), float(above), unit, published)


def spread(label: str, values: Any, event: Any, unit: str = "%", published: str = "") -> Iterator[Line]:
    """Yield the median and half the central 68 % of values, with errors by drawing events anew."""
    for what, figure in (("bias", median), ("resolution", half_width)):
        yield number(
            f"{label}, {what}", values, event, figure, unit, published if what == "resolution" else ""
        )


def number(label: str, values: Any, event: Any, figure: Any, unit: str, published: str = "") -> Line:
    """Return a figure of finite values, with its error by drawing events anew."""
    values = np.asarray(values, np.float64)
    number = pd.factorize(pd.MultiIndex.from_frame(event))[0] if len(event) else np.zeros(0, np.int64)
    finite = values[np.isfinite(values)]
    one = bootstrapped(np.zeros(len(values)), values, number, np.array([-1.0, 1.0]), figure)
    if not len(one.value):
        return Line(label, len(finite), np.nan, np.nan, np.nan, unit, published)
    error = float(one.error[0])
    return Line(label, int(one.num[0]), float(one.value[0]), error, error, unit, published)


def bins(edges: tuple[float, ...], values_mev: Any) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the name of each bin of energies [GeV], and which of the values [MeV] lie in it."""
    values = np.asarray(values_mev, np.float64) / 1000
    for low, high in pairwise(edges):
        label = f"from {low:g} GeV" if np.isinf(high) else f"{low:g} to {high:g} GeV"
        yield label, (values >= low) & (values < high)


def _found(neutrinos: pd.DataFrame, judged: pd.DataFrame) -> list[Line]:
    """Return how many of the neutrinos are judged, and found as an interaction."""
    lines = [share("leave voxels, vertex fiducial", neutrinos.index.isin(judged.index))]
    lines += [
        share(f"{name} found as an interaction", judged.loc[judged["kind"] == kind, "is_found"])
        for kind, name in FLAVOURS.items()
    ]
    return lines


def _flavours(judged: pd.DataFrame, interactions: pd.DataFrame) -> Iterator[Line]:
    """Yield efficiency against the true energy, purity against the reconstructed one, and who is taken for whom."""
    fiducial = interactions[interactions["is_fiducial"]]
    for kind, name in FLAVOURS.items():
        of, called = judged[judged["kind"] == kind], fiducial[fiducial["flavour"] == kind]
        right = of["flavour"] == kind
        yield share(f"{name}, efficiency", right, published=CVN.get(kind, ""))
        for label, inside in bins(ENERGY_BINS_GEV, of["neutrino_energy_mev"]):
            yield share(f"— {label}", right[inside])
        for other, words in FLAVOURS.items():
            if other != kind:
                yield share(f"— taken for {words}", of["flavour"] == other)
        pure = called["kind"] == kind
        yield share(f"{name}-like, purity", pure)
        for label, inside in bins(ENERGY_BINS_GEV, called["reconstructed_energy_mev"]):
            yield share(f"— {label}, reconstructed", pure[inside])
        for other, words in {**FLAVOURS, "piece": "a piece of an interaction", "none": "no neutrino"}.items():
            if other != kind:
                yield share(f"— {words}", called["kind"] == other)


def _others(interactions: pd.DataFrame) -> Iterator[Line]:
    """Yield which of the reconstructed interactions of no neutrino pass for one: fiducial, and by their flavour."""
    others = interactions[interactions["kind"] == "none"]
    is_fiducial = others["is_fiducial"] == True  # noqa: E712 (a column of objects)
    yield share("with a fiducial vertex", is_fiducial)
    for kind, name in FLAVOURS.items():
        yield share(f"taken for {name}, fiducial", is_fiducial & (others["flavour"] == kind))
    for topology, (name, _) in SELECTIONS.items():
        yield share(f"selected as {name}", is_fiducial & (others["topology_above"] == topology))


def _counts(judged: pd.DataFrame, particles: pd.DataFrame) -> Iterator[Line]:
    """Yield how often numbers of protons, pions and π⁰ are right, and which neutrons were seen and found."""
    found = judged[judged["is_found"]]
    for name, words in (("proton", "protons"), ("pion", "charged pions"), ("pi_zero", "π⁰")):
        true = found[f"true_{name}_count"]
        known = true >= 0
        right = (found[f"{name}_count"] == true)[known]
        yield share(f"number of {words} with voxels right, by its score", right)
        for number in range(4):
            more = " or more" if number == 3 else ""
            yield share(f"— {number}{more}", right[true[known] == number])
    for name, words in (("proton", "protons"), ("pion", "charged pions")):
        true = found[f"true_num_{name}s_above"]
        right = found[f"num_primary_{name}s_above"] == true
        yield share(f"number of {words} above the threshold right, by the particles", right)
        for number in range(3):
            yield share(f"— {number}", right[true == number])
    neutrons = particles[particles["what"] == "neutron"]
    yield share("neutrons that leave a proton of 10 voxels or more", neutrons["is_seen"])
    seen = neutrons[neutrons["is_seen"].astype(bool)]  # of no rows it may be of any type
    yield share("— of these, found as a proton that is no primary", seen["is_right"])


def _vertices(judged: pd.DataFrame) -> Iterator[Line]:
    found = judged[judged["is_found"]]
    for kind, name in (("", "all"), *FLAVOURS.items()):
        of = found if not kind else found[found["kind"] == kind]
        away = of["vertex_distance_cm"]
        for limit in VERTEX_CM:
            yield share(f"{name}: within {limit:g} cm", away <= limit)
        for label, figure in (("median", median), ("68 % are within", quantile_68)):
            yield number(f"{name}: {label}", away, of[KEY], figure, "cm")


SELECTIONS = {"1mu1p": ("1µ1p", "numu_like"), "1e1p": ("1e1p", "nue_like")}
"""Topologies above the thresholds that are selected, and the neutrinos that they are of."""


def _selections(judged: pd.DataFrame, interactions: pd.DataFrame) -> Iterator[Line]:
    """Yield efficiency and purity of selections by the topology above thresholds, and of π⁰ from neutral currents."""
    fiducial = interactions[interactions["is_fiducial"]]
    for topology, (name, kind) in SELECTIONS.items():
        of = judged[is_signal(judged, topology, kind)]
        selected = fiducial[fiducial["topology_above"] == topology]
        yield share(f"{name}: efficiency", of["topology_above"] == topology)
        for label, inside in bins(ENERGY_BINS_GEV, of["neutrino_energy_mev"]):
            yield share(f"— {label}", (of["topology_above"] == topology)[inside])
        yield share(f"{name}: purity", is_signal(selected, topology, kind))
    of = judged[(judged["kind"] == "nc_like") & (judged["true_num_pi_zeros_above"] > 0)]
    yield share("NC with π⁰: a pair of photons found", of["num_pi_zeros"] > 0)
    of = judged[judged["true_num_pi_zeros_above"] > 0]
    yield share("any with π⁰: a pair of photons found", of["num_pi_zeros"] > 0)
    pairs = judged[(judged["num_pi_zeros"] > 0)]
    yield share("interactions with a pair of photons: with a true π⁰", pairs["true_num_pi_zeros_above"] > 0)


def is_signal(frame: pd.DataFrame, topology: str, kind: str) -> Any:
    """Tell which rows are of a neutrino with this topology, whatever neutrons there are."""
    bare = frame["true_topology_above"].fillna("").str.replace(r"\d+n$", "", regex=True)
    return (bare == topology) & (frame["kind"] == kind)


def _energies(judged: pd.DataFrame) -> Iterator[Line]:
    """Yield bias and resolution of the energy of contained νμ CC and νe CC against the neutrino's."""
    for kind, name in FLAVOURS.items():
        if kind == "nc_like":
            continue
        of = judged[(judged["kind"] == kind) & (judged["flavour"] == kind)]
        of = of[of["true_is_contained"] & (of["is_contained"] == True)]  # noqa: E712 (a column of objects)
        ratio = (of["reconstructed_energy_mev"] / of["neutrino_energy_mev"] - 1).to_numpy(np.float64)
        yield from spread(f"{name}, contained", ratio, of[KEY])
        for label, inside in bins(ENERGY_BINS_GEV, of["neutrino_energy_mev"]):
            yield from spread(f"— {label}", ratio[inside], of[KEY][inside])
    of = judged[
        (judged["kind"] == "nc_like") & (judged["flavour"] == "nc_like") & judged["true_is_contained"]
    ]
    of = of[of["available_energy_mev"] > 0]
    ratio = of["reconstructed_energy_mev"] / of["available_energy_mev"] - 1
    yield from spread("NC, contained, of the available energy", ratio, of[KEY])


GOALS = {"muon, contained": "≤ 2.5 %", f"muon, leaves after {LONG_CM:g} cm, 0.3 to 1.5 GeV": "≤ 20 %"}


def _particles(particles: pd.DataFrame) -> Iterator[Line]:
    """Yield bias and resolution of the energies of matched particles."""
    truth = particles["kinetic_energy_initial_mev"]
    kinds: Mapping[str, Any] = {
        "muon, contained": (particles["what"] == "muon") & particles["is_contained"],
        f"muon, leaves after {LONG_CM:g} cm, 0.3 to 1.5 GeV": (particles["what"] == "muon")
        & ~particles["is_contained"]
        & (particles["path_length_cm"] >= LONG_CM)
        & truth.between(300, 1500),
        "muon, leaves, by scattering": (particles["what"] == "muon")
        & (particles["energy_method"] == "scattering"),
        "electron, contained": (particles["what"] == "electron") & particles["is_contained"],
        "proton, contained": (particles["what"] == "proton") & particles["is_contained"],
    }
    leaving = particles[(particles["what"] == "muon") & ~particles["is_contained"]]
    known = leaving["range_energy_mev"].notna()
    below = leaving["kinetic_energy_mev"] < leaving["range_energy_mev"] * (1 - 1e-6)
    yield share("muons that leave: energy below that of the visible path", below[known])
    yield share("muons that leave: energy a lower bound", leaving["is_energy_bound"] == True)  # noqa: E712
    for name, chosen in kinds.items():
        of = particles[chosen]
        ratio = (of["kinetic_energy_mev"] / of["kinetic_energy_initial_mev"] - 1).to_numpy(np.float64)
        goal = GOALS.get(name, "")
        yield from spread(name, ratio, of[KEY], published=f"goal: {goal}" if goal else "")
        pull = (of["kinetic_energy_mev"] - of["kinetic_energy_initial_mev"]) / of["kinetic_energy_error_mev"]
        aim = "goal: 0.9 to 1.1" if "leaves" in name else ""
        yield number(f"{name}, width of pulls", pull, of[KEY], half_width, "", aim)
        for label, inside in bins(PARTICLE_BINS_GEV, of["kinetic_energy_initial_mev"]):
            yield from spread(f"— {label}", ratio[inside], of[KEY][inside])


def read_kind(neutrino_pdg: Any, current: Any) -> Any:
    """Return the flavour-like class that each neutrino should be found as; "other" for ντ and unknown ones."""
    code = np.abs(np.asarray(neutrino_pdg))
    is_nc, is_cc = np.asarray(current) == "nc", np.asarray(current) == "cc"
    return np.select(
        [is_nc, is_cc & (code == 14), is_cc & (code == 12)], ["nc_like", "numu_like", "nue_like"], "other"
    )
