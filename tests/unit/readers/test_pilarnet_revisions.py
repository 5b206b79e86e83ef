"""PILArNet-M, revision 3, in HDF5 and Parquet, as the public decoder describes it; and layouts that nobody knows."""

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_pilarnet import CFG, points, sample, vlen, write, write_events

from lartpc.ingest import open_source, open_sources
from lartpc.ingest.formats.pilarnet_layout import BATCH
from lartpc.masses import mass_mev
from lartpc.run.export import export
from lartpc.run.ingest import ingest
from lartpc.store import open_events
from lartpc.vocab import Species

MUON_MEV = mass_mev(13)

CLUSTER = np.array(
    [  # points, fragment, group, interaction, class, species
        [1, -1, -1, -1, 4, -1],
        [3, 11, 11, 2, 1, 2],
        [1, 12, 12, 2, 3, 1],
        [1, 21, 22, 2, 0, 0],
        [2, 22, 22, 2, 0, 0],
    ]
)
EXTRA = np.array(
    [  # mass [MeV], momentum [GeV/c], vertex, primary
        [-1, -1, -1, -1, -1, -1],
        [MUON_MEV, 0.5, 12.5, 20.5, 30.5, 1],
        [0.511, 0.01, 12.5, 20.5, 30.5, 0],
        [0.511, 0.002, 12.5, 20.5, 30.5, 0],
        [0.0, 0.08, 12.5, 20.5, 30.5, 1],
    ]
)
DIRECTION = np.array([[-1.0] * 3, [0.3, 0.4, 0.0], [0.01, 0, 0], [0, 0.002, 0], [0, 0, -0.08]])
PARENT = np.array([[-1.0] * 2, [-1, -1], [13, 1], [22, 5], [-1, -1]])
TABLE = np.array([[2, 12.5, 20.5, 30.5], [7, 1.0, 1.0, 1.0]])


def tables(layout="v3"):
    """Return the flat rows of one event: low energy, a muon with a delta, a shower in two pieces."""
    coord = [
        [700, 1, 2],
        [10, 20, 30],
        [11, 20, 30],
        [12, 20, 30],
        [12, 21, 30],
        [50, 50, 50],
        [60, 50, 50],
        [61, 50, 50],
    ]
    rows = {
        "point": points(
            coord, [0.25, 1.0, 1.5, 2.0, 0.5, 3.0, 4.0, 4.5], [9.0, 3.0, 2.0, 1.0, 1.5, 5.0, 6.0, 7.0]
        ),
        "cluster": CLUSTER,
        "cluster_extra": EXTRA,
    }
    if layout == "split":
        rows |= {"cluster_extra_2": np.hstack([DIRECTION, PARENT]), "interaction_extra": TABLE}
    elif layout == "packed":
        rows |= {"cluster_extra": np.hstack([EXTRA, DIRECTION, PARENT]), "interaction_extra": TABLE}
    elif layout == "packed 9":
        rows |= {"cluster_extra": np.hstack([EXTRA, DIRECTION]), "interaction_extra": TABLE}
    return rows


def write_rows(path, events, *, nested=False, row_group=1000):
    """Write events as HDF5, or as Parquet with flat or nested lists."""
    names = list(events[0])
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name in names:
                vlen(file, name, [event[name] for event in events], "i8" if name == "cluster" else "f4")
        return path
    kind = pa.float32()
    columns = {
        name: pa.array(
            [(event[name] if nested else event[name].ravel()).tolist() for event in events],
            pa.list_(pa.list_(kind)) if nested else pa.list_(kind),
        )
        for name in names
    }
    pq.write_table(pa.table(columns), path, row_group_size=row_group)
    return path


def first_event(path, folder):
    summary = ingest(path, CFG, out=folder / "events.h5")
    with open_events(folder / "events.h5") as events:
        assert not events.quarantined() and summary.num_events == len(events)
        return events[0]


@pytest.mark.parametrize("layout", ["v3", "split", "packed", "packed 9"])
@pytest.mark.parametrize("name", ["a.h5", "a.parquet"])
def test_revision_3_says_who_is_primary_and_how_fast(tmp_path, name, layout):
    event = first_event(write_rows(tmp_path / name, [tables(layout)]), tmp_path)
    particle = event["truth_particle"]
    assert particle["track_id"].tolist() == [11, 12, 22]
    assert particle["species"].tolist() == [Species.MUON, Species.ELECTRON, Species.PHOTON]
    # the shower's are those of the cluster that has its number, not of the first
    assert particle["is_primary"].tolist() == [1, 0, 1]
    expected = [np.hypot(MUON_MEV, 500) - MUON_MEV, np.hypot(0.511, 10) - 0.511, 80.0]
    assert particle["energy_init"] == pytest.approx(expected, rel=1e-5)
    assert event["truth_interaction"]["vertex"].tolist() == [[12.5, 20.5, 30.5]]
    assert event["truth_interaction"]["num_primaries"].tolist() == [2]
    assert event["truth_fragment"]["is_primary"].tolist() == [1, 1, 1, 0]  # by their times
    if layout == "v3":
        assert np.isnan(particle["momentum"]).all()
    else:
        assert particle["momentum"] == pytest.approx(np.array([[300, 400, 0], [10, 0, 0], [0, 0, -80]]))


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_is_read_as_hdf5_is(tmp_path, nested):
    num = 2 * BATCH + 5
    events = [tables() for _ in range(num)]
    for entry, event in enumerate(events):
        event["point"][:, 3] += entry
    one = open_source(write_rows(tmp_path / "a.h5", events))
    two = open_source(write_rows(tmp_path / "a.parquet", events, nested=nested, row_group=BATCH + 3))
    assert one.truth == two.truth and one.revision == two.revision == "revision 3"
    assert one.num_events == two.num_events == num
    for entry in (0, 1, 66, 67, num - 1, 3, 0):  # on and back, over the end of a row group
        left, right = one.read(entry), two.read(entry)
        assert np.array_equal(left.coord, right.coord) and np.array_equal(left.energy, right.energy)
        for table, columns in left.truth.items():
            for column, value in columns.items():
                assert np.array_equal(value, right.truth[table][column], equal_nan=True), (table, column)
    joined = open_sources([tmp_path / "a.parquet", tmp_path / "a.h5"])
    assert joined.num_events == 2 * num and np.array_equal(joined.read(num).energy, one.read(0).energy)


