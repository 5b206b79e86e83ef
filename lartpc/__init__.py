"""Reconstruction of liquid-argon TPC images with deep learning, one Snakemake stage at a time."""

__version__ = "0.1.0"
