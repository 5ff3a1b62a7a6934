"""Published homobilayers (BiDB) in terms of one monolayer each, split by monolayer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from heteroforge.evaluation.benchmark_sets import BenchmarkSet, random_split
from heteroforge.labels.published import PublishedStack, read_bidb_stacks
from heteroforge.models.catalogue import Catalogue
from heteroforge.structures import Monolayer, Stack, StructureError
from heteroforge.structures.matching import find_matches, stack_from_match

__all__ = ["homobilayers", "published_homobilayers", "told_by"]

LARGEST_MISMATCH_PERCENT = 0.5  # of a layer and itself turned: cells are given to four digits


def published_homobilayers(
    folder: str | Path, seed: int, number: int | None = None
) -> tuple[BenchmarkSet, dict[str, int]]:
    """BiDB's bilayers, no monolayer of which is in two of the three parts.

    Args:
        folder: with copies of the published tables.
        seed: of the split, and of the choice where fewer are asked for.
        number: bilayers to choose from at random; all by default.

    Returns:
        The set, and how many bilayers were left out for each reason.
    """
    found = list(read_bidb_stacks(folder))
    order = np.random.default_rng(seed).permutation(len(found))[:number]
    return homobilayers([found[i] for i in order], seed)


def homobilayers(
    published: Iterable[PublishedStack], seed: int
) -> tuple[BenchmarkSet, dict[str, int]]:
    """A set of bilayers of equal layers; `published_homobilayers` has the rest."""
    monolayers: dict[str, Monolayer] = {}
    rows, stacks, names = [], [], []
    left_out: Counter[str] = Counter()
    catalogues: dict[str, Catalogue] = {}
    for entry in published:
        name, layers = entry.layers[0], entry.stack.layers
        if len({layer.monolayer.key() for layer in layers}) != 1:
            left_out["the layers are not one monolayer in the same sites"] += 1
            continue
        if name not in monolayers:
            layer = replace(layers[0].monolayer, name=name)
            cells = find_matches(
                layer, layer, 1.05 * layer.area_a2, LARGEST_MISMATCH_PERCENT,
                2 * len(layer.species),
            )  # fmt: skip
            table = pd.DataFrame([{"bottom": name, "top": name, **vars(cell)} for cell in cells])
            monolayers[name] = layer
            catalogues[name] = Catalogue({name: layer}, table)
            rows.append(table)
        try:
            stacks.append(told_by(catalogues[name], entry.stack))
            names.append(name)
        except StructureError as error:
            left_out[str(error)] += 1
    used = list(dict.fromkeys(names))
    part = dict(zip(used, random_split(len(used), seed), strict=True))
    made = BenchmarkSet(
        {name: monolayers[name] for name in used},
        pd.concat(rows, ignore_index=True).query("bottom in @used").reset_index(drop=True),
        stacks,
        np.array([part[name] for name in names], dtype=object),
    )
    return made, dict(left_out)


def told_by(catalogue: Catalogue, stack: Stack) -> Stack:
    """The description of a bilayer of equal layers on the first cell of the catalogue it fits.

    Of all that symmetry of the layers makes equal (`heteroforge.structures.identity` has the
    formula) the one with the smallest registry, so that equal bilayers are told alike.

    Raises:
        StructureError: the catalogue has no cell for it.
    """
    name = next(iter(catalogue.monolayers))
    layer = catalogue.monolayers[name]
    lower, upper = stack.layers
    operations = layer.operations
    relation = np.linalg.inv(np.array(lower.supercell)) @ np.array(upper.supercell)
    origin, turn_back = operations.origin, np.linalg.inv(relation)
    registry = np.array(stack.registry(0)) + origin @ turn_back - origin
    inverses = np.linalg.inv(operations.matrices)
    parity = np.round(np.linalg.det(operations.matrices))
    found = []
    for number, cell in enumerate(catalogue.candidates(0, 0)):
        wanted = np.linalg.inv(np.array(cell.supercell_bottom)) @ np.array(cell.supercell_top)
        for i, j in zip(*np.nonzero(parity[:, None] == parity[None, :]), strict=True):
            if np.abs(operations.matrices[i] @ relation @ inverses[j] - wanted).max() > 1e-6:
                continue
            flips = (
                bool(lower.flipped ^ operations.exchanges_faces[i]),
                bool(upper.flipped ^ operations.exchanges_faces[j]),
            )
            if any((name, flip) not in catalogue.entries for flip in flips):
                continue
            moved = registry + operations.shifts[j] @ turn_back - operations.shifts[i]
            moved = moved @ inverses[i] - origin @ np.linalg.inv(wanted) + origin
            place = tuple(float(x) for x in np.round(moved % 1.0, 4) % 1.0)
            found.append((number, flips, place))
        if found:
            break
    if not found:
        raise StructureError(
            "the layer turned in the plane does not give the other one (as for mirror images)"
        )
    number, flips, place = min(found)
    cell = catalogue.candidates(0, 0)[number]
    made = stack_from_match(layer, layer, cell, place, stack.interfaces[0].gap_a, flips)
    if made.key() != _made_of(stack, layer).key():
        raise StructureError("told in terms of its monolayer it is another stack")
    return made


def _made_of(stack: Stack, monolayer: Monolayer) -> Stack:
    """The stack with all layers made of `monolayer`, whose sites are theirs."""
    layers = tuple(replace(layer, monolayer=monolayer) for layer in stack.layers)
    return replace(stack, layers=layers)
