"""Stacks made systematically: every pair, match, registry and face up to given limits."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields

import numpy as np
import pandas as pd

from heteroforge.structures.matching import (
    Match,
    enumerate_registries,
    find_matches,
    stack_from_match,
    stack_layers,
    turn_between,
)
from heteroforge.structures.monolayer import Monolayer, StructureError
from heteroforge.structures.stack import Layer, Stack

__all__ = [
    "enumerate_bilayers",
    "enumerate_matches",
    "enumerate_multilayers",
    "match_table",
    "split_pairs",
]


def enumerate_matches(
    monolayers: Mapping[str, Monolayer],
    maximum_area_a2: float,
    maximum_mismatch_percent: float,
    maximum_atoms: int,
    taking_part: Collection[str] | None = None,
) -> Iterator[tuple[str, str, Match]]:
    """Commensurate cells of all unordered pairs, a layer with itself included.

    Args:
        monolayers: by name.
        maximum_area_a2, maximum_mismatch_percent, maximum_atoms: of the shared cell.
        taking_part: only pairs with at least one of these names; None: all pairs.

    Yields:
        Names of the bottom and top layer, and the match.
    """
    for bottom, top in itertools.combinations_with_replacement(monolayers, 2):
        if taking_part is not None and bottom not in taking_part and top not in taking_part:
            continue
        for match in find_matches(
            monolayers[bottom],
            monolayers[top],
            maximum_area_a2=maximum_area_a2,
            maximum_mismatch_percent=maximum_mismatch_percent,
            maximum_atoms=maximum_atoms,
        ):
            yield bottom, top, match


def match_table(found: Iterable[tuple[str, str, Match]]) -> pd.DataFrame:
    """Rows of `matches.parquet`: `match_id`, `bottom`, `top`, and the fields of the match.

    The supercells are written as JSON, which tables can hold.
    """
    rows = []
    for bottom, top, match in found:
        row = asdict(match)
        for end in ("supercell_bottom", "supercell_top"):
            row[end] = json.dumps(row[end])
        rows.append({"match_id": len(rows), "bottom": bottom, "top": top, **row})
    columns = ["match_id", "bottom", "top", *(field.name for field in fields(Match))]
    return pd.DataFrame(rows, columns=columns)


def enumerate_bilayers(
    bottom: Monolayer,
    top: Monolayer,
    match: Match,
    stiffness_n_m: tuple[float | None, float | None] = (None, None),
) -> Iterator[Stack]:
    """Bilayers of a match: high-symmetry registries, and both faces of layers that have two.

    The gap is that at which the layers' van der Waals spheres touch. Larger cells hold many
    local registries at once, so that a shift changes little: they get one.
    """
    cells = Layer(bottom, match.supercell_bottom).number_of_cells
    small = cells == 1 and Layer(top, match.supercell_top).number_of_cells == 1
    turn = turn_between(match.supercell_bottom, match.supercell_top)
    registries = enumerate_registries(bottom, top, turn) if small else [(0.0, 0.0)]
    faces = [(False,) if m.has_equal_faces else (False, True) for m in (bottom, top)]
    for registry in registries:
        for flipped in itertools.product(*faces):
            yield stack_from_match(bottom, top, match, registry, None, flipped, stiffness_n_m)


def enumerate_multilayers(
    monolayers: Sequence[Monolayer],
    number_of_layers: int,
    count: int,
    maximum_mismatch_percent: float,
    maximum_atoms: int,
    seed: int,
    stiffness_n_m: Mapping[str, float | None] | None = None,
) -> Iterator[Stack]:
    """Stacks of one, three or more layers with equal cells (1×1), drawn at random, up to `count`.

    Layers that differ too much are passed over. Single layers are all listed, one way up: upside
    down they are the same stack.
    """
    if number_of_layers == 1:
        yield from (stack_layers((m,)) for m in monolayers if len(m.species) <= maximum_atoms)
        return
    generator = np.random.default_rng(seed)
    made = 0
    for _ in range(200 * count):
        chosen = [monolayers[i] for i in generator.integers(len(monolayers), size=number_of_layers)]
        if sum(len(m.species) for m in chosen) > maximum_atoms:
            continue
        lengths = np.array([(m.a, m.b, m.gamma_deg) for m in chosen])
        if np.ptp(lengths, axis=0).max() > 0.1 * lengths[:, 0].min():
            continue
        registries = []
        for lower, upper in itertools.pairwise(chosen):
            options = enumerate_registries(lower, upper)
            registries.append(options[generator.integers(len(options))])
        flipped = [not m.has_equal_faces and bool(generator.integers(2)) for m in chosen]
        stiffness = [(stiffness_n_m or {}).get(m.name) for m in chosen]
        try:
            yield stack_layers(
                chosen,
                registries=registries,
                flipped=flipped,
                stiffness_n_m=stiffness,
                maximum_mismatch_percent=maximum_mismatch_percent,
            )
        except StructureError:
            continue
        made += 1
        if made == count:
            return


def split_pairs(stacks: Sequence[Stack], seed: int) -> list[str]:
    """`train`, `validation` or `test` per stack: no pair of neighbours in two of the three.

    A tenth of the pairs goes to validation and a tenth to test (at least one each where there are
    ten or more). A stack of more layers is a test stack where any of its pairs is one, else a
    validation stack where any is; so training sees no pair of the other parts. A single layer
    counts as a pair of its own.
    """
    pairs = [_neighbours(stack) for stack in stacks]
    unique = sorted(set(itertools.chain.from_iterable(pairs)))
    order = np.random.default_rng(seed).permutation(len(unique))
    held = max(1, len(unique) // 10) if len(unique) >= 10 else 0
    validation = {unique[i] for i in order[:held]}
    test = {unique[i] for i in order[held : 2 * held]}
    return [
        "test" if test & own else "validation" if validation & own else "train" for own in pairs
    ]


def _neighbours(stack: Stack) -> set[str]:
    names = [layer.monolayer.key() for layer in stack.layers]
    if len(names) == 1:
        return {names[0]}
    return {"/".join(sorted(pair)) for pair in itertools.pairwise(names)}
