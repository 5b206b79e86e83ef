"""Files appear when they are whole, whatever kills or doubles their writers."""

from pathlib import Path

import pytest

from lartpc.atomic import complete, part_of, replacing, replacing_folder


def test_a_file_appears_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as part:
        part.write_text("all")
        assert not path.exists()
    assert path.read_text() == "all"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_left_behind_cannot_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "a[1].txt"
    left_behind = part_of(path)
    left_behind.write_text("old run")
    with replacing(path) as part:
        part.write_text("new run")
    with pytest.raises(FileNotFoundError):
        complete(left_behind, path)
    assert path.read_text() == "new run"


def test_what_no_file_can_be_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    places = {
        tmp_path: "is a folder, and a file is to be written",
        tmp_path / "file" / "a.h5": "cannot be written",
        tmp_path / ("n" * 300): "File name too long",
        Path("/proc/x.h5"): "/proc/x.h5 cannot be written",
    }
    for path, what in places.items():
        with pytest.raises(ValueError, match=what):
            part_of(path)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["thesis.tex", "mine.parquet"])
def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "home"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / name).touch()
    with (
        pytest.raises(ValueError, match=rf"not a folder of such tables: it has .*{name}"),
        replacing_folder(folder, "summary.json"),
    ):
        pass
    assert (folder / "deep" / name).exists() and list(tmp_path.iterdir()) == [folder]
    with (
        pytest.raises(ValueError, match="is a file"),
        replacing_folder(folder / "deep" / name, "summary.json"),
    ):
        pass


def test_a_folder_of_tables_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    for content in ("old.parquet", "new.parquet"):
        with replacing_folder(folder, "summary.json") as part:
            (part / content).touch()
            (part / "summary.json").touch()
    assert sorted(one.name for one in folder.iterdir()) == ["new.parquet", "summary.json"]
    assert list(tmp_path.iterdir()) == [folder]
