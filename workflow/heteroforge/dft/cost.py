"""What the verification of a stack is expected to cost, before anything is computed.

Nearly all time of pw.x goes into bands × plane waves at each k-point, so that is what is counted.
How many iterations and ionic steps a stack takes is not known before; an average stands for them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection
from functools import cache

import numpy as np
import spglib
from ase.units import Bohr

from heteroforge.dft.calculations import HIGHEST_MOMENT, cell_for_truncation
from heteroforge.dft.protocols import Protocol, Pseudopotentials, k_mesh
from heteroforge.structures import Stack, build
from heteroforge.structures.matching import other_registries, stack_layers

__all__ = ["expected_core_min"]

# Core-minutes per 10⁶ bands × plane waves × irreducible k-points: scan, relaxation, density, bands
# and layers alone of the median stack of the bundled library (`tests/benchmarks/library_cost.py`).
CORE_MIN_PER_MILLION = 4.5
# Scans of one registry beside that: three took 0.8 times what the rest of two stacks did
# (docs/dft.md).
OF_A_REGISTRY = 0.27
WITH_MOBILITY = 2.0  # strained cells
# Looser than what pw.x finds symmetry within: offsets are kept with six digits.
_SYMMETRIC_WITHIN_A = 1e-3


def expected_core_min(
    stack: Stack,
    *,
    pseudopotentials: str,
    protocol: str = "quick",
    registries: bool = False,
    mobility: bool = False,
    relaxed: Collection[str] | None = None,
) -> float:
    """Core-minutes of pw.x that verify a stack, on cores like those that computed the library.

    Half of the bundled library's stacks took between 0.77 and 1.20 times as long, all but nine
    between 0.4 and 2.2 times (`tests/benchmarks/library_cost.py`). They are of the protocol
    `quick`: others follow from the plane waves and k-points that they have, and were not timed, nor
    were two spin channels.

    Args:
        stack: in the registry that was asked for; one of no symmetry has three times the k-points.
        pseudopotentials: the family.
        protocol, registries, mobility: of the configuration's section `dft`. With registries,
            the one that the layers slide into is taken to be the cheapest, of most symmetry.
        relaxed: names of the layers whose lattice constants need not be looked for; None: all that
            have a name.

    Returns:
        NaN where the family lacks a pseudopotential for one of the elements.

    Raises:
        ValueError: no such protocol or family.
    """
    family = [stack]
    if registries and stack.number_of_layers == 2:
        family += other_registries(stack)
    costs = [_of_one_registry(one, protocol, pseudopotentials) for one in family]
    compared = OF_A_REGISTRY * sum(costs) if len(costs) > 1 else 0.0
    verified = min(costs) * (WITH_MOBILITY if mobility else 1.0) + compared
    # The search for lattice constants is taken for as much as a verification of the layer alone.
    layers = {layer.monolayer for layer in stack.layers}
    unknown = [
        own for own in layers if not own.name or (relaxed is not None and own.name not in relaxed)
    ]
    lattices = [
        _of_one_registry(stack_layers([own]), protocol, pseudopotentials) for own in unknown
    ]
    return verified + sum(lattices)


def _of_one_registry(stack: Stack, protocol: str, pseudopotentials: str) -> float:
    missing, cutoff_ry, spacing_per_a = _basis(protocol, pseudopotentials, frozenset(stack.species))
    if missing:
        return math.nan
    electrons = sum(_valence(pseudopotentials, element) for element in stack.species)
    atoms = cell_for_truncation(build(stack))
    cell = atoms.cell.array
    volume = abs(np.linalg.det(cell)) / Bohr**3
    plane_waves = volume * cutoff_ry**1.5 / (6 * np.pi**2)  # in the sphere |k + G|² < cutoff
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # spglib's own
        irreducible, _ = spglib.get_ir_reciprocal_mesh(
            k_mesh(cell[:2, :2], spacing_per_a),
            (cell, atoms.get_scaled_positions(), atoms.numbers),
            symprec=_SYMMETRIC_WITHIN_A,
        )
    has_spin = HIGHEST_MOMENT.keys() & set(stack.species) or electrons % 2
    # As of `Calculator.is_spin_polarised`, for layers as the library has them.
    has_spin = has_spin or any(
        sum(_valence(pseudopotentials, element) for element in layer.monolayer.species) % 2
        for layer in stack.layers
        if not layer.defects
    )
    bands = electrons if has_spin else electrons / 2
    work = bands * plane_waves * len(np.unique(irreducible))
    return CORE_MIN_PER_MILLION * work / 1e6


@cache
def _basis(protocol: str, family: str, elements: frozenset[str]) -> tuple[list[str], float, float]:
    """Elements without a pseudopotential; cutoff in Ry and spacing of k-points in 1/Å."""
    pseudopotentials = Pseudopotentials(family)
    missing = sorted(e for e in elements if not pseudopotentials.has(e))
    settings = Protocol.named(protocol, pseudopotentials, elements - set(missing))
    return missing, settings.cutoff_ry, settings.k_spacing_per_a


@cache
def _valence(family: str, element: str) -> float:
    return Pseudopotentials(family).valence(element)
