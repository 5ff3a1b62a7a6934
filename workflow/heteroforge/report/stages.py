"""Pictures that the stages library and clustering leave beside their tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from heteroforge.report.figures import (
    INK,
    LAYER_COLOURS,
    MUTED,
    OUTSIDE,
    PAPER,
    SERIES_COLOURS,
    name_points,
    style,
)
from heteroforge.report.words import quantity

__all__ = ["drivers_figure", "library_figure", "map_figure"]

MOST_NAMES = 60  # more names than this cover the points


def library_figure(table: pd.DataFrame) -> Figure:
    """Gap against lattice constant, one named mark per monolayer, metals on the zero line.

    Args:
        table: the library's table, `monolayer_id` a column.
    """
    known = table[table["gap_ev"].notna()]
    rest = len(table) - len(known)
    with style():
        figure = Figure(figsize=(6.4, 4.2))
        axes = figure.add_axes((0.1, 0.12, 0.87, 0.79))
        metal = known["gap_ev"] <= 0
        for chosen, label, colour in (
            (known[~metal], "semiconductor", LAYER_COLOURS[0]),
            (known[metal], "no gap", MUTED),
        ):
            if len(chosen):
                axes.scatter(
                    chosen["a_a"], chosen["gap_ev"], s=22, color=colour, lw=0.5,
                    edgecolor=PAPER, label=label,
                )  # fmt: skip
        # Metals lie side by side on one line: their names stand upright.
        for chosen, angle in ((known[~metal], 0), (known[metal], 60)):
            if len(chosen) <= MOST_NAMES:
                name_points(axes, chosen["a_a"], chosen["gap_ev"], chosen["monolayer_id"], angle)
        axes.set_xlabel("shorter lattice constant a (Å)")
        axes.set_ylabel(quantity("gap_ev").label)
        axes.grid()
        if len(known):
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
        if rest:
            axes.set_title(f"{rest} of {len(table)} monolayers have no known gap", loc="left")
    return figure


def map_figure(places: pd.DataFrame, method: str) -> Figure:
    """Map of the monolayers by their descriptors, coloured by cluster.

    Args:
        places: columns `monolayer_id, x, y, cluster` (−1: noise) and `works` (nullable boolean).
        method: how the map was made, for the caption in the picture.
    """
    with style():
        figure = Figure(figsize=(6.4, 4.6))
        axes = figure.add_axes((0.03, 0.06, 0.76, 0.88))
        for cluster in sorted(places["cluster"].unique(), key=lambda c: (c < 0, c)):
            chosen = places[places["cluster"] == cluster]
            colour = MUTED if cluster < 0 else SERIES_COLOURS[cluster % len(SERIES_COLOURS)]
            label = "no cluster" if cluster < 0 else f"cluster {cluster}"
            axes.scatter(chosen["x"], chosen["y"], s=34, color=colour, label=label, lw=0)
        good = places[places["works"].fillna(False).astype(bool)]
        if len(good):
            axes.scatter(
                good["x"], good["y"], s=95, color="none", edgecolor=INK, lw=1.1, label="works"
            )
        if len(places) <= MOST_NAMES:
            name_points(axes, places["x"], places["y"], places["monolayer_id"])
        axes.axis("off")
        axes.set_title(f"{method} of the descriptors: near means alike", loc="left")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), handletextpad=0.3)
    return figure


def drivers_figure(drivers: pd.DataFrame, most: int = 8) -> Figure:
    """Importance of the strongest descriptors per target, with the level of chance.

    Args:
        drivers: the table of the clustering stage; a target that was skipped has one row whose
            `effect` is the reason.
        most: descriptors shown per target.
    """
    targets = list(dict.fromkeys(drivers["target"]))
    panels = [drivers[drivers["target"] == target].head(most) for target in targets]
    heights = [0.26 * len(panel) + 0.85 for panel in panels]
    with style():
        figure = Figure(figsize=(6.4, max(sum(heights), 1.0)))
        top = sum(heights)
        for target, panel, height in zip(targets, panels, heights, strict=True):
            bottom = top - height + 0.45
            axes = figure.add_axes(
                (0.42, bottom / sum(heights), 0.55, (height - 0.75) / sum(heights))
            )
            top -= height
            words = "being a good semiconductor" if target == "works" else quantity(target).words
            axes.set_title(f"What drives {words}", loc="left")
            if panel["importance"].isna().all():
                axes.axis("off")
                axes.text(0, 0.5, f"skipped: {panel['effect'].iloc[0]}", va="center", color=MUTED)
                continue
            rows = -np.arange(len(panel))
            colours = [LAYER_COLOURS[0] if s >= 0 else LAYER_COLOURS[1] for s in panel["spearman"]]
            axes.barh(
                rows, panel["importance"], xerr=panel["importance_std"], height=0.66,
                color=colours, error_kw={"ecolor": MUTED, "elinewidth": 1.0},
            )  # fmt: skip
            axes.plot(panel["null_importance"], rows, "|", color=OUTSIDE, ms=10, mew=2)
            axes.set_yticks(rows, [_descriptor_words(d) for d in panel["descriptor"]], fontsize=8)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x")
        if len(panels):
            figure.text(
                0.03, 0.02 / max(sum(heights), 1.0) + 0.005,
                "Permutation importance out of sample. Blue: more raises it, orange: more lowers "
                "it, red mark: level of chance.",
                fontsize=7, color=MUTED,
            )  # fmt: skip
    return figure


def _descriptor_words(name: str) -> str:
    return quantity(name).words.replace("_", " ")
