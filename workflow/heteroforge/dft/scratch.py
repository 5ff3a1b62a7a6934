"""Where densities and wave functions of a calculation lie: beside it, or on a node's own disk."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TextIO

__all__ = ["copy_save", "place_save", "remove_save"]


def place_save(folder: str | Path, scratch: str | None) -> None:
    """Make `folder`/save lie on a node's own disk, as a link; None: in the folder itself.

    Nothing is lost when the node is: a relaxation goes on from its log, and a density that later
    steps miss is computed again. What killed jobs have left on this disk is removed.

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
        _hold(save.resolve())
        return
    if not Path(place).is_dir():
        raise OSError(f"dft.scratch = {scratch}: no folder {place} on this node")
    _remove_forsaken(Path(place))
    remove_save(folder)
    save.parent.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    save.symlink_to(own, target_is_directory=True)
    (own / _OWNER).write_text(str(save.absolute()), encoding="utf-8")
    _hold(own.resolve())


_PREFIX = "heteroforge-"
_OWNER = "link"  # file that names the link which leads to its folder, locked while that is in use
_held: dict[Path, TextIO] = {}


def _hold(own: Path) -> None:
    """Lock a folder on scratch for as long as this process lives, or until it is removed.

    What is locked is in use, even where the link that leads to it is not seen from here, or under
    another name: by a job in a container.
    """
    if own not in _held and (own / _OWNER).is_file():
        handle = (own / _OWNER).open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process's, or a disk without locks
            handle.close()
        else:
            _held[own] = handle


def _remove_forsaken(place: Path) -> None:
    """Remove folders to which the link that they name no longer leads: its job was killed, and the
    calculation went on elsewhere or has ended."""
    for own in place.glob(f"{_PREFIX}*"):
        try:
            with (own / _OWNER).open("r+") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                link = Path(handle.read())
                if not link.is_symlink() or link.resolve() != own.resolve():
                    shutil.rmtree(own, ignore_errors=True)
        except OSError:  # in use, being made, another user's, or no longer there
            continue


def copy_save(source: str | Path, target: str | Path) -> None:
    """Copy density and wave functions from one calculation's `save` to that of another."""
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(_OWNER))


def remove_save(folder: str | Path) -> None:
    """Remove density and wave functions, wherever they lie."""
    save = Path(folder) / "save"
    if save.is_symlink():
        place = save.resolve()
        shutil.rmtree(place, ignore_errors=True)
        save.unlink()
        if place in _held:
            _held.pop(place).close()
    else:
        shutil.rmtree(save, ignore_errors=True)
