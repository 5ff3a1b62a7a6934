"""One door to all sources."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from heteroforge.io import InputError
from heteroforge.sources import ase_database, bundled, cdvae_csv, folder, jarvis, published_tables
from heteroforge.sources.candidates import Candidate

__all__ = ["read_candidates"]

# A new source: a file with a reader of a path, a line here, and its name in config/schema.json.
READERS: dict[str, Callable[[str | Path], Iterator[Candidate]]] = {
    "bundled": bundled.read_candidates,
    "folder": folder.read_candidates,
    "cdvae_csv": cdvae_csv.read_candidates,
    "ase_db": ase_database.read_candidates,
    "c2db": published_tables.read_c2db,
    "hetml": published_tables.read_hetml,
    "jarvis": jarvis.read_candidates,
}


def read_candidates(
    sources: Sequence[str],
    paths: Sequence[str | Path | None],
    search: Mapping[str, object],
    cache: str | Path,
) -> Iterator[Candidate]:
    """Candidates of one or several sources, one after the other.

    Args:
        sources: keys of READERS, or materials_project.
        paths: a file or folder per source; None for the Materials Project.
        search: attributes of `materials_project_service.Search`.
        cache: folder of the Materials Project's answers.
    """
    return itertools.chain.from_iterable(
        _read(source, path, search, cache) for source, path in zip(sources, paths, strict=True)
    )


def _read(source: str, path, search: Mapping, cache: str | Path) -> Iterator[Candidate]:
    if source == "materials_project":
        # Imported here: cutting crystals needs pymatgen, the other sources do not.
        from heteroforge.sources import materials_project

        return materials_project.read_candidates(search, cache)
    if source not in READERS:
        known = ", ".join([*READERS, "materials_project"])
        raise InputError(f"source {source!r}: expected one of {known}")
    return READERS[source](path)
