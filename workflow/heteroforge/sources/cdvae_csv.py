"""A table with a CIF in each line, as CDVAE and its relatives share data."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import ase.io

from heteroforge.io import read_table
from heteroforge.sources.candidates import Candidate
from heteroforge.sources.library import PROPERTIES

__all__ = ["read_candidates"]


def read_candidates(path: str | Path) -> Iterator[Candidate]:
    """Candidates of a CSV with the columns `material_id`, `cif` and any of a library's.

    Other columns are left alone: their names say nothing of units.

    Raises:
        InputError: no such table, or one of the two columns is missing.
    """
    path = Path(path)
    table = read_table(path, columns=["material_id", "cif"])
    known = [column for column in table.columns if column in PROPERTIES]
    for line, row in enumerate(table.to_dict("records"), 2):
        atoms, reason = None, ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                atoms = ase.io.read(io.StringIO(str(row["cif"])), format="cif")
        except Exception as error:  # the reader raises many types for a broken CIF
            reason = f"unreadable: {' '.join(f'{type(error).__name__}: {error}'.split())[:200]}"
        yield Candidate(
            material=str(row["material_id"]),
            atoms=atoms,
            properties={key: row[key] for key in known},
            source=path.stem,
            file=f"{path.name}, line {line}",
            reason=reason,
        )
