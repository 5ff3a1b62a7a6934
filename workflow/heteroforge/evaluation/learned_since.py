"""What the labels of earlier campaigns brought: errors of their predictors and of this one."""

from __future__ import annotations

import numpy as np
import pandas as pd

from heteroforge.labels import LABELLED
from heteroforge.structures import Stack

__all__ = ["errors_before_and_after"]

DRAWS = 2000
COLUMNS = [
    "campaign", "stacks", "predictor", "property", "unit", "values", "before", "after",
    "difference", "low", "high",
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

        The `predictor` is the one `chosen` for the property (`gnn/calibration.json`), which may be
        one that learns nothing from labels, or for what was known before also the `network`, the
        mean of the members. Per `property` the number of `values`, the errors `before` and `after`
        in its `unit`, and the `difference` after less before with its 95 % interval `low, high`:
        bootstrap over pairs of layers, NaN for a single pair.
    """
    now = now.set_index(["stack_id", "property"])
    told = earlier.set_index(["stack_id", "property"])
    groups = {
        ("known before", "chosen"): (told["predicted"], "predicted"),
        ("known before", "network"): (told["network"], "network"),
        ("verified", "chosen"): (_predictions(verified), "predicted"),
    }
    rows = []
    for (stacks, predictor), (before, column) in groups.items():
        after = now[["pair", "true", column]].rename(columns={column: "after"})
        both = after.join(before.rename("before"), how="inner").dropna()
        if stacks == "verified":
            both = both[~both["pair"].isin(earlier["pair"])]
        for name, unit in LABELLED.items():
            part = both[both.index.get_level_values("property") == name]
            if part.empty:
                continue
            errors = pd.DataFrame(
                {
                    "before": (part["before"] - part["true"]).abs(),
                    "after": (part["after"] - part["true"]).abs(),
                }
            )
            gain = (errors["after"] - errors["before"]).to_numpy()
            low, high = _interval(gain, part["pair"].to_numpy(), seed)
            rows.append(
                [
                    campaign,
                    stacks,
                    predictor,
                    name,
                    unit,
                    len(part),
                    *errors.mean(),
                    gain.mean(),
                    low,
                    high,
                ]
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
