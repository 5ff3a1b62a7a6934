"""Where densities and wave functions of a calculation lie: beside it, or on a node's own disk."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

__all__ = ["place_save", "remove_save"]


def place_save(folder: str | Path, scratch: str | None) -> None:
    """Make `folder`/save lie on a node's own disk, as a link; None: in the folder itself.

    Nothing is lost when the node is: a relaxation goes on from its log, and a density that later
    steps miss is computed again.

    Args:
        folder: of the calculation.
        scratch: folder on the node, in which `$TMPDIR` and other variables are replaced.

    Raises:
        OSError: the folder is not there, or a variable in its name is not set on this node.
    """
    save = Path(folder) / "save"
    if scratch is None:
        if save.is_symlink():
            save.unlink()
        return
    place = os.path.expandvars(scratch)
    unset = re.findall(r"\$\{?\w+\}?", place)
    if unset:
        raise OSError(f"dft.scratch = {scratch}: {', '.join(unset)} is not set on this node")
    if save.is_symlink() and save.is_dir():
        return
    if not Path(place).is_dir():
        raise OSError(f"dft.scratch = {scratch}: no folder {place} on this node")
    remove_save(folder)
    save.parent.mkdir(parents=True, exist_ok=True)
    save.symlink_to(tempfile.mkdtemp(prefix="heteroforge-", dir=place), target_is_directory=True)


def remove_save(folder: str | Path) -> None:
    """Remove density and wave functions, wherever they lie."""
    save = Path(folder) / "save"
    if save.is_symlink():
        shutil.rmtree(save.resolve(), ignore_errors=True)
        save.unlink()
    else:
        shutil.rmtree(save, ignore_errors=True)
