"""Each column of each input format, set to each number that it should not hold: read rightly, set aside, or refused."""

import pytest
from fuzz import long
from fuzz.cases import CASES
from fuzz.columns import swept
from fuzz.mutations import NUMBERS, TREE_KINDS
from fuzz.recorder import IN_MEMORY

SWEPT = [name for name, case in CASES.items() if set(TREE_KINDS) & set(case.kinds) or "basket" in case.kinds]


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEPT)
def test_a_column_of_any_number_is_read_rightly_or_refused(name, tmp_path, monkeypatch):
    for target, value in IN_MEMORY.items():
        monkeypatch.setattr(target, value)
    monkeypatch.setattr("lartpc.run.progress.LOG_INTERVAL_S", 1e9)
    content, good = long.prepare(name, tmp_path)
    found, num = {}, 0
    for what, changed in swept(content, tmp_path / "changed"):
        became, said = long.outcome(CASES[name], changed, good, [])
        num += 1
        if became == "finding":
            found[what] = said[:300]
    assert num >= 3 * len(NUMBERS) and not found
