"""The screen: from samples to a ranking.

In two steps, so that a million samples cost as little as they tell: every shard of samples is
scored by a fast predictor on its own (`score_samples`), then the best of all shards are predicted
anew by the networks on atoms and ranked (`screen`). What a stack is scored does not
depend on the shard it is in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm import tqdm

from heteroforge.models.property_network import PropertyNetwork
from heteroforge.models.property_surrogate import FastPredictor
from heteroforge.models.property_training import PROPERTIES, PropertyData, pair_of, predict
from heteroforge.screening.objectives import joint_probability, type_ii_probability
from heteroforge.screening.selection import constraint_faults, rank_candidates
from heteroforge.structures import Monolayer, Stack

__all__ = ["Screened", "score_samples", "screen"]

BLOCK = 1000
PREDICTED = [f"{name}{suffix}" for name in PROPERTIES for suffix in ("", "_std")]
SCORED = [*PREDICTED, "type_ii_probability"]


@dataclass
class Screened:
    """What the screen leaves.

    Attributes:
        ranked: samples within the limits, best first.
        rejected: `stack_id, formula, reason` of the samples outside the limits.
        funnel: how many stacks were left after each step.
        control: the stacks drawn at random, with the same predictions.
    """

    ranked: pd.DataFrame
    rejected: pd.DataFrame
    funnel: dict[str, int]
    control: pd.DataFrame


def score_samples(
    samples: pd.DataFrame,
    monolayers: Mapping[str, Monolayer],
    table: pd.DataFrame,
    predictor: FastPredictor,
    *,
    maximum_atoms: int,
    maximum_mismatch_percent: float,
    minimum_materials: int,
    elements_excluded: Collection[str] = (),
    progress: bool = True,
) -> pd.DataFrame:
    """Samples with their formula, pair, fault and properties by the fast predictor.

    Memory does not grow with the samples beyond their own table: they are read in blocks.

    Args:
        samples: of a shard.
        monolayers, table: the library.
        predictor: of `FastPredictor`.

    Returns:
        The samples in their order, with `formula`, `pair`, `reason` (empty within the limits) and
        per property `<property>`, `<property>_std`, and `type_ii_probability` (NaN outside the
        limits).
    """
    blocks = []
    rows = table.to_dict("index")
    starts = range(0, len(samples), BLOCK)
    for start in tqdm(starts, unit=" blocks", mininterval=5, disable=not progress):
        part = samples.iloc[start : start + BLOCK].reset_index(drop=True)
        stacks = [Stack.from_json(text, monolayers) for text in part["specification"]]
        faults = constraint_faults(
            part,
            stacks,
            maximum_atoms,
            maximum_mismatch_percent,
            minimum_materials,
            elements_excluded,
        )
        part["formula"] = [stack.formula for stack in stacks]
        part["pair"] = [pair_of(stack) for stack in stacks]
        part["reason"] = faults
        kept = np.flatnonzero(part["reason"] == "")
        values = pd.DataFrame(np.nan, index=part.index, columns=SCORED, dtype=float)
        if len(kept):
            inside = [stacks[i] for i in kept]
            found = predictor.predict(inside, table)
            found["type_ii_probability"] = type_ii_probability(
                inside, rows, found["vbm_ev_std"].to_numpy(), found["cbm_ev_std"].to_numpy()
            )
            values.loc[kept, SCORED] = found[SCORED].to_numpy()
        blocks.append(pd.concat([part, values], axis=1))
    if blocks:
        return pd.concat(blocks, ignore_index=True)
    words = {name: pd.Series(dtype=object) for name in ("formula", "pair", "reason")}
    numbers = {name: pd.Series(dtype=float) for name in SCORED}
    return samples.assign(**words, **numbers)


def screen(
    scored: pd.DataFrame,
    monolayers: Mapping[str, Monolayer],
    table: pd.DataFrame,
    *,
    models: Sequence[PropertyNetwork],
    calibration: Mapping,
    data: PropertyData,
    targets: Mapping[str, Sequence[float | None]],
    labelled: Collection[str],
    trained: Collection[str],
    refined: int,
    seed: int,
    control: pd.DataFrame,
    alignment: str = "any",
    progress: bool = True,
) -> Screened:
    """Rank scored samples by the probability of their properties.

    Args:
        scored: of `score_samples`, all shards in order.
        monolayers, table: the library.
        models, calibration, data: the property models; see `property_training.predict`.
        targets: windows.
        labelled: keys of stacks with DFT labels.
        trained: keys of the stacks that the generator was trained on.
        refined: how many of the best by score are predicted by the property models; no other is
            selected.
        control: of `draw_control`.
        alignment: of the bands, `I`, `II` or `any`.
    """
    funnel = {"samples": len(scored)}
    # Equal stacks of two shards may be written differently: the first by its text stays.
    scored = scored.sort_values(["stack_id", "specification"], kind="stable")
    scored = scored.drop_duplicates("stack_id").reset_index(drop=True)
    funnel["distinct"] = len(scored)
    outside = scored["reason"] != ""
    rejected = scored.loc[outside, ["stack_id", "formula", "reason"]].reset_index(drop=True)
    scored = scored[~outside].drop(columns="reason").reset_index(drop=True)
    funnel["within_limits"] = len(scored)
    scored["probability"] = joint_probability(scored, targets, alignment)
    order = np.lexsort((scored["stack_id"].astype(str), -scored["probability"].round(6)))
    best = np.sort(order[:refined])
    blocks = []
    starts = range(0, len(best), BLOCK)

    def predicted(specifications: pd.Series) -> tuple[list[Stack], pd.DataFrame]:
        stacks = [Stack.from_json(text, monolayers) for text in specifications]
        return stacks, predict(stacks, table, models, calibration, data, seed)

    for start in tqdm(starts, unit=" blocks", mininterval=5, disable=not progress):
        rows = best[start : start + BLOCK]
        _, found = predicted(scored["specification"].iloc[rows])
        found["type_ii_probability"] = scored["type_ii_probability"].to_numpy()[rows]
        blocks.append(found.assign(probability=joint_probability(found, targets, alignment)))
    if blocks:
        columns = [*PREDICTED, "probability"]
        scored.loc[best, columns] = pd.concat(blocks)[columns].to_numpy()
    scored["is_refined"] = np.isin(np.arange(len(scored)), best)
    funnel["refined"] = len(best)
    scored["is_labelled"] = scored["stack_id"].isin(set(labelled))
    scored["is_trained"] = scored["stack_id"].isin(set(trained))
    ranked = rank_candidates(scored)
    funnel["likely"] = int((ranked["probability"] >= 0.5).sum())
    funnel["first_front"] = int((ranked["pareto_rank"] == 1).sum())
    if len(control):
        stacks, found = predicted(control["specification"])
        spreads = (found[f"{edge}_ev_std"].to_numpy() for edge in ("vbm", "cbm"))
        found["type_ii_probability"] = type_ii_probability(stacks, table.to_dict("index"), *spreads)
        found["probability"] = joint_probability(found, targets, alignment)
        control = pd.concat([control, found[[*SCORED, "probability"]]], axis=1)
    return Screened(ranked, rejected, funnel, control)
