"""How often a job began to work on a candidate, and how that ended: the history that outlives logs.

Snakemake keeps the log of the last attempt only, and what kills a job (memory, walltime, a lost
node) leaves no word. A candidate that ends its jobs time and again must not stop a campaign.
"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from heteroforge.io import InputError, read_json, write_json

__all__ = ["OUT_OF_MEMORY", "OUT_OF_TIME", "begin", "cut_short", "end", "enforced_min", "history"]

OUT_OF_TIME = "out of time"
OUT_OF_MEMORY = "out of memory"
_IN_A_JOB = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")  # SLURM, PBS, LSF, Grid Engine


def enforced_min(runtime_min: float | None) -> float | None:
    """A job's walltime where a scheduler enforces it; None on one's own machine, where a
    calculation may take its time."""
    return runtime_min if any(name in os.environ for name in _IN_A_JOB) else None


def history(folder: str | Path) -> list[dict]:
    """Records of a candidate's folder, oldest first: `attempt` (Snakemake's, from 1), `started`,
    `node`, limits, `ended` (None: without a word)."""
    try:
        return read_json(Path(folder) / "submissions.json")
    except InputError:  # not there yet, or damaged: it serves no result
        return []


def begin(folder: str | Path, attempt: int, limits: dict) -> None:
    """Record that a job begins to work in a candidate's folder."""
    record = {
        "attempt": attempt,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "node": platform.node(),
        **limits,
        "ended": None,
    }
    write_json(Path(folder) / "submissions.json", [*history(folder), record])


def end(folder: str | Path, how: str) -> None:
    """Record how the last job ended."""
    records = history(folder)
    if records:
        records[-1]["ended"] = how
        write_json(Path(folder) / "submissions.json", records)


def cut_short(folder: str | Path) -> list[dict]:
    """The last records, one after another, that ended without a word, out of time or of memory,
    since the workflow was last started: starting it again gives a candidate a new chance."""
    found: list[dict] = []
    for record in reversed(history(folder)):
        if record["ended"] not in (None, OUT_OF_TIME, OUT_OF_MEMORY):
            break
        found.insert(0, record)
        if record["attempt"] == 1:
            break
    return found
