"""Some events of files: chosen by place or by number, others not read, and all accounted for."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from handmade import write_shard
from handmade_steps import g4_muon, write_geant4

from lartpc.choice import asked_for
from lartpc.config import Ingest
from lartpc.ingest import open_sources
from lartpc.ingest.choose import choose
from lartpc.ingest.formats.geant4 import FORMAT, Geant4Reader
from lartpc.plan import plan
from lartpc.run.accounts import chosen, count_ingested
from lartpc.run.audit.shard import check_shard_of
from lartpc.run.collect import collect
from lartpc.run.ingest import ingest
from lartpc.run.report.outcome import outcome
from lartpc.run.summarize import summarize
from lartpc.store import open_events
from lartpc.store.seal import seal_of

COLUMNS = "sample\tsplit\tsource\tnum_events\tnum_shards\tevents\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two files of one run: events 3, 5, 9, 11, 40 and 5, 6."""
    folder = tmp_path_factory.mktemp("files")
    found = []
    for name, numbers in (("a.h5", (3, 5, 9, 11, 40)), ("b.h5", (5, 6))):
        muons = [g4_muon(number, y=10.0 * number) for number in numbers]
        rows = [list(rows) for rows in zip(*muons, strict=True)]
        found.append(
            write_geant4(folder / name, *rows, events=numbers, format=FORMAT, centre_cm=(0.0, 0.0, 0.0))
        )
    return found


@pytest.mark.parametrize(
    ("text", "entries", "missing"),
    [
        ("first 2", [0, 1, 5, 6], ()),
        ("first 99", range(7), ()),
        ("4", [4], ()),
        ("1-2", [1, 2, 6], ()),
        ("3-", [3, 4], ()),
        ("0/0/5", [1, 5], ()),
        ("0/0/6-40,0", [0, 2, 3, 4, 5, 6], ()),
        ("0/*/*", range(7), ()),
        ("0/*/11", [3], ()),
        ("0/0/*", range(7), ()),
        ("9, 4, 1/0/5, 0/1/*, 0/0/50-60", [4], ("9", "1/0/5", "0/1/*", "0/0/50-60")),
        ("-", range(7), ()),
    ],
)
def test_events_are_chosen_by_place_and_by_number(files, text, entries, missing) -> None:
    source = open_sources(files)
    found = choose(source, asked_for(text))
    source.close()
    assert found.entries.tolist() == list(entries)
    assert found.missing == missing


@pytest.mark.parametrize(
    "text", ["first 0", "first", "5-3", "1/2", "a", "1/0/9-8", "1,,2", "-5", "*/0/1", "1-2-3"]
)
def test_what_cannot_be_understood_is_refused(text) -> None:
    with pytest.raises(ValueError, match=r"must be 'first N', an entry"):
        asked_for(text)


