"""A draw at random beside the selection, to tell what selection is worth."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from heteroforge.models.property_training import pair_of
from heteroforge.screening.layers_alone import LayersAlone
from heteroforge.screening.limits import HardLimits
from heteroforge.structures import Monolayer, Stack
from heteroforge.structures.formula import StackFormula
from heteroforge.structures.matching import other_registries

__all__ = ["add_control", "draw_control"]

BLOCK = 1000


def draw_control(
    enumerated: pd.DataFrame,
    monolayers: Mapping[str, Monolayer],
    number: int,
    *,
    labelled: Collection[str],
    limits: HardLimits,
    alone: LayersAlone | None = None,
    elements: Collection[str] = (),
    substrate: str = "",
    formula: str | None = None,
    slides: bool,
    seed: int,
) -> pd.DataFrame:
    """Stacks drawn at random, each with the same chance, from those that may be selected.

    These are the enumerated stacks (every match in every registry of high symmetry) within the
    limits of the screen and not verified yet. What the models think of them plays no part, nor
    does the force field. Where layers slide before DFT, those that slide into each other are one
    candidate: their DFT result is one, and would count as often as it is drawn. Then each family
    has the same chance, however many registries it has, and one of them is drawn; a family in
    which DFT has verified any registry is not drawn from.

    Args:
        enumerated: `stacks/training_stacks.parquet`.
        monolayers: the library.
        number: how many are wanted; fewer come where there are no more.
        labelled: of `verified_stacks`.
        limits: of the screen.
        alone: see `HardLimits.faults`.
        elements: that samples were asked to hold.
        substrate: monolayer that samples were asked to lie on; empty: any.
        formula: that samples were asked to have, as `StackFormula.parse` reads it; None: any.
        slides: whether layers slide into their lowest registry before DFT (`dft.registries`).
        seed: of the draw.

    Returns:
        Rows of `enumerated` in the order they were drawn, with `formula`, `pair`, and
        `drawn_from`: how many stacks there were to draw from, all registries counted.
    """
    if number == 0:
        enumerated = enumerated.head(0)  # nothing to read, of what may be a hundred thousand
    open_to = enumerated[~enumerated["stack_id"].isin(set(labelled))].sort_values("stack_id")
    wanted, inside = set(elements), []
    of_formula = StackFormula.parse(formula) if formula else None
    for start in range(0, len(open_to), BLOCK):  # stacks take more memory than their texts
        part = open_to.iloc[start : start + BLOCK]
        stacks = [Stack.from_json(text, monolayers) for text in part["specification"]]
        faults = limits.faults(part, stacks, alone)
        inside += [
            fault == ""
            and wanted <= set(stack.species)
            and _lies_on(stack, substrate)
            and (of_formula is None or of_formula.is_of(stack))
            for fault, stack in zip(faults, stacks, strict=True)
        ]
    places = np.flatnonzero(inside)
    generator = np.random.default_rng([seed, 2])  # of its own: selection does not move it
    order = generator.permutation(places)
    if slides:
        order = _one_of_each_family(order, open_to, monolayers, set(labelled), number, generator)
    drawn = open_to.iloc[order[:number]].reset_index(drop=True)
    stacks = [Stack.from_json(text, monolayers) for text in drawn["specification"]]
    return drawn.assign(
        formula=[stack.formula for stack in stacks],
        pair=[pair_of(stack) for stack in stacks],
        drawn_from=len(places),
    )


def _one_of_each_family(
    order: np.ndarray,
    open_to: pd.DataFrame,
    monolayers: Mapping[str, Monolayer],
    labelled: Collection[str],
    number: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """The first `number` families without a label in an order of stacks, a random member of each.

    Only the member whose key comes first lets its family in, so that one with more registries has
    no greater chance.
    """
    keys, texts = (open_to[name].to_numpy() for name in ("stack_id", "specification"))
    places = dict(zip(keys[order], order, strict=True))
    drawn: list[int] = []
    for i in order:
        if len(drawn) == number:
            break
        others = other_registries(Stack.from_json(texts[i], monolayers))
        family = {keys[i], *(other.key() for other in others)}
        members = sorted(family & places.keys())
        if keys[i] == members[0] and not family & labelled:
            drawn.append(places[members[generator.integers(len(members))]])
    return np.array(drawn, dtype=int)


def _lies_on(stack: Stack, substrate: str) -> bool:
    """Whether a monolayer is the lowest layer of a stack, or of the stack upside down."""
    ends = stack.layers[0], stack.layers[-1]
    return not substrate or substrate in {layer.monolayer.name for layer in ends}


def add_control(selected: pd.DataFrame, control: pd.DataFrame, slides: bool) -> pd.DataFrame:
    """The selection with `is_control`, and with the drawn stacks in further slots.

    A drawn stack that was selected as well keeps its one slot and counts for both; where layers
    slide, so does one that slides into the same registry as a selected one.

    Args:
        selected: of `select_candidates`, with `reason`.
        control: of `draw_control`, with predictions and `sliding_family`; empty without control
            slots.
        slides: whether layers slide into their lowest registry before DFT (`dft.registries`).
    """
    if control.empty:  # nobody asked what it slides into
        return selected.assign(is_control=False)
    name = "sliding_family" if slides else "stack_id"
    both = selected[name].isin(set(control[name]))
    further = control[~control[name].isin(set(selected[name]))]
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
