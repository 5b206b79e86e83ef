"""Faults that pass: those of a machine at a moment, which say nothing of the event at hand.

A job that meets one fails, so that it is run again, with more memory where the cluster's profile gives
that to each attempt. An event is set aside only for what is wrong with the event itself.
"""

import re

EXIT_STATUS = 74
"""Exit status of a verb that such a fault ended: EX_IOERR of sysexits.h."""

_OF_HDF5 = re.compile(r"(Can't|Unable to|Could not|Failed to)\b.*\(.*\)", re.DOTALL)
"""How HDF5 speaks, as an OSError: of content that is wrong, unless it names an error of the system."""
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
        if isinstance(error, (MemoryError, PassingError, ModuleNotFoundError)):
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
