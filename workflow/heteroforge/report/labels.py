"""Picture of the stage labels: how far physics and published DFT are from the labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from heteroforge.report.figures import MUTED, SERIES_COLOURS, name_points, style
from heteroforge.report.words import formula_text, stack_name

__all__ = ["labels_figure"]

NAMED = 2  # stacks farthest from what published DFT says that get their names

SHOWN = {
    "gap_ev": ("Anderson's rule", "gap (eV)"),
    "binding_energy_mev_a2": ("pairwise D3", "binding energy (meV/Å²)"),
    "interlayer_gap_a": ("van der Waals radii", "interlayer gap (Å)"),
}


def labels_figure(labels: pd.DataFrame) -> Figure:
    """DFT against physics and against the model of published bilayers, stack by stack.

    Args:
        labels: `labels/labels.parquet`.
    """
    names = labels.groupby("stack_id")["specification"].first().map(stack_name)
    with style():
        figure = Figure(figsize=(8.4, 3.5), layout="constrained")
        for axes, (name, (method, label)) in zip(figure.subplots(1, 3), SHOWN.items(), strict=True):
            rows = labels[labels["property"] == name]
            wide = rows.pivot_table(index="stack_id", columns="fidelity", values="value")
            axes.set_title(f"{label}\n", loc="left")
            axes.set_xlabel("without DFT")
            axes.set_ylabel("DFT")
            if "dft" not in wide.columns:
                axes.text(0.5, 0.5, "no DFT labels", ha="center", transform=axes.transAxes)
                continue
            known = wide[wide["dft"].notna()].reindex(columns=["baseline", "published", "dft"])
            low, high = np.nanmin(known), np.nanmax(known)
            margin = 0.06 * ((high - low) or 1.0)
            ends = (low - margin, high + margin)
            axes.set_xlim(ends)
            axes.set_ylim(ends)
            axes.plot(ends, ends, lw=0.8, color=MUTED)
            for fidelity, words, color in (
                ("baseline", method, MUTED),
                ("published", "published DFT", SERIES_COLOURS[0]),
            ):
                error = (known["dft"] - known[fidelity]).abs().mean()
                text = f"{words}: off by {error:.2g}"
                axes.scatter(known[fidelity], known["dft"], s=15, lw=0, color=color, label=text)
            # Below the axes: points may lie anywhere.
            axes.legend(loc="upper left", bbox_to_anchor=(-0.05, -0.18), fontsize=8)
            worst = (known["dft"] - known["published"]).abs().nlargest(NAMED).index
            # On two lines: the panels are narrow.
            texts = names[worst].map(formula_text).str.replace(" / ", " /\n")
            name_points(axes, *known.loc[worst, ["published", "dft"]].T.to_numpy(), texts)
            axes.set_title(f"{label}\n{len(known)} stacks", loc="left")
    return figure
