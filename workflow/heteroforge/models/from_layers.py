"""What follows for a stack from its layers by physics: strain, formation energy, dipole.

Nothing is learned here. Values of layers are what a library knows of them, or what the model of
layers alone predicts (`monolayer_prediction`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from ase import units

from heteroforge.models.monolayer_prediction import MonolayerPredictor
from heteroforge.models.property_prediction import KnownLayers
from heteroforge.structures import Monolayer, Stack

__all__ = ["FROM_LAYERS", "predict_from_layers", "strain_energy_mev_a2"]

FROM_LAYERS = {
    "strain_energy_mev_a2": "meV/Å²",
    "net_energy_mev_a2": "meV/Å²",
    "formation_energy_ev_atom": "eV/atom",
    "vacuum_step_ev": "eV",
}
# C12/C11 of layers of which only C11 is known: the median of C2DB's in-plane isotropic ones, and
# half the width that holds 68 % of them. tests/benchmarks/from_layers.py measures both.
POISSON_RATIO, POISSON_STD = 0.32, 0.21
# By how much the sum over layers misses published steps of semiconducting stacks, of which 68 % lie
# within: charge that goes over between the layers makes a step of its own. The same benchmark.
VACUUM_STEP_STD_EV = 0.14


def strain_energy_mev_a2(stack: Stack, stiffness_n_m: Sequence[float]) -> float:
    """Elastic energy of the layers in the stack's cell, meV/Å² of the stack, never negative.

    Of a layer ½ C₁₁ [ε_xx² + ε_yy² + 2 ν ε_xx ε_yy + 2 (1 − ν) ε_xy²] on the area of its free cell,
    the energy of a hexagonal layer to second order with C₁₂ = ν C₁₁ (L. D. Landau, E. M. Lifshitz,
    Theory of Elasticity, § 10). Sign and units are those of the strain energy that DFT gives
    (`dft.verification.assemble`); that atoms relax within a layer is in C₁₁.

    Args:
        stack: in the cell that its layers are strained to.
        stiffness_n_m: C₁₁ of each layer.
    """
    nu, energy = POISSON_RATIO, 0.0
    for i, (layer, stiffness) in enumerate(zip(stack.layers, stiffness_n_m, strict=True)):
        strain = stack.strain(i)
        shape = strain[0, 0] ** 2 + strain[1, 1] ** 2 + 2 * nu * strain[0, 0] * strain[1, 1]
        shape += 2 * (1 - nu) * strain[0, 1] ** 2
        area = layer.number_of_cells * layer.monolayer.area_a2
        energy += 0.5 * float(stiffness) * shape * area / stack.area_a2
    return float(1e3 * energy * units.J / units.m**2)


def predict_from_layers(
    stacks: Sequence[Stack],
    predicted: pd.DataFrame,
    known: KnownLayers | None,
    of_layers: MonolayerPredictor,
) -> pd.DataFrame:
    """What follows for stacks from their layers, each with a standard deviation.

    - `strain_energy_mev_a2`: of `strain_energy_mev_a2`. Layers that bear a library's name are in
      the cell of the stack; those of a file on the cell that costs least, as the strain that a file
      shows is mostly that of another method. NaN where a layer is not known, so that nobody knows
      its own cell.
    - `net_energy_mev_a2`: binding energy less strain energy, NaN where that is.
    - `formation_energy_ev_atom`: Σ heats of formation of the layers (per atom, times their atoms),
      less the binding energy, plus the strain energy where that is known; over all atoms.
    - `vacuum_step_ev`: upper less lower vacuum level, the sum of the layers' steps as they lie.

    Standard deviations are those of the parts as independent ones: of predicted values of layers
    (none of known ones), of the binding energy, of the Poisson ratio, and of what the sum of steps
    misses in semiconductors.

    Args:
        stacks: (n); layers are taken without their defects, of which heats say nothing: NaN.
        predicted: `binding_energy_mev_a2` and its `_std`, in the same order.
        known: values of layers; None: all are predicted.
        of_layers: predicts what is not known.

    Returns:
        `<name>` and `<name>_std` of `FROM_LAYERS`.
    """
    names = [f"{name}{end}" for name in FROM_LAYERS for end in ("", "_std")]
    alone = list(dict.fromkeys(layer.monolayer for stack in stacks for layer in stack.layers))
    if not alone:
        return pd.DataFrame(columns=names, dtype=float)
    guessed = of_layers.predict(alone).to_dict("records")
    knowledge = {layer: {} if known is None else known.values(layer) for layer in alone}
    values = {
        layer: _values(layer, knowledge[layer], row)
        for layer, row in zip(alone, guessed, strict=True)
    }
    rows = []
    binding = predicted["binding_energy_mev_a2"].to_numpy(dtype=float)
    binding_std = predicted["binding_energy_mev_a2_std"].to_numpy(dtype=float)
    for stack, bound, bound_std in zip(stacks, binding, binding_std, strict=True):
        of_stack = [values[layer.monolayer] for layer in stack.layers]
        areas = [knowledge[layer.monolayer].get("area_a2") for layer in stack.layers]
        strain, strain_std = _strain(stack, areas, of_stack)
        rows.append(
            (
                *(strain, strain_std),
                *(bound - strain, _norm([bound_std, strain_std])),
                *_formation(stack, of_stack, (bound, bound_std), (strain, strain_std)),
                *_step(stack, of_stack),
            )
        )
    return pd.DataFrame(rows, columns=names)


def _values(layer: Monolayer, known: Mapping, guessed: Mapping) -> dict[str, tuple[float, float]]:
    """Stiffness, heat of formation and vacuum step of a layer, each with its standard deviation."""
    found = {}
    for name in ("stiffness_n_m", "heat_of_formation_ev_atom", "vacuum_step_ev"):
        own = known.get(name)
        if own is not None and pd.notna(own):
            found[name] = (float(own), 0.0)
        elif name == "stiffness_n_m":
            value = float(guessed[name])
            found[name] = (value, value * float(np.log(guessed[f"{name}_factor"])))
        else:
            found[name] = (float(guessed[name]), float(guessed[f"{name}_std"]))
    if layer.has_equal_faces:
        found["vacuum_step_ev"] = (0.0, 0.0)
    return found


def _strain(stack: Stack, areas_a2: Sequence[float | None], of_stack) -> tuple[float, float]:
    if any(area is None for area in areas_a2):
        return float("nan"), float("nan")
    stiffness, spread = np.array([values["stiffness_n_m"] for values in of_stack]).T
    if not all(layer.monolayer.name for layer in stack.layers):
        stack = _on_cheapest_cell(stack, np.array(areas_a2, dtype=float), stiffness)
    alone = np.diag(stiffness)
    parts = np.array([strain_energy_mev_a2(stack, one) for one in alone])
    # A biaxial strain costs in proportion to 1 + ν, of all layers alike.
    relative = POISSON_STD / (1 + POISSON_RATIO)
    return float(parts.sum()), float(
        np.hypot(parts.sum() * relative, _norm(parts / stiffness * spread))
    )


def _on_cheapest_cell(stack: Stack, areas_a2: np.ndarray, stiffness_n_m: np.ndarray) -> Stack:
    """The stack with its layers' own areas, in the cell of its shape with least elastic energy."""
    cells = np.array([layer.number_of_cells for layer in stack.layers])
    stretch = np.sqrt(stack.area_a2 / (cells * areas_a2))
    weights = stiffness_n_m * cells * areas_a2
    factor = (weights * stretch).sum() / (weights * stretch**2).sum()
    layers = []
    for layer, area in zip(stack.layers, areas_a2, strict=True):
        shown, own = layer.monolayer, float(np.sqrt(area / layer.monolayer.area_a2))
        layers.append(replace(layer, monolayer=replace(shown, a=shown.a * own, b=shown.b * own)))
    return replace(stack, layers=tuple(layers), a=stack.a * factor, b=stack.b * factor)


def _formation(stack: Stack, of_stack, binding, strain) -> tuple[float, float]:
    if any(layer.defects for layer in stack.layers):
        return float("nan"), float("nan")
    atoms = stack.number_of_atoms
    share = np.array([layer.number_of_atoms for layer in stack.layers]) / atoms
    heats, spread = np.array([values["heat_of_formation_ev_atom"] for values in of_stack]).T
    per_atom = 1e-3 * stack.area_a2 / atoms
    strained, strained_std = np.nan_to_num(strain)
    value = share @ heats + per_atom * (strained - binding[0])
    std = _norm([*(share * spread), per_atom * binding[1], per_atom * strained_std])
    return float(value), std


def _step(stack: Stack, of_stack) -> tuple[float, float]:
    steps, spread = np.array([values["vacuum_step_ev"] for values in of_stack]).T
    turned = np.array([-1.0 if layer.flipped else 1.0 for layer in stack.layers])
    return float(turned @ steps), _norm([*spread, VACUUM_STEP_STD_EV])


def _norm(parts: Sequence[float]) -> float:
    return float(np.linalg.norm(parts))
