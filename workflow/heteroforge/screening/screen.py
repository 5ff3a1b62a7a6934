"""The screen: from samples to a ranking and the candidates that DFT verifies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm import tqdm

from heteroforge.models.property_network import PropertyNetwork
from heteroforge.models.property_training import PROPERTIES, PropertyData, pair_of, predict
from heteroforge.screening.objectives import joint_probability
from heteroforge.screening.selection import (
    constraint_faults,
    describe_candidate,
    rank_candidates,
    select_candidates,
)
from heteroforge.structures import Monolayer, Stack

__all__ = ["Screened", "screen"]

BLOCK = 1000


@dataclass
class Screened:
    """What the screen leaves.

    Attributes:
        ranked: samples within the limits, best first.
        selected: candidates for DFT, one row per slot taken.
        rejected: `stack_id, formula, reason` of the samples outside the limits.
        funnel: how many stacks were left after each step.
    """

    ranked: pd.DataFrame
    selected: pd.DataFrame
    rejected: pd.DataFrame
    funnel: dict[str, int]


def screen(
    samples: pd.DataFrame,
    monolayers: Mapping[str, Monolayer],
    table: pd.DataFrame,
    *,
    models: Sequence[PropertyNetwork],
    calibration: Mapping,
    data: PropertyData,
    targets: Mapping[str, Sequence[float | None]],
    labelled: Collection[str],
    trained: Collection[str],
    maximum_atoms: int,
    maximum_mismatch_percent: float,
    minimum_materials: int,
    elements_excluded: Collection[str] = (),
    slots: int,
    exploration: float,
    diversity: bool,
    seed: int,
    progress: bool = True,
) -> Screened:
    """Rank samples by the probability of their properties, and fill the DFT slots.

    Cheap steps come first: limits, then baselines, then networks.

    Args:
        samples: of all shards, in order.
        monolayers, table: the library.
        models, calibration, data: the property models; see `property_training.predict`.
        targets: windows.
        labelled: keys of stacks with DFT labels.
        trained: keys of the stacks that the generator was trained on.
    """
    funnel = {"samples": len(samples)}
    samples = samples.drop_duplicates("stack_id").reset_index(drop=True)
    funnel["distinct"] = len(samples)
    stacks = [Stack.from_json(text, monolayers) for text in samples["specification"]]
    faults = constraint_faults(
        samples,
        stacks,
        maximum_atoms,
        maximum_mismatch_percent,
        minimum_materials,
        elements_excluded,
    )
    samples = samples.assign(formula=[stack.formula for stack in stacks], reason=faults)
    outside = samples["reason"] != ""
    rejected = samples.loc[outside, ["stack_id", "formula", "reason"]].reset_index(drop=True)
    kept = np.flatnonzero(~outside.to_numpy())
    funnel["within_limits"] = len(kept)
    samples = samples.iloc[kept].drop(columns="reason").reset_index(drop=True)
    stacks = [stacks[i] for i in kept]
    blocks = []
    starts = range(0, len(stacks), BLOCK)
    for start in tqdm(starts, unit=" blocks", mininterval=5, disable=not progress):
        part = stacks[start : start + BLOCK]
        blocks.append(predict(part, table, models, calibration, data, seed))
    columns = [f"{name}{suffix}" for name in PROPERTIES for suffix in ("", "_std")]
    predictions = (
        pd.concat(blocks, ignore_index=True)
        if blocks
        else pd.DataFrame({name: pd.Series(dtype=float) for name in columns})
    )
    scored = pd.concat([samples, predictions], axis=1)
    scored["probability"] = joint_probability(predictions, targets)
    scored["pair"] = [pair_of(stack) for stack in stacks]
    scored["is_labelled"] = scored["stack_id"].isin(set(labelled))
    scored["is_trained"] = scored["stack_id"].isin(set(trained))
    ranked = rank_candidates(scored)
    funnel["likely"] = int((ranked["probability"] >= 0.5).sum())
    funnel["first_front"] = int((ranked["pareto_rank"] == 1).sum())
    selected = select_candidates(
        ranked,
        slots,
        labelled=labelled,
        trained=trained,
        diversity=diversity,
        exploration=exploration,
    )
    funnel["selected"] = len(selected)
    selected["reason"] = [
        describe_candidate(row, targets, len(ranked)) for row in selected.to_dict("records")
    ]
    return Screened(ranked, selected, rejected, funnel)
