"""Ranking, and the choice of the candidates that DFT verifies."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from heteroforge.screening.objectives import ALIGNMENT_COLUMNS, pareto_ranks

__all__ = [
    "OBJECTIVES",
    "describe_candidate",
    "rank_candidates",
    "select_candidates",
    "what_training_lacks",
]

# Probabilities nearer than this are equal: no calibration is finer. Ties go to what is cheap.
PROBABILITY_STEP = 0.02
# Candidates with this share of the best probability are about as good as the best: with some tens
# of labels no calibration tells them apart. A share, as of targets that little meets all
# probabilities are small.
NEAR = 0.75
# Registries whose predicted binding differs by less are about as likely: the one that is predicted
# best is on average this far from the best (docs/prediction_accuracy.md).
SAME_BINDING_MEV_A2 = 1.0
# Fronts are drawn among this many of the likeliest; what lies behind is not near any.
MOST_IN_FRONTS = 20000
# What fronts may be drawn of, and the digits behind the point that predictions are worth.
OBJECTIVES = {
    "gap_ev": 2,
    "vbm_ev": 2,
    "cbm_ev": 2,
    "binding_energy_mev_a2": 1,
    "interlayer_gap_a": 2,
    "strain_energy_mev_a2": 1,
    "net_energy_mev_a2": 1,
    "formation_energy_ev_atom": 2,
    "mismatch_percent": 2,
    "number_of_atoms": 0,
}
_IDENTITY = re.compile(r"-\d+-lg\d+-\d+c")  # of `layer_identity`, behind the formula
WORDS = {
    "gap_ev": ("gap", "eV", 2),
    "vbm_ev": ("valence band maximum", "eV", 2),
    "cbm_ev": ("conduction band minimum", "eV", 2),
    "binding_energy_mev_a2": ("binding energy", "meV/Å²", 1),
    "interlayer_gap_a": ("interlayer gap", "Å", 2),
}


def rank_candidates(
    table: pd.DataFrame,
    largest: Sequence[str] = ("binding_energy_mev_a2",),
    smallest: Sequence[str] = ("mismatch_percent",),
) -> pd.DataFrame:
    """The table in order of worth, with `pareto_rank` and `rank` (from 1).

    Objectives of the fronts: the probability, which is to be large, and those asked for; of what
    the networks predicted (`is_refined`), as the fast predictor only tells which those shall be.
    Order: first these; by probability in steps, then those of a kind whose errors were measured
    (`is_measured`), then front, then number of atoms (cost), then mismatch.

    Args:
        table: `stack_id`, `probability`, `mismatch_percent`, `number_of_atoms`, the columns of the
            objectives (unknown ones are the worst), and `is_refined`, `is_measured` where not all
            are.
        largest, smallest: columns of `OBJECTIVES` to be large, and small.
    """
    signs = dict.fromkeys(largest, 1.0) | dict.fromkeys(smallest, -1.0)
    objectives = np.column_stack(
        [
            table["probability"].to_numpy(dtype=float).round(3),
            *(
                (sign * table[name].astype(float).round(OBJECTIVES[name])).fillna(-np.inf)
                for name, sign in signs.items()
            ),
        ]
    )
    all_are = pd.Series(True, table.index)
    refined = table.get("is_refined", all_are).to_numpy(dtype=bool)
    measured = table.get("is_measured", all_are).to_numpy(dtype=bool)
    likely = np.flatnonzero(refined)
    likely = likely[np.argsort(-objectives[likely, 0], kind="stable")][:MOST_IN_FRONTS]
    fronts = pareto_ranks(objectives[likely])
    pareto_rank = np.full(len(table), fronts.max(initial=0) + 1)
    pareto_rank[likely] = fronts
    table = table.assign(pareto_rank=pareto_rank)
    step = np.floor(table["probability"] / PROBABILITY_STEP + 1e-9)
    keys = ["_fast", "_step", "_unmeasured"]
    order = table.assign(_fast=~refined, _step=-step, _unmeasured=~measured).sort_values(
        [*keys, "pareto_rank", "number_of_atoms", "mismatch_percent", "stack_id"],
        kind="stable",
    )
    order = order.drop(columns=keys).reset_index(drop=True)
    return order.assign(rank=np.arange(1, len(order) + 1))


def select_candidates(
    ranked: pd.DataFrame,
    slots: int,
    *,
    labelled: Collection[str] = (),
    trained: Collection[str] = (),
    diversity: bool = True,
    exploration: float = 0.0,
    minimum_probability: float = 0.0,
    one_registry_each: bool = False,
) -> pd.DataFrame:
    """Candidates for the DFT slots, at most `slots` rows, with `slot` and `role`.

    Rank decides, with these exceptions. A stack that DFT has verified is never selected. Among
    candidates about as probable as the best that is left (`NEAR`), those come first of a
    kind whose errors were measured (`is_measured`); among these, those that are predicted to stay
    where they are: registries of high symmetry, and of those that layers may slide into the one
    that binds most; then those of which this is not known; among these, stacks that the generator
    was not trained on. With `diversity` a set of layers gets a second slot only when no other is
    about as probable. A share `exploration` of the slots goes to the stacks with the largest
    uncertainty, among those that may hit.

    Args:
        ranked: of `rank_candidates`, with `pair` (layers in any order), `is_high_symmetry`,
            `sliding_family`, `binding_below_best_registry_mev_a2` and `<property>_std` of `WORDS`.
            `is_measured` where not all are.
        labelled, trained: keys of stacks.
        minimum_probability: candidates below it are not selected, nor those of none at all.
        one_registry_each: of stacks that slide into each other (`sliding_family`), one is enough.
    """
    open_to = ranked[
        ~ranked["stack_id"].isin(set(labelled))
        & (ranked["probability"] > 0.0)
        & (ranked["probability"] >= minimum_probability)
    ]
    explored = int(round(exploration * slots))
    pairs: set[str] = set()
    # DFT would slide to what it has labelled already, where that is the registry it slides into.
    known = ranked["stack_id"].isin(set(labelled)) & ~(
        ranked["binding_below_best_registry_mev_a2"] > SAME_BINDING_MEV_A2
    )
    families = set(ranked.loc[known, "sliding_family"])
    roles: dict[int, str] = {}

    def take(order: pd.DataFrame, number: int, role: str, new_pairs: bool) -> None:
        rows = zip(order.index, order["pair"], order["sliding_family"], strict=True)
        for index, pair, family in rows:
            if list(roles.values()).count(role) >= number:
                return
            if index in roles or (new_pairs and pair in pairs):
                continue
            if one_registry_each and family in families:
                continue
            roles[index] = role
            pairs.add(pair)
            families.add(family)

    passes = [True, False] if diversity else [False]
    left = open_to
    while len(left) and len(roles) < slots - explored:
        near = left["probability"] >= left["probability"].max() * NEAR
        preferred = _preferred(left[near], trained)
        for new_pairs in passes:
            take(preferred, slots - explored, "exploitation", new_pairs)
        left = left[~near]
    if explored:
        spreads = [f"{name}_std" for name in WORDS if f"{name}_std" in open_to]
        scale = open_to[spreads].mean().replace(0.0, 1.0)
        doubt = (open_to[spreads] / scale).sum(axis=1)
        # A stack that surely misses teaches nothing about where the windows end.
        doubt = doubt * (open_to["probability"] > 0.05)
        order = open_to.loc[doubt.sort_values(ascending=False, kind="stable").index]
        for new_pairs in passes:
            take(order, explored, "exploration", new_pairs)
    chosen = list(roles)
    selected = ranked.loc[chosen].copy()
    selected.insert(0, "slot", np.arange(len(selected)))
    selected["role"] = [roles[index] for index in chosen]
    return selected.reset_index(drop=True)


def _preferred(near: pd.DataFrame, trained: Collection[str]) -> pd.DataFrame:
    """Candidates that are about as probable, in the order in which they get slots."""
    measured = near.get("is_measured", pd.Series(True, near.index)).to_numpy(dtype=bool)
    seen = near["stack_id"].isin(set(trained)).to_numpy()
    below = near["binding_below_best_registry_mev_a2"].to_numpy(dtype=float)
    symmetric = near["is_high_symmetry"].to_numpy(dtype=bool)
    # Stays; not known whether; slides; of no symmetry, of which novelty says nothing.
    kind = np.select(
        [~symmetric, below <= SAME_BINDING_MEV_A2, np.isnan(below)], [3, 0, 1], default=2
    )
    return near.iloc[np.lexsort((np.arange(len(near)), seen & (kind < 3), kind, ~measured))]


def describe_candidate(
    row: Mapping,
    targets: Mapping[str, Sequence[float | None]],
    ranked: int,
    alignment: str = "any",
    slides: bool = False,
) -> str:
    """One sentence that says with numbers why a candidate was selected.

    Args:
        row: of `select_candidates`, with `expected_core_min` where it is known.
        targets: windows.
        ranked: how many stacks were ranked.
        alignment: of the bands that was asked for.
        slides: whether the probability is that of the registry that layers slide into.
    """
    parts = []
    for name, (low, high) in targets.items():
        window = (
            f"above {low:g}" if high is None else f"below {high:g}" if low is None
            else f"in {low:g} to {high:g}"
        )  # fmt: skip
        words, unit, digits = WORDS.get(name, (name, "", 3))
        value, std = float(row[name]), float(row[f"{name}_std"])
        parts.append(f"{words} {value:.{digits}f} ± {std:.{digits}f} {unit} (wanted {window})")
    if alignment != "any":
        chance = row[ALIGNMENT_COLUMNS[alignment]]
        told = "unknown" if pd.isna(chance) else f"type {alignment} with probability {chance:.2f}"
        parts.append(f"alignment {told} (wanted type {alignment})")
    why = (
        "the most uncertain of those that may hit"
        if row["role"] == "exploration"
        else f"rank {row['rank']} of {ranked}, Pareto front {row['pareto_rank']}"
    )
    below = float(row["binding_below_best_registry_mev_a2"])
    registry = ""
    if below > SAME_BINDING_MEV_A2:
        registry = f"another registry predicted to bind by {below:.1f} meV/Å² more"
        registry += ", whose probability this is, " if slides else ", "
    elif below >= 0.0:
        registry = "no registry it may slide into predicted to bind clearly more, "
    novelty = (
        "not among the enumerated stacks"
        if row["is_novel"]
        else "enumerated, but the generator was not trained on it"
        if not row["is_trained"]
        else "the generator was trained on it"
    )
    published = ""
    if row.get("outside_training") == "":
        published = " Published DFT has this pair of layers, perhaps in another registry."
    text = ", ".join(parts)
    cost = float(row.get("expected_core_min", np.nan))
    cost = "" if np.isnan(cost) else f" DFT of it should take about {cost:.0f} core-minutes."
    return (
        f"{row['formula']}: {text}; probability {row['probability']:.2f}, {why}; "
        f"{int(row['number_of_atoms'])} atoms, mismatch {row['mismatch_percent']:.2f} %, "
        f"{registry}{novelty}, not verified yet.{published} {what_training_lacks(row)}"
    ).rstrip() + cost


def what_training_lacks(row: Mapping) -> str:
    """A sentence on `outside_training` of a candidate; empty where training lacks nothing of it."""
    lacks = row.get("outside_training")
    if not isinstance(lacks, str) or not lacks:
        return ""
    # Of a layer's identity the formula is enough here.
    text = f"Published bilayers that the model learned from lack: {_IDENTITY.sub('', lacks)}"
    return text + ("." if row.get("is_measured", True) else "; errors of such were not measured.")
