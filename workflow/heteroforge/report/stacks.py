"""Pictures of pairs of layers: which fit, where the samples went, which are worth a DFT job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from heteroforge.report.figures import OUTSIDE, style
from heteroforge.report.words import formula_text

__all__ = ["chances_figure", "matches_figure", "samples_figure"]

ALONE = "alone"
MOST_NAMES = 40  # more cannot be read
MOST_NUMBERS = 25  # with more names than this the cells are too small for numbers


def matches_figure(matches: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Smallest mismatch in percent of a common cell, per pair of layers.

    Args:
        matches: `stacks/matches.parquet`.
        names: monolayers, in the library's order.
    """
    pairs = matches["bottom"].astype(str) + "/" + matches["top"].astype(str)
    best = _per_pair(matches["mismatch_percent"].groupby(pairs).min(), min)
    return _matrix_figure(best, names, "smallest mismatch (%)", "{:.1f}", "viridis_r")


def samples_figure(layers: pd.Series, names: Sequence[str]) -> Figure:
    """Number of samples with each pair of layers on one another; a column of layers alone.

    Args:
        layers: names of each sample's layers, bottom to top, joined by "/"; formulas of those that
            the library lacks.
        names: monolayers, in the library's order; the others follow.
    """
    counts = layers.value_counts()
    many = _per_pair(counts, sum)
    many |= {(ALONE, text): float(n) for text, n in counts.items() if "/" not in str(text)}
    beyond = sorted({name for pair in many for name in pair} - {ALONE, *names})
    shown = [ALONE, *names, *beyond]
    return _matrix_figure(many, shown, "samples", "{:.0f}", "viridis", logarithmic=True)


def chances_figure(ranked: pd.DataFrame, selected: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Best probability of meeting all targets per pair of layers, pairs given to DFT framed.

    Args:
        ranked, selected: tables of the screening stage, with `layers` and `probability`.
        names: monolayers, in the library's order.
    """
    best = _per_pair(ranked.groupby("layers")["probability"].max(), max)
    framed = {tuple(sorted(pair)) for text in selected["layers"] for pair in _neighbours(text)}
    label = "best probability of meeting all targets"
    return _matrix_figure(best, names, label, "{:.2f}", "viridis", framed=framed, ends=(0, 1))


def _neighbours(layers: str) -> list[tuple[str, str]]:
    names = str(layers).split("/")
    return list(zip(names[:-1], names[1:], strict=True))


def _per_pair(values: pd.Series, reduce) -> dict[tuple[str, str], float]:
    """One value per pair of neighbours, whichever of the two lies below.

    Args:
        values: by the names of layers, bottom to top, joined by "/": few, where samples are many.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for text, value in values.items():
        for pair in _neighbours(text):
            found.setdefault(tuple(sorted(pair)), []).append(float(value))
    return {pair: reduce(some) for pair, some in found.items()}


def _matrix_figure(
    values: Mapping[tuple[str, str], float],
    names: Sequence[str],
    label: str,
    text: str,
    colours: str,
    framed: set[tuple[str, str]] = frozenset(),
    logarithmic: bool = False,
    ends: tuple[float, float] | None = None,
) -> Figure:
    """Lower triangle of a matrix with names on both sides, numbers in the cells."""
    used = [name for name in names if any(name in pair for pair in values)]
    if len(used) > MOST_NAMES:  # those of the pairs that come first
        best = sorted(values, key=values.get, reverse=not colours.endswith("_r"))
        first = dict.fromkeys(name for pair in best for name in pair)
        kept = set(list(first)[:MOST_NAMES])
        used = [name for name in used if name in kept]
    matrix = np.full((len(used), len(used)), np.nan)
    place = {name: i for i, name in enumerate(used)}
    for (one, other), value in values.items():
        if one in place and other in place:
            i, j = sorted((place[one], place[other]))
            matrix[j, i] = value
    with style():
        side = 1.8 + 0.3 * max(len(used), 3)
        figure = Figure(figsize=(side + 0.8, side))
        axes = figure.subplots()
        if not used:
            axes.axis("off")
            axes.text(0.5, 0.5, "nothing to show", ha="center", transform=axes.transAxes)
            return figure
        limits = {"norm": LogNorm()} if logarithmic else {}
        if ends and not logarithmic:
            limits = {"vmin": ends[0], "vmax": ends[1]}
        image = axes.imshow(matrix, cmap=colours, **limits)
        shown = [formula_text(name) for name in used]
        axes.set_xticks(range(len(used)), shown, rotation=90)
        axes.set_yticks(range(len(used)), shown)
        # As a whole: of one number alone, a norm that ends where it begins gives an array.
        filled = image.cmap(image.norm(np.ma.masked_invalid(matrix)))
        for j, i in zip(*np.nonzero(~np.isnan(matrix)), strict=True):
            if len(used) <= MOST_NUMBERS:
                red, green, blue, _ = filled[j, i]
                dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
                axes.text(i, j, text.format(matrix[j, i]), ha="center", va="center", fontsize=6,
                          color="white" if dark else "#10141a")  # fmt: skip
            if tuple(sorted((used[i], used[j]))) in framed:
                axes.add_patch(
                    Rectangle((i - 0.5, j - 0.5), 1, 1, fill=False, edgecolor=OUTSIDE, lw=2.2)
                )
        figure.colorbar(image, ax=axes, label=label, shrink=0.7)
    return figure
