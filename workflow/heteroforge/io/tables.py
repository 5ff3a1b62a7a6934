"""Tables as parquet or CSV, by the suffix of the file."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pyarrow.parquet

from heteroforge.io.contracts import columns_expected
from heteroforge.io.files import REMAKE, InputError, atomic_path

__all__ = ["read_table", "table_suffix", "write_table"]

NAMES = ("material", "formula", "bottom", "top", "layers", "specification")


def write_table(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a table atomically; the index is not written (reset a named one first).

    A CSV is UTF-8, marked as such where it holds more than ASCII: spreadsheets would otherwise
    take it for the encoding of their country. pandas reads both.

    Raises:
        InputError: the suffix is neither .csv nor .parquet.
    """
    suffix = table_suffix(path)
    with atomic_path(path) as partial:
        if suffix == ".csv":
            frame.to_csv(partial, index=False, encoding=_encoding(frame))
        else:
            # Checksums, without which a damaged page can be read as other numbers.
            frame.to_parquet(partial, index=False, write_page_checksum=True)


def read_table(
    path: str | Path,
    columns: list[str] | None = None,
    *,
    only: Collection[str] = (),
    without: Collection[str] = (),
) -> pd.DataFrame:
    """Read a table; in CSV only an empty field is an unknown value (`NaN` is a formula, too).

    Columns of identifiers (`…_id`) and of names stay text, also where all of them look like
    numbers: `0012` and `12`, or the stack `1234567e1234`, must not change on the way.

    Args:
        path: .csv or .parquet.
        columns: columns that must be there, beside those that a campaign's file of this name has;
            all columns are returned.
        only, without: of a parquet file, columns to read alone, or to leave on the disk: texts of
            long tables take more memory than all numbers.

    Raises:
        InputError: the file is missing, unreadable or lacks one of `columns`.
    """
    path = Path(path)
    suffix = table_suffix(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        if suffix == ".csv":
            frame = _read_csv(path)
        else:
            names = pyarrow.parquet.read_schema(path).names if only or without else None
            if names is not None:
                names = [name for name in only or names if name in names and name not in without]
            frame = pd.read_parquet(path, columns=names, page_checksum_verification=True)
    except Exception as error:  # pandas and pyarrow raise many types for a broken file
        raise InputError(f"{path}: not a readable table: {error}{REMAKE}") from None
    expected = [*(columns or []), *columns_expected(path), *only]
    expected = [name for name in expected if name not in without and (name in only or not only)]
    missing = [column for column in expected if column not in frame.columns]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(frame.columns)}{REMAKE}"
        )
    return frame


def _read_csv(path: Path) -> pd.DataFrame:
    header = pd.read_csv(path, nrows=0).columns
    # pandas fills up a row that ends early, which a truncated file does.
    with path.open(newline="", encoding="utf-8-sig") as handle:
        row: list[str] = []
        for fields in csv.reader(handle):
            row = fields or row
    if len(row) != len(header):
        raise ValueError(f"the last row has {len(row)} fields, expected {len(header)}")
    text = {name: str for name in header if name.endswith("_id") or name in NAMES}
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=text)


def _encoding(frame: pd.DataFrame) -> str:
    texts = frame.select_dtypes(exclude="number")
    values = (value for name in texts for value in texts[name])
    plain = all(str(value).isascii() for value in [*frame.columns, *values])
    return "utf-8" if plain else "utf-8-sig"


def table_suffix(path: str | Path) -> str:
    """`.csv` or `.parquet`.

    Raises:
        InputError: the path ends in neither.
    """
    suffix = Path(path).suffix
    if suffix not in (".csv", ".parquet"):
        raise InputError(f"{path}: tables are .csv or .parquet")
    return suffix
