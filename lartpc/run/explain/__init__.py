"""`lartpc explain`: mask a part of an event, segment the rest again, and see whose scores change."""

from lartpc.run.explain.study import explain

__all__ = ["explain"]
