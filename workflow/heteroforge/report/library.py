"""Pictures that the stage library leaves beside its tables."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from heteroforge.report.figures import (
    LAYER_COLOURS,
    MUTED,
    PAPER,
    name_points,
    style,
)
from heteroforge.report.words import formula_text, quantity

__all__ = ["library_figure"]

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
        axes.margins(x=0.12)  # room for the names
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
                names = chosen["monolayer_id"].map(formula_text)
                name_points(axes, chosen["a_a"], chosen["gap_ev"], names, angle)
        axes.set_xlabel("shorter lattice constant a (Å)")
        axes.set_ylabel(quantity("gap_ev").label)
        axes.grid()
        if len(known):
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
        if rest:
            axes.set_title(f"{rest} of {len(table)} monolayers have no known gap", loc="left")
    return figure
