"""Picture of the stage labels: how far physics baselines are from DFT."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from heteroforge.report.figures import name_points, style
from heteroforge.report.words import stack_name

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
            axes.set_title(label, loc="left")
            axes.set_xlabel(method)
            axes.set_ylabel("DFT")
            if not {"baseline", "dft"} <= set(wide.columns):
                axes.text(0.5, 0.5, "no DFT labels", ha="center", transform=axes.transAxes)
                continue
            both = wide.dropna(subset=["baseline", "dft"])
            axes.plot(both["baseline"], both["dft"], "o", ms=4)
            worst = (both["dft"] - both["baseline"]).abs().nlargest(NAMED).index
            name_points(axes, *both.loc[worst, ["baseline", "dft"]].T.to_numpy(), names[worst])
            low, high = both[["baseline", "dft"]].min().min(), both[["baseline", "dft"]].max().max()
            axes.plot([low, high], [low, high], lw=0.8, color="0.6")
            error = (both["dft"] - both["baseline"]).abs().mean()
            axes.text(
                0.03, 0.94, f"{len(both)} stacks, MAE {error:.2g}", transform=axes.transAxes,
                fontsize=7.5,
            )  # fmt: skip
    return figure
