"""Descriptors of stacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from heteroforge.features.elements import element_data
from heteroforge.features.monolayers import structural_descriptors
from heteroforge.structures import Layer, Monolayer, Stack
from heteroforge.structures.matching import contact_gap_a, van_der_waals_gap_a

__all__ = [
    "FROM_TABLE",
    "facing_levels",
    "share_one_cell",
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
    they touch, twist, and where both layers have one cell the registry as the phase
    cos 2π(x), cos 2π(y) of the shift against it. The whole: area, mismatch, and the physics
    baselines (`baseline_…`) if given.

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
        x, y = stack.registry(i)
        one_cell = share_one_cell(below, above)
        # Without a common cell all registries occur, and phases average out.
        phases = np.cos(2 * np.pi * np.array([x, y, x - y])) if one_cell else np.zeros(3)
        # Angles of 60° apart are alike for most lattices; cos 6θ tells how far between.
        twist = np.radians(stack.twist_deg(i))
        row = {
            "touching_gap_a": contact_gap_a(stack, i) if one_cell else _mean_gap(below, above),
            "share_one_cell": float(one_cell),
            "twist_cos_6": float(np.cos(6 * twist)),
            "twist_cos_3": float(np.cos(3 * twist)),
            "registry_cos_a": float(phases[0]),
            "registry_cos_b": float(phases[1]),
            "registry_cos_ab": float(phases[2]),
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
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def share_one_cell(below: Layer, above: Layer) -> bool:
    """Whether the lattices of two layers coincide in the stack: one registry for all cells."""
    if below.number_of_cells != above.number_of_cells:
        return False
    # U with S_above = S_below U takes one lattice to the other; its determinant is one here.
    change = np.linalg.inv(np.array(below.supercell)) @ np.array(above.supercell)
    return bool(np.abs(change - np.round(change)).max() < 1e-6)


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
    return van_der_waals_gap_a(lower, upper, (first, second))
