"""Sets of bilayers that the generative model is measured on, as files between the rules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from heteroforge.io import read_json, read_table, write_json, write_table
from heteroforge.models.catalogue import Catalogue
from heteroforge.structures import Monolayer, Stack

__all__ = ["SPLITS", "BenchmarkSet", "random_split", "read_set", "write_set"]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class BenchmarkSet:
    """Bilayers with the monolayers and cells that they are made of.

    Attributes:
        monolayers: by name.
        matches: cells that pairs share, columns as in `stacks/matches.parquet`.
        stacks: all bilayers, in an order drawn at random: parts of a part are fair samples of it.
        split: one of `SPLITS` per bilayer.
    """

    monolayers: Mapping[str, Monolayer]
    matches: pd.DataFrame
    stacks: list[Stack]
    split: np.ndarray

    @cached_property
    def catalogue(self) -> Catalogue:
        """All that a decoder may pick from."""
        return Catalogue(self.monolayers, self.matches)

    @cached_property
    def seen_catalogue(self) -> Catalogue:
        """The part of it that training may know: without monolayers of test bilayers alone."""
        stacks = self.part("train") + self.part("validation")
        seen = {layer.monolayer.name for stack in stacks for layer in stack.layers}
        return Catalogue({n: m for n, m in self.monolayers.items() if n in seen}, self.matches)

    def part(self, split: str) -> list[Stack]:
        """The bilayers of one split."""
        return [self.stacks[i] for i in np.flatnonzero(self.split == split)]


def random_split(number: int, seed: int) -> np.ndarray:
    """One of `SPLITS` per position, 6:2:2 at random."""
    order = np.random.default_rng(seed).permutation(number)
    names = np.empty(number, dtype=object)
    parts = np.split(order, [round(0.6 * number), round(0.8 * number)])
    for name, part in zip(SPLITS, parts, strict=True):
        names[part] = name
    return names


def write_set(
    made: BenchmarkSet, monolayers: str | Path, matches: str | Path, stacks: str | Path
) -> None:
    """Write a set: monolayers as JSON, matches and stacks as tables."""
    write_json(monolayers, {name: layer.to_dict() for name, layer in made.monolayers.items()})
    cells = {c: made.matches[c].map(json.dumps) for c in ("supercell_bottom", "supercell_top")}
    write_table(matches, made.matches.assign(**cells))
    rows = {
        "stack_id": [stack.key() for stack in made.stacks],
        "specification": [stack.to_json() for stack in made.stacks],
        "formula": [stack.formula for stack in made.stacks],
        "split": made.split,
    }
    write_table(stacks, pd.DataFrame(rows))


def read_set(monolayers: str | Path, matches: str | Path, stacks: str | Path) -> BenchmarkSet:
    """Read what `write_set` wrote."""
    layers = {name: Monolayer.from_dict(d) for name, d in read_json(monolayers).items()}
    table = read_table(stacks)
    found = [Stack.from_json(text, layers) for text in table["specification"]]
    return BenchmarkSet(layers, read_table(matches), found, table["split"].to_numpy())
