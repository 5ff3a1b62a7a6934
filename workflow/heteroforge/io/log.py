"""What a script prints, in its log and on the terminal."""

from __future__ import annotations

import contextlib
import fcntl
import sys
import traceback
from pathlib import Path
from typing import TextIO

from heteroforge.io.files import InputError

__all__ = ["is_being_written", "log_to"]


class _Tee:
    """A text stream that writes to two."""

    def __init__(self, terminal: TextIO, log: TextIO) -> None:
        self.terminal = terminal
        self.log = log

    def write(self, text: str) -> int:
        self.terminal.write(text)
        # A progress bar rewrites its line on a terminal; in a file each state is a line.
        self.log.write(text.replace("\r", "\n"))
        self.log.flush()
        return len(text)

    def flush(self) -> None:
        self.terminal.flush()
        self.log.flush()

    def isatty(self) -> bool:
        return self.terminal.isatty()

    def fileno(self) -> int:
        return self.terminal.fileno()

    @property
    def encoding(self) -> str:
        return self.terminal.encoding


def log_to(path: str | Path) -> None:
    """From here on, everything printed goes to the terminal and to the file at `path`.

    An uncaught InputError becomes one line on the terminal, its traceback goes to the log only;
    any other exception is shown whole in both.
    """
    path = Path(str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    log = path.open("w", encoding="utf-8")
    # Ends with the process, however that ends, so that others can tell a running job from a dead
    # one. Not every file system of a cluster has locks.
    with contextlib.suppress(OSError):
        fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
    terminal = sys.stderr
    sys.stdout = _Tee(sys.stdout, log)
    sys.stderr = _Tee(sys.stderr, log)

    def show(kind, error, trace) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        log.write(text)
        log.flush()
        terminal.write(f"error: {error}\n" if issubclass(kind, InputError) else text)
        terminal.flush()

    sys.excepthook = show


def is_being_written(path: str | Path) -> bool:
    """Whether a process is still running that called `log_to` on this file, or `flock`."""
    with Path(path).open("rb") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # no locks on this file system
            return False
    return False
