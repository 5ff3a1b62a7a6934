"""Figures shared by the report, the documentation and the stages: one style, few colours.

Every function returns a matplotlib figure. `save` writes PNG and SVG side by side; `inline_svg`
makes markup for a page, in which text and lines follow the page's colours (light and dark).
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.neighborlist import primitive_neighbor_list
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon, Rectangle
from matplotlib.text import Text

from heteroforge.io import atomic_path
from heteroforge.report.words import formula_text, number_text, quantity, value_text
from heteroforge.structures import Stack, build, split_layers
from heteroforge.structures.monolayer import in_plane

__all__ = [
    "LAYER_COLOURS",
    "SERIES_COLOURS",
    "alignment_figure",
    "band_figure",
    "bonds",
    "element_colours",
    "funnel_figure",
    "gallery_figure",
    "gvae_history_figure",
    "history_figure",
    "inline_svg",
    "message_figure",
    "layer_indices",
    "name_points",
    "page_svg",
    "save",
    "scatter_figure",
    "side_figure",
    "structure_figure",
    "style",
    "upright",
]

# Text, secondary text, rules and background: exact values that `inline_svg` exchanges for the
# page's own variables, so that one drawing serves light, dark and paper.
INK, MUTED, LINE, PAPER = "#1c2128", "#66707c", "#d3d9e0", "#fefefd"
_PAGE_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
}

# Told apart by all common kinds of colour blindness (after Okabe and Ito) and at a lightness
# that reads on white and on dark grey.
LAYER_COLOURS = ("#2b7bba", "#d9731a", "#189a74", "#b3609b")
SERIES_COLOURS = (*LAYER_COLOURS, "#8a8f98", "#b9930b")
INSIDE, OUTSIDE = "#189a74", "#c4532b"

_ELEMENT_COLOURS = (
    "#4f93c9",
    "#e8b04a",
    "#3aa68a",
    "#c98ab8",
    "#d9804f",
    "#8fc7e8",
    "#a39a2b",
    "#8c7ec2",
    "#7f8b97",
    "#c25b6a",
)

# Of the training of the generative model; the terms are of the training stacks.
GVAE_CURVES = {
    "loss": "loss",
    "validation_loss": "loss without properties, held out",
    "kl": "Kullback–Leibler term",
    "layers": "choice of layers",
    "registry": "registry",
    "property": "properties",
    "validation_property": "properties, held out",
}

MOST_HEIGHT_A = 13.5  # of the top view
SCALE_BAR_A = 5.0
# Shown of a stack where there is little room, and the most that the picture takes.
SIDE_WIDTH_A, SIDE_INCHES, SIDE_HEIGHT_INCHES = 8.5, 2.3, 2.1


@contextmanager
def style():
    """Matplotlib settings of all figures, for the length of a `with` block."""
    settings = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "axes.titlecolor": INK,
        "axes.prop_cycle": matplotlib.cycler(color=SERIES_COLOURS),
        "figure.facecolor": PAPER,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "grid.color": LINE,
        "grid.linewidth": 0.7,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "lines.linewidth": 1.6,
        "svg.fonttype": "none",
        "svg.hashsalt": "heteroforge",
        "savefig.facecolor": PAPER,
        "axes.axisbelow": True,
    }
    with matplotlib.rc_context(settings):
        yield


def message_figure(text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    with style():
        figure = Figure(figsize=(3.9, 1.6))
        figure.text(0.5, 0.5, text, ha="center", va="center", wrap=True)
    return figure


def save(figure: Figure, path: str | Path, dpi: int = 200) -> None:
    """Write `path` and its sibling, so that a PNG and an SVG of the figure exist."""
    path = Path(path)
    for suffix in (".png", ".svg"):
        with atomic_path(path.with_suffix(suffix)) as temporary, style():
            figure.savefig(temporary, format=suffix[1:], dpi=dpi, bbox_inches="tight")


# --- for pages --------------------------------------------------------------------------------

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"


def inline_svg(figure: Figure, title: str, prefix: str) -> str:
    """SVG markup for the inside of an HTML page.

    Args:
        figure: what to draw.
        title: said by screen readers.
        prefix: unique in the page; put before every id.
    """
    text = io.StringIO()
    with style():
        figure.savefig(text, format="svg", bbox_inches="tight", facecolor="none")
    return page_svg(text.getvalue(), title, prefix)


def page_svg(text: str, title: str, prefix: str) -> str:
    """As `inline_svg`, of the text of an SVG file that was drawn in this module's style.

    Raises:
        xml.etree.ElementTree.ParseError, KeyError, ValueError: not an SVG that matplotlib writes.
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(text)
    for child in list(root):
        if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}script"):
            root.remove(child)
    width = float(root.attrib.pop("width").removesuffix("pt"))
    root.attrib.pop("height")
    # Drawn at 72 points per inch, shown at 96 pixels per inch, narrower where there is no room.
    root.set("style", f"width:{width * 4 / 3:.0f}px")
    root.set("role", "img")
    root.set("aria-label", title)
    markup = ElementTree.tostring(root, encoding="unicode")
    markup = re.sub(r'\bid="', f'id="{prefix}-', markup)
    markup = re.sub(r'(href=")#', rf"\1#{prefix}-", markup)
    markup = re.sub(r"url\(#", f"url(#{prefix}-", markup)
    # Coordinates to a hundredth of a point; numbers in texts stay as they are.
    markup = re.sub(
        r'\b(?:d|points|transform|x|y|width|height)="[^"]*"',
        lambda attribute: re.sub(r"(-?\d+\.\d{2})\d+", r"\1", attribute[0]),
        markup,
    )
    markup = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", markup)
    for colour, variable in _PAGE_VARIABLES.items():
        markup = markup.replace(colour, variable)
    return markup


