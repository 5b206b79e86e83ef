import gc

import pytest

from lartpc.run.memory import settled


def test_the_collector_leaves_alone_what_was_there_until_the_work_ends():
    assert gc.get_freeze_count() == 0
    with pytest.raises(ZeroDivisionError), settled():
        assert gc.get_freeze_count() > 1000
        raise ZeroDivisionError
    assert gc.get_freeze_count() == 0
