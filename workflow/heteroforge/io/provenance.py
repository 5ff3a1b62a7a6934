"""Which code made a file, and from what."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

import heteroforge

__all__ = ["campaign_provenance", "provenance"]

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


def campaign_provenance(
    configuration: Mapping, inputs: Iterable[str | Path], results: Iterable[str | Path]
) -> dict:
    """All that a campaign's results follow from, and their checksums, to compare two runs by.

    Args:
        configuration: as the campaign was run; it holds the seed, and never a key.
        inputs: files and folders that the campaign read and did not make.
        results: files that it made.

    Returns:
        As `provenance`, with `environment` (every installed package), `system`, `configuration`,
        `inputs_sha256` and `results_sha256` by path.
    """
    installed = {d.metadata["Name"]: d.version for d in distributions()}
    return {
        **provenance(),
        "system": f"{platform.system()} {platform.machine()}",
        "environment": dict(sorted(installed.items(), key=lambda item: item[0].lower())),
        "seed": configuration["seed"],
        "configuration": dict(configuration),
        "inputs_sha256": _checksums(inputs),
        "results_sha256": _checksums(results),
    }


def _checksums(paths: Iterable[str | Path]) -> dict[str, str]:
    found = {}
    for path in map(Path, paths):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                with file.open("rb") as handle:
                    found[str(file)] = hashlib.file_digest(handle, "sha256").hexdigest()
    return found


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
