"""ROOT files whose damaged numbers ask for more bytes than they have."""

import pytest
from checkout import REPOSITORY

from lartpc.rootfile import open_file

DATA = REPOSITORY / "tests" / "data"


@pytest.mark.parametrize("name", ["edepsim_0ev.root", "larcv2_4ev.root"])
def test_no_more_bytes_are_asked_for_than_there_are(name):
    with open_file(DATA / name) as file:
        source, size = file.file.source, (DATA / name).stat().st_size
        assert bytes(source.chunk(0, 4).raw_data) == b"root"
        with pytest.raises(
            ValueError, match=f"1,000,000,000,000 bytes are said to be at 100, and it has {size:,}"
        ):
            source.chunk(100, 100 + 10**12)
