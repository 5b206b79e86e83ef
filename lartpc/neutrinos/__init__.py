"""Neutrino interactions as generators record them: what is kept of each, and readers of generators' files.

`record` says what an interaction is, `nuhepmc` and `genie` read files, `files` opens those of a sample.
"""