def test_a_list_has_remarks_and_each_once(tmp_path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# worst\n1/0/7, 3\n\n3 # again\n0-4\n")
    assert [one.text for one in asked_for(f"@{path}")] == ["1/0/7", "3", "0-4"]
    path.write_text("# none\n")
    with pytest.raises(ValueError, match="names none"):
        asked_for(f"@{path}")
    with pytest.raises(ValueError, match="does not exist"):
        asked_for("@nowhere.txt")


def test_no_other_event_is_read(files, tmp_path, monkeypatch) -> None:
    reads, read = tmp_path / "reads", Geant4Reader.read

    def noted(self, entry):  # in the process of its own that files are read in
        with reads.open("a") as file:
            file.write(f"{self.path.name} {entry}\n")
        return read(self, entry)

    monkeypatch.setattr(Geant4Reader, "read", noted)
    asked = asked_for("0/0/5,4")
    summary = ingest(files, Ingest(), out=tmp_path / "few.h5", file_uid="s/few", events=asked)
    assert reads.read_text().split("\n")[:-1] == ["a.h5 1", "a.h5 4", "b.h5 0"]
    assert (summary.num_events, summary.num_in_files) == (3, 7)
    assert "3 events, chosen of 7" in str(summary)
    monkeypatch.undo()
    ingest(files, Ingest(), out=tmp_path / "all.h5", file_uid="s/few")
    with open_events(tmp_path / "few.h5") as few, open_events(tmp_path / "all.h5") as all_of_them:
        assert few.entries.tolist() == [1, 4, 5]
        assert list(few.origins()) == [("a.h5", 1), ("a.h5", 4), ("b.h5", 0)]
        for event in few:
            same = next(one for one in all_of_them if one.entry == event.entry)
            assert all(np.array_equal(event["voxel"][name], same["voxel"][name]) for name in event["voxel"])
            assert event["event"]["event"] == same["event"]["event"]


def test_what_no_file_has_is_an_error_unless_others_may(files, tmp_path) -> None:
    asked = asked_for("0/0/11,0/0/77")
    with pytest.raises(ValueError, match="no file has 0/0/77"):
        ingest(files, Ingest(), out=tmp_path / "out.h5", file_uid="s/0", events=asked)
    assert not (tmp_path / "out.h5").exists()
    counted = []
    for path in files:
        out = tmp_path / f"{path.stem}.h5"
        ingest(path, Ingest(), out=out, file_uid=f"s/{path.stem}", events=asked, is_part=True)
        counted.append(count_ingested(out))
    assert [one.num_events for one in counted] == [1, 0]
    with pytest.raises(ValueError, match=r"no file of the sample has.*\n  s: 0/0/77$"):
        chosen(counted)


def test_a_production_says_how_many_were_chosen(files, tmp_path) -> None:
    folders, figures, ingested = [], [], []
    for uid, num, missing in (("s/0", 40, []), ("s/1", 30, ["0/0/5"])):
        choice = {"asked": ["0/0/5", "first 4"], "missing": missing, "num_in_files": num}
        paths = write_shard(tmp_path, uid, choice=choice)
        folders.append(tmp_path / "tables" / uid)
        figures.append(tmp_path / "metrics" / f"{uid}.parquet")
        summarize(paths, folders[-1], metrics=figures[-1])
        ingested.append(paths[0])
    summary = collect(folders, figures, ingested, tmp_path / "dataset")
    assert summary["chosen"] == {"s": {"asked": ["0/0/5", "first 4"], "num_events": 10, "num_in_files": 70}}
    assert "chosen  10 of the 70 events in the files of s: 0/0/5, first 4" in outcome(tmp_path / "dataset")


def test_a_sheet_chooses_of_files(files, tmp_path) -> None:
    sheet = tmp_path / "samples.tsv"
    sheet.write_text(COLUMNS + f"data\ttest\t{files[0].parent}/*.h5\t-\t-\tfirst 5, 1/0/7\n")
    shards = plan([sheet], 1, 500)
    assert [(shard.events, shard.is_part) for shard in shards] == [("first 5, 1/0/7", True)] * 2
    sheet.write_text(COLUMNS + f"data\ttest\t{files[0]}\t-\t-\t0-9\nall\ttest\t{files[1]}\t-\t-\t-\n")
    assert [(shard.events, shard.is_part) for shard in plan([sheet], 1, 500)] == [("0-9", False), ("", False)]
    for row, message in (
        (f"data\ttest\t{files[0]}\t-\t-\tsome", r"line 2: events 'some' must be"),
        ("data\ttest\tgeant4\t5\t1\t0-3", r"line 2: events are chosen of files"),
        (f"data\ttest\t{files[0]}\t5\t-\t-", r"num_events of files is '-'; write 'first 5'"),
        (f"data\ttest\t{files[0]}\t-\t-\t@none.txt", r"list of events none.txt does not exist"),
    ):
        sheet.write_text(COLUMNS + row + "\n")
        with pytest.raises(ValueError, match=message):
            plan([sheet], 1, 500)


def test_the_audit_compares_with_what_was_asked_for(files, tmp_path) -> None:
    path = tmp_path / "events" / "ingest" / "s" / "0.h5"
    path.parent.mkdir(parents=True)
    ingest(files[0], Ingest(), out=path, file_uid="s/0", events=asked_for("2-3"))

    def findings() -> list[str]:
        found = check_shard_of(tmp_path, "s/0", with_sources=True).findings
        return [one.what for one in found if one.file == str(path)]

    assert findings() == []
    with open_events(path) as events:
        said = json.loads(events.attributes()["ingest"]["choice"])
    assert said == {"asked": ["2-3"], "missing": [], "num_in_files": 5}
    for other, message in (
        ("3-4", "other entries than its sources give"),
        ("2-4", "3 x 1 of those asked for"),
    ):
        said["asked"] = [other]
        with h5py.File(path, "r+") as file:
            file.attrs["choice"] = json.dumps(said)
            file.attrs["seal"] = seal_of(dict(file.attrs))
        assert message in findings()[0]
