"""Scored samples of all shards: numbers in memory, specifications on the disk.

A million specifications take more memory than all that is known of the stacks, and only those of
the best are ever read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from heteroforge.io import read_table

__all__ = ["ScoredSamples"]

TEXT = "specification"


@dataclass(frozen=True)
class ScoredSamples:
    """Distinct stacks of the tables `screening/scored_{shard}.parquet`, in the order of their keys.

    Equal stacks may be written differently: the smallest text stays, in a shard as among shards, so
    that nothing depends on their number.

    Attributes:
        table: of `score_samples`, without specifications (n).
        paths: of the shards.
        shard, row: where the specifications lie (n).
        number: of samples, equal ones of different shards counted each.
    """

    table: pd.DataFrame
    paths: tuple[Path, ...]
    shard: np.ndarray
    row: np.ndarray
    number: int

    @classmethod
    def read(cls, paths: Sequence[str | Path]) -> ScoredSamples:
        paths = tuple(Path(path) for path in paths)
        parts = [read_table(path, without=[TEXT]) for path in paths]
        shard = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        row = np.concatenate([np.arange(len(part)) for part in parts])
        table = pd.concat(parts, ignore_index=True)
        del parts
        repeated = table["stack_id"].duplicated(keep=False).to_numpy()
        smallest: dict[str, tuple[str, int]] = {}
        for k, path in enumerate(paths):
            places = np.flatnonzero(repeated & (shard == k))
            texts = _specifications(path, row[places])
            for key, text, place in zip(table["stack_id"].iloc[places], texts, places, strict=True):
                if key not in smallest or text < smallest[key][0]:
                    smallest[key] = text, place
        kept = ~repeated
        kept[[place for _, place in smallest.values()]] = True
        distinct = table[kept].sort_values("stack_id")
        places = distinct.index.to_numpy()
        return cls(
            distinct.reset_index(drop=True), paths, shard[places], row[places], number=len(table)
        )

    def specifications(self, places: np.ndarray) -> list[str]:
        """Of the rows at these places of the table, in their order."""
        shard, row = self.shard[places], self.row[places]
        found = np.empty(len(row), dtype=object)
        for k in np.unique(shard):
            found[shard == k] = _specifications(self.paths[k], row[shard == k])
        return found.tolist()


def _specifications(path: Path, rows: np.ndarray) -> np.ndarray:
    if len(rows) == 0:
        return np.empty(0, dtype=object)
    return read_table(path, only=[TEXT])[TEXT].iloc[rows].to_numpy(dtype=object)
