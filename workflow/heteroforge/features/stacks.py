"""Descriptors of stacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from heteroforge.features.elements import element_data
from heteroforge.features.monolayers import structural_descriptors
from heteroforge.structures import Layer, Monolayer, Stack
from heteroforge.structures.build import layer_sites
from heteroforge.structures.matching import (
    contact_gap_a,
    share_one_cell,
    van_der_waals_gap_a,
)
from heteroforge.structures.plane import cell_from_parameters

__all__ = [
    "FROM_TABLE",
    "facing_levels",
    "ionic_binding_mev_a2",
    "stack_descriptor_table",
    "stack_descriptors",
]

# Of each layer, from its structure and from the library's table.
FROM_STRUCTURE = (
    "number_of_atoms",
    "number_of_elements",
    "atomic_number_mean",
    "row_mean",
    "electronegativity_mean",
    "electronegativity_spread",
    "electronegativity_across_bonds",
    "electronegativity_between_faces",
    "electronegativity_of_faces",
    "covalent_radius_mean_a",
    "covalent_radius_spread_a",
    "valence_electrons_mean",
    "valence_electrons_per_area_a2",
    "area_per_atom_a2",
    "thickness_a",
    "packing",
    "bond_length_over_radii",
    "coordination_mean",
    "rotation_order",
    "lattice_ratio",
)
FROM_TABLE = (
    "gap_ev",
    "vbm_ev",
    "cbm_ev",
    "stiffness_n_m",
    "polarizability_in_plane_a",
    "polarizability_out_of_plane_a",
)
# Of the layer that holds a band edge of the stack by Anderson's rule.
OF_EDGES = (
    "gap_ev",
    "aligned_vbm_ev",
    "aligned_cbm_ev",
    "strain",
    "electronegativity_mean",
    "row_mean",
    "thickness_a",
    "polarizability_out_of_plane_a",
)
FACE_A = 0.1  # sites this near to the outermost one face the neighbour
COULOMB_EV_A = 14.399645  # e²/(4πε₀)


def stack_descriptors(
    stack: Stack,
    table: pd.DataFrame | Mapping[str, Mapping],
    baselines: Mapping[str, float | None] | None = None,
    of_edges: Sequence[str] = (),
) -> dict[str, float]:
    """Numbers that describe a stack; NaN where something is not known.

    All are the same for a stack seen from below, and none depends on the gaps written in it.
    Layers: mean, smallest and largest of their own descriptors, and those of the layers that hold
    the band edges by Anderson's rule. Interfaces, averaged: the two facing sides, the gap at which
    they touch, twist, and where both layers have one cell what the registry does: how much nearer
    or further than on average the layers touch, and how their ions attract each other there and at
    the average gap. The whole: area, mismatch, and the physics baselines (`baseline_…`) if given.

    Args:
        stack: its layers carry the library's names.
        table: of the library, indexed by `monolayer_id`, or its rows by that name.
        baselines: of `heteroforge.labels.stack_baselines`.
        of_edges: columns of the table that are wanted of the layers that hold the band edges, too.
    """
    layers = [_layer_values(layer, table, of_edges) for layer in stack.layers]
    # The mean of the principal strains: changes of the area move band edges most.
    for i, values in enumerate(layers):
        values["strain"] = float(np.trace(stack.strain(i))) / 2
    _align(stack, layers)
    area = stack.area_a2
    atoms = sum(la.number_of_cells * len(la.monolayer.species) for la in stack.layers)
    found: dict[str, float] = {
        "number_of_layers": float(stack.number_of_layers),
        "number_of_atoms": float(stack.number_of_atoms),
        "area_a2": area,
        "atoms_per_area": atoms / area,
        "mismatch_percent": stack.mismatch_percent,
        "number_of_defects": float(sum(len(layer.defects) for layer in stack.layers)),
    }
    names = (*FROM_STRUCTURE, *FROM_TABLE, "strain")
    values = np.array([[layer[name] for name in names] for layer in layers])
    for statistic, row in (
        ("mean", values.mean(0)),
        ("smallest", values.min(0)),
        ("largest", values.max(0)),
    ):
        found |= {f"{name}_{statistic}": float(v) for name, v in zip(names, row, strict=True)}
    found |= _edge_values(layers, (*OF_EDGES, *of_edges))
    found |= _interface_values(stack, layers)
    for name, value in (baselines or {}).items():
        found[f"baseline_{name}"] = float("nan") if value is None else float(value)
    return found


def stack_descriptor_table(
    stacks: Iterable[Stack],
    table: pd.DataFrame,
    baselines: Mapping[str, Mapping[str, float | None]] | None = None,
) -> pd.DataFrame:
    """Descriptors of many stacks, indexed by `stack_id`.

    Args:
        stacks: each counted once.
        table: of the library, indexed by `monolayer_id`.
        baselines: per `stack_id`.
    """
    known = table.to_dict("index")
    rows = {}
    for stack in stacks:
        key = stack.key()
        rows[key] = stack_descriptors(stack, known, (baselines or {}).get(key))
    frame = pd.DataFrame.from_dict(rows, orient="index").astype(float)
    frame.index.name = "stack_id"
    return frame


def facing_levels(vacuum_steps_ev: Iterable[float]) -> np.ndarray:
    """Shift (n) of each layer's mean vacuum level where facing levels of neighbours are made equal.

    Against the mean of the outermost two levels of the stack, in eV.

    Args:
        vacuum_steps_ev: upper minus lower vacuum level of each layer alone, from the bottom (n).
    """
    steps = np.asarray(vacuum_steps_ev, dtype=float)
    levels = np.concatenate([[0.0], np.cumsum((steps[:-1] + steps[1:]) / 2)])
    return levels - ((levels[0] - steps[0] / 2) + (levels[-1] + steps[-1] / 2)) / 2


def _row(table, name: str) -> Mapping:
    if isinstance(table, pd.DataFrame):
        return table.loc[name].to_dict() if name in table.index else {}
    return table.get(name, {})


def _number(value: object) -> float:
    return float("nan") if value is None or pd.isna(value) else float(value)


def _layer_values(layer: Layer, table, of_edges: Sequence[str]) -> dict[str, float]:
    structure = structural_descriptors(layer.monolayer)
    values = {key: structure[key] for key in FROM_STRUCTURE}
    row = _row(table, layer.monolayer.name)
    for key in (*FROM_TABLE, *of_edges):
        values[key] = _number(row.get(key))
    # Layers whose step is not known are taken to have none.
    step = np.nan_to_num(_number(row.get("vacuum_step_ev")))
    values["vacuum_step_ev"] = -step if layer.flipped else step
    return values


def _align(stack: Stack, layers: list[dict[str, float]]) -> None:
    """Band edges of the layers with facing vacuum levels made equal."""
    shifts = facing_levels([layer["vacuum_step_ev"] for layer in layers])
    for layer, shift in zip(layers, shifts, strict=True):
        layer["aligned_vbm_ev"] = layer["vbm_ev"] + shift
        layer["aligned_cbm_ev"] = layer["cbm_ev"] + shift


def _edge_values(layers: list[dict[str, float]], names: Sequence[str]) -> dict[str, float]:
    vbm = np.array([layer["aligned_vbm_ev"] for layer in layers])
    cbm = np.array([layer["aligned_cbm_ev"] for layer in layers])
    found: dict[str, float] = {}
    known = np.isfinite(vbm).all() and np.isfinite(cbm).all()
    for side, holder in (
        ("donor", layers[int(vbm.argmax())] if known else None),
        ("acceptor", layers[int(cbm.argmin())] if known else None),
    ):
        for name in names:
            found[f"{side}_{name}"] = float("nan") if holder is None else holder[name]
    # What the edges mix with: the next layer's.
    order = [np.sort(vbm)[::-1], np.sort(cbm)]
    for name, levels in zip(("vbm", "cbm"), order, strict=True):
        offset = abs(levels[1] - levels[0]) if known and len(levels) > 1 else float("nan")
        found[f"{name}_offset_ev"] = float(offset)
    found["anderson_gap_ev"] = float(cbm.min() - vbm.max()) if known else float("nan")
    return found


def _interface_values(stack: Stack, layers: list[dict[str, float]]) -> dict[str, float]:
    rows = []
    for i in range(stack.number_of_layers - 1):
        below, above = stack.layers[i], stack.layers[i + 1]
        lower = _face(below.monolayer, not below.flipped)
        upper = _face(above.monolayer, above.flipped)
        one_cell = share_one_cell(below, above)
        mean_gap = _mean_gap(below, above)
        # Without a common cell all registries occur: their mean is that of no charges at all.
        touching, ionic = mean_gap, (0.0, 0.0)
        if one_cell:
            touching = contact_gap_a(stack, i)
            ionic = ionic_binding_mev_a2(stack, i, (touching, mean_gap))
        # Angles of 60° apart are alike for most lattices; cos 6θ tells how far between.
        twist = np.radians(stack.twist_deg(i))
        row = {
            "touching_gap_a": touching,
            "touching_gap_over_mean_a": touching - mean_gap,
            "ionic_binding_touching_mev_a2": ionic[0],
            "ionic_binding_mean_gap_mev_a2": ionic[1],
            "share_one_cell": float(one_cell),
            "twist_cos_6": float(np.cos(6 * twist)),
            "twist_cos_3": float(np.cos(3 * twist)),
            "vbm_difference_ev": abs(layers[i]["vbm_ev"] - layers[i + 1]["vbm_ev"]),
            "cbm_difference_ev": abs(layers[i]["cbm_ev"] - layers[i + 1]["cbm_ev"]),
            "same_layers": float(below.monolayer.key() == above.monolayer.key()),
        }
        for name, low, high in zip(FACE_NAMES, lower, upper, strict=True):
            row[f"facing_{name}_mean"] = (low + high) / 2
            row[f"facing_{name}_difference"] = abs(low - high)
        rows.append(row)
    if not rows:
        return {}
    return {key: float(sum(row[key] for row in rows) / len(rows)) for key in rows[0]}


def ionic_binding_mev_a2(stack: Stack, index: int, gaps_a: Sequence[float]) -> np.ndarray:
    """Coulomb energy that binds layers `index` and `index + 1` at given gaps, meV/Å².

    Point charges of one electron per unit of Pauling's electronegativity below the mean of the
    layer: a scale that models learn. Rows of charges in a plane, summed over the reciprocal
    vectors of the common cell (J. Lennard-Jones, B. Dent, Trans. Faraday Soc. 24, 92 (1928)): each
    decays as exp(−|G| gap), and neutral layers have no term without it. Positive when bound;
    negative where ions of one sign face each other.

    Args:
        stack: its two layers share one cell (`share_one_cell`).
        index: of the interface, from the bottom.
        gaps_a: between the facing outermost sites (n).

    Returns:
        (n).
    """
    below, above = stack.layers[index], stack.layers[index + 1]
    cell = (stack.a, stack.b, stack.gamma_deg)
    # Of the common primitive cell, which may be smaller than the stack's.
    vectors, lengths, area = _reciprocal(below.supercell, *cell)
    lower = _structure_factors(below, True, below.supercell, *cell)
    upper = _structure_factors(above, False, below.supercell, *cell)
    shift = np.array(stack.interfaces[index].offset) @ stack.cell
    products = (lower * upper * np.exp(-1j * vectors @ shift)).real
    terms = 2 * np.pi * COULOMB_EV_A / area * products / lengths
    return -1e3 / area * np.exp(-np.outer(gaps_a, lengths)) @ terms


# In cells about as long as wide, further ones weigh less than a hundredth at any gap of a van der
# Waals interface. Along the long side of others some are left out: there it is a lower estimate.
_RECIPROCAL = np.array([(i, j) for i in range(-2, 3) for j in range(-2, 3) if (i, j) != (0, 0)])


@lru_cache(maxsize=20000)
def _reciprocal(supercell, a: float, b: float, gamma_deg: float):
    """Vectors (n, 2) and their lengths in 1/Å, and the area in Å² of the primitive cell."""
    primitive = np.linalg.inv(np.array(supercell)) @ cell_from_parameters(a, b, gamma_deg)
    vectors = _RECIPROCAL @ (2 * np.pi * np.linalg.inv(primitive).T)
    return vectors, np.linalg.norm(vectors, axis=1), abs(np.linalg.det(primitive))


@lru_cache(maxsize=20000)
def _structure_factors(layer: Layer, top: bool, supercell, a: float, b: float, gamma_deg: float):
    """Of the charges of a layer (n), decayed from its sites to the face that meets the other."""
    vectors, lengths, _ = _reciprocal(supercell, a, b, gamma_deg)
    side = 1.0 if top else -1.0
    species, fractional, heights = layer_sites(layer)
    values = np.array([element_data(symbol).electronegativity for symbol in species])
    depths = (side * heights).max() - side * heights
    phases = np.exp(1j * side * fractional @ cell_from_parameters(a, b, gamma_deg) @ vectors.T)
    weights = (values.mean() - values)[:, None] * np.exp(-np.outer(depths, lengths))
    return (weights * phases).sum(0) / layer.number_of_cells


FACE_NAMES = ("radius_a", "electronegativity", "row", "valence_electrons", "covalent_radius_a")


@lru_cache(maxsize=100000)
def _face(monolayer: Monolayer, top: bool) -> tuple[float, ...]:
    """Means over the outermost sites of one side, in the order of `FACE_NAMES`."""
    heights = np.array(monolayer.heights)
    if top:
        outermost = np.flatnonzero(heights > heights.max() - FACE_A)
    else:
        outermost = np.flatnonzero(heights < heights.min() + FACE_A)
    sites = [element_data(monolayer.species[i]) for i in outermost]
    values = [
        (
            site.van_der_waals_radius_a,
            site.electronegativity,
            site.row,
            site.valence_electrons,
            site.covalent_radius_a,
        )
        for site in sites
    ]
    return tuple(float(v) for v in np.mean(values, axis=0))


def _mean_gap(below: Layer, above: Layer) -> float:
    return _mean_gap_of(below.monolayer, above.monolayer, below.flipped, above.flipped)


@lru_cache(maxsize=100000)
def _mean_gap_of(lower: Monolayer, upper: Monolayer, first: bool, second: bool) -> float:
    # On the cell of either layer: the same for a stack seen from below.
    upright = van_der_waals_gap_a(lower, upper, (first, second))
    return (upright + van_der_waals_gap_a(upper, lower, (not second, not first))) / 2
