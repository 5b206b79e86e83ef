"""What tells that an event file still says what was written: digests of its columns, and a seal on these.

Each column has the digest of its rows in order, in `digests`; `content_digest` stands for them and for
the attributes that the file was begun with; `seal` is the digest of all attributes. A file is checked in
two steps that cost no reading of their own: its attributes and index when it is opened, and each column
when it was read from its first to its last row.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lartpc.faults import is_short, passes
from lartpc.store.layout import DIGESTS, SEAL


class DamagedError(ValueError):
    """A file does not hold what was written into it."""

    @classmethod
    def of(cls, path: Path, what: str) -> Self:
        """Return the error that says of a file what is wrong with it."""
        return cls(f"{path} is damaged: {what}; remove it and make it again")


class Digest:
    """The digest of a column's rows as they come."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def update(self, rows: NDArray[Any]) -> None:
        """Go on with the next rows."""
        if rows.dtype.hasobject:
            self._hash.update(json.dumps(rows.tolist(), default=_text).encode())
        else:
            self._hash.update(np.ascontiguousarray(rows).data.cast("B") if rows.size else b"")

    def hexdigest(self) -> str:
        """Return the digest of what came so far."""
        return self._hash.hexdigest()


def digest_of(rows: NDArray[Any]) -> str:
    """Return the digest of a whole column."""
    found = Digest()
    found.update(rows)
    return found.hexdigest()


def seal_of(attributes: Mapping[str, Any]) -> str:
    """Return the digest of root attributes as they are read from a file, of all but the seal itself."""
    said = {name: value for name, value in attributes.items() if name != SEAL}
    text = json.dumps(said, sort_keys=True, default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def check_seal(path: Path, attributes: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of a file's columns by name, or raise DamagedError unless its attributes are sound."""
    if str(attributes.get(SEAL, "")) != seal_of(attributes):
        raise DamagedError.of(path, "its attributes do not have the digest that they were written with")
    found: dict[str, str] = json.loads(str(attributes[DIGESTS]))
    return found


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what HDF5 says of damage into DamagedError with the file's name; faults that pass stay as they are."""
    try:
        yield
    except DamagedError:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        if is_short(error):
            raise MemoryError(f"{path} cannot be read for want of memory; give the job more") from error
        if passes(error):
            raise
        raise DamagedError.of(path, " ".join(str(error).split()) or type(error).__name__) from error


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else str(value)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
