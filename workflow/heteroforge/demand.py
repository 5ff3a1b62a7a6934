"""What a verification asks of a cluster: walltime and memory from the size of the candidates.

Estimates with room to spare, for a scheduler; a job that needs more gets more when it is submitted
again. Imported when rules are read, so it needs nothing but Python.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

__all__ = ["largest_stack", "memory_mb", "walltime_min"]

# Core minutes of a candidate of four atoms; the cost grows with the square of the atoms (bands ×
# plane waves grow with their square, k-points fall with their number, projections add one power).
_CORE_MIN = {"quick": 15.0, "standard": 75.0, "precise": 300.0}
_OVERHEAD_MIN = 10.0  # start of the job, reading of files
_PYTHON_MB = 1000
_MB_PER_ATOM = 100


def largest_stack(selected: str | Path, first: int | str, last: int | str) -> int | None:
    """Atoms of the largest candidate in the slots `first` to `last`.

    None where the table is not there yet, or no candidate is in these slots.
    """
    path = Path(selected)
    try:
        atoms = _atoms_by_slot(path, path.stat().st_mtime_ns)
    except OSError:
        return None
    slots = range(int(first), int(last) + 1)
    return max((atoms[slot] for slot in slots if slot in atoms), default=None)


@cache
def _atoms_by_slot(path: Path, modified_ns: int) -> dict[int, int]:
    """Read once per state of the file: the rules ask for every job."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as handle:
        rows = csv.DictReader(handle)
        try:
            return {int(row["slot"]): int(row["number_of_atoms"]) for row in rows}
        except (KeyError, TypeError, ValueError, csv.Error):
            return {}  # damaged: the script that reads it says so


def walltime_min(atoms: int, candidates: int, attempt: int, settings: Mapping) -> int:
    """Minutes for a job.

    Args:
        atoms: of the largest candidate.
        candidates: verified one after another.
        attempt: from 1; each asks for as much again.
        settings: `protocol`, `ranks`, `mobility`, `maximum_walltime_min` of the `dft` section.
    """
    # A protocol of one's own counts as the dearest.
    core_min = _CORE_MIN.get(settings["protocol"], max(_CORE_MIN.values()))
    if settings["mobility"]:
        core_min *= 2  # strained cells
    one = core_min * max(1.0, (atoms / 4) ** 2) / settings["ranks"]
    asked = attempt * (_OVERHEAD_MIN + 2 * candidates * one)
    return min(math.ceil(asked), settings["maximum_walltime_min"])


def memory_mb(atoms: int, attempt: int, ranks: int) -> int:
    """Memory in MB for a job of candidates with so many atoms at most; doubles per attempt.

    Pools of k-points repeat everything but wave functions: as much per MPI process.
    """
    return (_PYTHON_MB + _MB_PER_ATOM * atoms * ranks) * 2 ** (attempt - 1)
