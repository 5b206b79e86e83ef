"""`lartpc michels`: electrons of muons at rest as a standard candle, of one dataset or of several side by side."""

from lartpc.run.michels.compare import michels

__all__ = ["michels"]
