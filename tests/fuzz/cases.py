"""What is fuzzed: a file to begin with, how it may be changed, and what must hold of every outcome.

To add one, for whatever reads files: a `Case` in `CASES`, or in `OWN` for files that we write. Its `use` does what a
user would with the changed file, returns what was read, raises AssertionError where that is wrong, and lets what the
reader raises pass; an exception is right if `refuses` says so.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import test_edepsim
import test_hits
import test_ingest
import test_jaxtpc
import test_larcv3
import test_larcv3_images
import test_nuhepmc
import test_pilarnet
import test_pilarnet_revisions
from fuzz import datasets, own_files, texts
from fuzz.digests import digest_of_events
from fuzz.mutations import BASKET_KINDS, BYTE_KINDS, TREE_KINDS

from lartpc.config import Ingest
from lartpc.event import PRODUCTS, TRUTH
from lartpc.faults import passes
from lartpc.run.ingest import ingest
from lartpc.store import open_events

DATA = Path(__file__).parents[1] / "data"
HDF5 = BYTE_KINDS + TREE_KINDS
ROOT = BYTE_KINDS + BASKET_KINDS


class Seen(NamedTuple):
    """What was read of a file: a digest of it, and the number of events set aside."""

    digest: str = ""
    num_aside: int = 0


@dataclass(frozen=True)
class Case:
    """A reader under test: `make` writes a good file, `use` reads a changed one with an empty folder for results."""

    make: Callable[[Path], object]
    use: Callable[[Path, Path], Seen]
    kinds: tuple[str, ...] = HDF5


def refuses(error: Exception, path: Path) -> bool:
    """Tell whether an exception is a right refusal: a fault of the input, in one line, with the file's name."""
    return (
        isinstance(error, ValueError)
        and not passes(error)
        and str(path) in str(error)
        and "\n" not in str(error)
    )


def reading(cfg: Ingest) -> Callable[[Path, Path], Seen]:
    """Return the use of a file of events: ingest it, and check that nothing is lost, made or impossible."""

    def use(path: Path, folder: Path) -> Seen:
        out = folder / "out.h5"
        summary = ingest(path, cfg, out=out, file_uid="fuzz")
        sums = dict.fromkeys(("energy_mev", "energy_outside_mev", "energy_below_mev", "energy_lost_mev"), 0.0)
        with open_events(out) as events:
            aside = events.quarantined()
            assert len(events) == summary.num_events and len(aside) == summary.num_quarantined
            found = list(events.stream())
            for event in found:
                row = {name: float(event["event"][name][0]) for name in sums}
                if event.entry in aside:
                    assert event.num_voxels == 0
                    continue
                voxels_mev = float(event["voxel"]["energy"].sum(dtype=np.float64))
                accounted = voxels_mev + sum(mev for name, mev in row.items() if name != "energy_mev")
                assert abs(accounted - row["energy_mev"]) <= 1e-5 * row["energy_mev"] + 1e-6, (
                    "energy is lost or made"
                )
                assert np.isfinite(event["voxel"]["energy"]).all() and (event["voxel"]["energy"] > 0).all()
                assert event.box.contains(event["voxel"]["coord"]).all(), "a voxel outside the box"
                for name, mev in row.items():
                    sums[name] += mev
                for product in set(event) & set(TRUTH):
                    for column in PRODUCTS[product].columns:
                        assert not np.isinf(event[product][column]).any(), f"{product}.{column} is infinite"
        for name, mev in sums.items():
            assert abs(getattr(summary, name) - mev) <= 1e-6 * abs(mev) + 1e-9, f"{name} does not add up"
        return Seen(digest_of_events(found), len(aside))

    return use


def _as_written(use: Callable[[Path, Path], None]) -> Callable[[Path, Path], Seen]:
    """Return the use of a file of ours, which is read as it was written or not at all."""

    def seen(path: Path, folder: Path) -> Seen:
        use(path, folder)
        return Seen()

    return seen


def _said(use: Callable[[Path], str]) -> Callable[[Path, Path], Seen]:
    """Return the use of a file of text, of which what is read is known by a digest."""
    return lambda path, folder: Seen(use(path))


def _genie(kind: str) -> Callable[[Path, Path], Seen]:
    return _said(lambda path: texts.use_record(path, kind))


def _edepsim(path: Path) -> None:
    rows = [test_edepsim.muon(1), test_edepsim.muon(1, track=1, x=3.0), test_edepsim.muon(4)]
    test_edepsim.write(path, segments=[row[0] for row in rows], trajectories=[row[1] for row in rows])


