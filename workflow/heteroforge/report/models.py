"""Pictures of the learning stages: held-out predictions, the ranked samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from heteroforge.report.figures import (
    LAYER_COLOURS,
    LINE,
    MUTED,
    name_points,
    scatter_figure,
    style,
)
from heteroforge.report.words import quantity

__all__ = ["pareto_figure", "parity_panels"]

NAMED = 2  # predictions farthest from DFT that get their names


def parity_panels(table: pd.DataFrame) -> Figure:
    """Held-out prediction against DFT, one panel per property, with calibrated 68 % bars.

    Args:
        table: `formula`, `property`, `true`, `predicted`, `std`.
    """
    names = [name for name, group in table.groupby("property", sort=False) if len(group)]
    with style():
        figure = Figure(figsize=(2.7 * max(len(names), 1), 2.9))
        if not names:
            figure.text(0.5, 0.5, "no DFT labels to compare with", ha="center", color=MUTED)
            return figure
        grid = figure.subplots(1, len(names), squeeze=False, gridspec_kw={"wspace": 0.45})[0]
        for axes, name in zip(grid, names, strict=True):
            group = table[table["property"] == name]
            both = np.concatenate([group["true"], group["predicted"]])
            margin = 0.05 * (np.ptp(both) or 1.0)
            ends = (both.min() - margin, both.max() + margin)
            axes.plot(ends, ends, color=MUTED, lw=1)
            axes.errorbar(
                group["true"], group["predicted"], yerr=group["std"], fmt="none", ecolor=LINE,
                elinewidth=0.9,
            )  # fmt: skip
            axes.scatter(
                group["true"], group["predicted"], s=11, color=LAYER_COLOURS[0], lw=0, zorder=3
            )
            worst = (group["true"] - group["predicted"]).abs().nlargest(NAMED).index
            named = group.loc[worst].drop_duplicates("formula")
            name_points(axes, named["true"], named["predicted"], named["formula"])
            axes.set_xlim(ends)
            axes.set_ylim(ends)
            axes.set_title(quantity(name).label, fontsize=8)
            axes.set_xlabel("DFT")
        grid[0].set_ylabel("predicted, pair held out")
    return figure


def pareto_figure(
    ranked: pd.DataFrame,
    selected: pd.DataFrame,
    targets: Mapping[str, Sequence[float | None]],
) -> Figure:
    """Ranked samples by gap and binding energy: first front, and selected ones with their names."""
    x, y = "gap_ev", "binding_energy_mev_a2"
    front = ranked[ranked["pareto_rank"] == 1]
    groups = {
        "ranked": (ranked[x].to_numpy(), ranked[y].to_numpy()),
        "first front": (front[x].to_numpy(), front[y].to_numpy()),
        "selected": (selected[x].to_numpy(), selected[y].to_numpy()),
    }
    windows = {name: targets[name] for name in (x, y) if name in targets}
    names = {"selected": [f"{row.layers} ({row.slot})" for row in selected.itertuples()]}
    groups = {k: v for k, v in groups.items() if len(v[0])}
    return scatter_figure(x, y, groups, windows, names if "selected" in groups else None)
