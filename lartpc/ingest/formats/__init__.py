"""Readers: one module per file format, and what formats of one family share."""
