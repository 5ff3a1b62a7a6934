"""Pictures of the learning stages: held-out predictions, the ranked samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from scipy.stats import norm

from heteroforge.report.figures import (
    LAYER_COLOURS,
    LINE,
    MUTED,
    SERIES_COLOURS,
    message_figure,
    name_points,
    scatter_figure,
    style,
)
from heteroforge.report.words import chemical_formula, formula_text, quantity

__all__ = [
    "calibration_figure",
    "learned_figure",
    "pareto_figure",
    "parity_panels",
    "property_errors_figure",
]

NAMED = 2  # predictions farthest from DFT that get their names
MOST_NAMED_SLOTS = 8  # of more, the numbers of the slots are all that can be read


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
            axes.set_xlim(ends)
            axes.set_ylim(ends)
            axes.errorbar(
                group["true"], group["predicted"], yerr=group["std"], fmt="none", ecolor=LINE,
                elinewidth=0.9,
            )  # fmt: skip
            axes.scatter(
                group["true"], group["predicted"], s=11, color=LAYER_COLOURS[0], lw=0, zorder=3
            )
            worst = (group["true"] - group["predicted"]).abs().nlargest(NAMED).index
            named = group.loc[worst].drop_duplicates("formula")
            formulas = named["formula"].map(chemical_formula).map(formula_text)
            name_points(axes, named["true"], named["predicted"], formulas)
            axes.set_title(quantity(name).label, fontsize=8)
            axes.set_xlabel("DFT")
        grid[0].set_ylabel("predicted, pair held out")
    return figure


def calibration_figure(table: pd.DataFrame) -> Figure:
    """Share of held-out values inside an interval, against the share a normal law expects.

    Below the diagonal the uncertainty is too small, above it too large.

    Args:
        table: `property`, `true`, `predicted`, `std`.
    """
    expected = np.linspace(0.05, 0.95, 19)
    widths = norm.ppf((1 + expected) / 2)
    with style():
        figure = Figure(figsize=(4.4, 2.9))
        axes = figure.add_axes((0.13, 0.16, 0.42, 0.78))
        axes.plot([0, 100], [0, 100], color=MUTED, lw=1)
        for i, (name, group) in enumerate(table.groupby("property", sort=False)):
            off = ((group["true"] - group["predicted"]).abs() / group["std"]).dropna().to_numpy()
            if not len(off):
                continue
            inside = [100 * np.mean(off <= width) for width in widths]
            label = f"{quantity(str(name)).words} ({len(off)})"
            axes.plot(100 * expected, inside, label=label, drawstyle="steps-mid",
                      color=SERIES_COLOURS[i % len(SERIES_COLOURS)])  # fmt: skip
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("expected inside the interval (%)")
        axes.set_ylabel("found inside (%)")
        axes.grid()
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="center left", bbox_to_anchor=(1.03, 0.5), handlelength=1.2)
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
    few = len(selected) <= MOST_NAMED_SLOTS
    names = {
        "selected": [
            f"{formula_text(chemical_formula(row.formula))} ({row.slot})" if few else str(row.slot)
            for row in selected.itertuples()
        ]
    }
    groups = {k: v for k, v in groups.items() if len(v[0])}
    return scatter_figure(x, y, groups, windows, names if "selected" in groups else None)


def learned_figure(table: pd.DataFrame) -> Figure:
    """Errors before and after learning from earlier campaigns, one panel per property.

    Args:
        table: of `evaluation.learned_since.errors_before_and_after`, of all campaigns.
    """
    if table.empty:
        return message_figure("no stack is told by both campaigns")
    rows = list(dict.fromkeys(_told_by(table)))
    names = list(dict.fromkeys(table["property"]))
    with style():
        figure = Figure(figsize=(1.5 + 2.5 * len(names), 1.4 + 0.35 * len(rows)))
        panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
        for axes, name in zip(panels, names, strict=True):
            part = table[table["property"] == name]
            places = [-rows.index(words) for words in _told_by(part)]
            axes.hlines(places, part["before"], part["after"], color=LINE)
            axes.plot(part["before"], places, "o", mfc="none", color=MUTED, label="before")
            axes.plot(part["after"], places, "o", color=LAYER_COLOURS[0], label="after")
            axes.margins(y=0.25)
            axes.set_xlim(0.0, 1.1 * part[["before", "after"]].to_numpy().max() + 1e-3)
            axes.set_xlabel(quantity(name).label)
        panels[0].set_yticks([-i for i in range(len(rows))], rows)
        panels[0].legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2)
        panels[-1].set_title("mean absolute errors, pairs left out", fontsize=9, loc="right")
    return figure


def _told_by(table: pd.DataFrame) -> list[str]:
    """Campaign, stacks and predictor of each row, in words."""
    columns = (table[name] for name in ("campaign", "stacks", "predictor"))
    return [
        f"{campaign}: {stacks}, {predictor}"
        for campaign, stacks, predictor in zip(*columns, strict=True)
    ]


def property_errors_figure(of_splits: Mapping[str, pd.DataFrame]) -> Figure:
    """Mean absolute errors of predictors, one panel per property, one mark per split.

    Args:
        of_splits: by title of the split, errors (predictors, properties), NaN where there is none.
    """
    tables = list(of_splits.values())
    names = list(dict.fromkeys(name for table in tables for name in table.index))
    properties = list(tables[0].columns)
    # From the largest error down: the mean on top.
    size = pd.concat(tables).groupby(level=0)[properties[0]].mean()
    names.sort(key=lambda name: -size[name])
    with style():
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        grid = figure.subplots(2, 3, sharey=True).ravel()
        for axes, name in zip(grid, properties, strict=False):
            for i, (split, table) in enumerate(of_splits.items()):
                errors = table[name].reindex(names)
                places = -np.arange(len(names)) + 0.14 * ((len(of_splits) - 1) / 2 - i)
                axes.scatter(errors, places, s=20, lw=0, color=SERIES_COLOURS[i], label=split,
                             marker="osD^v"[i % 5])  # fmt: skip
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_yticks(-np.arange(len(names)), names)
            axes.set_title(quantity(name).label, fontsize=8)
            axes.grid()
        figure.supxlabel("mean absolute error of what was left out", fontsize=9)
        marks, words = grid[0].get_legend_handles_labels()
        for axes in grid[len(properties) :]:
            axes.set_axis_off()
        grid[-1].legend(marks, [text.replace(", ", ",\n") for text in words], loc="center")
    return figure
