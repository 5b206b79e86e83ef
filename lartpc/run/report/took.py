"""What the jobs of a production took, rule by rule, for the page."""

from pathlib import Path
from typing import Any

from lartpc.run.resources import learn, read_jobs


def took(results: Path, dataset: Path) -> list[dict[str, Any]]:
    """Return for each rule its jobs, time, processor time by time, and memory; none without benchmark files."""
    try:
        jobs = read_jobs(results, dataset)
    except ValueError:
        return []
    return [
        {
            "rule": one.rule + (" *" if one.is_shared else ""),
            "num_jobs": one.num_jobs,
            "seconds": f"{one.seconds:,.1f}",
            "efficiency": "" if one.efficiency is None else f"{100 * one.efficiency:.0f} %",
            "memory_mb": f"{one.memory_mb:,.0f}" if one.memory_mb else "",
        }
        for one in learn(jobs)
    ]
