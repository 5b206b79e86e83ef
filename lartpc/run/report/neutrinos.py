"""`lartpc neutrinos`: the figures of neutrinos of a dataset, as a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lartpc.atomic import replacing
from lartpc.event import COUNTED, MAX_COUNT
from lartpc.metrics import MATCH_IOU
from lartpc.run.quality.image_classes import image_lines
from lartpc.run.quality.microboone import pixel_lines
from lartpc.run.quality.neutrinos import KEY, Line, Tables, figures, judged_of, read_kind
from lartpc.tables.scenarios import table_folder
from lartpc.tables.written import written_table

SEEN_VOXELS = 10
"""Fewest voxels of a proton that shows the neutron that it comes from."""
_ABOVE = ("photons", "electrons", "muons", "pions", "protons", "pi_zeros")
_COUNTS = ("proton_count", "pion_count", "pi_zero_count")
_VERTEX = ("vertex_x_cm", "vertex_y_cm", "vertex_z_cm")
_PRIMARIES = {"muon": 13, "electron": 11, "proton": 2212, "neutron": 2112}


def neutrinos_table(dataset: Path, out: Path) -> str:
    """Write the figures of the neutrinos of a dataset (Markdown), and return the text.

    Raises
    ------
    ValueError
        There is no table of neutrinos, or none of them has an interaction in the images.
    """
    tables = read_tables(dataset)
    sections = figures(tables)
    if by_image := [line for line in image_lines(judged_of(tables)) if line.num]:
        sections["By the whole image (stage classify), beside the graph"] = by_image
    if pixels := [line for line in pixel_lines(read_images(dataset)) if line.num]:
        sections["Pixels taken for track instead of shower, or the other way round"] = pixels
    text = "\n".join(
        [
            "# Neutrinos",
            "",
            "Definitions in docs/explanation/neutrinos.md. Errors are statistical: Wilson's interval of "
            "shares, the bootstrap over events of medians and widths.",
            *(line for title, lines in sections.items() for line in ("", f"## {title}", "", *_rows(lines))),
            "",
        ]
    )
    with replacing(out) as part:
        part.write_text(text)
    return text


def read_tables(dataset: Path) -> Tables:
    """Read and join the tables of a dataset, or raise ValueError where it has no neutrinos."""
    if not table_folder(dataset, "truth_neutrinos").is_dir():
        raise ValueError(
            f"{dataset}: not a folder of tables; name what 'lartpc collect' wrote, results/dataset"
        )
    place = ["is_fiducial", "is_contained", "num_voxels", *_COUNTS]
    true = _read(
        dataset, "truth_interactions", ("truth_interaction_id", "interaction_id", "iou", *place)
    ).rename(columns={name: f"true_{name}" for name in place})
    true["interaction_id"] = true["interaction_id"].where(true["iou"] >= MATCH_IOU, -1)
    neutrinos = _neutrinos(dataset).merge(true, on=[*KEY, "truth_interaction_id"])
    if not len(neutrinos):
        raise ValueError(
            f"{dataset}: has no neutrino with an interaction in the images; docs/explanation/neutrinos.md"
        )
    neutrinos["true_is_fiducial"] = neutrinos["true_is_fiducial"].fillna(False).astype(bool)
    found = _interactions(dataset)
    neutrinos = neutrinos.merge(found, on=[*KEY, "interaction_id"], how="left")
    neutrinos["is_found"] = neutrinos["num_primaries"].notna()
    away = np.stack([neutrinos[name] - neutrinos[f"true_{name}"] for name in _VERTEX], axis=1)
    neutrinos["vertex_distance_cm"] = np.linalg.norm(away, axis=1)
    return Tables(
        _with_images(dataset, neutrinos), _with_truth(found, neutrinos), _particles(dataset, neutrinos)
    )


def read_images(dataset: Path) -> pd.DataFrame:
    """Return the images of events with one neutrino: what was made of their voxels, and what the neutrino is.

    Of views of wire planes it is the first plane, that of collection. Where points were made of the planes, it is their
    images, not the points: an event of the points is an entry of each plane there.
    """
    neutrinos = _neutrinos(dataset).drop_duplicates(KEY, keep=False)
    found = _read(dataset, "metrics", ("input", "stages", "plane", "semantic_confusion"))
    num_planes = max(found["plane"], default=0) + 1
    found = found[(found["input"] != "truth") & (found["plane"] <= 0)]
    found = found[found["stages"].str.contains("segment")]
    if (found["input"] == "planes").any():
        found = found[found["input"] == "planes"]
        found = found.assign(entry=found["entry"] // num_planes)
    return found.merge(neutrinos, on=KEY)


def _with_images(dataset: Path, neutrinos: pd.DataFrame) -> pd.DataFrame:
    """Add what the images of events are classified as, for neutrinos that are alone in their event."""
    columns = ["image_flavour", "image_antineutrino_score", *(f"image_{name}_count" for name in COUNTED)]
    images = _read(dataset, "events", columns)
    alone = _read(dataset, "truth_neutrinos", ["truth_neutrino_id"]).drop_duplicates(KEY, keep=False)[KEY]
    born = _read(dataset, "truth_primaries", ["truth_neutrino_id"], where=ds.field("pdg") == 2112)
    neutrons = born.groupby([*KEY, "truth_neutrino_id"]).size().clip(upper=MAX_COUNT)
    neutrinos = neutrinos.merge(images.merge(alone, on=KEY), on=KEY, how="left")
    number = neutrons.rename("true_neutron_count").reset_index()
    neutrinos = neutrinos.merge(number, on=[*KEY, "truth_neutrino_id"], how="left")
    return neutrinos.assign(true_neutron_count=neutrinos["true_neutron_count"].fillna(0))


def _read(dataset: Path, table: str, columns: Sequence[str], where: Any = None) -> pd.DataFrame:
    read = ds.dataset(written_table(dataset, table)).to_table(columns=[*KEY, *columns], filter=where)
    frame: pd.DataFrame = read.to_pandas()
    words = frame.select_dtypes("category").columns
    return frame.astype(dict.fromkeys(words, object))


def _neutrinos(dataset: Path) -> pd.DataFrame:
    columns = ["truth_neutrino_id", "truth_interaction_id", "neutrino_pdg", "current", "neutrino_energy_mev"]
    truth = [*(f"num_{ending}_above" for ending in _ABOVE), "topology_above", *_VERTEX]
    frame = _read(dataset, "truth_neutrinos", [*columns, "available_energy_mev", *truth])
    frame = frame.rename(columns={name: f"true_{name}" for name in truth})
    return frame.assign(kind=read_kind(frame["neutrino_pdg"], frame["current"]))


def _interactions(dataset: Path) -> pd.DataFrame:
    numbers = [f"num_primary_{name}s_above" for name in ("muon", "electron", "photon", "pion", "proton")]
    return _read(
        dataset,
        "interactions",
        [
            *("interaction_id", "num_primaries", "flavour", "topology_above", *numbers, *_COUNTS, *_VERTEX),
            *("num_pi_zeros", "energy_mev", "reconstructed_energy_mev", "is_contained", "is_fiducial"),
            *("truth_interaction_id", "truth_iou"),
        ],
    ).rename(columns={"truth_interaction_id": "best_truth_id"})


def _with_truth(found: pd.DataFrame, neutrinos: pd.DataFrame) -> pd.DataFrame:
    """Return the reconstructed interactions with the kind of the neutrino that they are: "piece" of one, or "none"."""
    of = neutrinos[[*KEY, "truth_interaction_id", "kind", "true_topology_above"]]
    joined = found.merge(
        of, how="left", left_on=[*KEY, "best_truth_id"], right_on=[*KEY, "truth_interaction_id"]
    )
    whole = joined["truth_iou"] >= MATCH_IOU
    kind = joined["kind"].where(whole | joined["kind"].isna(), "piece").fillna("none")
    return joined.assign(kind=kind, true_topology_above=joined["true_topology_above"].where(whole))


def _particles(dataset: Path, neutrinos: pd.DataFrame) -> pd.DataFrame:
    """Return the primaries of `_PRIMARIES` with what was made of them; of neutrons, of the protons that show them."""
    judged = neutrinos[neutrinos["true_is_fiducial"] & (neutrinos["true_num_voxels"] > 0)]
    born = _read(
        dataset,
        "truth_primaries",
        ("truth_interaction_id", "truth_particle_id", "track_id", "pdg", "kinetic_energy_initial_mev"),
        where=pc.is_in(ds.field("pdg"), pa.array([13, -13, 11, -11, 2212, 2112], pa.int32())),
    ).merge(judged[[*KEY, "truth_interaction_id"]], on=[*KEY, "truth_interaction_id"])
    code = born["pdg"].abs()
    born["what"] = np.select([code == pdg for pdg in _PRIMARIES.values()], list(_PRIMARIES), "")
    known = _read(
        dataset,
        "truth_particles",
        (
            "truth_particle_id",
            "parent_track_id",
            "particle_id",
            "iou",
            "num_voxels",
            "is_contained",
            "species",
        ),
    )
    known["particle_id"] = known["particle_id"].where(known["iou"] >= MATCH_IOU, -1)
    found = _read(
        dataset,
        "particles",
        (
            *("particle_id", "species", "is_primary", "kinetic_energy_mev", "path_length_cm", "is_contained"),
            *("kinetic_energy_error_mev", "is_energy_bound", "energy_method", "range_energy_mev"),
        ),
    ).rename(
        columns={"species": "species_found", "is_primary": "primary_found", "is_contained": "contained_found"}
    )
    known = known.merge(found, on=[*KEY, "particle_id"], how="left")
    charged = born[born["what"] != "neutron"].merge(known, on=[*KEY, "truth_particle_id"])
    charged = charged[charged["species"] == charged["species_found"]]
    charged["is_contained"] = charged["is_contained"].fillna(False).astype(bool)
    return pd.concat([charged, _neutrons(born[born["what"] == "neutron"], known)], ignore_index=True)


def _neutrons(born: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Tell which neutrons leave a proton that can be seen, and which of these one that was found as no primary."""
    protons = known[(known["species"] == "proton") & (known["num_voxels"] >= SEEN_VOXELS)]
    right = (protons["species_found"] == "proton") & (protons["primary_found"] == False)  # noqa: E712
    groups = protons.assign(is_right=right).groupby([*KEY, "parent_track_id"])["is_right"].any()
    of = born.merge(
        groups.reset_index(), how="left", left_on=[*KEY, "track_id"], right_on=[*KEY, "parent_track_id"]
    )
    seen = of["is_right"].notna()
    return of.assign(is_seen=seen, is_right=seen & (of["is_right"] == True), is_contained=False)  # noqa: E712


def _rows(lines: Sequence[Line]) -> list[str]:
    head = ["| | N | value | published |", "| --- | ---: | ---: | --- |"]
    return [
        *head,
        *(f"| {line.label} | {line.num:,} | {_value(line)} | {line.published} |" for line in lines),
    ]


def _value(line: Line) -> str:
    """Spell a value with its error, the larger of both sides, or both where they differ by more than a fifth."""
    if not np.isfinite(line.value):
        return "-"
    scale, digits = (100.0, 1) if line.unit == "%" else (1.0, 2)
    value, below, above = (scale * number for number in (line.value, line.below, line.above))
    error = f"± {max(below, above):.{digits}f}"
    if max(below, above) > 1.2 * min(below, above):
        error = f"−{below:.{digits}f} +{above:.{digits}f}"
    return f"{value:.{digits}f} {error} {line.unit}"
