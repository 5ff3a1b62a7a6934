"""What the labels of earlier campaigns brought: errors of their predictors and of this one."""

from __future__ import annotations

import numpy as np
import pandas as pd

from heteroforge.labels import LABELLED
from heteroforge.structures import Stack

__all__ = ["errors_before_and_after"]

DRAWS = 2000
COLUMNS = [
    "campaign", "stacks", "property", "unit", "values", "before", "after", "difference", "low",
    "high",
]  # fmt: skip


def errors_before_and_after(
    now: pd.DataFrame, earlier: pd.DataFrame, verified: pd.DataFrame, campaign: str, seed: int
) -> pd.DataFrame:
    """Mean absolute errors of an earlier campaign's predictor, and of the one that learned from it.

    Args:
        now: `gnn/test_predictions.parquet` of the campaign that learned.
        earlier: the same of the earlier campaign.
        verified: its `dft/results.parquet`; one without predictions has none to compare.
        campaign: its name.
        seed: of the draws.

    Returns:
        Rows for `stacks`: `known before`, which both campaigns have labels of, told by members that
        had not seen their pair of layers; and `verified`, which the earlier campaign predicted,
        then verified, with members that have not seen the pair since. Only pairs of which the
        earlier one had no label, and layers of a library: the lattice of proposed ones is a guess
        before, and DFT's after. Those that were selected were so because their predictions looked
        right, so that `before` is somewhat worse for them than for others.

        Per `property` the number of `values`, the errors `before` and `after` in its `unit`, and
        the `difference` after less before with its 95 % interval `low, high`: bootstrap over pairs
        of layers, NaN for a single pair.
    """
    now = now.set_index(["stack_id", "property"])[["pair", "true", "predicted"]]
    groups = {
        "known before": earlier.set_index(["stack_id", "property"])["predicted"],
        "verified": _predictions(verified),
    }
    rows = []
    for stacks, before in groups.items():
        both = now.join(before.rename("before"), how="inner").dropna()
        if stacks == "verified":
            both = both[~both["pair"].isin(earlier["pair"])]
        for name, unit in LABELLED.items():
            part = both[both.index.get_level_values("property") == name]
            if part.empty:
                continue
            errors = pd.DataFrame(
                {
                    "before": (part["before"] - part["true"]).abs(),
                    "after": (part["predicted"] - part["true"]).abs(),
                }
            )
            gain = (errors["after"] - errors["before"]).to_numpy()
            low, high = _interval(gain, part["pair"].to_numpy(), seed)
            rows.append(
                [campaign, stacks, name, unit, len(part), *errors.mean(), gain.mean(), low, high]
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def _predictions(verified: pd.DataFrame) -> pd.Series:
    """What was predicted of verified stacks, by `stack_id` and `property`."""
    columns = {f"predicted_{name}": name for name in LABELLED}
    of_library = [
        all(layer.monolayer.name for layer in Stack.from_json(text).layers)
        for text in verified["specification"]
    ]
    verified = verified[of_library]
    known = verified.reindex(columns=["verified_stack_id", *columns]).rename(columns=columns)
    long = known.melt("verified_stack_id", var_name="property", value_name="predicted").dropna()
    long = long.rename(columns={"verified_stack_id": "stack_id"}).astype({"predicted": float})
    return long.groupby(["stack_id", "property"])["predicted"].mean()


def _interval(values: np.ndarray, groups: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % interval of a mean, from draws of whole groups."""
    table = pd.DataFrame({"value": values, "group": groups}).groupby("group")["value"]
    sums, counts = table.sum().to_numpy(), table.count().to_numpy()
    if len(sums) < 2:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(sums), size=(DRAWS, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
