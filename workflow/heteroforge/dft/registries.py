"""Does a stack lie in the registry that its layers prefer? Energies of the others by DFT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.interpolate import CubicHermiteSpline

from heteroforge.dft.calculations import Calculator, cell_for_truncation, with_height
from heteroforge.dft.running import CalculationFailed
from heteroforge.structures import Stack, build
from heteroforge.structures.matching import contact_gap_a, other_registries

__all__ = ["compare_registries", "lowest_point"]


def lowest_point(scan: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Shift (Å) and energy (eV) of the lowest point of a scan of the gap.

    The minimum of the cubic Hermite spline through energies and slopes, an end of the range where
    the energy still falls there.

    Args:
        scan: shift (Å), energy (eV) and slope (eV/Å) per point, by shift.
    """
    shifts, energies, slopes = np.array(scan).T
    if len(shifts) == 1:
        return float(shifts[0]), float(energies[0])
    fine = np.linspace(shifts[0], shifts[-1], 2001)
    curve = CubicHermiteSpline(shifts, energies, slopes)(fine)
    return float(fine[curve.argmin()]), float(curve.min())


def compare_registries(
    calculator: Callable[[str], Calculator],
    stack: Stack,
    scan: Sequence[Sequence[float]],
    height_a: float,
) -> list[dict]:
    """Energies of the other registries against the stack's own, each at its best distance.

    Layers are held as they are when free, here and in the own registry, so that a registry in which
    they buckle towards each other binds still more than this tells.

    Args:
        calculator: gives a calculator for a subfolder.
        stack: in its own registry, with the gap that `scan` starts from.
        scan: of its own gap; see `Calculator.scan_gap`.
        height_a: of the cell of that scan.

    Returns:
        Lowest first, per registry `stack_id`, `stacking`, `offset` (fractions of the stack's cell),
        `gap_a` in Å, `energy_mev_a2`: negative where it is lower than the own one, and `attempts`.
        One whose calculation failed comes last, with `reason` and None for both numbers: what is
        known of the stack does not hang on it.
    """
    others = other_registries(stack)
    if not others:
        return []
    shift, lowest = lowest_point(scan)
    # How much further than touching spheres the layers are in the own registry: a start for others.
    further = stack.interfaces[0].gap_a + shift - contact_gap_a(stack, 0)
    found = []
    for other in others:
        gap = max(1.0, other.interfaces[0].gap_a + further)
        other = replace(other, interfaces=(replace(other.interfaces[0], gap_a=gap),))
        atoms = cell_for_truncation(build(other))
        run = calculator(other.key())
        entry = {
            "stack_id": other.key(),
            "stacking": other.stacking(0),
            "offset": list(other.interfaces[0].offset),
            "gap_a": None,
            "energy_mev_a2": None,
        }
        try:
            points = run.scan_gap(with_height(atoms, max(height_a, atoms.cell.array[2, 2])))
            moved, energy = lowest_point(points)
            entry["gap_a"] = gap + moved
            entry["energy_mev_a2"] = 1e3 * (energy - lowest) / stack.area_a2
        except (CalculationFailed, ValueError) as error:
            entry["reason"] = str(error)
            print(f"registry {entry['stacking']}: {error}")
        run.clean()
        found.append(entry | {"attempts": run.attempts})
    return sorted(found, key=lambda e: (e["energy_mev_a2"] is None, e["energy_mev_a2"] or 0.0))
