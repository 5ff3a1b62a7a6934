"""Picture of the stage stacks: which layers fit on which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from heteroforge.report.figures import style

__all__ = ["matches_figure"]


def matches_figure(matches: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Number of commensurate cells per pair, with the smallest mismatch in percent.

    Args:
        matches: `stacks/matches.parquet`.
        names: monolayers, in the library's order.
    """
    best = np.full((len(names), len(names)), np.nan)
    place = {name: i for i, name in enumerate(names)}
    for (bottom, top), group in matches.groupby(["bottom", "top"]):
        i, j = sorted((place[bottom], place[top]))
        best[j, i] = group["mismatch_percent"].min()
    with style():
        side = 1.6 + 0.3 * len(names)
        figure = Figure(figsize=(side + 0.8, side))
        axes = figure.subplots()
        image = axes.imshow(best, cmap="viridis_r", vmin=0)
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        if len(names) <= 30:
            for j, i in zip(*np.nonzero(~np.isnan(best)), strict=True):
                axes.text(i, j, f"{best[j, i]:.1f}", ha="center", va="center", fontsize=6)
        figure.colorbar(image, ax=axes, label="smallest mismatch (%)", shrink=0.7)
    return figure
