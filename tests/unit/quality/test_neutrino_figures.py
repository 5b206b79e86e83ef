"""Figures of neutrinos from tables with known answers."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lartpc.run.quality.image_classes import image_lines
from lartpc.run.quality.neutrinos import figures, judged_of
from lartpc.run.report.neutrinos import neutrinos_table, read_images, read_tables
from lartpc.tables import TABLES

KINDS = [(14, "cc", "numu_like"), (12, "cc", "nue_like"), (14, "nc", "nc_like"), (14, "cc", "numu_like")]


def write(folder, table, rows):
    """Write rows of a table, all other columns null or 0; each row is an event of its own unless it says so."""
    frame = pd.DataFrame(
        {"file_uid": "nu/0000", "entry": np.arange(len(rows))} | pd.DataFrame(rows).to_dict("list")
    )
    blank = {
        name: (0 if str(field.type).startswith("int") else False if str(field.type) == "bool" else None)
        for name, field in TABLES[table].fields.items()
        if name not in frame
    }
    (folder / table).mkdir()
    frame.assign(**blank).to_parquet(folder / table / "part-0.parquet")


@pytest.fixture
def dataset(tmp_path):
    """Four neutrinos, one event each: all found, the last in pieces and called NC; one interaction that is none."""
    truth = [
        {
            "neutrino_pdg": pdg,
            "current": current,
            "neutrino_energy_mev": 800.0,
            "topology_above": f"1{lepton}1p2n",
        }
        | {"num_protons_above": 1, "vertex_x_cm": 0.0, "vertex_y_cm": 0.0, "vertex_z_cm": 0.0}
        for (pdg, current, _), lepton in zip(KINDS, ("mu", "e", "", "mu"), strict=True)
    ]
    write(tmp_path, "truth_neutrinos", truth)
    seen = {"is_fiducial": True, "is_contained": True, "num_voxels": 500, "proton_count": 1}
    write(tmp_path, "truth_interactions", [seen | {"iou": iou} for iou in (0.9, 0.8, 0.7, 0.3)])
    found = [
        {"flavour": flavour, "truth_iou": iou, "num_primary_protons_above": 1, "topology_above": topology}
        | {"is_fiducial": True, "is_contained": True, "reconstructed_energy_mev": energy, "proton_count": 1}
        | {"vertex_x_cm": 0.5, "vertex_y_cm": 0.0, "vertex_z_cm": 0.0, "num_primaries": 2, "entry": entry}
        for entry, flavour, iou, topology, energy in (
            (0, "numu_like", 0.9, "1mu1p", 760.0),
            (1, "nue_like", 0.8, "1e1p", 800.0),
            (2, "numu_like", 0.7, "1mu1p", 400.0),
            (3, "nc_like", 0.3, "1p", 100.0),
        )
    ]
    found.append(found[0] | {"entry": 0, "interaction_id": 1, "truth_interaction_id": -1, "truth_iou": 0.0})
    write(tmp_path, "interactions", [{"interaction_id": 0, "truth_interaction_id": 0} | row for row in found])
    images = [("numu_like", 1), ("nue_like", 0), ("nc_like", 0), ("nc_like", 0)]
    write(
        tmp_path,
        "events",
        [
            {"image_flavour": flavour, "image_neutron_count": neutrons, "image_proton_count": 1}
            for flavour, neutrons in images
        ],
    )
    muon = {"pdg": 13, "kinetic_energy_initial_mev": 500.0, "track_id": 1}
    neutron = {"pdg": 2112, "kinetic_energy_initial_mev": 90.0, "track_id": 2, "truth_particle_id": -1}
    write(tmp_path, "truth_primaries", [muon | {"entry": 0}, neutron | {"entry": 0}, neutron | {"entry": 1}])
    tracks = [
        {
            "entry": 0,
            "species": "muon",
            "iou": 0.9,
            "num_voxels": 400,
            "is_contained": True,
            "parent_track_id": -1,
        },
        {"entry": 0, "species": "proton", "iou": 0.6, "num_voxels": 12, "parent_track_id": 2}
        | {"truth_particle_id": 1, "particle_id": 1},
    ]
    write(tmp_path, "truth_particles", tracks)
    write(
        tmp_path,
        "particles",
        [
            {"entry": 0, "species": "muon", "is_primary": True, "kinetic_energy_mev": 510.0},
            {"entry": 0, "species": "proton", "is_primary": False, "particle_id": 1},
        ],
    )
    confusion = np.zeros((len(KINDS), 5, 5), np.int64)
    confusion[:, 0, 0], confusion[:, 0, 1], confusion[:, 1, 1] = 30, 10, 60
    images = [
        {"input": "predicted", "stages": "segment,points", "plane": -1, "semantic_confusion": one.ravel()}
        | {"entry": entry}
        for entry, one in enumerate(confusion)
    ]
    on_truth = {"input": "truth", "stages": "cluster", "semantic_confusion": np.zeros(25, np.int64)}
    write(tmp_path, "metrics", [*images, on_truth | {"plane": -1, "entry": 0}])
    return tmp_path


def test_figures_of_neutrinos_are_those_of_the_tables(dataset):
    """Efficiencies are of all judged neutrinos, purities of all interactions; pieces and others are told apart."""
    sections = figures(read_tables(dataset))
    lines = {(title, line.label): line for title, found in sections.items() for line in found}
    expected = {
        ("Found", "νμ CC found as an interaction"): (2, 0.5),
        ("Flavour", "νμ CC, efficiency"): (2, 0.5),
        ("Flavour", "νe CC, efficiency"): (1, 1.0),
        ("Flavour", "NC, efficiency"): (1, 0.0),
        ("Flavour", "νμ CC-like, purity"): (3, 1 / 3),
        ("Flavour", "NC-like, purity"): (1, 0.0),
        ("Flavour", "— a piece of an interaction"): (1, 1.0),
        ("Interactions of no neutrino: cosmics, rain", "with a fiducial vertex"): (1, 1.0),
        ("Interactions of no neutrino: cosmics, rain", "taken for νμ CC, fiducial"): (1, 1.0),
        ("Interactions of no neutrino: cosmics, rain", "taken for NC, fiducial"): (1, 0.0),
        ("Interactions of no neutrino: cosmics, rain", "selected as 1µ1p"): (1, 1.0),
        ("Final state", "number of protons above the threshold right, by the particles"): (3, 1.0),
        ("Final state", "neutrons that leave a proton of 10 voxels or more"): (2, 0.5),
        ("Final state", "— of these, found as a proton that is no primary"): (1, 1.0),
        ("Vertex", "all: within 0.9 cm"): (3, 1.0),
        ("Selections", "1µ1p: efficiency"): (2, 0.5),
        ("Selections", "1µ1p: purity"): (3, 1 / 3),
        ("Neutrino energy", "νμ CC, contained, bias"): (1, None),
    }
    for name, (num, value) in expected.items():
        assert lines[name].num == num, name
        assert value is None or lines[name].value == pytest.approx(value), name


def test_page_of_neutrinos(dataset, tmp_path):
    """The page has a row for each figure, with its number of objects."""
    text = neutrinos_table(dataset, tmp_path / "neutrinos.md")
    assert text == (tmp_path / "neutrinos.md").read_text()
    assert "| νμ CC-like, purity | 3 | 33.3 −" in text
    # MicroBooNE's samples: one pixel in ten of each image, and a quarter of those of showers
    assert "| νμ: mean | 2 | 10.0 ± 0.0 % | MicroBooNE: 3.9 % |" in text
    assert "| 1e1p: shower | 1 | -" in text and "| νμ: shower | 2 | 25.0 ± 0.0 %" in text
    assert "LE" not in text


def test_dataset_without_neutrinos_is_refused(dataset, tmp_path):
    """Particles of our own generators are no neutrinos; a folder that is no dataset is named as such."""
    with pytest.raises(ValueError, match="not a folder of tables"):
        read_tables(tmp_path / "elsewhere")
    frame = pd.read_parquet(dataset / "truth_neutrinos")
    frame.iloc[:0].to_parquet(dataset / "truth_neutrinos" / "part-0.parquet")
    with pytest.raises(ValueError, match="has no neutrino"):
        read_tables(dataset)


def test_the_image_is_judged_beside_the_graph(dataset):
    lines = [*image_lines(judged_of(read_tables(dataset)))]
    value = {line.label: line.value for line in lines if not line.label.startswith("—")}
    assert value["νμ CC, efficiency by the image"] == value["νμ CC, efficiency by the graph"] == 0.5
    assert value["NC, efficiency by the image"] == 1.0 and value["NC, efficiency by the graph"] == 0.0
    at = [line.label for line in lines].index("NC, efficiency by the image")
    purity = next(line for line in lines[at:] if line.label == "— purity")
    assert (purity.value, purity.num) == (0.5, 2), "one of the νμ CC looks like a neutral current"
    # one neutron leaves the vertex of the first and of the second
    assert value["number of neutrons that leave the vertex right by the image"] == 0.75


def test_images_that_are_not_classified_say_nothing(dataset):
    path = dataset / "events" / "part-0.parquet"
    pd.read_parquet(path).assign(image_flavour=None).to_parquet(path)
    assert not [line for line in image_lines(judged_of(read_tables(dataset))) if line.num]


def test_images_of_planes_belong_to_the_events_of_their_points(dataset):
    rows = [
        {"input": "planes", "stages": "segment,points", "plane": plane, "entry": 3 * entry + plane}
        | {"semantic_confusion": np.full(25, 10 * entry + plane)}
        for entry in range(len(KINDS))
        for plane in range(3)
    ]
    points = [{"input": "predicted", "stages": "segment", "plane": -1, "entry": 1}]
    (dataset / "metrics" / "part-0.parquet").unlink()
    (dataset / "metrics").rmdir()
    write(
        dataset,
        "metrics",
        [*rows, *({**one, "semantic_confusion": np.zeros(25, np.int64)} for one in points)],
    )
    found = read_images(dataset).sort_values("entry")
    assert found["entry"].tolist() == [0, 1, 2, 3] and found["kind"].tolist() == [kind for *_, kind in KINDS]
    assert [confusion[0] for confusion in found["semantic_confusion"]] == [0, 10, 20, 30]


def test_neutrinos_whose_particles_were_not_looked_for(dataset, tmp_path):
    for table in ("interactions", "particles", "truth_primaries"):
        columns = {name: pa.array([], field.type) for name, field in TABLES[table].fields.items()}
        pq.write_table(pa.table(columns), dataset / table / "part-0.parquet")
    text = neutrinos_table(dataset, tmp_path / "neutrinos.md")
    assert "| νμ: mean | 2 | 10.0" in text
