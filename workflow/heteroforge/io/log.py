"""What a script prints, in its log and on the terminal."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TextIO

from heteroforge.io.files import InputError

__all__ = ["log_to"]


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
