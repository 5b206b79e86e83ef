"""The tables that the chain ends in: what their columns are, and events turned into their rows."""

from lartpc.tables.fields import Field, Rows, Table
from lartpc.tables.page import render
from lartpc.tables.rows import event_rows, throughput_rows
from lartpc.tables.schema import SCHEMA_VERSION, TABLES, schema
from lartpc.tables.write import TableWriter, to_arrow

__all__ = [
    "SCHEMA_VERSION",
    "TABLES",
    "Field",
    "Rows",
    "Table",
    "TableWriter",
    "event_rows",
    "render",
    "schema",
    "throughput_rows",
    "to_arrow",
]
