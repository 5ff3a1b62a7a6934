"""Physics baselines of a stack: what is expected of layers that do not change each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from ase import units

from heteroforge.features import facing_levels
from heteroforge.structures import Monolayer, Stack, build
from heteroforge.structures.dispersion import dispersion_ev
from heteroforge.structures.matching import contact_gap_a

__all__ = [
    "dispersion_binding_mev_a2",
    "dispersion_stress_n_m",
    "layer_edges",
    "stack_baselines",
]


def stack_baselines(
    stack: Stack, table: pd.DataFrame, with_dispersion: bool = True
) -> dict[str, float | None]:
    """Baseline of each property that models learn the difference from.

    Gap and edges by Anderson's rule: highest VBM and lowest CBM of the isolated layers, facing
    vacuum levels made equal and the result given against the mean of the stack's two; a broken
    gap is zero. None where an edge of a layer is unknown. Gap of the interface from van der Waals
    radii (mean over interfaces), binding by pairwise dispersion at that distance: both depend on
    layers and registry only, not on the gap that the stack is written with.

    Args:
        stack: any stack.
        table: of the library, indexed by monolayer_id (`vbm_ev`, `cbm_ev`, `vacuum_step_ev` in eV;
            an unknown step counts as none).
        with_dispersion: compute the D3 energy too (some milliseconds).

    Returns:
        `gap_ev`, `vbm_ev`, `cbm_ev` in eV, `interlayer_gap_a` in Å, `binding_energy_mev_a2` in
        meV/Å² (None for a single layer, or without dispersion).
    """
    vbm, cbm = _anderson_edges(stack, table)
    gaps = [contact_gap_a(stack, i) for i in range(stack.number_of_layers - 1)]
    binding = None
    if with_dispersion and gaps:
        touching = tuple(
            replace(interface, gap_a=gap)
            for interface, gap in zip(stack.interfaces, gaps, strict=True)
        )
        binding = dispersion_binding_mev_a2(replace(stack, interfaces=touching))
    return {
        "gap_ev": None if vbm is None else max(0.0, cbm - vbm),
        "vbm_ev": vbm,
        "cbm_ev": cbm,
        "binding_energy_mev_a2": binding,
        "interlayer_gap_a": float(np.mean(gaps)) if gaps else None,
    }


def _anderson_edges(stack: Stack, table: pd.DataFrame) -> tuple[float | None, float | None]:
    edges = layer_edges(stack, table)
    if edges is None:
        return None, None
    return float(edges[:, 0].max()), float(edges[:, 1].min())


def layer_edges(stack: Stack, table: pd.DataFrame) -> np.ndarray | None:
    """VBM and CBM in eV of each layer (layers, 2), facing vacuum levels made equal.

    None where one of them is unknown. Arguments as of `stack_baselines`.
    """
    columns = ["vbm_ev", "cbm_ev", "vacuum_step_ev"]
    names = [layer.monolayer.name for layer in stack.layers]
    if not set(names) <= set(table.index):
        return None
    known = table.loc[names].reindex(columns=columns).to_numpy(dtype=float)
    if np.isnan(known[:, :2]).any():
        return None
    turned = np.array([-1.0 if layer.flipped else 1.0 for layer in stack.layers])
    shift = facing_levels(np.nan_to_num(known[:, 2]) * turned)
    return known[:, :2] + np.asarray(shift)[:, None]


def dispersion_binding_mev_a2(stack: Stack, zero_damping: bool = False) -> float:
    """Interlayer D3 energy per area at the stack's own geometry, meV/Å², positive when bound.

    Without the Pauli repulsion, so an upper bound at this distance; layers are taken as periodic in
    the plane only.

    Args:
        stack: any stack.
        zero_damping: as `dispersion_ev` takes it.
    """
    atoms = build(stack)
    layers = atoms.arrays["layer"]
    energy = dispersion_ev(atoms, zero_damping)
    alone = sum(
        dispersion_ev(atoms[layers == i], zero_damping) for i in range(stack.number_of_layers)
    )
    return 1e3 * (alone - energy) / stack.area_a2


def dispersion_stress_n_m(monolayer: Monolayer) -> np.ndarray:
    """By how much D3 pulls a layer together (2), along x and y: slopes of its energy per area.

    Heights are kept; damping as in this project's DFT.
    """
    stress = []
    for axis in (0, 1):
        energies = []
        for strain in (-1e-3, 1e-3):
            atoms = monolayer.to_atoms()
            cell = atoms.cell.array.copy()
            cell[:, axis] *= 1 + strain
            atoms.set_cell(cell, scale_atoms=True)
            energies.append(dispersion_ev(atoms, zero_damping=False))
        stress.append((energies[1] - energies[0]) / 2e-3 / monolayer.area_a2)
    return np.array(stress) * units.m**2 / units.J
