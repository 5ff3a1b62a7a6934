"""How many candidates DFT confirms, beside a draw at random: what selection is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy.stats import binomtest, fisher_exact
from scipy.stats.contingency import relative_risk

__all__ = ["Advantage", "advantage", "hit_rates"]

CONFIDENCE = 0.95
COLUMNS = [
    "draw", "candidates", "verified", "inside", "expected", "hit_rate", "low", "high", "shared",
    "shared_inside",
]  # fmt: skip


def hit_rates(selected: pd.DataFrame, results: Sequence[dict]) -> pd.DataFrame:
    """How many of the selected, and of those drawn at random, DFT finds inside all targets.

    A candidate whose calculation failed was not confirmed. Slots given to uncertain stacks are
    there to learn from, and count for neither. Selected stacks have held together when relaxed
    with the force field; those drawn at random are the space as it is, so that the row
    `random_kept` of those among them that it keeps tells what the models alone are worth.

    Args:
        selected: `screening/selected.csv`; one made by hand, without roles, was selected.
        results: contents of the slots' `result.json`.

    Returns:
        `draw` (selected; random; random_kept: where drawn stacks were relaxed), `candidates,
        verified, inside`, `expected` (the sum of their probabilities, what the screen thought
        `inside` would be; NaN where one is unknown), `hit_rate` and its 95 % interval `low, high`
        (C. Clopper, E. Pearson, Biometrika 26, 404 (1934)), `shared` and `shared_inside`: how many
        of them were selected and drawn. No row for a draw without candidates that were computed.
    """
    computed = {r["slot"]: r for r in results if r["status"] in ("verified", "failed")}
    given = selected.reindex(columns=["slot", "role", "is_control", "force_field", "probability"])
    given = given[given["slot"].isin(computed)]
    chosen = given["role"].astype(object).fillna("exploitation") == "exploitation"
    drawn = given["is_control"].eq(True).fillna(False).astype(bool)
    groups = {"selected": chosen, "random": drawn}
    if given.loc[drawn, "force_field"].notna().any():
        groups["random_kept"] = drawn & given["force_field"].eq("kept").fillna(False)
    inside = given["slot"].map(lambda slot: bool(computed[slot].get("meets_target"))).astype(bool)
    verified = given["slot"].map(lambda slot: computed[slot]["status"] == "verified").astype(bool)
    rows = []
    for name, members in groups.items():
        candidates, hits = int(members.sum()), int((members & inside).sum())
        if not candidates:
            continue
        low, high = binomtest(hits, candidates).proportion_ci(CONFIDENCE, method="exact")
        shared = members & chosen & drawn
        rows.append(
            {
                "draw": name,
                "candidates": candidates,
                "verified": int((members & verified).sum()),
                "inside": hits,
                "expected": given.loc[members, "probability"].astype(float).sum(skipna=False),
                "hit_rate": hits / candidates,
                "low": low,
                "high": high,
                "shared": int(shared.sum()),
                "shared_inside": int((shared & inside).sum()),
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


@dataclass(frozen=True)
class Advantage:
    """By how much selection beats chance.

    Attributes:
        ratio: of the hit rates; infinite where chance hit nothing.
        low, high: its 95 % interval (P. Katz et al., Biometrics 34, 469 (1978)), as of draws that
            share no stack; where they do it is too wide, as what they share varies with both.
        p_value: of that many hits or more among the selected if selection were no better, by
            R. Fisher's exact test, one-sided, on the stacks that are in one draw only. Those in
            both say nothing of which is better, as pairs that agree in the test of Q. McNemar
            (Psychometrika 12, 153 (1947)); counted twice, as if independent, they would count as
            evidence.
    """

    ratio: float
    low: float
    high: float
    p_value: float


def advantage(rates: pd.DataFrame, draw: str = "random") -> Advantage | None:
    """What `hit_rates` says of selection against a draw; None without both, or without any hit."""
    rows = rates.set_index("draw")
    pair = ["selected", draw]
    if not set(pair) <= set(rows.index) or rows.loc[pair, "inside"].sum() == 0:
        return None
    hits = [(int(rows.at[d, "inside"]), int(rows.at[d, "candidates"])) for d in pair]
    (ours, all_ours), (theirs, all_theirs) = hits
    risk = relative_risk(ours, all_ours, theirs, all_theirs)
    interval = risk.confidence_interval(CONFIDENCE)
    both, both_hit = (int(rows.at[draw, name]) for name in ("shared", "shared_inside"))
    table = [[h - both_hit, (n - both) - (h - both_hit)] for h, n in hits]
    p_value = fisher_exact(table, alternative="greater").pvalue
    return Advantage(risk.relative_risk, interval.low, interval.high, float(p_value))
