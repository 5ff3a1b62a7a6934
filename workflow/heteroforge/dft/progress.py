"""How far a running pw.x is, from the end of its log."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

__all__ = ["pw_progress"]

_TAIL_BYTES = 20_000
_IONIC = re.compile(r"number of (?:bfgs steps|scf cycles)\s*=\s*(\d+)")
_ITERATION = re.compile(r"iteration #\s*(\d+)")
_ACCURACY = re.compile(r"estimated scf accuracy\s*<\s*(\S+) Ry")
_K_POINT = re.compile(r"Computing kpt #:\s*(\d+)\s+of\s+(\d+)")


def pw_progress(log: Path) -> str:
    """One line for people: "ionic step 3, SCF iteration 12, accuracy 1.2e-04 Ry".

    Args:
        log: output of pw.x, still being written. Of other programs nothing is known.
    """
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        text = handle.read().decode(errors="replace")
    parts = [f"ionic step {int(found[-1]) + 1}"] if (found := _IONIC.findall(text)) else []
    if found := _ITERATION.findall(text):
        parts.append(f"SCF iteration {found[-1]}")
    if found := _ACCURACY.findall(text):
        with contextlib.suppress(ValueError):  # asterisks, where it diverges
            parts.append(f"accuracy {float(found[-1].replace('D', 'E')):.1e} Ry")
    if found := _K_POINT.findall(text):
        parts.append("k-point {} of {}".format(*found[-1]))
    return ", ".join(parts) or "running"
