"""Pages of figures in Markdown as data, for programs: what `--json` prints of the verbs that write such pages."""

import re
from typing import Any

_NUMBER = r"[+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"
_PLAIN = re.compile(rf"({_NUMBER})\s*(%|[A-Za-zµ/°²³ ]*)")
_SYMMETRIC = re.compile(rf"({_NUMBER}) ± ({_NUMBER})\s*(.*)")
_BOTH_SIDES = re.compile(rf"({_NUMBER}) −({_NUMBER}) \+({_NUMBER})\s*(.*)")


def page_as_data(page: str) -> dict[str, Any]:
    """Return the title of a page, its sentences and its tables, row by row.

    A number is a number; with an error or a unit it is `value`, `error` (or `below` and `above`) and `unit`, as the
    page states them. An empty cell, or a dash, is None. A column without a title is called `what`.
    """
    found: dict[str, Any] = {"title": "", "text": [], "tables": []}
    title = ""
    head: list[str] = []
    rows: list[dict[str, Any]] = []
    for line in [*page.split("\n"), ""]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not head:
                head = [name or "what" for name in cells]
            elif not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                rows.append({name: _value(cell) for name, cell in zip(head, cells, strict=True)})
            continue
        if head:
            found["tables"].append({"title": title, "rows": rows})
            head, rows = [], []
        if line.startswith("#"):
            title = line.lstrip("# ")
            found["title"] = found["title"] or title
        elif line.strip():
            found["text"].append(line.strip())
    return found


def _value(cell: str) -> Any:
    if cell in ("", "-", "—"):
        return None
    if match := _BOTH_SIDES.fullmatch(cell):
        return {
            "value": _number(match[1]),
            "below": _number(match[2]),
            "above": _number(match[3]),
            "unit": match[4],
        }
    if match := _SYMMETRIC.fullmatch(cell):
        return {"value": _number(match[1]), "error": _number(match[2]), "unit": match[3]}
    if match := _PLAIN.fullmatch(cell):
        return (
            {"value": _number(match[1]), "unit": match[2].strip()} if match[2].strip() else _number(match[1])
        )
    return cell


def _number(text: str) -> float | int:
    text = text.replace(",", "").replace("−", "-")
    return float(text) if re.search(r"[.e]", text) else int(text)
