"""Atomic writing: a file is written beside its place and renamed when it is complete."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from heteroforge.io.contracts import type_expected

__all__ = ["InputError", "REMAKE", "atomic_path", "read_json", "write_json", "write_text"]

# What to do about a damaged file: ends the message of whoever finds one.
REMAKE = "; if the campaign made it, delete it and run again"


class InputError(ValueError):
    """Input that the user can mend; the message says what, where and what was expected."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` when the block ends well.

    The yielded path keeps the suffix, which many writers go by. When the block raises, what was
    written is removed and a former `path` stays as it was.

    Raises:
        InputError: the block ended without writing the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Node and process number keep two processes from writing the same file.
    own = f"{platform.node()}-{os.getpid()}"
    partial = path.with_name(f".{path.stem}.{own}.partial{path.suffix}")
    try:
        yield partial
        if not partial.exists():
            raise InputError(f"{path}: nothing was written")
        with partial.open("rb") as handle:
            # Without this a crash of the machine can leave a renamed, empty file.
            os.fsync(handle.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write text (UTF-8) atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: object) -> None:
    """Write JSON atomically: arrays as lists, numbers that are not finite as null."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: str | Path) -> object:
    """Read JSON.

    Raises:
        InputError: the file is missing, is not JSON, or not an object or list as it should be.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}{REMAKE}") from None
    if not isinstance(content, type_expected(path)):
        found = type(content).__name__
        raise InputError(f"{path}: a {found}, expected a {type_expected(path).__name__}{REMAKE}")
    return content


def _plain(content: object) -> object:
    """Content in types that JSON has."""
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple, set, frozenset)):
        return [_plain(value) for value in content]
    if isinstance(content, np.ndarray):
        return _plain(content.tolist())
    if isinstance(content, np.generic):
        return _plain(content.item())
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Path):
        return str(content)
    return content
