"""Which code made a file."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import heteroforge

__all__ = ["provenance"]

PACKAGES = ("numpy", "scipy", "pandas", "ase", "pymatgen", "spglib", "torch", "dgl", "snakemake")


def provenance() -> dict:
    """Versions of the code and its packages, and the git revision where there is one.

    Holds nothing about the machine, so that files from different machines can be compared.
    """
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "heteroforge": heteroforge.__version__,
        "revision": _revision(),
        "python": platform.python_version(),
        "packages": packages,
    }


def _revision() -> str | None:
    """Commit of the source tree, marked `-modified` where files differ; None outside git."""
    command = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=-modified"]
    try:
        finished = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return finished.stdout.strip() or None if finished.returncode == 0 else None
