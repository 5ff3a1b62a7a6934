"""A draw at random beside the selection, to tell what selection is worth."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from heteroforge.models.property_training import pair_of
from heteroforge.screening.selection import constraint_faults
from heteroforge.structures import Monolayer, Stack

__all__ = ["add_control", "draw_control"]

BLOCK = 1000


def draw_control(
    enumerated: pd.DataFrame,
    monolayers: Mapping[str, Monolayer],
    number: int,
    *,
    labelled: Collection[str],
    maximum_atoms: int,
    maximum_mismatch_percent: float,
    minimum_materials: int,
    elements_excluded: Collection[str] = (),
    elements: Collection[str] = (),
    substrate: str = "",
    seed: int,
) -> pd.DataFrame:
    """Stacks drawn at random, each with the same chance, from those that may be selected.

    These are the enumerated stacks (every match in every registry of high symmetry) within the
    limits of the screen and without a DFT label. What the models think of them plays no part.

    Args:
        enumerated: `stacks/training_stacks.parquet`.
        monolayers: the library.
        number: how many are wanted; fewer come where there are no more.
        labelled: keys of stacks with DFT labels.
        maximum_atoms, maximum_mismatch_percent, minimum_materials, elements_excluded: limits.
        elements: that samples were asked to hold.
        substrate: monolayer that samples were asked to lie on; empty: any.
        seed: of the draw.

    Returns:
        Rows of `enumerated` in the order they were drawn, with `formula`, `pair`, and
        `drawn_from`: how many stacks there were to draw from.
    """
    if number == 0:
        enumerated = enumerated.head(0)  # nothing to read, of what may be a hundred thousand
    open_to = enumerated[~enumerated["stack_id"].isin(set(labelled))].sort_values("stack_id")
    wanted, inside = set(elements), []
    for start in range(0, len(open_to), BLOCK):  # stacks take more memory than their texts
        part = open_to.iloc[start : start + BLOCK]
        stacks = [Stack.from_json(text, monolayers) for text in part["specification"]]
        faults = constraint_faults(
            part,
            stacks,
            maximum_atoms,
            maximum_mismatch_percent,
            minimum_materials,
            elements_excluded,
        )
        inside += [
            fault == "" and wanted <= set(stack.species) and _lies_on(stack, substrate)
            for fault, stack in zip(faults, stacks, strict=True)
        ]
    places = np.flatnonzero(inside)
    generator = np.random.default_rng([seed, 2])  # of its own: selection does not move it
    drawn = open_to.iloc[generator.permutation(places)[:number]].reset_index(drop=True)
    stacks = [Stack.from_json(text, monolayers) for text in drawn["specification"]]
    return drawn.assign(
        formula=[stack.formula for stack in stacks],
        pair=[pair_of(stack) for stack in stacks],
        drawn_from=len(places),
    )


def _lies_on(stack: Stack, substrate: str) -> bool:
    """Whether a monolayer is the lowest layer of a stack, or of the stack upside down."""
    ends = stack.layers[0], stack.layers[-1]
    return not substrate or substrate in {layer.monolayer.name for layer in ends}


def add_control(selected: pd.DataFrame, control: pd.DataFrame) -> pd.DataFrame:
    """The selection with `is_control`, and with the drawn stacks in further slots.

    A drawn stack that was selected as well keeps its one slot and counts for both.

    Args:
        selected: of `select_candidates`, with `reason`.
        control: of `draw_control`, with predictions.
    """
    both = selected["stack_id"].isin(set(control["stack_id"]))
    further = control[~control["stack_id"].isin(set(selected["stack_id"]))]
    if further.empty:
        return selected.assign(is_control=both)
    further = further.assign(
        slot=np.arange(len(selected), len(selected) + len(further)),
        role="control",
        reason=[
            f"{row.formula}: drawn at random from {row.drawn_from} stacks, to compare with"
            for row in further.itertuples()
        ],
        is_control=True,
    )
    columns = [*selected.columns, "is_control"]
    parts = [selected.assign(is_control=both), further.reindex(columns=columns)]
    # A missing value must not turn whole numbers and truths into others.
    return pd.concat([part.convert_dtypes() for part in parts], ignore_index=True)
