"""Where densities and wave functions of a calculation lie: beside it, or on a node's own disk."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from pathlib import Path

__all__ = ["place_save", "remove_save"]


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
        return
    if not Path(place).is_dir():
        raise OSError(f"dft.scratch = {scratch}: no folder {place} on this node")
    _remove_forsaken(Path(place))
    remove_save(folder)
    save.parent.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    save.symlink_to(own, target_is_directory=True)
    (own / _OWNER).write_text(str(save.absolute()), encoding="utf-8")


_PREFIX = "heteroforge-"
_OWNER = "link"  # file that names the link which leads to its folder


def _remove_forsaken(place: Path) -> None:
    """Remove folders to which the link that they name no longer leads: its job was killed, and the
    calculation went on elsewhere or has ended."""
    for own in place.glob(f"{_PREFIX}*"):
        try:
            link = Path((own / _OWNER).read_text(encoding="utf-8"))
            is_forsaken = Path(os.readlink(link)) != own
        except FileNotFoundError:  # of the link; a folder without an owner is being made
            is_forsaken = (own / _OWNER).exists()
        except OSError as error:
            is_forsaken = error.errno == errno.EINVAL  # a folder in the link's place
        if is_forsaken:
            shutil.rmtree(own, ignore_errors=True)


def remove_save(folder: str | Path) -> None:
    """Remove density and wave functions, wherever they lie."""
    save = Path(folder) / "save"
    if save.is_symlink():
        shutil.rmtree(save.resolve(), ignore_errors=True)
        save.unlink()
    else:
        shutil.rmtree(save, ignore_errors=True)