def _segments_only(path: Path) -> None:
    rows = [test_edepsim.muon(event, x=x)[0] for event, x in ((1, 0.0), (1, 2.0), (2, 0.0), (5, 4.0))]
    test_edepsim.write(path, segments=rows, rename=True)


def _geant4(path: Path) -> None:
    rows = [test_ingest.g4_muon(event) for event in (1, 2, 5)]
    test_ingest.write_geant4(path, [row[0] for row in rows], [row[1] for row in rows], events=[1, 2, 3, 5])


def _jax_by_event(path: Path) -> None:
    def grouped(file: h5py.File) -> None:
        for number, event in ((0, 5), (1, 7), (2, 8), (10, 9)):
            file.move(f"batch_{number}", "moved")
            file.move("moved", f"batch_{number}/event_{event}")

    test_hits.write_jax(path, grouped)


def _pilarnet_parquet(path: Path) -> None:
    rows = [test_pilarnet_revisions.tables("split")] * 3
    test_pilarnet_revisions.write_rows(path.with_suffix(".parquet"), rows).rename(path)


def _copy(name: str) -> Callable[[Path], object]:
    return lambda path: shutil.copy(DATA / name, path)


FLAT = reading(test_larcv3_images.WIRES)
GENERIC, COARSE = reading(Ingest()), reading(Ingest(voxel_size_cm=0.4, num_voxels=320))

CASES: dict[str, Case] = {
    "edep-sim HDF5": Case(_edepsim, GENERIC),
    "edep-sim segments": Case(_segments_only, GENERIC),
    "edep-sim ROOT": Case(_copy("edepsim_5ev.root"), GENERIC, ROOT),
    "Geant4 steps": Case(_geant4, GENERIC),
    "JAXTPC": Case(lambda path: test_jaxtpc.write(path, [test_jaxtpc.muon(), test_jaxtpc.muon(30)]), GENERIC),
    "LArCV 2": Case(_copy("larcv2_4ev.root"), GENERIC, ROOT),
    "LArCV 2, images": Case(_copy("larcv2_images_3ev.root"), FLAT, ROOT),
    "LArCV 3": Case(test_larcv3.good, GENERIC),
    "LArCV 3, images": Case(test_larcv3_images.write, FLAT),
    "PILArNet-M": Case(test_pilarnet.write, GENERIC),
    "PILArNet-M Parquet": Case(_pilarnet_parquet, GENERIC, BYTE_KINDS),
    "SPINE 1": Case(_copy("spine_v1.h5"), COARSE),
    "SPINE 2": Case(_copy("spine_v2.h5"), COARSE),
    "ndlar_flow": Case(test_hits.write_flow, COARSE),
    "larnd-sim-jax": Case(_jax_by_event, COARSE),
    "larnd-sim-jax, older": Case(test_hits.write_jax, COARSE),
    "NuHepMC": Case(texts.make_record, _said(texts.use_record), BYTE_KINDS),
    "GENIE gst": Case(test_nuhepmc.gst, _genie("gst"), BYTE_KINDS),
    "GENIE rootracker": Case(test_nuhepmc.rootracker, _genie("rootracker"), BYTE_KINDS),
    "catalogue": Case(texts.make_catalogue, _said(texts.use_catalogue), BYTE_KINDS),
    "sample sheet": Case(texts.make_sheet, _said(texts.use_sheet), BYTE_KINDS),
    "settings": Case(texts.make_settings, _said(texts.use_settings), BYTE_KINDS),
}

OWN: dict[str, Case] = {
    "event file": Case(own_files.make_events, _as_written(own_files.use_events)),
    "event file of a stage": Case(own_files.make_stage, _as_written(own_files.use_stage)),
    "weights": Case(own_files.make_weights, _as_written(own_files.use_weights), BYTE_KINDS),
    "tables": Case(own_files.make_tables, _as_written(own_files.use_tables), BYTE_KINDS),
    "manifest": Case(own_files.make_manifest, _as_written(own_files.use_manifest), BYTE_KINDS),
    "checkpoint": Case(own_files.make_checkpoint, _as_written(own_files.use_checkpoint), BYTE_KINDS),
    "dataset": Case(datasets.make_dataset, _as_written(datasets.use_dataset), BYTE_KINDS),
    "figures": Case(own_files.make_figures, _as_written(own_files.use_figures), BYTE_KINDS),
}
