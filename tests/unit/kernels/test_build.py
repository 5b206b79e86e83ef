"""Where compiled kernels are taken from."""

import os

import pytest

from lartpc.sparse import build


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with a library in it that is none, and a compiler that fails."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "false")
    build.load.cache_clear()
    path = build.compiled_path()
    path.parent.mkdir()
    path.write_bytes(b"planted")
    yield path
    build.load.cache_clear()


@pytest.mark.parametrize("change", ["folder", "library"])
def test_a_library_that_anybody_can_have_put_there_is_not_loaded(cache, change, capfd):
    place = cache.parent if change == "folder" else cache
    place.chmod(0o777)
    with pytest.raises(RuntimeError, match="cannot compile"):
        build.load()
    assert "anybody can write there: the kernels are built for this process alone" in capfd.readouterr().err
    assert cache.read_bytes() == b"planted"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_nor_one_of_another_user(cache, capfd):
    os.chown(cache, 12345, 12345)
    with pytest.raises(RuntimeError, match="cannot compile"):
        build.load()
    assert "is another user's" in capfd.readouterr().err


def test_ones_own_is(cache, capfd):
    with pytest.raises(RuntimeError, match="cannot compile"):
        build.load()  # it was looked at, found to be damaged, and is to be built again
    assert not cache.exists() and capfd.readouterr().err == ""


def test_a_build_is_kept_by_its_compiler(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    plain = build.compiled_path()
    monkeypatch.setenv("CXX", "g++ -fsanitize=address")
    assert build.compiled_path() != plain
