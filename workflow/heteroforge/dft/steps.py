"""Steps of a verification as files: each reads the steps before it and writes its outcome.

A calculation that fails is a result like any other: its step says `failed` and why, later steps
say `skipped`, and the campaign goes on. Only a broken machine (a program that is missing, a full
disk) raises.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from heteroforge.dft.calculations import Calculator
from heteroforge.dft.protocols import Protocol, Pseudopotentials
from heteroforge.dft.running import (
    LEAST_S,
    CalculationFailed,
    JobTooSmall,
    Launcher,
    OutOfTime,
)
from heteroforge.dft.scratch import place_save
from heteroforge.dft.submissions import scheduler_job
from heteroforge.io import InputError, read_json, write_json
from heteroforge.io.conventions import inside_window

__all__ = ["calculator_for", "claim_folder", "inside_targets", "protocol_for", "run_step"]

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
LOOKS_S = 2.0  # between two looks whether a folder is free
_CLAIMED: list[TextIO] = []  # open for as long as the process lives


def claim_folder(folder: str | Path, launcher: Launcher | None = None) -> None:
    """Make this process the only one that works in a folder; waits for another to end.

    A campaign that was killed may leave a step running. The step that is started in its place
    waits here, and finds the finished calculation. On a file system without locks nothing waits.

    Raises:
        OutOfTime: the walltime of the launcher's job is used up by waiting.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock, told = folder / ".lock", False
    while True:
        handle = lock.open("a+")  # anew each time: who knows that its holder is gone may delete it
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "an earlier run"
        except OSError as error:  # such as Lustre mounted without `flock`
            if error.errno not in NO_LOCKS:
                raise
            text = "no locks on this file system; only one campaign may run here"
            print(f"{folder}: {text}", flush=True)
            break
        handle.close()
        remedy = f"cancel it, or, where it is long gone, delete {lock}"
        remaining = launcher.remaining_s() if launcher is not None else None
        if remaining is not None and remaining < LEAST_S:
            raise OutOfTime(f"{folder}: {holder} still works here: {remedy}")
        if not told:
            told = True
            print(f"{folder}: waiting for {holder}, which works here ({remedy})", flush=True)
        time.sleep(LOOKS_S)
    handle.truncate(0)
    handle.write(f"{scheduler_job() or f'process {os.getpid()}'} on {platform.node()}\n")
    handle.flush()
    _CLAIMED.append(handle)


def protocol_for(settings: Mapping, elements: Iterable[str]) -> Protocol:
    """The protocol of a campaign's `dft` section, for all calculations with these elements."""
    pseudopotentials = Pseudopotentials(settings["pseudopotentials"])
    return Protocol.named(settings["protocol"], pseudopotentials, elements)


def calculator_for(
    folder: str | Path, settings: Mapping, launcher: Launcher, elements: Iterable[str]
) -> Calculator:
    """A calculator in `folder` with the settings of a campaign's `dft` section.

    Args:
        folder: where inputs, logs and scratch go.
        settings: `protocol`, `pseudopotentials`, `scratch`, `maximum_attempts`.
        launcher: how programs are started.
        elements: of the candidate, all layers together.
    """
    place_save(folder, settings["scratch"])
    return Calculator(
        folder=Path(folder),
        protocol=protocol_for(settings, elements),
        pseudopotentials=Pseudopotentials(settings["pseudopotentials"]),
        launcher=launcher,
        maximum_attempts=settings["maximum_attempts"],
    )


def run_step(
    path: str | Path,
    needs: Mapping[str, str | Path],
    compute: Callable[..., dict],
    basis: object = None,
    writes: Sequence[str | Path] = (),
    series: str | None = None,
) -> dict:
    """Compute a step from earlier ones and write its outcome as JSON, unless that is done.

    A finished step is taken as it is when it rests on the same earlier outcomes and `basis`, and
    its files are as it left them: what is half-written, damaged or of another candidate or
    protocol is computed again.

    Args:
        path: the step's result file.
        needs: result files of earlier steps, by name.
        compute: called with the earlier outcomes as keyword arguments; returns numbers to keep.
        basis: what else the outcome depends on, as JSON; None: never taken as it is.
        writes: further files that `compute` writes.
        series: of jobs that the workflow submits one after another where they end early; what
            failed in one of them is not tried again by the next. None: it is.

    Returns:
        The outcome: `status` is "done", "failed" (with `reason`), "skipped" (an earlier step
        failed), or "empty" (nothing to do in this slot).
    """
    earlier = {name: read_json(file) for name, file in needs.items()}
    outcome = _inherited(earlier)
    if outcome is None:
        rests_on = None if basis is None else _checksum(json.dumps([earlier, basis]).encode())
        finished = rests_on and _finished(path, rests_on, writes, series)
        if finished:
            return finished
        try:
            outcome = {"status": "done", **compute(**earlier)}
        except (OSError, ImportError, MemoryError, JobTooSmall):
            raise  # what is missing on this machine, a full disk: for the workflow to retry
        except Exception as error:
            # Structures and outputs that make no sense, most of all: trying again is of no use.
            told = isinstance(error, (CalculationFailed, ValueError))
            outcome = {
                "status": "failed",
                "reason": str(error) if told else f"{type(error).__name__}: {error}",
                "attempts": getattr(error, "attempts", []),
                "detail": traceback.format_exc(limit=-3),
                "rests_on_sha256": rests_on,
                "series": series,
            }
            print(f"failed: {outcome['detail'] if not told else error}")
        else:
            if rests_on is not None:
                outcome |= {"rests_on_sha256": rests_on, "files_sha256": _checksums(writes)}
    write_json(path, outcome)
    return outcome


def _finished(
    path: str | Path, rests_on: str, writes: Sequence[str | Path], series: str | None
) -> dict | None:
    try:
        outcome = read_json(path)
        if outcome["rests_on_sha256"] != rests_on:
            return None
        if outcome["status"] == "failed":
            return outcome if series is not None and outcome["series"] == series else None
        return outcome if outcome["files_sha256"] == _checksums(writes) else None
    except (InputError, OSError, KeyError, TypeError):
        return None


def _checksums(files: Sequence[str | Path]) -> dict[str, str]:
    return {Path(file).name: _checksum(Path(file).read_bytes()) for file in files}


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _inherited(earlier: Mapping[str, dict]) -> dict | None:
    for name, outcome in earlier.items():
        if outcome["status"] == "empty":
            return {"status": "empty"}
        if outcome["status"] in ("failed", "skipped"):
            reason = outcome["reason"]
            step = outcome.get("step", name)
            return {"status": "skipped", "step": step, "reason": reason}
    return None


def inside_targets(properties: Mapping, targets: Mapping) -> dict[str, dict]:
    """Whether each targeted property lies in its window [low, high]; a null end is open.

    Of a property that is a word, such as the alignment, the target is the word. A property that
    could not be determined is not inside.
    """
    found = {}
    for name, window in targets.items():
        if window is not None:
            value = properties.get(name)
            inside = bool(inside_window(value, window))
            found[name] = {"window": window, "value": value, "inside": inside}
    return found
