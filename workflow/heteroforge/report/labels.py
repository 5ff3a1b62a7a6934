"""Picture of the stage labels: how far physics baselines are from DFT."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from heteroforge.report.figures import MUTED, name_points, style
from heteroforge.report.words import formula_text, stack_name

__all__ = ["labels_figure"]

NAMED = 2  # stacks farthest from their baseline that get their names

SHOWN = {
    "gap_ev": ("Anderson's rule", "gap (eV)"),
    "binding_energy_mev_a2": ("pairwise D3", "binding energy (meV/Å²)"),
    "interlayer_gap_a": ("van der Waals radii", "interlayer gap (Å)"),
}


def labels_figure(labels: pd.DataFrame) -> Figure:
    """DFT against baseline, stack by stack.

    Args:
        labels: `labels/labels.parquet`.
    """
    names = labels.groupby("stack_id")["specification"].first().map(stack_name)
    with style():
        figure = Figure(figsize=(8.4, 2.9), layout="constrained")
        for axes, (name, (method, label)) in zip(figure.subplots(1, 3), SHOWN.items(), strict=True):
            rows = labels[labels["property"] == name]
            wide = rows.pivot_table(index="stack_id", columns="fidelity", values="value")
            axes.set_title(f"{label}\n", loc="left")
            axes.set_xlabel(method)
            axes.set_ylabel("DFT")
            if not {"baseline", "dft"} <= set(wide.columns):
                axes.text(0.5, 0.5, "no DFT labels", ha="center", transform=axes.transAxes)
                continue
            both = wide.dropna(subset=["baseline", "dft"])
            low, high = both[["baseline", "dft"]].min().min(), both[["baseline", "dft"]].max().max()
            margin = 0.06 * ((high - low) or 1.0)
            ends = (low - margin, high + margin)
            axes.set_xlim(ends)
            axes.set_ylim(ends)
            axes.plot(ends, ends, lw=0.8, color=MUTED)
            axes.scatter(both["baseline"], both["dft"], s=15, lw=0)
            worst = (both["dft"] - both["baseline"]).abs().nlargest(NAMED).index
            # On two lines: the panels are narrow.
            texts = names[worst].map(formula_text).str.replace(" / ", " /\n")
            name_points(axes, *both.loc[worst, ["baseline", "dft"]].T.to_numpy(), texts)
            error = (both["dft"] - both["baseline"]).abs().mean()
            axes.set_title(
                f"{label}\n{len(both)} stacks, off by {error:.2g} in the mean", loc="left"
            )
    return figure
