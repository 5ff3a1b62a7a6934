"""One door to all sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from heteroforge.io import InputError
from heteroforge.sources import ase_database, bundled, folder
from heteroforge.sources.candidates import Candidate

__all__ = ["read_candidates"]


def read_candidates(
    source: str, path: str | Path | None, search: Mapping[str, object]
) -> Iterator[Candidate]:
    """Candidates of a source.

    Args:
        source: bundled, folder, ase_db or materials_project.
        path: folder or file of the first three.
        search: arguments of `materials_project.search`.
    """
    if source == "bundled":
        return bundled.read_candidates(path)
    if source == "folder":
        return folder.read_candidates(path)
    if source == "ase_db":
        return ase_database.read_candidates(path)
    if source == "materials_project":
        # Imported here: cutting crystals needs pymatgen, the other sources do not.
        from heteroforge.sources import materials_project

        return materials_project.read_candidates(**search)
    raise InputError(f"source {source!r}: expected bundled, folder, ase_db or materials_project")
