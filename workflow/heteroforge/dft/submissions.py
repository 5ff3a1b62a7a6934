"""How often a job began to work on a candidate, and how that ended: the history that outlives logs.

Snakemake keeps the log of the last attempt only, and what kills a job (memory, walltime, a lost
node) leaves no word. A candidate that ends its jobs time and again must not stop a campaign.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from heteroforge.dft.outputs import total_energies_ev
from heteroforge.io import InputError, read_json, write_json

__all__ = [
    "OUT_OF_MEMORY",
    "OUT_OF_TIME",
    "begin",
    "cut_short",
    "end",
    "history",
    "scheduler_job",
    "seconds_left",
    "series",
    "unfinished",
    "without_progress",
]

OUT_OF_TIME = "out of time"
OUT_OF_MEMORY = "out of memory"
_IN_A_JOB = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")  # SLURM, PBS, LSF, Grid Engine


def scheduler_job() -> str | None:
    """The scheduler's job that this process runs in, such as "job 4711"; None: in none."""
    number = next((os.environ[name] for name in _IN_A_JOB if name in os.environ), None)
    return number and f"job {number}"


def seconds_left(runtime_min: float | None) -> float | None:
    """What is left of this job's walltime; None where no scheduler ends it.

    What SLURM says: the job may have begun before this process did, or be another one than the
    workflow asked for, such as an interactive one. Of other schedulers what was asked for.

    Args:
        runtime_min: minutes that the workflow asked for.
    """
    if scheduler_job() is None:
        return None
    if (job := os.environ.get("SLURM_JOB_ID")) and shutil.which("squeue"):
        command = ["squeue", "--noheader", f"--jobs={job}", "--format=%L"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            told = subprocess.run(
                command, capture_output=True, text=True, timeout=30
            ).stdout.strip()
            if told == "UNLIMITED":
                return None
            if (left := _seconds(told)) is not None:
                return left
    return None if runtime_min is None else 60.0 * runtime_min


def _seconds(told: str) -> float | None:
    """Of [days-][[hours:]minutes:]seconds; None of anything else."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)", told)
    if found is None:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + seconds


def history(folder: str | Path) -> list[dict]:
    """Records of a candidate's folder, oldest first: `attempt` (Snakemake's, from 1), `started`,
    `node`, `job` and `workflow` of the scheduler, limits, `ended` (None: without a word)."""
    try:
        return read_json(Path(folder) / "submissions.json")
    except InputError:  # not there yet, or damaged: it serves no result
        return []


def _workflow() -> str | None:
    """What all jobs are named that one call of Snakemake submits to SLURM; None in no such job."""
    return os.environ.get("SLURM_JOB_NAME")


def begin(folder: str | Path, attempt: int, limits: dict) -> None:
    """Record that a job begins to work in a candidate's folder."""
    record = {
        "attempt": attempt,
        "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "node": platform.node(),
        "job": scheduler_job(),
        "workflow": _workflow(),
        **limits,
        "progress": progress(folder),
        "ended": None,
    }
    write_json(Path(folder) / "submissions.json", [*history(folder), record])


def end(folder: str | Path, how: str) -> None:
    """Record how the last job ended."""
    records = history(folder)
    if records:
        records[-1]["ended"] = how
        write_json(Path(folder) / "submissions.json", records)


def progress(folder: str | Path) -> list[int]:
    """How far the work in a candidate's folder is: outcomes that are kept, and ionic steps of the
    relaxations under way."""
    folder, steps = Path(folder), 0
    kept = [p for p in folder.glob("*/**/*.json") if not p.name.endswith(".before.json")]
    for file in folder.rglob("*.before.json"):
        with contextlib.suppress(InputError, OSError, AttributeError, TypeError):
            steps += read_json(file).get("ionic_steps", 0)
            log = file.with_name(file.name.replace(".before.json", ".out"))
            steps += len(total_energies_ev(log.read_text(errors="replace")))
    return [len(kept), steps]


def cut_short(folder: str | Path) -> list[dict]:
    """The last records, one after another, that ended without a word, out of time or of memory,
    since the workflow was last started: starting it again gives a candidate a new chance.

    Jobs that the scheduler took away and queued again, under the same number, do not count.
    """
    found: list[dict] = []
    later = scheduler_job()
    for record in reversed(history(folder)):
        if record["ended"] not in (None, OUT_OF_TIME, OUT_OF_MEMORY):
            break
        if record.get("workflow") != _workflow():
            break
        job = record.get("job")
        if job is None or job != later:
            found.insert(0, record)
        later = job
        if record["attempt"] == 1:
            break
    return found


def unfinished(folder: str | Path) -> int:
    """How many of the last jobs, one after another, ended without a result for a candidate."""
    ended = [record["ended"] in ("verified", "failed") for record in history(folder)]
    return [*reversed(ended), True].index(True)


def without_progress(folder: str | Path) -> list[dict]:
    """Those of `cut_short` since which nothing was gained: no outcome, no ionic step.

    What was lost and had to be computed again is no gain.
    """
    now = progress(folder)
    found: list[dict] = []
    for record in reversed(cut_short(folder)):
        if now > record.get("progress", now):
            break
        found.insert(0, record)
    return found


def series(folder: str | Path) -> str | None:
    """When the first of the jobs began that the workflow submitted one after another, the last one
    among them; None where none has begun."""
    later, began = None, None
    for record in reversed(history(folder)):
        if later is not None and not _follows(later, record):
            break
        later, began = record, record["started"]
    return began


def _follows(later: dict, record: dict) -> bool:
    """Whether one call of the workflow submitted a job after another, or the scheduler again."""
    if record.get("workflow") != later.get("workflow"):
        return False
    is_requeued = record.get("job") is not None and record["job"] == later.get("job")
    return is_requeued or record["attempt"] < later["attempt"]
