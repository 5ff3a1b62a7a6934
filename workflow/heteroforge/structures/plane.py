"""Geometry of two-dimensional lattices: rows are vectors, x' = x F."""

from collections.abc import Sequence

import numpy as np

__all__ = [
    "cell_from_parameters",
    "cell_parameters",
    "integer_rows",
    "is_hexagonal",
    "lattice_points",
    "minimum_image_distances",
    "polar_decomposition",
    "reduce_cell",
    "turned",
    "wrap",
]


def cell_from_parameters(a: float, b: float, gamma_deg: float) -> np.ndarray:
    """In-plane cell (2, 2) in Å with the first vector along x and positive handedness."""
    gamma = np.radians(gamma_deg)
    return np.array([[a, 0.0], [b * np.cos(gamma), b * np.sin(gamma)]])


def cell_parameters(cell: np.ndarray) -> tuple[float, float, float]:
    """Lengths (Å) and angle (degrees) of an in-plane cell (2, 2)."""
    a, b = np.linalg.norm(cell, axis=1)
    cosine = np.clip(cell[0] @ cell[1] / (a * b), -1.0, 1.0)
    return float(a), float(b), float(np.degrees(np.arccos(cosine)))


def is_hexagonal(cell: np.ndarray) -> bool:
    """Whether an in-plane cell (2, 2) has equal vectors at 60° or 120°, as relaxed cells do."""
    a, b = np.linalg.norm(cell, axis=1)
    cosine = cell[0] @ cell[1] / (a * b)
    return bool(abs(a / b - 1) <= 1e-3 and abs(abs(cosine) - 0.5) <= 2e-3)


def turned(k_fractional: Sequence[float], cell: np.ndarray, angle_deg: float) -> np.ndarray:
    """A k-point (2), in fractions of the reciprocal vectors of a cell (2, 2), turned about Γ."""
    angle = np.radians(angle_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.array(k_fractional[:2]) @ np.linalg.inv(cell).T @ turn @ cell.T


def integer_rows(matrix: Sequence) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows (2, 2) of a matrix of whole numbers of any type."""
    # Spelled out: every sample comes by here.
    (p, q), (r, s) = matrix
    return (int(p), int(q)), (int(r), int(s))


def wrap(fractional: np.ndarray, tolerance: float = 1e-6) -> np.ndarray:
    """Fractional coordinates in [0, 1), values within `tolerance` of 1 sent to 0."""
    wrapped = np.asarray(fractional, dtype=float) % 1.0
    return np.where(wrapped > 1.0 - tolerance, 0.0, wrapped)


def lattice_points(supercell: np.ndarray) -> np.ndarray:
    """Integer lattice points (n, 2) inside a supercell of |det| = n, in a fixed order."""
    supercell = np.asarray(supercell, dtype=int)
    corners = np.array([[0, 0], supercell[0], supercell[1], supercell[0] + supercell[1]])
    low, high = corners.min(axis=0) - 1, corners.max(axis=0) + 1
    grid = np.stack(
        np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1), indexing="ij"),
        axis=-1,
    ).reshape(-1, 2)
    fractional = grid @ np.linalg.inv(supercell)
    inside = np.all((fractional > -1e-8) & (fractional < 1.0 - 1e-8), axis=1)
    return grid[inside]


def polar_decomposition(deformation: np.ndarray) -> tuple[np.ndarray, float]:
    """Split F = V R into symmetric strain ε = V − 1 (2, 2) and rotation angle in degrees.

    Vectors are rows, so V acts in the frame of the undeformed layer, R after it.
    """
    u, singular, vt = np.linalg.svd(deformation)
    rotation = u @ vt
    stretch = u @ np.diag(singular) @ u.T
    angle = np.degrees(np.arctan2(rotation[0, 1], rotation[0, 0]))
    return stretch - np.eye(2), float(angle)


def reduce_cell(cell: np.ndarray) -> np.ndarray:
    """Lagrange–Gauss reduced integer transformation T (2, 2), det +1, of an in-plane cell.

    T @ cell has |a| ≤ |b| and an angle between 90° and 120° (the field's usual hexagonal
    setting).
    """
    transformation = np.eye(2, dtype=int)
    if np.linalg.det(cell) < 0:
        raise ValueError("in-plane cell must be right-handed")
    for _ in range(100):
        a, b = transformation @ cell
        if a @ a > b @ b * (1 + 1e-9):
            transformation = np.array([transformation[1], -transformation[0]])
            continue
        shift = int(np.floor(a @ b / (a @ a) + 0.5 - 1e-9))
        if shift == 0:
            break
        transformation = np.array(
            [transformation[0], transformation[1] - shift * transformation[0]]
        )
    a, b = transformation @ cell
    if a @ b > 1e-9 * (a @ a):
        # Acute: (b, −a) and (b − a) are the two ways to the obtuse setting; keep |a| ≤ |b|.
        if abs(a @ b - 0.5 * (a @ a)) < 1e-4 * (a @ a):
            transformation = np.array([transformation[0], transformation[1] - transformation[0]])
        else:
            transformation = np.array([transformation[1], -transformation[0]])
            a, b = transformation @ cell
    return transformation


def minimum_image_distances(first: np.ndarray, second: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """In-plane distances (n, m) in Å between fractional coordinates (n, 2) and (m, 2)."""
    difference = first[:, None, :] - second[None, :, :]
    difference -= np.round(difference)
    images = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)])
    cartesian = (difference[:, :, None, :] + images) @ cell
    return np.sqrt((cartesian**2).sum(-1)).min(-1)
