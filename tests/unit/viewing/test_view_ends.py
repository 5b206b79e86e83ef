"""What serves `lartpc view` ends with its block: a thread that is left, or is in HDF5, keeps a process from ending."""

import threading
import time
from urllib.request import urlopen

import pytest
from viewing import served, small_production


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return small_production(tmp_path_factory.mktemp("view"))


def test_no_thread_is_left_where_a_test_fails(results):
    before = set(threading.enumerate())
    with pytest.raises(AssertionError), served(results) as server:
        assert urlopen(server.address).status == 200
        raise AssertionError
    assert {one for one in threading.enumerate() if not one.daemon} <= before


def test_it_waits_for_the_file_that_is_read_last(results, monkeypatch):
    begun, ended = threading.Event(), threading.Event()

    def slow(*_):
        begun.set()
        time.sleep(0.5)
        ended.set()
        return {}

    with served(results) as server:
        monkeypatch.setattr(server.catalogue, "display", slow)
        ask = threading.Thread(target=urlopen, args=[f"{server.address}event?number=0"], daemon=True)
        ask.start()
        assert begun.wait(20) and not ended.is_set()
    assert ended.is_set()
