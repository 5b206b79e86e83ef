"""Tests on a SLURM of their own; a package, so that its conftest does not hide the one above."""