def test_export_writes_what_the_public_decoder_reads(tmp_path):
    event = sample()[0]
    event["truth_particle"]["pdg"][:] = [22, 13, 11]
    event["truth_particle"]["momentum"][:] = [[0, 0, 90], [300, 0, 400], [0, 12, 5]]
    store = write_events(tmp_path / "in.h5", [event], event.box)
    export([store], tmp_path / "out.h5")
    export([store], tmp_path / "out.parquet")
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    with h5py.File(tmp_path / "out.h5") as file:
        assert file.attrs["momentum_unit"] == "GeV/c"
        for name in ("point", "cluster", "cluster_extra"):
            assert np.array_equal(file[name][0], np.array(row[name], file[name][0].dtype)), name
    assert row["n_points"] == event.num_voxels and row["event_id"] == "3_0_40"
    assert not (tmp_path / "out.parquet_points.npy").exists()
    cluster, extra = np.reshape(row["cluster"], (-1, 6)), np.reshape(row["cluster_extra"], (-1, 6))
    expected = {-1: (-1, -1, -1), 0: (0, 0.09, 1), 1: (MUON_MEV, 0.5, 1), 2: (0.511, 0.013, 0)}
    for group, found in zip(cluster[:, 2].tolist(), extra[:, [0, 1, 5]], strict=True):
        assert found == pytest.approx(expected[group], rel=1e-3)


def test_momenta_that_older_versions_of_ours_wrote_are_not_taken_for_others(tmp_path):
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file.attrs["writer"] = "lartpc 0.1.0"
    assert np.isnan(first_event(path, tmp_path)["truth_particle"]["energy_init"]).all()
    with h5py.File(path, "a") as file:
        file.attrs["momentum_unit"] = "MeV/c"
    with pytest.raises(ValueError, match="'momentum_unit' is 'MeV/c'; it must be GeV/c"):
        open_source(path)


@pytest.mark.parametrize("name", ["a.h5", "a.parquet"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda rows: rows | {"cluster_extra": np.hstack([EXTRA, EXTRA[:, :1]])},
            "6 numbers of 'cluster', 7 numbers of 'cluster_extra' per cluster",
        ),
        (
            lambda rows: rows | {"cluster": np.hstack([CLUSTER, CLUSTER[:, :1]])},
            "7 numbers of 'cluster', 6 numbers of 'cluster_extra' per cluster",
        ),
        (lambda rows: rows | {"point": rows["point"][:-1, :7]}, "'point' are not of 8 numbers"),
        (lambda rows: rows | {"point": rows["point"][:-1]}, "its clusters do not count its points"),
    ],
)
def test_an_unknown_layout_is_refused_once_by_file_and_revision(tmp_path, name, change, words):
    path = write_rows(tmp_path / name, [change(tables())] * 3)
    with pytest.raises(ValueError, match="of an unknown layout") as error:
        ingest(path, CFG, out=tmp_path / "events.h5")
    text = str(error.value)
    assert str(path) in text and words in text and "\n" not in text
    assert (
        all(f"revision {number}" in text for number in (1, 2, 3))
        and "'cluster_extra'" not in text.split("read are")[1]
    )
    assert not (tmp_path / "events.h5").exists()


def test_one_bad_event_is_set_aside_and_no_reason_to_refuse(tmp_path):
    bad = tables() | {"cluster_extra": EXTRA[:-1]}
    odd = tables() | {"cluster_extra": EXTRA + np.array([0, 0, 0, 0, 0, 2])}
    summary = ingest(write_rows(tmp_path / "a.h5", [bad, tables(), odd]), CFG, out=tmp_path / "events.h5")
    assert (summary.num_events, summary.num_quarantined) == (3, 2)
    with open_events(tmp_path / "events.h5") as events:
        reasons = events.quarantined()
    assert (
        "'cluster_extra' has 4 clusters" in reasons[0][1] and "is_primary of a cluster is 3" in reasons[2][1]
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda path: pq.write_table(pa.table({"file_uid": ["a"]}), path),
            "is a Parquet table with file_uid",
        ),
        (
            lambda path: pq.write_table(pa.table({"point": [1.0], "cluster": [[1]]}), path),
            "column 'point' is double; it must be one list of numbers per event",
        ),
        (lambda path: path.write_bytes(write_rows(path, [tables()]).read_bytes()[:-40]), "cannot be read"),
        (lambda path: path.write_bytes(b"PAR1" + bytes(40)), "cannot be read"),
    ],
)
def test_parquet_that_is_damaged_or_of_something_else_is_refused(tmp_path, make, words):
    path = tmp_path / "a.parquet"
    make(path)
    with pytest.raises(ValueError, match=words) as error:
        open_source(path)
    assert str(path) in str(error.value)
