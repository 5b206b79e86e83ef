"""Sample sheets become shards; a sheet that cannot be used is refused with its line."""

from pathlib import Path

import pytest

from lartpc.plan import plan, shard_seed

MANY = 500
HEADER = "sample\tsplit\tsource\tnum_events\tnum_shards\n"


def sheet(folder: Path, *rows: str) -> Path:
    path = folder / "samples.tsv"
    path.write_text("# a comment\n" + HEADER + "".join(f"{row}\n" for row in rows))
    return path


def test_simulated_events_are_shared_among_shards(tmp_path: Path) -> None:
    shards = plan([sheet(tmp_path, "mc\ttrain\tgeant4\t10\t3")], seed=1, max_shards=MANY)
    assert [shard.key for shard in shards] == ["mc/0000", "mc/0001", "mc/0002"]
    assert [shard.num_events for shard in shards] == [4, 3, 3]
    assert len({shard.seed for shard in shards}) == 3


def test_a_seed_depends_on_nothing_else_in_the_sheet(tmp_path: Path) -> None:
    alone = plan([sheet(tmp_path, "b\ttest\tgeant4\t4\t2")], seed=5, max_shards=MANY)
    beside = plan(
        [sheet(tmp_path, "a\ttrain\tgeant4\t4\t2", "b\ttest\tgeant4\t4\t2")], seed=5, max_shards=MANY
    )
    assert beside[2:] == alone
    assert shard_seed(1, "a", 0) != shard_seed(2, "a", 0)


def test_a_list_names_files_as_they_are(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("b $x*.h5", "a.h5")]
    for name in names:
        Path(name).touch()
    (tmp_path / "files.txt").write_text("".join(f"{name}\n" for name in names))
    row = f"data\treconstruct\t@{tmp_path}/files.txt\t-\t-"
    shards = plan([sheet(tmp_path, row)], seed=1, max_shards=MANY)
    assert [shard.sources for shard in shards] == [(name,) for name in names]
    Path(names[0]).unlink()
    with pytest.raises(ValueError, match=r"names 1 files that do not exist, such as .*b \$x"):
        plan([sheet(tmp_path, row)], seed=1, max_shards=MANY)
    (tmp_path / "files.txt").unlink()
    with pytest.raises(ValueError, match=r"list of files .* does not exist"):
        plan([sheet(tmp_path, row)], seed=1, max_shards=MANY)


def test_a_pattern_may_begin_as_a_list_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("@b.h5", "@a.h5"):
        Path(name).touch()
    for pattern, files in (("@*.h5", ["@a.h5", "@b.h5"]), ("@a.h5", ["@a.h5"])):
        shards = plan([sheet(tmp_path, f"data\treconstruct\t{pattern}\t-\t-")], seed=1, max_shards=MANY)
        assert [shard.sources for shard in shards] == [(name,) for name in files]


def test_files_are_shards_named_by_their_stem(tmp_path: Path) -> None:
    for name in ("run 2.h5", "run1.h5"):
        (tmp_path / name).touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run1.h5").touch()
    shards = plan([sheet(tmp_path, f"data\treconstruct\t{tmp_path}/**/*.h5\t-\t-")], seed=1, max_shards=MANY)
    names = [shard.name for shard in shards]
    assert "run-2" in names
    assert len(set(names)) == 3
    assert sum(name.startswith("run1-") for name in names) == 2


def test_variables_in_a_path_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5").touch()
    monkeypatch.setenv("MY_FILES", str(tmp_path / "a.h5"))
    assert (
        plan([sheet(tmp_path, "data\ttest\t$MY_FILES\t-\t-")], seed=1, max_shards=MANY)[0]
        .sources[0]
        .endswith("a.h5")
    )
    monkeypatch.delenv("MY_FILES")
    with pytest.raises(ValueError, match="is not set"):
        plan([sheet(tmp_path, "data\ttest\t$MY_FILES\t-\t-")], seed=1, max_shards=MANY)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("mc\tholdout\tgeant4\t4\t2", "split 'holdout' is none of"),
        ("m c\ttrain\tgeant4\t4\t2", "letters, digits"),
        ("mc\ttrain\tgeant4\tmany\t2", "whole num_events"),
        ("mc\ttrain\tgeant4\t4\t5", "between 1 and num_events"),
        ("mc\ttrain\tgeant4", "must have 5 fields"),
        ("mc\ttrain\t/no/such/*.h5\t-\t-", "no file matches"),
        (f"mc\ttrain\t{__file__}\t-\tall", "number of shards to put them in"),
        (f"mc\ttrain\t{__file__}\t-\t0", "number of shards to put them in"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        plan([sheet(tmp_path, row)], seed=1, max_shards=MANY)
    assert "samples.tsv, line" in str(error.value)


@pytest.mark.parametrize("name", ["run{x}.h5", "run<x>.h5", "run}.h5", "run\n1.h5"])
def test_a_file_that_snakemake_cannot_take_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).touch()
    (tmp_path / "data" / "run0.h5").touch()
    with pytest.raises(
        ValueError, match=r"sample 'odd', file .*run.*a path of a workflow cannot have"
    ) as error:
        plan([sheet(tmp_path, f"odd\ttest\t{tmp_path}/data/*\t-\t-")], seed=1, max_shards=MANY)
    assert "samples.tsv, line 3" in str(error.value)


