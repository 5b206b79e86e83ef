"""What an exception says of the input that it came of, in one line."""


def explain(error: BaseException) -> str:
    """Return an exception in one line: its kind, unless that is ValueError, and the first line of its text."""
    lines = str(error).strip().splitlines()
    is_plain = isinstance(error, ValueError) and not isinstance(error, UnicodeError)
    kind = "" if is_plain else type(error).__name__
    return ": ".join(part for part in (kind, lines[0] if lines else "") if part) or type(error).__name__
