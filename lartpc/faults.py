"""Faults that pass: those of a machine at a moment, which say nothing of the event at hand.

A job that meets one fails, so that it is run again, with more memory where the cluster's profile gives
that to each attempt. An event is set aside only for what is wrong with the event itself.
"""

import errno
import mmap
import re

EXIT_STATUS = 74
"""Exit status of a verb that such a fault ended: EX_IOERR of sysexits.h."""

_OF_HDF5 = re.compile(r"(Can't|Unable to|Could not|Failed to)\b.*\(.*\)", re.DOTALL)
"""How HDF5 speaks, as an OSError: of content that is wrong, unless it names an error of the system."""
_WANTS_MEMORY = re.compile(r"memory allocation failed|filter returned failure")
"""What HDF5 says where it gets no memory, and of damaged sizes and packed bytes as well."""
LEAST_ROOM_BYTES = 2**28
"""Memory that must be had for HDF5's words to mean damage: its chunks are of megabytes."""
OF_CONTENT = (errno.EINVAL, errno.EOVERFLOW, errno.EFBIG)
"""What the system says of places that no file has, which damaged bytes make libraries look for."""
_PASSING = ("CUDA", "cuDNN", "CUBLAS", "NCCL", "HIP error", "std::bad_alloc", "DefaultCPUAllocator")
_SAID = {key: re.compile(rf"{key} = '([^']*)'") for key in ("filename", "error message")}
_READING = re.compile(r"errno = [1-9]|file read failed|No space left on device")


class PassingError(Exception):
    """A fault that passes, found by ourselves."""


def passes(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it came of, is of the machine: a disk, memory, a GPU, a missing package."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        text = str(error)
        if isinstance(error, (MemoryError, PassingError, ModuleNotFoundError)) or is_short(error):
            return True
        if isinstance(error, OSError) and not (error.errno is None and _OF_HDF5.match(text)):
            return True
        if isinstance(error, (RuntimeError, KeyError, OSError)):
            if _READING.search(text) or any(words in text for words in _PASSING):
                return True
            if type(error).__name__ in ("OutOfMemoryError", "AcceleratorError"):
                return True
        error = error.__cause__ or error.__context__
    return False


def is_short(error: BaseException) -> bool:
    """Tell whether HDF5 failed for want of memory, which it says as it says that sizes or packed bytes are damaged."""
    if not isinstance(error, (OSError, RuntimeError, KeyError)) or not _WANTS_MEMORY.search(str(error)):
        return False
    try:
        mmap.mmap(-1, LEAST_ROOM_BYTES).close()
    except (OSError, MemoryError):
        return True
    return False


def is_passing(error: BaseException) -> bool:
    """Tell whether an error itself is of the machine, from a library that says of damaged content by any exception.

    Of an OSError only one with a number of the system is: uproot, Arrow and pyhepmc raise those without of bytes that
    are missing or wrong, and such as `OF_CONTENT` of places in a file that are not there.
    """
    if isinstance(error, OSError):
        return error.errno is not None and error.errno not in OF_CONTENT
    return isinstance(error, (MemoryError, PassingError, ModuleNotFoundError)) or lacks_memory(error)


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory, of the machine or of a GPU, was not enough."""
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and ("out of memory" in text or "DefaultCPUAllocator" in text))
    )


def in_one_line(error: BaseException) -> str:
    """Return what an error says in one line: of HDF5, that puts in addresses and sizes, the file and the reason."""
    text = str(error)
    file, reason = (_SAID[key].search(text) for key in ("filename", "error message"))
    if file and reason:
        return f"{reason[1]}: '{file[1]}'"
    return " ".join(text.split()) or type(error).__name__