# --- structures -------------------------------------------------------------------------------


def element_colours(symbols: Sequence[str]) -> dict[str, str]:
    """A colour per element, by atomic number, so that it does not depend on the order given."""
    elements = sorted(set(symbols), key=lambda s: atomic_numbers[s])
    return {s: _ELEMENT_COLOURS[i % len(_ELEMENT_COLOURS)] for i, s in enumerate(elements)}


def layer_indices(atoms: Atoms, number_of_layers: int | None = None) -> list[np.ndarray]:
    """Indices of the atoms of each layer, bottom to top: the array `layer`, else by bonds."""
    if "layer" in atoms.arrays:
        of_atom = atoms.arrays["layer"]
        return [np.flatnonzero(of_atom == k) for k in np.unique(of_atom)]
    return split_layers(atoms, number_of_layers)


def structure_figure(
    atoms: Atoms,
    layer_names: Sequence[str] = (),
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """Side and top view of a stack on one scale, layers told apart.

    The side view shows one row of cells with each layer's name and the empty gaps in Å; in the
    top view lower layers fade, so that the registry can be read.

    Args:
        atoms: periodic in x and y; layers by the array `layer`, else found by bonds.
        layer_names: bottom to top; formulas are used where it is empty.
        colours: per element; the same mapping keeps several figures comparable.
    """
    atoms = upright(atoms)
    layers = layer_indices(atoms, len(layer_names) or None)
    names = _names_of_layers(atoms, layers, layer_names)
    colours = colours or element_colours(atoms.get_chemical_symbols())
    cell = atoms.cell.array[:2, :2]
    width = float(np.clip(2.2 * np.ptp([0, *cell[:, 0], cell.sum(0)[0]]), 11.0, 18.0))
    top_height = min(MOST_HEIGHT_A, width * (0.62 if width < 16 else 0.75))
    bottom, top = atoms.positions[:, 2].min(), atoms.positions[:, 2].max()
    side_height = top - bottom + 2.4
    legend_height = 1.5
    scale = 3.5 / width  # inches per Å
    total = side_height + top_height + legend_height
    with style():
        figure = Figure(figsize=(width * scale + 0.95, total * scale))
        fraction = width * scale / figure.get_figwidth()
        side = figure.add_axes((0, 1 - side_height / total, fraction, side_height / total))
        above = figure.add_axes((0, legend_height / total, fraction, top_height / total))
        foot = figure.add_axes((0, 0, fraction, legend_height / total))
        _draw_side(side, atoms, layers, names, colours, width)
        _draw_top(above, atoms, layers, colours, width, top_height)
        _draw_legend(foot, atoms, colours, width, legend_height)
    return figure


def side_figure(
    atoms: Atoms,
    layer_names: Sequence[str] = (),
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """The side view alone, for small places: less of the stack, in letters that can be read.

    Arguments as of `structure_figure`.
    """
    atoms = upright(atoms)
    layers = layer_indices(atoms, len(layer_names) or None)
    names = _names_of_layers(atoms, layers, layer_names)
    colours = colours or element_colours(atoms.get_chemical_symbols())
    height = np.ptp(atoms.positions[:, 2]) + 2.4
    scale = min(SIDE_INCHES / SIDE_WIDTH_A, SIDE_HEIGHT_INCHES / height)
    width = SIDE_WIDTH_A * scale
    with style():
        figure = Figure(figsize=(width + 0.8, height * scale))
        axes = figure.add_axes((0, 0, width / figure.get_figwidth(), 1))
        _draw_side(axes, atoms, layers, names, colours, SIDE_WIDTH_A, (9.5, 9.0))
    return figure


def gallery_figure(stacks: Sequence[Stack], columns: int = 5) -> Figure:
    """Side views of many stacks on one scale and in one set of colours.

    Each with its formula, stacking and defects, of which a side view hides most.
    """
    pictures = [upright(build(stack)) for stack in stacks]
    symbols = {symbol for atoms in pictures for symbol in atoms.get_chemical_symbols()}
    colours = element_colours(sorted(symbols))
    thick = [np.ptp(atoms.positions[:, 2]) + 3.2 for atoms in pictures] or [3.2]
    heights = [max(thick[i : i + columns]) for i in range(0, len(thick), columns)]
    scale = 1.9 / SIDE_WIDTH_A
    with style():
        figure = Figure(figsize=(2.8 * columns, sum(heights) * scale + 0.3 * len(heights)))
        grid = figure.add_gridspec(
            len(heights), columns, height_ratios=heights,
            left=0.01, right=0.9, top=0.97, bottom=0.04, wspace=0.6, hspace=0.12,
        )  # fmt: skip
        for i, (stack, atoms) in enumerate(zip(stacks, pictures, strict=True)):
            axes = figure.add_subplot(grid[i // columns, i % columns])
            layers = layer_indices(atoms, stack.number_of_layers)
            # Names in a library can be too long for the place.
            names = [formula_text(layer.monolayer.formula) for layer in stack.layers]
            _draw_side(axes, atoms, layers, names, colours, SIDE_WIDTH_A, (5.5, 6.0))
            defects = _defects_text(stack)
            axes.set_title(
                f"{formula_text(stack.formula)}, {stack.stacking(0)}"
                + (f"\n{defects}" if defects else ""),
                fontsize=7,
            )
        figure.legend(
            handles=[
                Line2D([], [], ls="", marker="o", color=colour, label=symbol)
                for symbol, colour in colours.items()
            ],
            loc="lower center", ncols=min(max(len(colours), 1), 14), frameon=False,
        )  # fmt: skip
    return figure


def _defects_text(stack: Stack) -> str:
    """The defects of a stack in words, from bottom to top, such as `Be on B, S vacancy`."""
    words = []
    for layer in stack.layers:
        for defect in layer.defects:
            own = layer.monolayer.species[defect.site % len(layer.monolayer.species)]
            vacancy = defect.kind == "vacancy"
            words.append(f"{own} vacancy" if vacancy else f"{defect.species} on {own}")
    return ", ".join(words)


def _names_of_layers(atoms: Atoms, layers, layer_names: Sequence[str]) -> list[str]:
    """The names given where there is one for each layer, else formulas."""
    if len(layer_names) == len(layers):
        return list(layer_names)
    return [atoms[index].get_chemical_formula("metal", empirical=True) for index in layers]


def upright(atoms: Atoms) -> Atoms:
    """A copy with the first cell vector along y, the second towards −x, and z in one piece.

    Seen along its first vector a crystal repeats itself exactly, so the side view (along y) shows
    one column of atoms for each row and shares its x with the top view.
    """
    cell, fractional, heights = in_plane(atoms)
    cell = cell @ np.array([[0.0, 1.0], [-1.0, 0.0]])  # a rotation: a mirror changes the crystal
    box = np.zeros((3, 3))
    box[:2, :2] = cell
    box[2, 2] = np.ptp(heights) + 15.0
    upright = Atoms(atoms.get_chemical_symbols(), cell=box, pbc=(True, True, False))
    upright.positions = np.column_stack([(fractional % 1.0) @ cell, heights - heights.min()])
    if "layer" in atoms.arrays:
        upright.set_array("layer", atoms.arrays["layer"])
    return upright


def _images(atoms: Atoms, width: float, height: float, rows_only: bool):
    """Positions (n, 3) and indices of periodic images that a window of this size can show."""
    cell = atoms.cell.array[:2, :2]
    reach = int(np.ceil((width + height) / min(np.linalg.norm(cell, axis=1)))) + 2
    turns = np.arange(-reach, reach + 1)
    first = np.array([0]) if rows_only else turns
    shifts = np.array([(i, j) for i in first for j in turns]) @ cell
    positions = np.repeat(atoms.positions[None], len(shifts), 0)
    positions[:, :, :2] += shifts[:, None, :]
    indices = np.tile(np.arange(len(atoms)), len(shifts))
    positions = positions.reshape(-1, 3)
    margin = 2.0
    near = np.abs(positions[:, 0]) < width / 2 + margin
    if not rows_only:
        near &= np.abs(positions[:, 1]) < height / 2 + margin
    return positions[near], indices[near]


def bonds(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bonds, each from both ends: indices of the first and second atom, vectors (n, 3) in Å.

    A bond is shorter than 1.15 times the sum of covalent radii and than 1.2 times the shortest
    such distance of either atom, which leaves metals within one plane of MX2 unconnected.
    """
    radii = covalent_radii[atoms.numbers] * 1.15
    first, second, distance, vectors = primitive_neighbor_list(
        "ijdD", atoms.pbc, atoms.cell.array, atoms.positions, radii
    )
    shortest = np.full(len(atoms), np.inf)
    np.minimum.at(shortest, first, distance)
    kept = distance < 1.2 * np.minimum(shortest[first], shortest[second])
    return first[kept], second[kept], vectors[kept]


def _draw_atoms(
    axes,
    atoms,
    positions,
    indices,
    members,
    colours,
    horizontal,
    order,
    edge,
    axes_half_width=0.0,
    symbol_size=6.5,
):
    """Half bonds in the colour of their atom, then the atoms, from the farthest to the nearest."""
    of_atom: dict[int, list[np.ndarray]] = {}
    for atom, _, vector in zip(*bonds(atoms), strict=True):
        of_atom.setdefault(int(atom), []).append(vector / 2)
    symbols = atoms.get_chemical_symbols()
    chosen = np.flatnonzero(np.isin(indices, members))
    for n in chosen[np.argsort(positions[chosen] @ order, kind="stable")]:
        atom = int(indices[n])
        place = positions[n][list(horizontal)]
        colour = colours[symbols[atom]]
        halves = of_atom.get(atom, [])
        if halves:
            ends = [[place, place + half[list(horizontal)]] for half in halves]
            axes.add_collection(LineCollection(ends, colors=colour, linewidths=2.2), autolim=False)
        axes.add_patch(
            Circle(
                place,
                0.5 * covalent_radii[atomic_numbers[symbols[atom]]],
                facecolor=colour,
                edgecolor=edge,
                linewidth=0.8,
            )
        )
        if edge == PAPER and abs(place[0]) < axes_half_width - 0.3:
            # The symbol says what the colour says, for those who do not see the colour.
            axes.text(*place, symbols[atom], ha="center", va="center_baseline",
                      fontsize=symbol_size, color="#10141a", zorder=7, clip_on=True)  # fmt: skip


def _stacked(axes) -> None:
    """Draw in the order of the calls: matplotlib would put all patches under all lines."""
    for n, artist in enumerate([*axes.get_children()]):
        if artist in axes.patches or artist in axes.collections:
            artist.set_zorder(artist.get_zorder() if artist.get_zorder() > 5 else 1 + n * 1e-4)


def _draw_side(axes, atoms, layers, names, colours, width, sizes=(6.5, 8)) -> None:
    """`sizes`: of the elements' symbols and of the gaps, in points."""
    positions, indices = _images(atoms, width, width, rows_only=True)
    heights = atoms.positions[:, 2]
    for k, (members, name) in enumerate(zip(layers, names, strict=True)):
        colour = LAYER_COLOURS[k % len(LAYER_COLOURS)]
        low, high = heights[members].min() - 0.9, heights[members].max() + 0.9
        axes.add_patch(
            Rectangle((-width / 2, low), width, high - low, facecolor=colour, alpha=0.14, lw=0)
        )
        axes.text(
            width / 2 + 0.75, (low + high) / 2, name, color=colour, va="center", fontweight="bold"
        )
    _draw_atoms(
        axes,
        atoms,
        positions,
        indices,
        range(len(atoms)),
        colours,
        (0, 2),
        np.array([0, -1, 0]),
        PAPER,
        width / 2,
        sizes[0],
    )
    for lower, upper in zip(layers[:-1], layers[1:], strict=True):
        low, high = heights[lower].max(), heights[upper].min()
        x = width / 2 + 0.4
        arrow = {"arrowstyle": "<->", "color": INK, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x, low), (x, high), arrowprops=arrow, annotation_clip=False)
        axes.text(
            width / 2 + 0.75,
            (low + high) / 2,
            value_text("interlayer_gap_a", high - low),
            va="center",
            fontsize=sizes[1],
        )
    _frame(axes, (-width / 2, width / 2), (heights.min() - 1.2, heights.max() + 1.2))


def _draw_top(axes, atoms, layers, colours, width, height) -> None:
    positions, indices = _images(atoms, width, height, rows_only=False)
    corner = (-width / 2, -height / 2)
    for k, members in enumerate(layers):
        if k:  # what lies below fades
            axes.add_patch(Rectangle(corner, width, height, facecolor=PAPER, alpha=0.55, lw=0))
        edge = LAYER_COLOURS[k % len(LAYER_COLOURS)]
        _draw_atoms(
            axes, atoms, positions, indices, members, colours, (0, 1), np.array([0, 0, 1]), edge
        )
    cell = atoms.cell.array[:2, :2]
    corners = np.array([[0, 0], cell[0], cell.sum(0), cell[1]])
    # From an atom of the top layer, so that the outline is easy to relate to the picture.
    on_top = positions[np.isin(indices, layers[-1])][:, :2]
    anchor = on_top[np.argmin(((on_top + cell.sum(0) / 2) ** 2).sum(1))]
    axes.add_patch(
        Polygon(corners + anchor, fill=False, edgecolor=INK, lw=1.1, ls=(0, (4, 2)), zorder=8)
    )
    x, low = width / 2 + 0.4, -height / 2
    axes.plot([x, x], [low, low + SCALE_BAR_A], color=INK, lw=2, clip_on=False)
    axes.text(x + 0.3, low + SCALE_BAR_A / 2, f"{SCALE_BAR_A:g} Å", va="center", fontsize=8)
    axes.text(x, height / 2, "from above", va="top", color=MUTED, fontsize=8)
    _frame(axes, (-width / 2, width / 2), (-height / 2, height / 2))


def _draw_legend(axes, atoms, colours, width, height) -> None:
    elements = sorted(set(atoms.get_chemical_symbols()), key=lambda s: atomic_numbers[s])
    x = -width / 2 + 0.6
    for symbol in elements:
        axes.add_patch(Circle((x, 0), 0.42, facecolor=colours[symbol], edgecolor=PAPER, lw=0.8))
        axes.text(x + 0.6, 0, symbol, va="center")
        x += 0.16 * width  # of the picture, as letters do not shrink with its scale
    _frame(axes, (-width / 2, width / 2), (-height + 0.7, 0.7))


def _frame(axes, x_range, y_range) -> None:
    _stacked(axes)
    axes.set_xlim(x_range)
    axes.set_ylim(y_range)
    axes.set_aspect("equal")
    axes.axis("off")


# --- electronic structure ---------------------------------------------------------------------


def _mix(weights: np.ndarray) -> np.ndarray:
    """Colours (n, 3) between the layers' for weights (layers, n), grey for what lacks to one."""
    base = np.array([to_rgb(c) for c in (*LAYER_COLOURS[: len(weights)], MUTED)])
    shares = np.vstack([weights, np.clip(1.0 - weights.sum(0), 0.0, 1.0)])
    return np.clip(np.tensordot(shares.T, base, axes=1), 0, 1)


def band_figure(
    bands: Mapping,
    layer_names: Sequence[str] = (),
    states: np.ndarray | None = None,
    window_ev: tuple[float, float] = (2.5, 2.5),
) -> Figure:
    """Band structure against the vacuum level, coloured by the layers' weights.

    Args:
        bands: `bands.json` of a verified candidate: `k_distance` [nk], `energies_ev` [nk][nb],
            `labels`, `layer_weights` [layers][nk][nb] (may be missing), `vbm_ev`, `cbm_ev`.
        layer_names: bottom to top, for the legend.
        states: (n, 1 + layers) energy in eV and density of states per eV on each layer, drawn
            beside the bands.
        window_ev: shown below the valence band maximum and above the conduction band minimum.
    """
    k = np.asarray(bands["k_distance"], float)
    energies = np.asarray(bands["energies_ev"], float)
    weights = bands.get("layer_weights")
    weights = None if not weights else np.asarray(weights, float)
    vbm, cbm = bands.get("vbm_ev"), bands.get("cbm_ev")
    middle = vbm if vbm is not None else float(np.median(energies))
    low, high = middle - window_ev[0], (cbm if cbm is not None else middle) + window_ev[1]
    with style():
        width = 3.9 if states is None else 5.2
        figure = Figure(figsize=(width, 3.3))
        axes = figure.add_axes((0.62 / width, 0.1, 3.12 / width, 0.78))
        if states is not None:
            beside = figure.add_axes((4.25 / width, 0.1, 0.85 / width, 0.78))
            _draw_states(beside, np.asarray(states, float), low, high)
        for band in range(energies.shape[1]):
            line = energies[:, band]
            if line.max() < low or line.min() > high:
                continue
            if weights is None or len(weights) < 2:
                axes.plot(k, line, color=LAYER_COLOURS[0], lw=1.5)
                continue
            share = weights[:, :, band]
            points = np.column_stack([k, line])
            segments = np.stack([points[:-1], points[1:]], axis=1)
            # Tenths: a finer scale is not seen and makes the file heavy.
            steps = np.round((share[:, 1:] + share[:, :-1]) / 2, 1)
            total = steps.sum(0)
            steps = np.where(total > 0.8, steps / np.maximum(total, 0.1), steps)
            colours, runs = zip(*_runs(_mix(steps), segments), strict=True)
            lines = LineCollection(runs, colors=colours, linewidths=1.8)
            axes.add_collection(lines, autolim=False)
        if bands.get("is_metal") or vbm is None or cbm is None:
            axes.set_title("metallic: no gap", loc="right")
        else:
            for energy, words, side in ((vbm, "VBM", "top"), (cbm, "CBM", "bottom")):
                axes.axhline(energy, color=MUTED, lw=0.8, ls=(0, (3, 2)))
                axes.text(
                    k[-1] + 0.015 * np.ptp(k), energy, f"{words}\n{number_text(energy, 2)}",
                    va=side, fontsize=7.5, color=MUTED,
                )  # fmt: skip
        labels = bands.get("labels") or []
        axes.set_xticks([float(x) for x, _ in labels], [str(text) for _, text in labels])
        axes.grid(axis="x")
        axes.set_xlim(k[0], k[-1])
        axes.set_ylim(low, high)
        axes.set_ylabel("energy against vacuum (eV)")
        if weights is not None and len(weights) > 1:
            names = list(layer_names) or [f"layer {i + 1}" for i in range(len(weights))]
            for i, name in enumerate(names[: len(weights)]):
                axes.plot([], [], color=LAYER_COLOURS[i], lw=3, label=name)
            axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, handlelength=1.2)
    return figure


def _draw_states(axes, states: np.ndarray, low: float, high: float) -> None:
    """Densities of states of the layers, each on top of the one below."""
    shown = states[(states[:, 0] > low) & (states[:, 0] < high)]
    below = np.zeros(len(shown))
    for i, density in enumerate(shown[:, 1:].T):
        colour = LAYER_COLOURS[i % len(LAYER_COLOURS)]
        axes.fill_betweenx(shown[:, 0], below, below + density, color=colour, alpha=0.85, lw=0)
        below = below + density
    axes.set_ylim(low, high)
    axes.set_xlim(0, 1.05 * max(below.max(initial=0.0), 1e-9))
    axes.set_yticklabels([])
    axes.set_title("states per eV", loc="left")


def _runs(colours: np.ndarray, segments: np.ndarray):
    """Join neighbouring segments of one colour into polylines."""
    start = 0
    for i in range(1, len(segments) + 1):
        if i == len(segments) or not np.allclose(colours[i], colours[start]):
            run = np.vstack([segments[start][0], *[s[1] for s in segments[start:i]]])
            yield tuple(np.round(colours[start], 3)), run
            start = i


def alignment_figure(
    levels: Sequence[Mapping],
    vacuum_step_ev: float | None = None,
) -> Figure:
    """Band edges against the vacuum level, side by side.

    Args:
        levels: one mapping per column from left to right: `name`, `vbm_ev`, `cbm_ev` (either may
            be None, `missing` says why), `kind` ("layer" or "stack"), and for a stack the optional
            `vbm_weights` and `cbm_weights` (share per layer).
        vacuum_step_ev: difference between the vacuum levels of the two sides; written beside the
            vacuum line when it matters.
    """
    known = [x for level in levels for x in (level["vbm_ev"], level["cbm_ev"]) if x is not None]
    with style():
        figure = Figure(figsize=(3.5, 3.3))
        axes = figure.add_axes((0.15, 0.12, 0.83, 0.76))
        if not known:
            axes.text(0.5, 0.5, "no band edges known", ha="center", transform=axes.transAxes)
            axes.axis("off")
            return figure
        low, high = min(known) - 1.1, max(known) + 1.0
        colour_of = iter(LAYER_COLOURS)
        for i, level in enumerate(levels):
            colour = next(colour_of, MUTED) if level["kind"] == "layer" else INK
            vbm, cbm = level["vbm_ev"], level["cbm_ev"]
            if vbm is None and cbm is None:
                axes.text(
                    i,
                    (low + high) / 2,
                    level.get("missing", "unknown"),
                    ha="center",
                    color=MUTED,
                    fontsize=8,
                )
            for energy, edge, words, weights in (
                (vbm, low, "top", level.get("vbm_weights")),
                (cbm, high, "bottom", level.get("cbm_weights")),
            ):
                if energy is None:
                    continue
                _draw_edge(axes, i, energy, edge, colour, weights)
                axes.text(
                    i, energy + (-0.06 if words == "top" else 0.06),
                    number_text(energy, 2), ha="center", va=words, fontsize=8,
                )  # fmt: skip
            if vbm is not None and cbm is not None:
                text = value_text("gap_ev", cbm - vbm)
                axes.text(
                    i, (vbm + cbm) / 2, text, ha="center", va="center", fontsize=8, color=MUTED
                )
        axes.set_xticks(range(len(levels)), [level["name"] for level in levels], fontsize=8)
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.55, len(levels) - 0.45)
        axes.set_ylim(low, high)
        axes.set_ylabel("energy against vacuum (eV)")
        stack = [i for i, level in enumerate(levels) if level["kind"] == "stack"]
        if stack and stack[0] > 0:
            axes.axvline(stack[0] - 0.5, color=LINE, lw=1)
        title = "layers alone" + (" | stack: share of each layer" if stack else "")
        if vacuum_step_ev is not None and abs(vacuum_step_ev) >= 0.01:
            title += f"\nvacuum step {value_text('vacuum_step_ev', vacuum_step_ev)}"
        axes.set_title(title, loc="left", fontsize=8, color=MUTED)
    return figure


def _draw_edge(axes, column, energy, edge, colour, weights) -> None:
    """The band from its edge outwards; for a stack its width is shared among the layers."""
    shares = [(1.0, colour)]
    if weights is not None and len(weights) > 1 and sum(weights) > 0:
        shares = [(w, LAYER_COLOURS[i]) for i, w in enumerate(weights)]
        shares.append((max(0.0, 1.0 - sum(weights)), MUTED))  # beside the atoms
    left = column - 0.36
    for share, fill in shares:
        axes.add_patch(
            Rectangle((left, min(energy, edge)), 0.72 * share, abs(edge - energy),
                      facecolor=fill, alpha=0.30, lw=0)
        )  # fmt: skip
        axes.plot(
            [left, left + 0.72 * share], [energy] * 2, color=fill, lw=2.4, solid_capstyle="butt"
        )
        left += 0.72 * share


# --- numbers ----------------------------------------------------------------------------------


def funnel_figure(counts: Sequence[tuple[str, int]]) -> Figure:
    """What remains after each step, bars on a logarithmic scale, from the first to the last."""
    with style():
        figure = Figure(figsize=(6.4, 0.42 * len(counts) + 0.1))
        axes = figure.add_axes((0.26, 0.02, 0.6, 0.96))
        most = max([n for _, n in counts] + [10])
        for row, (words, number) in enumerate(counts):
            # The shortest bar stands for one, so that one and none look different.
            length = 0 if number == 0 else 0.04 + 0.96 * np.log10(number) / np.log10(most)
            axes.barh(-row, length, height=0.66, color=LAYER_COLOURS[0], alpha=0.85)
            axes.text(-0.02, -row, words, ha="right", va="center")
            axes.text(length + 0.015, -row, value_text("number_of_atoms", number), va="center")
        axes.set_xlim(0, 1.0)
        axes.set_ylim(-len(counts) + 0.5, 0.5)
        axes.axis("off")
    return figure


# Where a name may stand: direction from its point, and distances in points, the best first.
_SIDES = ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0))
_DISTANCES = (4, 13, 24, 36)


