"""The library that comes with the project: computed with its own DFT rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from heteroforge.io import InputError, read_frames, read_table
from heteroforge.sources.candidates import Candidate
from heteroforge.sources.library import PROPERTIES

__all__ = ["read_candidates"]


def read_candidates(folder: str | Path) -> Iterator[Candidate]:
    """Candidates of a folder with `monolayers.extxyz` and `monolayers.csv`.

    Raises:
        InputError: a file is missing, or a structure has no line in the table.
    """
    folder = Path(folder)
    structures, table_path = folder / "monolayers.extxyz", folder / "monolayers.csv"
    table = read_table(table_path, columns=["monolayer_id"]).set_index("monolayer_id")
    for atoms in read_frames(structures):
        name = str(atoms.info.get("monolayer_id", ""))
        if name not in table.index:
            raise InputError(f"{table_path}: no line for monolayer {name!r} of {structures.name}")
        row = table.loc[name]
        yield Candidate(
            material=name,
            atoms=atoms,
            properties={key: row[key] for key in PROPERTIES if key in table.columns},
            source=str(row.get("source", "bundled")),
            protocol=row.get("protocol"),
            file=structures.name,
        )
