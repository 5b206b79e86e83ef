"""Geant4 in a box of liquid argon, through geant4-pybind, with or without the official data."""