def name_points(
    axes, x: Sequence[float], y: Sequence[float], texts: Sequence[str], angle_deg: float = 0.0
) -> None:
    """Write a name beside each point; points in one place share a line of names.

    Each name takes the first place where it covers no other name, as few points as can be, and
    stays inside the axes; a thin line leads to a point farther away. Call it when all points are
    drawn and the limits are set.
    """
    places: dict[tuple[float, float], list[str]] = {}
    for px, py, text in zip(x, y, texts, strict=True):
        if np.isfinite(px) and np.isfinite(py):
            places.setdefault((float(px), float(py)), []).append(str(text))
    figure = axes.figure
    figure.draw_without_rendering()  # limits and layout take effect
    renderer = FigureCanvasAgg(figure).get_renderer()
    taken = [text.get_window_extent(renderer) for text in axes.texts]
    marks, window = _marks(axes), axes.bbox.padded(8.0)

    def cost(box) -> float:
        near = box.padded(1.0)
        inside = (marks > near.min) & (marks < near.max)
        outside = (box.min < window.min).any() or (box.max > window.max).any()
        names = sum(bool(near.overlaps(other)) for other in taken)
        return 100 * names + 10 * bool(outside) + min(int(inside.all(axis=1).sum()), 9)

    for place, shared in places.items():
        look = {"fontsize": 7, "color": INK, "zorder": 9, "rotation": angle_deg}
        text, best = ", ".join(dict.fromkeys(shared)), None
        for distance, side in itertools.product(_DISTANCES, _SIDES):
            label = _annotate(axes, text, place, distance, side, look)
            label.update_positions(renderer)
            box = Text.get_window_extent(label, renderer)  # of the text without its line
            found = (cost(box) + distance / 20, label, box)
            worse = found if best is not None and best[0] <= found[0] else best
            best = best if worse is found else found
            if worse is not None:
                worse[1].remove()
            if best[0] < 1 + distance / 20:
                break  # nothing is covered: no need to go farther
        taken.append(best[2])


