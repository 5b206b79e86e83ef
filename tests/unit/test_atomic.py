"""Files appear when they are whole, whatever kills or doubles their writers."""

from pathlib import Path

import pytest

from lartpc.atomic import complete, part_of, replacing


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
