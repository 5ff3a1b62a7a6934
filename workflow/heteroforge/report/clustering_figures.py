"""Pictures of the clustering stage: the map of monolayers, and what drives their properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from heteroforge.report.clustering import target_words
from heteroforge.report.figures import (
    INK,
    INSIDE,
    LAYER_COLOURS,
    LINE,
    MUTED,
    OUTSIDE,
    PAPER,
    SERIES_COLOURS,
    name_points,
    style,
)
from heteroforge.report.words import count_text, formula_text, quantity

__all__ = ["chosen_figure", "drivers_figure", "map_figure", "works_figure"]

MOST_NAMES = 60  # more names than this cover the points


def map_figure(places: pd.DataFrame, method: str, names: Mapping[str, str] | None = None) -> Figure:
    """Two maps of the monolayers by their descriptors: clusters, and gaps.

    Args:
        places: columns `monolayer_id, x, y, cluster` (−1: none), `gap_ev` and `works` (nullable
            boolean).
        method: how the map was made, for the caption in the picture.
        names: of the monolayers that are named where there are many; few are all named.
    """
    few = len(places) <= MOST_NAMES
    shown = {name: name for name in places["monolayer_id"]} if few else dict(names or {})
    size = float(np.clip(6000 / max(len(places), 1), 2.5, 34))
    with style():
        figure = Figure(figsize=(9.6, 4.9))
        left = figure.add_axes((0.01, 0.13, 0.48, 0.79))
        right = figure.add_axes((0.51, 0.13, 0.48, 0.79))
        _draw_clusters(left, places, size)
        _draw_gaps(figure, right, places, size)
        named = places[places["monolayer_id"].isin(list(shown))]
        if not few:
            order = {name: number for number, name in enumerate(shown)}
            named = named.sort_values("monolayer_id", key=lambda column: column.map(order))
            named = _apart(named, places)
        for axes in (left, right):
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            if not few:
                axes.scatter(named["x"], named["y"], s=9, color="none", edgecolor=INK, lw=0.7)
            name_points(
                axes,
                named["x"],
                named["y"],
                [formula_text(shown[name]) for name in named["monolayer_id"]],
            )
        left.set_title(f"{method} of the structural descriptors: near means alike", loc="left")
        right.set_title("The same map by gap", loc="left")
    return figure


def _apart(named: pd.DataFrame, places: pd.DataFrame) -> pd.DataFrame:
    """Those whose names have room: the first of any that would be written over each other."""
    room = np.ptp(places[["x", "y"]].to_numpy(), axis=0) * (0.17, 0.035)
    kept: list[int] = []
    xy = named[["x", "y"]].to_numpy()
    for number, place in enumerate(xy):
        if all((np.abs(place - xy[other]) > room).any() for other in kept):
            kept.append(number)
    return named.iloc[kept]


def _legend(axes: Axes, **settings) -> None:
    legend = axes.legend(handletextpad=0.2, columnspacing=1.0, **settings)
    for handle in legend.legend_handles:
        handle.set_sizes([26])


def _draw_clusters(axes: Axes, places: pd.DataFrame, size: float) -> None:
    counts = places.loc[places["cluster"] >= 0, "cluster"].value_counts()
    largest = list(counts.index[: len(SERIES_COLOURS)])
    rest = places["cluster"].ge(0) & ~places["cluster"].isin(largest)
    none = places["cluster"] < 0
    for chosen, label, colour in (
        (none, "no cluster", LINE),
        (rest, count_text(len(counts) - len(largest), "smaller cluster"), MUTED),
    ):
        if chosen.any():
            found = places[chosen]
            axes.scatter(found["x"], found["y"], s=size, color=colour, lw=0, label=label)
    for cluster, colour in zip(largest, SERIES_COLOURS, strict=False):
        found = places[places["cluster"] == cluster]
        label = f"cluster {cluster} ({len(found)})"
        axes.scatter(found["x"], found["y"], s=size, color=colour, lw=0, label=label)
    _legend(axes, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4)


def _draw_gaps(figure: Figure, axes: Axes, places: pd.DataFrame, size: float) -> None:
    gap = places["gap_ev"].astype(float)
    for chosen, label, colour in (
        (gap.isna(), "gap not known", LINE),
        (gap <= 0, "no gap", MUTED),
    ):
        if chosen.any():
            found = places[chosen]
            axes.scatter(found["x"], found["y"], s=size, color=colour, lw=0, label=label)
    found = places[gap > 0]
    if len(found):
        drawn = axes.scatter(
            found["x"], found["y"], s=size, c=found["gap_ev"].astype(float), cmap="viridis_r",
            vmin=0, vmax=5, lw=0,
        )  # fmt: skip
        bar = figure.add_axes((0.80, 0.945, 0.17, 0.02))
        figure.colorbar(drawn, cax=bar, orientation="horizontal", extend="max")
        bar.tick_params(labelsize=7, length=2)
        bar.text(-0.04, 0.5, "gap (eV, PBE)", fontsize=8, ha="right", va="center",
                 transform=bar.transAxes)  # fmt: skip
    good = places[places["works"].fillna(False).astype(bool)]
    if len(good):
        axes.scatter(
            good["x"], good["y"], s=max(3.0 * size, 14), color="none", edgecolor=OUTSIDE, lw=0.9,
            label=f"good semiconductor ({len(good)})",
        )  # fmt: skip
    _legend(axes, loc="upper left", bbox_to_anchor=(0.0, 0.0), ncols=3)


def chosen_figure(places: pd.DataFrame, stacks: Sequence[Sequence[str]]) -> Figure:
    """The stacks given to DFT on the map of monolayers: a line from layer to layer.

    Args:
        places: `monolayer_id, x, y`.
        stacks: names of the layers of each, bottom to top; others than in `places` are left out.
    """
    at = places.set_index("monolayer_id")[["x", "y"]]
    chosen = list(dict.fromkeys(name for stack in stacks for name in stack if name in at.index))
    with style():
        figure = Figure(figsize=(5.6, 4.0))
        axes = figure.add_axes((0.02, 0.02, 0.96, 0.9))
        size = float(np.clip(6000 / max(len(places), 1), 2.5, 26))
        # Thousands of marks as paths would make the page too heavy.
        many = len(places) > 2000
        axes.scatter(
            places["x"], places["y"], s=size, color=LINE, lw=0, label="library", rasterized=many
        )
        for stack in stacks:
            known = [name for name in stack if name in at.index]
            axes.plot(*at.loc[known].to_numpy().T, color=LAYER_COLOURS[1], lw=1.4, zorder=2)
        found = at.loc[chosen]
        axes.scatter(
            found["x"], found["y"], s=34, color=LAYER_COLOURS[0], edgecolor=PAPER, lw=0.5,
            zorder=3, label="in a stack given to DFT",
        )  # fmt: skip
        axes.axis("off")
        axes.margins(0.1)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, handletextpad=0.1)
        name_points(axes, found["x"], found["y"], [formula_text(name) for name in chosen])
    return figure


def works_figure(
    targets: pd.DataFrame,
    windows: Mapping[str, Sequence[float | None]],
    names: Mapping[str, str] | None = None,
) -> Figure:
    """Mobility and binding energy against the gap: the good semiconductors among the others.

    Args:
        targets: `monolayer_id`, `gap_ev`, `mobility_cm2_vs`, `binding_energy_mev_a2` and `works`
            (nullable boolean).
        windows: what is asked, [low, high] per column, None for an open end.
        names: of the monolayers that are named where there are many; few are all named.
    """
    few = len(targets) <= MOST_NAMES
    shown = {name: name for name in targets["monolayer_id"]} if few else dict(names or {})
    with style():
        figure = Figure(figsize=(9.6, 4.2))
        for place, name in enumerate(("mobility_cm2_vs", "binding_energy_mev_a2")):
            axes = figure.add_axes((0.07 + 0.5 * place, 0.12, 0.42, 0.78))
            known = targets.dropna(subset=["gap_ev", name])
            if name == "mobility_cm2_vs" and len(known):
                axes.set_yscale("log")
            for chosen, label, colour, marker in (
                (known["works"].isna(), "too little known", LINE, "o"),
                (known["works"].eq(False), "not good", MUTED, "s"),
                (known["works"].eq(True), "good semiconductor", LAYER_COLOURS[1], "o"),
            ):
                found = known[chosen.fillna(False).astype(bool)]
                if len(found):
                    axes.scatter(
                        found["gap_ev"], found[name], s=26 if few else 12, color=colour, lw=0.4,
                        edgecolor=PAPER, marker=marker, label=f"{label} ({len(found)})",
                    )  # fmt: skip
            # What is asked stays in sight where no monolayer meets it, and both share the gaps.
            asked = {
                c: [w for w in windows.get(c) or () if w is not None] for c in ("gap_ev", name)
            }
            gaps = [*targets["gap_ev"].dropna(), *asked["gap_ev"]]
            values = [*known[name], *asked[name]]
            if len(known):
                axes.plot([min(gaps), max(gaps)], [min(values), max(values)], marker="", ls="none")
            ends_x, ends_y = axes.get_xlim(), axes.get_ylim()
            for column, draw, ends in (
                ("gap_ev", axes.axvspan, ends_x),
                (name, axes.axhspan, ends_y),
            ):
                low, high = windows.get(column) or (None, None)
                if low is not None or high is not None:
                    draw(low if low is not None else ends[0], high if high is not None else ends[1],
                         color=INSIDE, alpha=0.10, lw=0)  # fmt: skip
            axes.set_xlim(ends_x)
            axes.set_ylim(ends_y)
            axes.set_xlabel(f"{quantity('gap_ev').words} (eV, PBE)")
            axes.set_ylabel(quantity(name).label)
            axes.grid()
            if not len(known):
                axes.text(0.5, 0.5, "not known for any", ha="center", color=MUTED,
                          transform=axes.transAxes)  # fmt: skip
                continue
            named = known[known["monolayer_id"].isin(list(shown))]
            name_points(
                axes,
                named["gap_ev"],
                named[name],
                [formula_text(shown[n]) for n in named["monolayer_id"]],
            )
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, handletextpad=0.1,
                        columnspacing=0.9)  # fmt: skip
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
    # A target that was skipped needs two lines, the others their bars.
    heights = [0.26 * len(p) + 0.95 if p["importance"].notna().any() else 0.62 for p in panels]
    total = max(sum(heights) + 0.35, 1.0)
    with style():
        figure = Figure(figsize=(7.4, total))
        top = total
        for target, panel, height in zip(targets, panels, heights, strict=True):
            top -= height
            if panel["importance"].isna().all():
                figure.text(0.46, (top + 0.36) / total, f"What decides {target_words(target)}")
                figure.text(0.46, (top + 0.16) / total, f"skipped: {panel['effect'].iloc[0]}",
                            color=MUTED)  # fmt: skip
                continue
            axes = figure.add_axes((0.46, (top + 0.5) / total, 0.51, (height - 0.8) / total))
            _draw_drivers(axes, target, panel)
        if panels:
            figure.text(
                0.02, 0.06 / total,
                "Importance: growth of the error on unseen formulas when a descriptor and its "
                "correlates (+n) are shuffled, in mean\nabsolute deviations; 95 % intervals. Blue: "
                "more raises it, orange: more lowers it, grey: neither. Red mark: chance.",
                fontsize=7, color=MUTED,
            )  # fmt: skip
    return figure


def _draw_drivers(axes: Axes, target: str, panel: pd.DataFrame) -> None:
    skill, samples = panel["skill"].iloc[0], int(panel["samples"].iloc[0])
    axes.set_title(
        f"What decides {target_words(target)}: {samples} monolayers, {max(skill, 0):.0%} of the "
        "deviation explained unseen",
        loc="right", fontsize=8.5,
    )  # fmt: skip
    axes.set_xlabel("importance", fontsize=8, labelpad=1)
    rows = -np.arange(len(panel))
    colour = {"raises": LAYER_COLOURS[0], "lowers": LAYER_COLOURS[1]}
    axes.barh(
        rows, panel["importance"], height=0.66,
        color=[colour.get(effect, MUTED) for effect in panel["effect"]],
    )  # fmt: skip
    for row, low, high in zip(rows, panel["importance_low"], panel["importance_high"], strict=True):
        axes.plot([low, high], [row, row], color=INK, lw=1.0)
    axes.plot(panel["null_importance"], rows, "|", color=OUTSIDE, ms=10, mew=2)
    axes.set_yticks(rows, [_label(row) for row in panel.to_dict("records")], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_facecolor(PAPER)


def _label(row: Mapping) -> str:
    others = row.get("correlated_with_it")
    count = len(others.split(", ")) if isinstance(others, str) and others else 0
    shown = quantity(row["descriptor"])
    unit = f" ({shown.unit})" if shown.unit else ""
    return f"{shown.words}{unit}" + (f" +{count}" if count else "")
