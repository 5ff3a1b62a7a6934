"""The screen: from samples to a ranking.

In two steps, so that a million samples cost as little as they tell: every shard of samples is
scored by a fast predictor on its own (`score_samples`), then the best of all shards are predicted
anew by the networks on atoms and ranked (`screen`). What a stack is scored does not
depend on the shard it is in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from tqdm import tqdm

from heteroforge.labels import STACK_PROPERTIES
from heteroforge.models.from_layers import FROM_LAYERS, predict_from_layers
from heteroforge.models.monolayer_prediction import MonolayerPredictor
from heteroforge.models.property_network import PropertyNetwork
from heteroforge.models.property_surrogate import FastPredictor
from heteroforge.models.property_training import PropertyData, pair_of, predict
from heteroforge.models.published import PublishedModel
from heteroforge.models.windows import UNCLIPPED
from heteroforge.screening.layers_alone import LayersAlone
from heteroforge.screening.limits import HardLimits
from heteroforge.screening.objectives import (
    ALIGNMENT_COLUMNS,
    alignment_probabilities,
    joint_probability,
)
from heteroforge.screening.scored import ScoredSamples
from heteroforge.screening.selection import (
    SAME_BINDING_MEV_A2,
    rank_candidates,
)
from heteroforge.structures import Monolayer, Stack
from heteroforge.structures.matching import other_registries

__all__ = ["Screened", "score_samples", "screen"]

BLOCK = 1000
PREDICTED = [f"{name}{suffix}" for name in STACK_PROPERTIES for suffix in ("", "_std")]
SCORED = [*PREDICTED, *UNCLIPPED.values(), *ALIGNMENT_COLUMNS.values()]
# What the property models say beyond that.
TRUST = ["outside_training", "is_measured"]
# What follows from the layers of a stack.
PHYSICS = [f"{name}{end}" for name in FROM_LAYERS for end in ("", "_std")]
# No pair of layers has more than this share of the places among the refined, while others wait: one
# pair in all its cells and registries could fill them.
LARGEST_SHARE_OF_A_PAIR = 0.05
# What is said of the registries that layers may slide into.
REGISTRIES = [
    "binding_below_best_registry_mev_a2",
    "sliding_family",
    "predicted_if_slid",
    "probability_if_slid",
]


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
    limits: HardLimits,
    alone: LayersAlone,
    progress: bool = True,
) -> pd.DataFrame:
    """Samples with their formula, pair, fault and properties by the fast predictor.

    Memory does not grow with the samples beyond their own table: they are read in blocks.

    Args:
        samples: of a shard.
        monolayers, table: the library.
        predictor: of `FastPredictor`.
        limits: that samples must keep to.
        alone: what is known or predicted of the layers.

    Returns:
        The samples in their order, with `formula`, `pair`, `reason` (empty within the limits) and
        per property `<property>`, `<property>_std`, those of `UNCLIPPED` and `ALIGNMENT_COLUMNS`
        (NaN outside the limits).
    """
    blocks = []
    starts = range(0, len(samples), BLOCK)
    for start in tqdm(starts, unit=" blocks", mininterval=5, disable=not progress):
        part = samples.iloc[start : start + BLOCK].reset_index(drop=True)
        stacks = [Stack.from_json(text, monolayers) for text in part["specification"]]
        part["formula"] = [stack.formula for stack in stacks]
        part["pair"] = [pair_of(stack) for stack in stacks]
        part["reason"] = limits.faults(part, stacks, alone)
        kept = np.flatnonzero(part["reason"] == "")
        values = pd.DataFrame(np.nan, index=part.index, columns=SCORED, dtype=float)
        if len(kept):
            inside = [stacks[i] for i in kept]
            found = predictor.predict(inside, table)
            found = _with_alignment(found, inside, alone)
            values.loc[kept, SCORED] = found[SCORED].to_numpy()
        blocks.append(pd.concat([part, values], axis=1))
    if blocks:
        return pd.concat(blocks, ignore_index=True)
    words = {name: pd.Series(dtype=object) for name in ("formula", "pair", "reason")}
    numbers = {name: pd.Series(dtype=float) for name in SCORED}
    return samples.assign(**words, **numbers)


def screen(
    samples: ScoredSamples,
    monolayers: Mapping[str, Monolayer],
    table: pd.DataFrame,
    *,
    models: Sequence[PropertyNetwork],
    calibration: Mapping,
    data: PropertyData,
    published: PublishedModel,
    of_layers: MonolayerPredictor,
    targets: Mapping[str, Sequence[float | None]],
    labelled: Collection[str],
    trained: Collection[str],
    refined: int,
    seed: int,
    control: pd.DataFrame,
    objectives: Mapping[str, Sequence[str]] = MappingProxyType({}),
    alignment: str = "any",
    slides: bool = False,
    progress: bool = True,
) -> Screened:
    """Rank scored samples by the probability of their properties.

    Args:
        samples: of `score_samples`, all shards.
        monolayers, table: the library.
        models, calibration, data, published: the property models; see `property_training.predict`.
        of_layers: what is not known of layers, for alignments and `FROM_LAYERS`.
        targets: windows.
        labelled: of `verified_stacks`.
        trained: keys of the stacks that the generator was trained on.
        refined: how many of the best by score are predicted by the property models; no other is
            selected, or has its specification in the ranking.
        control: of `draw_control`.
        objectives: of the fronts, arguments of `rank_candidates`.
        alignment: of the bands, `I`, `II` or `any`.
        slides: whether DFT verifies layers in the registry that they slide into: then that one's
            probability counts, of refined stacks and of the control.
    """
    scored, labelled = samples.table, set(labelled)
    funnel = {"samples": samples.number, "distinct": len(scored)}
    inside = (scored["reason"] == "").to_numpy()
    rejected = scored.loc[~inside, ["stack_id", "formula", "reason"]].reset_index(drop=True)
    scored = scored[inside].drop(columns="reason").reset_index(drop=True)
    funnel["within_limits"] = len(scored)
    scored["probability"] = joint_probability(scored, targets, alignment)
    best = _best(scored, refined)

    def models_say(stacks: Sequence[Stack], progress: bool = False) -> pd.DataFrame:
        starts = range(0, len(stacks), BLOCK)
        blocks = [
            predict(stacks[i : i + BLOCK], table, models, calibration, data, published, seed)
            for i in tqdm(starts, unit=" blocks", mininterval=5, disable=not progress)
        ]
        return pd.concat(blocks, ignore_index=True)

    alone = LayersAlone(table, of_layers, published.predictor)

    def judged(stacks: Sequence[Stack]) -> pd.DataFrame:
        found = _with_alignment(models_say(stacks, progress), stacks, alone)
        return found.assign(probability=joint_probability(found, targets, alignment))

    def refine(some: pd.DataFrame) -> pd.DataFrame:
        """Rows of stacks with what the property models say of them."""
        some = some.reset_index(drop=True)
        if some.empty:
            return some.reindex(columns=[*some.columns, *PHYSICS, *TRUST, *REGISTRIES])
        stacks = _stacks(some["specification"], monolayers)
        found = judged(stacks)
        found = found.join(predict_from_layers(stacks, found, published.known, of_layers))
        said = [*SCORED, *PHYSICS, *TRUST, "probability"]
        some = pd.concat([some.drop(columns=said, errors="ignore"), found[said]], axis=1)
        some[REGISTRIES] = _registries(some, monolayers, judged)
        if slides:
            some["probability"] = some["probability_if_slid"]
        return some

    places = np.flatnonzero(inside)[best]
    chosen = refine(scored.iloc[best].assign(specification=samples.specifications(places)))
    others = scored.drop(index=best)
    # Only refined ones are ever selected: of the others nobody asks what they slide into.
    others = others.assign(sliding_family=others["stack_id"], is_measured=False)
    parts = [
        chosen.assign(
            is_refined=True,
            is_labelled=[
                stack.prototype_key() in labelled
                for stack in _stacks(chosen["specification"], monolayers)
            ],
        ),
        others.assign(is_refined=False, is_labelled=others["stack_id"].isin(labelled)),
    ]
    del scored, others
    ranked = pd.concat(parts, ignore_index=True).drop(columns="probability_if_slid")
    del parts
    ranked = ranked.astype({"is_measured": bool, "is_labelled": bool, "is_refined": bool})
    funnel["refined"] = len(best)
    ranked["is_trained"] = ranked["stack_id"].isin(set(trained))
    ranked = rank_candidates(ranked, **objectives)
    # Of the others the fast predictor only told that they are not among the best.
    told = ranked["is_refined"]
    funnel["likely"] = int((told & (ranked["probability"] >= 0.5)).sum())
    funnel["first_front"] = int((told & (ranked["pareto_rank"] == 1)).sum())
    if len(control):
        # Enumerated, and so at registries of high symmetry.
        control = refine(control.assign(is_high_symmetry=True))
        control = control.drop(columns=["is_high_symmetry", "probability_if_slid"])
    return Screened(ranked, rejected, funnel, control)


def _best(scored: pd.DataFrame, number: int) -> np.ndarray:
    """Places of the stacks to refine: the likeliest, no pair with more than its share.

    Those over the share follow where there are not enough others.

    Args:
        scored: in the order of `stack_id`, which decides between equal ones.
    """
    order = np.argsort(-scored["probability"].to_numpy(dtype=float).round(6), kind="stable")
    share = max(1, int(LARGEST_SHARE_OF_A_PAIR * number))
    over = scored["pair"].iloc[order].groupby(scored["pair"].iloc[order]).cumcount() >= share
    order = np.concatenate([order[~over.to_numpy()], order[over.to_numpy()]])
    return np.sort(order[:number])


def _with_alignment(
    predictions: pd.DataFrame, stacks: Sequence[Stack], alone: LayersAlone
) -> pd.DataFrame:
    spreads = (predictions[f"{edge}_ev_std"].to_numpy() for edge in ("vbm", "cbm"))
    chances = alignment_probabilities(stacks, alone, *spreads)
    return predictions.assign(**dict(zip(ALIGNMENT_COLUMNS.values(), chances.T, strict=True)))


def _stacks(specifications: pd.Series, monolayers: Mapping[str, Monolayer]) -> list[Stack]:
    return [Stack.from_json(text, monolayers) for text in specifications]


def _registries(
    samples: pd.DataFrame,
    monolayers: Mapping[str, Monolayer],
    models_say: Callable[[Sequence[Stack]], pd.DataFrame],
) -> pd.DataFrame:
    """What the layers of bilayers slide into.

    Args:
        samples: refined ones, with their predictions and their `probability`.
        models_say: the same of any stacks.

    Returns:
        In the order given, `sliding_family`, one name for all stacks that slide into each other;
        and `binding_below_best_registry_mev_a2`, how much less a stack is predicted to bind than
        the best it may slide into, which need not be among the samples: zero for the best and for
        layers without a common cell, which meet in all registries; NaN where the registry itself is
        of no symmetry, and for more than two layers, whose others are not looked for.
        `predicted_if_slid`, JSON: the predictions of the other registries by their keys. And
        `probability_if_slid`, that of the registry predicted to bind most, which is the stack's own
        where none binds more than it by `SAME_BINDING_MEV_A2`: DFT tells no finer.
    """
    stacks = _stacks(samples["specification"], monolayers)
    others = [{other.key(): other for other in other_registries(stack)} for stack in stacks]
    columns = [*PREDICTED, "probability"]
    known = samples[["stack_id", *columns]].to_dict("records")
    said = {row.pop("stack_id"): row for row in known}
    missing = {key: other for slid in others for key, other in slid.items() if key not in said}
    if missing:
        found = models_say(list(missing.values()))[columns]
        said |= dict(zip(missing, found.to_dict("records"), strict=True))
    symmetric = samples["is_high_symmetry"].astype(bool)
    rows = []
    for key, slid, at_symmetry, layers in zip(
        samples["stack_id"], others, symmetric, samples["number_of_layers"], strict=True
    ):
        binding = {k: said[k]["binding_energy_mev_a2"] for k in (key, *slid)}
        compared = at_symmetry and layers == 2
        lowest = max(binding, key=binding.get)
        below = binding[lowest] - binding[key]
        rows.append(
            (
                below if compared else np.nan,
                min(binding) if at_symmetry else min(slid, default=key),
                json.dumps({k: _rounded(said[k]) for k in slid}),
                said[lowest if below > SAME_BINDING_MEV_A2 else key]["probability"],
            )
        )
    return pd.DataFrame(rows, columns=REGISTRIES)


def _rounded(predicted: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(predicted[name]), 5) for name in PREDICTED}
