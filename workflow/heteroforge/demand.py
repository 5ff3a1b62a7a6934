"""What a verification asks of a cluster: walltime and memory of its candidates.

Estimates with room to spare, for a scheduler; a job that needs more gets more when it is submitted
again. Imported when rules are read, so it needs nothing but Python.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

__all__ = ["core_min_of_slots", "largest_stack", "memory_mb", "walltime_min"]

# Core minutes of a candidate of four atoms, for what the screen has not chosen yet; the cost grows
# with the square of the atoms (bands × plane waves grow with their square, k-points fall with their
# number, projections add one power).
_CORE_MIN = {"quick": 15.0, "standard": 75.0, "precise": 300.0}
_OVERHEAD_MIN = 10.0  # start of the job, reading of files
_PYTHON_MB = 1000
_MB_PER_ATOM = 100


def largest_stack(selected: str | Path, first: int | str, last: int | str) -> int | None:
    """Atoms of the largest candidate in the slots `first` to `last`.

    None where the table is not there yet, or no candidate is in these slots.
    """
    known = _candidates(selected, first, last) or []
    return max((atoms for atoms, _ in known), default=None)


def core_min_of_slots(
    selected: str | Path, first: int | str, last: int | str, screening: Mapping, dft: Mapping
) -> float:
    """Core minutes of the candidates in the slots `first` to `last`.

    What the screen expects of each (`heteroforge.dft.cost`), nothing of empty slots; before it has
    chosen, and where it cannot tell, a crude guess for the largest that it lets through.

    Args:
        selected: the table.
        first, last: slots.
        screening, dft: sections of the configuration.
    """
    known = _candidates(selected, first, last)
    if known is None:
        known = [(screening["maximum_atoms"], math.nan)] * (int(last) - int(first) + 1)
    return sum(
        _guess_core_min(atoms, dft) if math.isnan(core_min) else core_min
        for atoms, core_min in known
    )


def _guess_core_min(atoms: int, dft: Mapping) -> float:
    # A protocol of one's own counts as the dearest.
    core_min = _CORE_MIN.get(dft["protocol"], max(_CORE_MIN.values()))
    if dft["mobility"]:
        core_min *= 2  # strained cells
    return core_min * max(1.0, (atoms / 4) ** 2)


def _candidates(
    selected: str | Path, first: int | str, last: int | str
) -> list[tuple[int, float]] | None:
    """Atoms and expected core minutes of each candidate in these slots; None without a table."""
    path = Path(selected)
    try:
        by_slot = _by_slot(path, path.stat().st_mtime_ns)
    except OSError:
        return None
    if by_slot is None:
        return None
    return [by_slot[slot] for slot in range(int(first), int(last) + 1) if slot in by_slot]


@cache
def _by_slot(path: Path, modified_ns: int) -> dict[int, tuple[int, float]] | None:
    """Read once per state of the file: the rules ask for every job."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as handle:
        rows = csv.DictReader(handle)
        try:
            return {
                int(row["slot"]): (
                    int(row["number_of_atoms"]),
                    float(row.get("expected_core_min") or "nan"),
                )
                for row in rows
            }
        except (KeyError, TypeError, ValueError, csv.Error):
            return None  # damaged: the script that reads it says so


def walltime_min(core_min: float, attempt: int, ranks: int, maximum_min: int) -> int:
    """Minutes for a job of so many expected core minutes; each attempt asks for as much again.

    Args:
        core_min: of its candidates, verified one after another.
        attempt: from 1.
        ranks: MPI processes.
        maximum_min: that may be asked for.
    """
    asked = attempt * (_OVERHEAD_MIN + 2 * core_min / ranks)
    return min(math.ceil(asked), maximum_min)


def memory_mb(atoms: int, attempt: int, ranks: int) -> int:
    """Memory in MB for a job of candidates with so many atoms at most; the second attempt asks for
    twice, the third and later ones for four times as much: a node has no more than it has.

    Pools of k-points repeat everything but wave functions: as much per MPI process.
    """
    return (_PYTHON_MB + _MB_PER_ATOM * atoms * ranks) * 2 ** min(attempt - 1, 2)
