"""Descriptors of stacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from heteroforge.features.elements import element_data
from heteroforge.features.monolayers import structural_descriptors
from heteroforge.structures import Layer, Stack

__all__ = ["stack_descriptor_table", "stack_descriptors"]

# Of each layer, from its structure and from the library's table.
FROM_STRUCTURE = (
    "number_of_atoms",
    "atomic_number_mean",
    "electronegativity_mean",
    "electronegativity_across_bonds",
    "electronegativity_of_faces",
    "covalent_radius_mean_a",
    "valence_electrons_per_area_a2",
    "area_per_atom_a2",
    "thickness_a",
    "packing",
)
FROM_TABLE = ("gap_ev", "vbm_ev", "cbm_ev", "stiffness_n_m")


def stack_descriptors(
    stack: Stack,
    table: pd.DataFrame,
    baselines: Mapping[str, float | None] | None = None,
) -> dict[str, float]:
    """Numbers that describe a stack; NaN where something is not known.

    All are the same for a stack seen from below, and none depends on the gaps written in it.
    Layers: mean, smallest and largest of their own descriptors. Interfaces, averaged: differences
    of the neighbours, the two facing sides, twist, and the registry as the phase
    cos 2π(x), cos 2π(y) of the shift against the lower layer's lattice. The whole: area, mismatch,
    and the physics baselines (`baseline_…`) if given.

    Args:
        stack: its layers carry the library's names.
        table: of the library, indexed by `monolayer_id`.
        baselines: of `heteroforge.labels.stack_baselines`.
    """
    layers = [_layer_values(layer, table) for layer in stack.layers]
    found: dict[str, float] = {
        "number_of_layers": float(stack.number_of_layers),
        "number_of_atoms": float(stack.number_of_atoms),
        "area_a2": stack.area_a2,
        "atoms_per_area": stack.number_of_atoms / stack.area_a2,
        "mismatch_percent": stack.mismatch_percent,
        "number_of_defects": float(sum(len(layer.defects) for layer in stack.layers)),
    }
    for name in (*FROM_STRUCTURE, *FROM_TABLE):
        values = np.array([layer[name] for layer in layers])
        found[f"{name}_mean"] = float(values.mean())
        found[f"{name}_smallest"] = float(values.min())
        found[f"{name}_largest"] = float(values.max())
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
    rows = {}
    for stack in stacks:
        key = stack.key()
        rows[key] = stack_descriptors(stack, table, (baselines or {}).get(key))
    frame = pd.DataFrame.from_dict(rows, orient="index").astype(float)
    frame.index.name = "stack_id"
    return frame


def _layer_values(layer: Layer, table: pd.DataFrame) -> dict[str, float]:
    name = layer.monolayer.name
    structure = structural_descriptors(layer.monolayer)
    values = {key: structure[key] for key in FROM_STRUCTURE}
    known = name in table.index
    for key in FROM_TABLE:
        values[key] = float(table.at[name, key]) if known else float("nan")
    return values


def _interface_values(stack: Stack, layers: list[dict[str, float]]) -> dict[str, float]:
    rows = []
    for i in range(stack.number_of_layers - 1):
        lower, upper = _facing(stack.layers[i], above=True), _facing(stack.layers[i + 1], False)
        x, y = stack.registry(i)
        # Angles of 60° apart are alike for most lattices; cos 6θ tells how far between.
        twist = np.radians(stack.twist_deg(i))
        rows.append(
            {
                "facing_radii_a": lower[0] + upper[0],
                "facing_electronegativity_difference": abs(lower[1] - upper[1]),
                "facing_electronegativity_mean": (lower[1] + upper[1]) / 2,
                "twist_cos_6": float(np.cos(6 * twist)),
                "twist_cos_3": float(np.cos(3 * twist)),
                "registry_cos_a": float(np.cos(2 * np.pi * x)),
                "registry_cos_b": float(np.cos(2 * np.pi * y)),
                "registry_cos_ab": float(np.cos(2 * np.pi * (x - y))),
                "vbm_difference_ev": abs(layers[i]["vbm_ev"] - layers[i + 1]["vbm_ev"]),
                "cbm_difference_ev": abs(layers[i]["cbm_ev"] - layers[i + 1]["cbm_ev"]),
                "same_layers": float(
                    stack.layers[i].monolayer.key() == stack.layers[i + 1].monolayer.key()
                ),
            }
        )
    if not rows:
        return {}
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _facing(layer: Layer, above: bool) -> tuple[float, float]:
    """Van der Waals radius (Å) and electronegativity of the outermost site of one side."""
    heights = np.array(layer.monolayer.heights)
    if above != layer.flipped:
        outermost = np.flatnonzero(heights > heights.max() - 0.1)
    else:
        outermost = np.flatnonzero(heights < heights.min() + 0.1)
    sites = [element_data(layer.monolayer.species[i]) for i in outermost]
    radius = np.mean([site.van_der_waals_radius_a for site in sites])
    return float(radius), float(np.mean([site.electronegativity for site in sites]))
