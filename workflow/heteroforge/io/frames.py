"""Structures as extended XYZ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ase.io
from ase import Atoms

from heteroforge.io.files import REMAKE, InputError, atomic_path

__all__ = ["read_frames", "write_frames"]


def write_frames(path: str | Path, frames: Sequence[Atoms] | Atoms) -> None:
    """Write structures as extended XYZ, atomically; no frames make an empty file."""
    frames = [frames] if isinstance(frames, Atoms) else list(frames)
    with atomic_path(path) as partial:
        if frames:
            ase.io.write(partial, frames, format="extxyz")
        else:
            partial.touch()


def read_frames(path: str | Path) -> list[Atoms]:
    """Read all structures of an extended XYZ file.

    Raises:
        InputError: the file is missing or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size == 0:
        return []
    try:
        return ase.io.read(path, index=":", format="extxyz")
    except Exception as error:  # the reader raises many types for a broken file
        raise InputError(f"{path}: not readable as extended XYZ: {error}{REMAKE}") from None