def test_a_sample_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="named twice"):
        plan([sheet(tmp_path, "mc\ttrain\tgeant4\t4\t2", "mc\ttest\tgeant4\t4\t2")], seed=1, max_shards=MANY)


def test_a_missing_sheet_is_named() -> None:
    with pytest.raises(ValueError, match=r"nowhere\.tsv does not exist"):
        plan(["nowhere.tsv"], seed=1, max_shards=MANY)


def many_files(folder: Path, num: int) -> Path:
    for index in range(num):
        (folder / f"run{index:03d}.h5").touch()
    return sheet(folder, f"data\treconstruct\t{folder}/run*.h5\t-\t-")


def test_more_files_than_shards_share_them(tmp_path: Path) -> None:
    table = many_files(tmp_path, 60)
    shards = plan([table], seed=1, max_shards=8)
    assert [shard.name for shard in shards] == [f"{index:04d}" for index in range(8)]
    dealt = sorted(path for shard in shards for path in shard.sources)
    assert dealt == [f"{tmp_path}/run{index:03d}.h5" for index in range(60)]
    assert max(len(shard.sources) for shard in shards) < 20


def test_a_file_more_or_less_changes_its_own_shard_only(tmp_path: Path) -> None:
    table = many_files(tmp_path, 60)
    before = {shard.key: shard.sources for shard in plan([table], seed=1, max_shards=8)}
    (tmp_path / "run030.h5").unlink()
    after = {shard.key: shard.sources for shard in plan([table], seed=1, max_shards=8)}
    (changed,) = (key for key in before if before[key] != after[key])
    assert set(before[changed]) - set(after[changed]) == {f"{tmp_path}/run030.h5"}


def test_a_sheet_says_how_many_shards_files_are_put_in(tmp_path: Path) -> None:
    many_files(tmp_path, 30)
    table = sheet(tmp_path, f"data\ttest\t{tmp_path}/run*.h5\t-\t3")
    shards = plan([table], seed=1, max_shards=MANY)
    assert [shard.key for shard in shards] == ["data/0000", "data/0001", "data/0002"]
    assert sum(len(shard.sources) for shard in shards) == 30


def test_too_many_files_for_a_shard_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="would have 300 files, more than 250"):
        plan([many_files(tmp_path, 300)], seed=1, max_shards=1)


def test_no_sample_is_simulated_in_more_shards_than_allowed(tmp_path: Path) -> None:
    shards = plan([sheet(tmp_path, "mc\ttest\tgeant4\t20000\t10000")], seed=1, max_shards=MANY)
    assert len(shards) == MANY
    assert sum(shard.num_events or 0 for shard in shards) == 20000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_sheets_of_spreadsheets_are_read(tmp_path: Path, encoding: str, newline: str) -> None:
    (tmp_path / "Zürich.h5").touch()
    path = sheet(tmp_path, f"a\treconstruct\t{tmp_path}/Zürich.h5\t-\t-", "")
    path.write_bytes(path.read_text().replace("\n", newline).encode(encoding))
    assert [shard.key for shard in plan([path], seed=1, max_shards=MANY)] == ["a/Zürich"]


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        (
            "latin-1",
            r"samples\.tsv, line 3: byte fc is not UTF-8 text \(it may be Latin-1\); save it as UTF-8",
        ),
        ("utf-16-le", r"samples\.tsv, line [13]: .*save"),
    ],
)
def test_other_encodings_are_refused_with_the_line(tmp_path: Path, encoding: str, message: str) -> None:
    path = sheet(tmp_path, "a\treconstruct\tZürich.h5\t-\t-")
    path.write_bytes(path.read_text().encode(encoding))
    with pytest.raises(ValueError, match=message):
        plan([path], seed=1, max_shards=MANY)


@pytest.mark.parametrize(
    "name",
    [
        "a[1].h5",
        "a[1-2].h5",
        "[x].h5",
        "a*b.h5",
        "a?.h5",
        'a "b" c.h5',
        "a'b.h5",
        "n" * 240 + ".h5",
        "ü" * 120,
    ],
)
def test_a_file_of_that_name_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "a1.h5").touch()
    shards = plan([sheet(tmp_path, f"a\treconstruct\t{tmp_path}/{name}\t-\t-")], seed=1, max_shards=MANY)
    assert [shard.sources for shard in shards] == [(str(tmp_path / name),)]
    assert len(shards[0].name.encode()) < 180


def test_the_home_folder_may_be_given_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.h5").touch()
    shards = plan([sheet(tmp_path, "a\treconstruct\t~/*.h5\t-\t-")], seed=1, max_shards=MANY)
    assert shards[0].sources == (str(tmp_path / "a.h5"),)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{folder}", "but folders: name the files in them"),
        ("{folder}/{{a,b}}.h5", "braces are not expanded"),
        ("{folder}/a[1].h5", "brackets mean one letter"),
        ("~nobody-of-this-name/a.h5", "cannot be resolved"),
    ],
)
def test_patterns_that_match_nothing_say_why(tmp_path: Path, source: str, message: str) -> None:
    row = f"a\treconstruct\t{source.format(folder=tmp_path)}\t-\t-"
    with pytest.raises(ValueError, match=message):
        plan([sheet(tmp_path, row)], seed=1, max_shards=MANY)