def _annotate(axes, text: str, place, distance: float, side: tuple[int, int], look: Mapping):
    right, up = side
    line = {"arrowstyle": "-", "color": MUTED, "lw": 0.5, "shrinkA": 0, "shrinkB": 2}
    return axes.annotate(
        text, place, xytext=(distance * right, distance * up), textcoords="offset points",
        ha=("right", "center", "left")[right + 1], va=("top", "center", "bottom")[up + 1],
        rotation_mode="anchor", arrowprops=line if distance > _DISTANCES[0] else None, **look,
    )  # fmt: skip


def _marks(axes) -> np.ndarray:
    """Where points and corners of lines are drawn, (n, 2) in pixels."""
    drawn = [
        c.get_offset_transform().transform(np.ma.filled(c.get_offsets(), np.nan))
        for c in axes.collections
        if isinstance(c, PathCollection) and len(c.get_offsets())
    ]
    drawn += [axes.transData.transform(line.get_xydata()) for line in axes.lines]
    return np.concatenate([np.zeros((0, 2)), *drawn])


def history_figure(
    epochs: Sequence[float], curves: Mapping[str, Sequence[float]], label: str = "loss"
) -> Figure:
    """Training curves; a logarithmic axis where all values are positive and differ widely."""
    with style():
        figure = Figure(figsize=(5.6, 2.7))
        axes = figure.add_axes((0.13, 0.18, 0.6, 0.77))
        everything = np.concatenate([np.asarray(v, float) for v in curves.values()])
        everything = everything[np.isfinite(everything)]
        for i, (name, values) in enumerate(curves.items()):
            axes.plot(
                epochs, values, label=name,
                color=SERIES_COLOURS[i % len(SERIES_COLOURS)],
                ls=("-", "--", ":", "-.")[(i // 3) % 4],
            )  # fmt: skip
        if len(everything) and everything.min() > 0 and everything.max() / everything.min() > 20:
            axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.grid(axis="y")
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def gvae_history_figure(history: pd.DataFrame) -> Figure:
    """Training curves of the generative model: the loss, and what it says of single choices."""
    curves = {words: history[name] for name, words in GVAE_CURVES.items() if history[name].any()}
    return history_figure(history["epoch"], curves)


def scatter_figure(
    x_name: str,
    y_name: str,
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    targets: Mapping[str, Sequence] | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Groups of points over one another, the target windows shaded.

    Args:
        x_name, y_name: columns, for the axis labels.
        groups: name to x and y; later groups are drawn larger and on top.
        targets: windows [low, high] of either column.
        names: per group a text for each of its points.
    """
    markers = ("o", "D", "^", "s", "v", "P", "X", "*")
    with style():
        figure = Figure(figsize=(5.6, 3.2))
        axes = figure.add_axes((0.12, 0.15, 0.62, 0.81))
        sizes = np.linspace(9, 60, max(len(groups), 2))
        for i, (name, (x, y)) in enumerate(groups.items()):
            look = {
                "s": sizes[i],
                "lw": 0.5,
                "edgecolor": PAPER,
                "color": SERIES_COLOURS[i % len(SERIES_COLOURS)],
                "marker": markers[i % len(markers)],
                "alpha": 0.5 if len(x) > 500 else 0.9,
            }
            if name == "selected":  # rings: what they surround stays visible
                look |= {"color": "none", "edgecolor": INK, "lw": 1.5, "marker": "o", "alpha": 1}
            # Thousands of marks as paths would make the SVG too heavy to open.
            axes.scatter(x, y, label=name, zorder=2 + i, rasterized=len(x) > 2000, **look)
        x_range, y_range = axes.get_xlim(), axes.get_ylim()
        windows = targets or {}
        for window, range_, draw in (
            (windows.get(x_name), x_range, axes.axvspan),
            (windows.get(y_name), y_range, axes.axhspan),
        ):
            if isinstance(window, (list, tuple)) and len(window) == 2:
                low = range_[0] if window[0] is None else window[0]
                high = range_[1] if window[1] is None else window[1]
                draw(low, high, color=INSIDE, alpha=0.10, lw=0)
        axes.set_xlim(x_range)
        axes.set_ylim(y_range)
        axes.set_xlabel(quantity(x_name).label)
        axes.set_ylabel(quantity(y_name).label)
        axes.grid()
        for name, texts in (names or {}).items():
            name_points(axes, *groups[name], texts)
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), handletextpad=0.3)
    return figure


def deviations_figure(
    tables: Mapping[str, pd.DataFrame], tolerances: Mapping[str, Mapping[str, float]]
) -> Figure:
    """How far our values are from published ones, in tolerances: a row of points per quantity.

    Args:
        tables: by title, with `quantity`, `difference` and `inside` (None: not judged, left out).
        tolerances: by title and quantity.
    """
    rows = []
    for title, table in tables.items():
        for name, found in table.dropna(subset=["inside"]).groupby("quantity", sort=False):
            if name in tolerances[title]:
                off = found["difference"].astype(float) / tolerances[title][name]
                rows.append((f"{name}, {title}", off, found))
    with style():
        figure = Figure(figsize=(6.4, 0.36 * len(rows) + 0.7))
        axes = figure.add_subplot()
        axes.axvspan(-1, 1, color=INSIDE, alpha=0.10, lw=0)
        axes.axvline(0, color=MUTED, lw=0.8)
        for row, (_, off, found) in enumerate(rows):
            inside = found["inside"].astype(bool).to_numpy()
            for chosen, colour in ((inside, LAYER_COLOURS[0]), (~inside, LAYER_COLOURS[1])):
                place = np.full(chosen.sum(), -row)
                axes.scatter(off[chosen], place, s=22, color=colour, alpha=0.8, lw=0)
        axes.set_yticks(range(0, -len(rows), -1), [name for name, *_ in rows])
        axes.set_ylim(-len(rows) + 0.5, 0.5)
        axes.set_xlabel("deviation from published DFT, in tolerances")
        axes.grid(axis="x")
    return figure
