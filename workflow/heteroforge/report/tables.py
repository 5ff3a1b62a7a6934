"""Tables of the page: cells as people read them, with the plain value for sorting and export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from heteroforge.report.words import (
    chemical_formula,
    formula_text,
    number_text,
    quantity,
    value_text,
)

__all__ = ["Table", "make_cell", "make_table", "measures_table"]

ROWS_SHOWN = 2000  # more would make the page heavy; the file with all of them is named
_NOT_SHOWN = ("specification", "seed_key")
_FORMULAS = ("formula", "layers", "bottom", "top", "material", "monolayer_id")


@dataclass
class Table:
    """A table of the page.

    Attributes:
        identifier: unique in the page; also the name of the exported CSV.
        title: caption.
        columns: (column name, heading, whether it holds numbers).
        rows: cells as (text shown, plain value for sorting and export).
        note: what was left out and where the rest is.
        whole: shown open and in one piece however long it is.
    """

    identifier: str
    title: str
    columns: list[tuple[str, str, bool]]
    rows: list[list[tuple[str, str]]]
    note: str = ""
    whole: bool = False


def make_table(
    frame: pd.DataFrame,
    identifier: str,
    title: str,
    path: str = "",
    headings: Mapping[str, str] | None = None,
    first: Sequence[str] = (),
) -> Table:
    """A page's table of the first rows of a frame.

    Args:
        frame: columns are named and written by their units; empty columns are left out.
        path: file that holds all rows, named where rows are left out.
        headings: instead of the usual words for a column.
        first: columns that come first, where they are there.
    """
    order = [n for n in first if n in frame] + [n for n in frame.columns if n not in first]
    columns, texts = [], []
    for name in order:
        series = frame[name]
        if name in _NOT_SHOWN or series.isna().all():
            continue
        truth = pd.api.types.is_bool_dtype(series.dropna().infer_objects())
        numeric = pd.api.types.is_numeric_dtype(series) and not truth
        heading = (headings or {}).get(str(name)) or quantity(str(name)).label
        columns.append((str(name), heading, numeric))
        texts.append([make_cell(str(name), value, truth) for value in series.head(ROWS_SHOWN)])
    note = ""
    if len(frame) > ROWS_SHOWN:
        note = f"First {number_text(ROWS_SHOWN)} of {number_text(len(frame))} rows"
        note += f"; all of them in `{path}`." if path else "."
    rows = [list(row) for row in zip(*texts, strict=True)] if texts else []
    return Table(identifier, title, columns, rows, note)


def make_cell(name: str, value: object, truth: bool = False) -> tuple[str, str]:
    """A value of the column `name` as shown, and plain; `truth`: a yes or no."""
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return "–", ""
    if truth:
        return ("yes", "1") if value else ("no", "0")
    if isinstance(value, (int, float, np.number)):
        return value_text(name, value, unit=False), repr(float(value))
    if isinstance(value, np.ndarray):
        value = value.tolist()
    text = str(value)
    if name in _FORMULAS:
        return formula_text(chemical_formula(text) if name == "formula" else text), text
    if name == "property":
        return quantity(text).label, text
    return (quantity(text).words if name in ("target", "descriptor") else text), text


def measures_table(record: Mapping, identifier: str, title: str) -> Table:
    """All single values of a nested record, one per row, with their path in words."""
    rows = [
        [(words, words), make_cell("", value, isinstance(value, bool))]
        for words, value in _measures(record)
    ]
    columns = [("measure", "measure", False), ("value", "value", True)]
    return Table(identifier, title, columns, rows)


def _measures(record: Mapping, prefix: str = "") -> list[tuple[str, object]]:
    found = []
    for key, value in record.items():
        if key == "provenance":
            continue
        words = f"{prefix}{quantity(str(key)).label}"
        if isinstance(value, Mapping):
            found += _measures(value, f"{prefix}{quantity(str(key)).words}: ")
        elif isinstance(value, (int, float, str, bool)) or value is None:
            found.append((words, value))
        elif isinstance(value, Sequence) and len(value) <= 4:
            found.append((words, ", ".join(map(str, value))))
    return found
