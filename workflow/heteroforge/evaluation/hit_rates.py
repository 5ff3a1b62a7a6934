"""How many candidates DFT confirms, beside a draw at random: what selection is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy.stats import binomtest, fisher_exact
from scipy.stats.contingency import relative_risk

__all__ = ["Advantage", "advantage", "hit_rates"]

CONFIDENCE = 0.95


def hit_rates(selected: pd.DataFrame, results: Sequence[dict]) -> pd.DataFrame:
    """How many of the selected, and of those drawn at random, DFT finds inside all targets.

    A candidate whose calculation failed was not confirmed. Slots given to uncertain stacks are
    there to learn from, and count for neither.

    Args:
        selected: `screening/selected.csv`; one made by hand, without roles, was selected.
        results: contents of the slots' `result.json`.

    Returns:
        `draw` (selected, random), `candidates, verified, inside, hit_rate` and its 95 % interval
        `low, high` (C. Clopper, E. Pearson, Biometrika 26, 404 (1934)). No row for a draw without
        candidates that were computed.
    """
    computed = {r["slot"]: r for r in results if r["status"] in ("verified", "failed")}
    given = selected.reindex(columns=["slot", "role", "is_control"])
    groups = {
        "selected": given["role"].astype(object).fillna("exploitation") == "exploitation",
        "random": given["is_control"].eq(True).fillna(False).astype(bool),
    }
    rows = []
    for name, members in groups.items():
        found = [computed[s] for s in given.loc[members, "slot"] if s in computed]
        if not found:
            continue
        inside = sum(bool(r.get("meets_target")) for r in found)
        low, high = binomtest(inside, len(found)).proportion_ci(CONFIDENCE, method="exact")
        rows.append(
            {
                "draw": name,
                "candidates": len(found),
                "verified": sum(r["status"] == "verified" for r in found),
                "inside": inside,
                "hit_rate": inside / len(found),
                "low": low,
                "high": high,
            }
        )
    columns = ["draw", "candidates", "verified", "inside", "hit_rate", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class Advantage:
    """By how much selection beats chance.

    Attributes:
        ratio: of the hit rates; infinite where chance hit nothing.
        low, high: its 95 % interval (P. Katz et al., Biometrics 34, 469 (1978)).
        p_value: of drawing that many hits or more if selection were no better (R. Fisher's exact
            test, one-sided).
    """

    ratio: float
    low: float
    high: float
    p_value: float


def advantage(rates: pd.DataFrame) -> Advantage | None:
    """What `hit_rates` says of selection against chance; None without both, or without any hit."""
    rows = rates.set_index("draw")
    if not {"selected", "random"} <= set(rows.index) or rows["inside"].sum() == 0:
        return None
    hits = [(int(rows.at[d, "inside"]), int(rows.at[d, "candidates"])) for d in rows.index]
    (ours, all_ours), (theirs, all_theirs) = hits
    risk = relative_risk(ours, all_ours, theirs, all_theirs)
    interval = risk.confidence_interval(CONFIDENCE)
    table = [[ours, all_ours - ours], [theirs, all_theirs - theirs]]
    p_value = fisher_exact(table, alternative="greater").pvalue
    return Advantage(risk.relative_risk, interval.low, interval.high, float(p_value))
