"""What lies behind a band edge: other valleys, and the ways to those that symmetry repeats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms

from heteroforge.dft.electronic import (
    HBAR2_OVER_M0_EV_A2,
    SAME_ENERGY_EV,
)
from heteroforge.sources.candidates import LARGEST_MASS_M0

__all__ = [
    "AROUND",
    "SAME_K",
    "SYMMETRIC_WITHIN_A",
    "Place",
    "apart_per_a",
    "images",
    "other_bands",
    "places_behind",
    "rotations_of",
    "stationary_point",
]

SAME_POINT_PER_A = 1e-3
SAME_K = 1e-3  # fractional coordinates nearer than this are the same point
SYMMETRIC_WITHIN_A = 0.1  # more than layers deform in a stack, less than bonds differ
# A point and the eight around it, on a square whose corners are at a distance of 1.
AROUND = np.array([[x, y, 0.0] for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0)]) / 2**0.5


@dataclass(frozen=True)
class Place:
    """A stationary point of a band.

    Attributes:
        step_per_a: (3) from where it was looked for, in 1/Å.
        behind_ev: how far it lies behind the edge, away from the gap.
        is_saddle: whether the band rises towards the gap from it along some direction.
    """

    step_per_a: np.ndarray
    behind_ev: float
    is_saddle: bool


def rotations_of(atoms: Atoms) -> np.ndarray:
    """Rotations (n, 3, 3) of a structure's symmetry, on fractional coordinates of atoms."""
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    symmetry = spglib.get_symmetry(cell, symprec=SYMMETRIC_WITHIN_A)
    return np.eye(3, dtype=int)[None] if symmetry is None else symmetry["rotations"]


def images(k_fractional: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Points (n, 3) with the energies of one, by symmetry and time reversal.

    Args:
        k_fractional: (3) in reciprocal vectors.
        rotations: (n, 3, 3) of the cell's symmetry, on fractional coordinates of atoms.
    """
    turned = k_fractional @ rotations
    return np.concatenate([turned, -turned])


def apart_per_a(points: np.ndarray, others: np.ndarray, reciprocal_per_a: np.ndarray) -> np.ndarray:
    """Distance (n) in 1/Å of points (n, 3) from the nearest of others (m, 3), whole vectors aside.

    Args:
        points, others: in fractions.
        reciprocal_per_a: (3, 3) reciprocal vectors as rows.
    """
    between = points[:, None] - others
    between = between - np.round(between)
    nearby = np.array([[i, j, 0] for i in (-1, 0, 1) for j in (-1, 0, 1)])
    cartesian = (between[:, :, None] + nearby) @ reciprocal_per_a
    return np.linalg.norm(cartesian, axis=-1).min(axis=(1, 2))


def places_behind(
    behind_ev: np.ndarray,
    k_fractional: np.ndarray,
    on_path: int,
    edge: np.ndarray,
    reciprocal_per_a: np.ndarray,
    up_to_ev: float,
) -> list[int]:
    """Indices of points that may be extrema of a band, but those that symmetry makes of its edge.

    Minima along the path, and points off it, of whose surroundings nothing is known.

    Args:
        behind_ev: (nk) how far the band lies behind its edge, away from the gap.
        k_fractional: (nk, 3), those of the path first.
        on_path: how many of them are of the path.
        edge: (n, 3) images of the edge.
        reciprocal_per_a: (3, 3) reciprocal vectors as rows.
        up_to_ev: further behind nothing is looked for.
    """
    beside = np.concatenate([[np.inf], behind_ev[:on_path], [np.inf]])
    lowest = np.ones(len(behind_ev), dtype=bool)
    lowest[:on_path] = behind_ev[:on_path] <= np.minimum(beside[:-2], beside[2:])
    elsewhere = apart_per_a(k_fractional, edge, reciprocal_per_a) > SAME_POINT_PER_A
    found: list[int] = []
    for i in np.flatnonzero(lowest & elsewhere & (behind_ev < up_to_ev)):
        # A path may pass a point more than once, as a minimum along one branch alone: a saddle.
        known = k_fractional[[*found, i]]
        if (
            apart_per_a(known, k_fractional[i][None], reciprocal_per_a) < SAME_POINT_PER_A
        ).sum() == 1:
            found.append(int(i))
    return found


def stationary_point(behind_ev: np.ndarray, distance_per_a: float) -> Place:
    """Where a band is level, by Newton's step from a point of which it is not far.

    Args:
        behind_ev: (9) at the points `AROUND` it, counted away from the gap.
        distance_per_a: in which these are given.
    """
    x, y, _ = (distance_per_a * AROUND).T
    centre = behind_ev[len(AROUND) // 2]
    design = np.stack([x, y, x**2 / 2, x * y, y**2 / 2], axis=1)
    # All nine: with one diagonal alone cubic terms get into the slope and the mixed derivative.
    fitted, *_ = np.linalg.lstsq(design, behind_ev - centre, rcond=None)
    slope, (along_x, mixed, along_y) = fitted[:2], fitted[2:]
    values, axes = np.linalg.eigh([[along_x, mixed], [mixed, along_y]])
    flat = HBAR2_OVER_M0_EV_A2 / LARGEST_MASS_M0
    # Along an axis on which it hardly bends it is taken to be level.
    slopes = np.where(np.abs(values) > flat, axes.T @ slope, 0.0)
    steps = -slopes / np.where(np.abs(values) > flat, values, 1.0)
    return Place(
        np.append(axes @ steps, 0.0), float(centre + slopes @ steps / 2), bool(values.min() < -flat)
    )


def other_bands(behind_ev: np.ndarray, band: int, up_to_ev: float) -> list[Place]:
    """Bands at the edge's own point that do not meet it there.

    Args:
        behind_ev: (bands) how far all of them lie behind the edge, away from the gap.
        band: index of the edge's.
        up_to_ev: further behind none is told.
    """
    further = behind_ev[(behind_ev > behind_ev[band] + SAME_ENERGY_EV) & (behind_ev < up_to_ev)]
    return [Place(np.zeros(3), float(energy), False) for energy in further]
