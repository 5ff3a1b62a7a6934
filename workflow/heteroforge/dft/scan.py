"""The distance of layers by few energies: where a scan goes next, and where its lowest point is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from scipy.interpolate import CubicHermiteSpline

__all__ = ["SCAN_ROOM_A", "lowest_point", "next_shift", "opened"]

SCAN_ROOM_A = 0.6  # a scan may open each interface by this much within its cell
# Curvature of the energy per area where van der Waals layers lie best: graphite's elastic constant
# C33 of 37 GPa (Blakslee et al., J. Appl. Phys. 41, 3373 (1970)) over its interlayer distance.
STIFFNESS_EV_A4 = 0.07
LONGEST_STEP_A, SHORTEST_STEP_A = 0.6, 0.1
# A bracket as narrow as this needs no point inside: the spline is right to a tenth of a meV/Å².
NARROW_A = 0.35
# Ends a scan whose lowest point would be lower than the last one by less.
SMALL_DROP_EV_A2 = 1e-5


def opened(atoms: Atoms, shift_a: float) -> Atoms:
    """The atoms with every interface opened by a shift in Å."""
    moved = atoms.copy()
    moved.positions[:, 2] += shift_a * atoms.arrays["layer"]
    return moved


def lowest_point(scan: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Shift (Å) and energy (eV) of the lowest point of a scan of the gap.

    Where the energy falls at one point and rises at the next, the minimum of the cubic between them
    (by energies and slopes); where it does so nowhere, the lowest point there is. Elsewhere cubics
    are not asked: between points on a repulsive wall they dip below any energy.

    Args:
        scan: shift (Å), energy (eV) and slope (eV/Å) per point, by shift.
    """
    points = np.array(scan, dtype=float)
    lowest = points[points[:, 1].argmin(), :2]
    for pair in zip(points[:-1], points[1:], strict=True):
        if pair[0][2] < 0.0 <= pair[1][2]:
            shifts, energies, slopes = np.array(pair).T
            fine = np.linspace(*shifts, 501)
            curve = CubicHermiteSpline(shifts, energies, slopes)(fine)
            if curve.min() < lowest[1]:
                lowest = fine[curve.argmin()], curve.min()
    return float(lowest[0]), float(lowest[1])


def next_shift(points: Sequence[Sequence[float]], area_a2: float) -> float | None:
    """Where a scan goes next: downhill by Newton steps, then into the bracket; None at its end.

    Args:
        points: shift (Å), energy (eV) and slope (eV/Å), in the order they were computed.
        area_a2: of the cell.

    Returns:
        A shift in Å, to 0.01 Å, at which there is no point yet.
    """
    shift, _, slope = points[-1]
    ordered = sorted(points)
    falling = [x for x, _, s in ordered if s < 0.0]
    rising = [x for x, _, s in ordered if s >= 0.0]
    if falling and rising:
        low = max(x for x in falling if x < max(rising)) if min(falling) < max(rising) else None
        if low is not None:
            high = min(x for x in rising if x > low)
            if high - low <= NARROW_A:
                return None
            between = [p for p in ordered if low <= p[0] <= high]
            found = round(lowest_point(between)[0], 2)
            taken = min(abs(found - x) for x, _, _ in points)
            return found if taken > SHORTEST_STEP_A / 2 else None
    curvature = STIFFNESS_EV_A4 * area_a2
    if len(points) > 1:
        before, _, slope_before = points[-2]
        curvature = (slope - slope_before) / (shift - before)
        if 0.0 < curvature and slope**2 / (2 * curvature) < SMALL_DROP_EV_A2 * area_a2:
            return None
    step = abs(slope) / curvature if curvature > 0.0 else LONGEST_STEP_A
    # A little further than the parabola says: a point beyond the lowest ends the search.
    step = float(np.clip(1.15 * step, SHORTEST_STEP_A, LONGEST_STEP_A))
    return round(shift + (step if slope < 0.0 else -step), 2)
