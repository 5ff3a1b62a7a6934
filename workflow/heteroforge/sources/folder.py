"""A folder of structure files, with an optional table of what is known of them."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator
from pathlib import Path

import ase.io
import pandas as pd

from heteroforge.io import InputError, read_table
from heteroforge.sources.candidates import Candidate
from heteroforge.sources.library import GEOMETRY, ORIGIN, PROPERTIES

__all__ = ["read_candidates"]

SUFFIXES = (".cif", ".extxyz", ".xyz", ".vasp", ".poscar")


def read_candidates(folder: str | Path) -> Iterator[Candidate]:
    """Candidates of a folder: every structure of every CIF, extended XYZ or POSCAR file in it.

    A structure is named by its `monolayer_id` if it has one, else by its file (with a number
    where the file holds several). `properties.csv`, if there, has a column `monolayer_id` and any
    of the columns of a library; structures without a line have unknown properties.

    Raises:
        InputError: no structure files, or columns of `properties.csv` that are not known.
    """
    folder = Path(folder)
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{folder}: no structure files ({', '.join(SUFFIXES)})")
    known = _properties(folder / "properties.csv")
    for path in files:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                frames = ase.io.read(path, index=":")
        except Exception as error:  # readers raise many types for a broken file
            yield Candidate(path.stem, reason=f"unreadable: {_one_line(error)}", file=path.name)
            continue
        if not frames:
            yield Candidate(path.stem, reason="no structure in the file", file=path.name)
        for number, atoms in enumerate(frames):
            name = path.stem if len(frames) == 1 else f"{path.stem}-{number}"
            name = str(atoms.info.get("monolayer_id", name))
            row = known.loc[name] if name in known.index else {}
            if isinstance(row, pd.DataFrame):
                reason = f"{len(row)} lines in properties.csv, one expected"
                yield Candidate(name, reason=reason, file=path.name)
                continue
            yield Candidate(
                material=name,
                atoms=atoms,
                properties={key: row[key] for key in PROPERTIES if key in row},
                source=_text(row, "source") or folder.name,
                protocol=_text(row, "protocol"),
                file=path.name,
            )


def _properties(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame()
    table = read_table(path, columns=["monolayer_id"])
    allowed = [*GEOMETRY, *PROPERTIES, *ORIGIN, "monolayer_id"]
    for column in table.columns:
        if column not in allowed:
            near = difflib.get_close_matches(column, allowed, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(PROPERTIES)}"
            raise InputError(f"{path}: unknown column {column}: {hint}")
    return table.astype({"monolayer_id": str}).set_index("monolayer_id")


def _text(row, key: str) -> str | None:
    value = row.get(key)
    return None if value is None or pd.isna(value) else str(value)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
