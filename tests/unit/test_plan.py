"""Sample sheets become shards; a sheet that cannot be used is refused with its line."""

from pathlib import Path

import pytest

from lartpc.plan import plan, shard_seed

HEADER = "sample\tsplit\tsource\tnum_events\tnum_shards\n"


def sheet(folder: Path, *rows: str) -> Path:
    path = folder / "samples.tsv"
    path.write_text("# a comment\n" + HEADER + "".join(f"{row}\n" for row in rows))
    return path


def test_simulated_events_are_shared_among_shards(tmp_path: Path) -> None:
    shards = plan([sheet(tmp_path, "mc\ttrain\tgeant4\t10\t3")], seed=1)
    assert [shard.key for shard in shards] == ["mc/0000", "mc/0001", "mc/0002"]
    assert [shard.num_events for shard in shards] == [4, 3, 3]
    assert len({shard.seed for shard in shards}) == 3


def test_a_seed_depends_on_nothing_else_in_the_sheet(tmp_path: Path) -> None:
    alone = plan([sheet(tmp_path, "b\ttest\tgeant4\t4\t2")], seed=5)
    beside = plan([sheet(tmp_path, "a\ttrain\tgeant4\t4\t2", "b\ttest\tgeant4\t4\t2")], seed=5)
    assert beside[2:] == alone
    assert shard_seed(1, "a", 0) != shard_seed(2, "a", 0)


def test_files_are_shards_named_by_their_stem(tmp_path: Path) -> None:
    for name in ("run 2.h5", "run1.h5"):
        (tmp_path / name).touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run1.h5").touch()
    shards = plan([sheet(tmp_path, f"data\treconstruct\t{tmp_path}/**/*.h5\t-\t-")], seed=1)
    names = [shard.name for shard in shards]
    assert "run-2" in names
    assert len(set(names)) == 3
    assert sum(name.startswith("run1-") for name in names) == 2


def test_variables_in_a_path_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5").touch()
    monkeypatch.setenv("MY_FILES", str(tmp_path / "a.h5"))
    assert plan([sheet(tmp_path, "data\ttest\t$MY_FILES\t-\t-")], seed=1)[0].source.endswith("a.h5")
    monkeypatch.delenv("MY_FILES")
    with pytest.raises(ValueError, match="is not set"):
        plan([sheet(tmp_path, "data\ttest\t$MY_FILES\t-\t-")], seed=1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("mc\tholdout\tgeant4\t4\t2", "split 'holdout' is none of"),
        ("m c\ttrain\tgeant4\t4\t2", "letters, digits"),
        ("mc\ttrain\tgeant4\tmany\t2", "whole num_events"),
        ("mc\ttrain\tgeant4\t4\t5", "between 1 and num_events"),
        ("mc\ttrain\tgeant4", "must have 5 fields"),
        ("mc\ttrain\t/no/such/*.h5\t-\t-", "no file matches"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        plan([sheet(tmp_path, row)], seed=1)
    assert "samples.tsv, line" in str(error.value)


def test_a_sample_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="named twice"):
        plan([sheet(tmp_path, "mc\ttrain\tgeant4\t4\t2", "mc\ttest\tgeant4\t4\t2")], seed=1)


def test_a_missing_sheet_is_named() -> None:
    with pytest.raises(ValueError, match=r"nowhere\.tsv does not exist"):
        plan(["nowhere.tsv"], seed=1)
