"""The command line: one verb per kind of work, the same flags for every stage.

A module registers its verbs when it is imported; the help lists them in this order.
"""

# isort: off
from lartpc.cli.app import app
from lartpc.cli import reconstruct, events, stages, tables, quality, machine
# isort: on

__all__ = ["app", "events", "machine", "quality", "reconstruct", "stages", "tables"]
