"""Archives with a seal: zip files, as torch writes them, whose comment has the digests of what they hold.

The comment is one line: what the file is, the digest of what it says, which is the same for equal content
whatever wrote it, and the digest of all bytes before. Programs that read zip files pass over it.
"""

import hashlib
import re
from pathlib import Path

_MAGIC = b"lartpc sealed 1"
_SIZE = len(_MAGIC) + 2 * 33
_SEAL = re.compile(re.escape(_MAGIC) + rb" ([0-9a-f]{32}) ([0-9a-f]{32})\Z")
_END = b"PK\x05\x06"


def seal(archive: bytes, content: str) -> bytes:
    """Return an archive without a comment (`archive`) with its seal; `content` is the digest of what it says."""
    if archive[-22:-18] != _END or archive[-2:] != b"\0\0":
        raise ValueError("only zip archives without a comment can be sealed")
    begun = archive[:-2] + _SIZE.to_bytes(2, "little") + _MAGIC + b" " + content.encode() + b" "
    return begun + _digest(begun)


def is_sealed(payload: bytes) -> bool:
    """Tell whether an archive ends with a seal."""
    return bool(_SEAL.search(payload, max(len(payload) - _SIZE, 0)))


def check(path: Path, payload: bytes) -> str:
    """Return the digest of what a sealed archive says.

    Raises
    ------
    ValueError
        It has no seal, or is damaged.
    """
    found = _SEAL.search(payload, max(len(payload) - _SIZE, 0))
    if not found:
        raise ValueError(f"{path} has no seal: it is damaged, or of a program or version that sets none")
    if _digest(payload[:-32]) != found[2]:
        raise ValueError(f"{path} is damaged: its bytes do not have the digest that it was sealed with")
    return found[1].decode()


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=16).hexdigest().encode()
