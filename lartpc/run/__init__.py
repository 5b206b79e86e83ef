"""The verbs, written once each for all stages: they own files, loops, progress and provenance."""
