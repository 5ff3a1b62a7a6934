"""Pictures of the DFT stage: one candidate's bands, and predictions beside DFT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from heteroforge.report.figures import band_figure, message_figure, style
from heteroforge.report.words import chemical_formula, formula_text, stack_name
from heteroforge.structures import Stack

__all__ = ["candidate_figure", "comparison_figure"]

COMPARED = (
    ("gap_ev", "gap (eV)"),
    ("binding_energy_mev_a2", "binding energy (meV/Å²)"),
    ("interlayer_gap_a", "interlayer gap (Å)"),
)


def candidate_figure(bands: Mapping, result: Mapping, states: np.ndarray | None = None) -> Figure:
    """Band structure of a slot and its density of states, or a line that says why it has none."""
    if not bands:
        reason = "no candidate" if result["status"] == "empty" else result.get("reason", "")
        return message_figure(f"slot {result.get('slot', '')}: {reason}")
    stack = Stack.from_dict(result["specification"])
    return band_figure(
        bands,
        [formula_text(chemical_formula(layer.monolayer.formula)) for layer in stack.layers],
        states,
    )


def comparison_figure(results: Sequence[Mapping]) -> Figure:
    """What the screen predicted (± one standard deviation) and what DFT found, per candidate.

    Args:
        results: contents of the slots' `result.json`.
    """
    verified = [r for r in results if r["status"] == "verified"]
    if not verified:
        return message_figure("no candidate was verified: see failed.csv")
    names = [formula_text(stack_name(r["specification"])) for r in verified]
    with style():
        figure = Figure(figsize=(8.4, 0.8 + 0.38 * len(verified)))
        panels = figure.subplots(1, len(COMPARED), sharey=True)
        places = range(len(verified))
        for panel, (name, label) in zip(panels, COMPARED, strict=True):
            window = verified[0]["target"].get(name, {}).get("window")
            predicted = [r["predicted"].get(name) for r in verified]
            spread = [r["predicted"].get(f"{name}_std") or 0.0 for r in verified]
            found = [r["properties"][name]["value"] for r in verified]
            shown = [i for i in places if predicted[i] is not None]
            panel.errorbar(
                [predicted[i] for i in shown],
                shown,
                xerr=[spread[i] for i in shown],
                fmt="o",
                mfc="none",
                label="predicted",
            )
            shown = [i for i in places if isinstance(found[i], float)]
            panel.plot([found[i] for i in shown], shown, "D", label="DFT")
            panel.margins(x=0.1)  # room for whole markers
            if window:
                ends = panel.get_xlim()
                low, high = (
                    end if asked is None else asked for asked, end in zip(window, ends, strict=True)
                )
                panel.axvspan(low, high, alpha=0.12, lw=0, label="asked for")
                # An open end reaches to the edge of the picture, a closed one is shown.
                margin = 0.05 * (max(high, ends[1]) - min(low, ends[0]))
                panel.set_xlim(
                    low if window[0] is None else min(low - margin, ends[0]),
                    high if window[1] is None else max(high + margin, ends[1]),
                )
            panel.set_xlabel(label)
        panels[0].set_yticks(
            list(places), [f"{n} (slot {r['slot']})" for n, r in zip(names, verified, strict=True)]
        )
        panels[0].set_ylim(len(verified) - 0.5, -0.5)
        panels[0].legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3)
    return figure
