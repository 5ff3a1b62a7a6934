"""What the bundled library cost: core-minutes of pw.x per stack, by the number of its atoms.

    python tests/benchmarks/library_cost.py

Of entries whose cost was kept. Stacks are verified as in a campaign without `dft.registries`, and
without masses: scan, relaxation, density, bands, layers alone (those that other stacks had computed
already cost nothing). Below the table: measured by expected cost (`heteroforge.dft.cost`), whose
constant is the median of these.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.dft.cost import CORE_MIN_PER_MILLION, expected_core_min
from heteroforge.sources import read_library
from heteroforge.structures import Stack

LIBRARY = Path(__file__).parents[2] / "resources" / "library"


def main() -> None:
    layers = read_library(LIBRARY / "monolayers.extxyz", LIBRARY / "monolayers.csv").monolayers
    labels = pd.read_csv(LIBRARY / "bilayers.csv").drop_duplicates("stack_id")
    stacks = pd.read_csv(LIBRARY / "stacks.csv").set_index("stack_id")
    runs = pd.read_csv(LIBRARY / "runs.csv").set_index("entry")
    rows = []
    for text, key in zip(labels["specification"], labels["stack_id"], strict=True):
        if key in stacks.index:
            cost = runs.at[stacks.at[key, "entry"], "core_seconds"] / 60
            steps = stacks.at[key, "ionic_steps"]
            stack = Stack.from_json(text, layers)
            expected = expected_core_min(stack, pseudopotentials="pseudodojo")
            rows.append((stack.number_of_atoms, cost, expected, steps))
    columns = ["atoms", "core_min", "expected_core_min", "ionic_steps"]
    table = pd.DataFrame(rows, columns=columns).dropna()
    print("| atoms | stacks | median (core-min) | most (core-min) | above 20 | most ionic steps |")
    print("|---" * 6 + "|")
    for atoms, group in table.groupby("atoms"):
        cost = group["core_min"]
        print(
            f"| {atoms} | {len(group)} | {cost.median():.1f} | {cost.max():.1f} | "
            f"{(cost > 20).sum()} | {group['ionic_steps'].max():.0f} |"
        )
    ratio = table["core_min"] / table["expected_core_min"]
    least, low, median, high, most = ratio.quantile([0.0, 0.25, 0.5, 0.75, 1.0])
    print(
        f"\nmeasured by expected, {len(ratio)} stacks: median {median:.2f}, half of them within "
        f"{low:.2f} to {high:.2f}, all but {(~ratio.between(0.4, 2.2)).sum()} within 0.4 to 2.2, "
        f"all within {least:.2f} to {most:.2f}"
    )
    print(
        f"core-minutes per 10⁶ bands × plane waves × k-points: {median * CORE_MIN_PER_MILLION:.2f}"
    )


if __name__ == "__main__":
    main()
