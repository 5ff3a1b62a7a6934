"""How far two layered structures are apart, with z open."""

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from heteroforge.structures.monolayer import in_plane
from heteroforge.structures.plane import cell_parameters

__all__ = [
    "SLID_A",
    "closest_contact",
    "deformation_a",
    "interlayer_gaps_a",
    "layer_deformation_a",
    "periodic_rmsd_a",
    "registry_shift_a",
]


_REACH_A = 6.0  # contacts across a gap are looked for within
# Layers that slid further on relaxation are another stack than was specified: gap and edges are
# those of another registry. Registries of high symmetry, which relaxation keeps, are a/√3 apart,
# 1.4 Å in graphene and 1.8 Å in MoS2: this is at most a fifth of the way.
SLID_A = 0.3


def interlayer_gaps_a(atoms: Atoms) -> list[float]:
    """Å between the facing outermost atoms of neighbouring layers, from the bottom."""
    layers, z = atoms.arrays["layer"], atoms.positions[:, 2]
    return [
        float(z[layers == i + 1].min() - z[layers == i].max()) for i in range(int(layers.max()))
    ]


def registry_shift_a(start: Atoms, relaxed: Atoms) -> float:
    """How far (Å) a layer slid over the one below it at most."""
    layers, moved = start.arrays["layer"], _moved(start, relaxed)[:, :2]
    centres = np.array([moved[layers == i].mean(axis=0) for i in range(layers.max() + 1)])
    return float(np.linalg.norm(np.diff(centres, axis=0), axis=1).max(initial=0.0))


def layer_deformation_a(start: Atoms, relaxed: Atoms) -> float:
    """How far (Å) an atom moved within its layer at most."""
    layers = start.arrays["layer"]
    return max(
        deformation_a(start[layers == i], relaxed[layers == i]) for i in range(layers.max() + 1)
    )


def deformation_a(start: Atoms, end: Atoms) -> float:
    """Largest displacement in Å of an atom of a layer, its rigid shift taken away."""
    moved = _moved(start, end)
    return float(np.linalg.norm(moved - moved.mean(axis=0), axis=1).max())


def _moved(start: Atoms, end: Atoms) -> np.ndarray:
    """(n, 3) displacements in Å; pw.x may fold an atom back into the cell."""
    inverse = np.linalg.inv(start.cell.array[:2, :2])
    moved = end.positions - start.positions
    in_plane = moved[:, :2] @ inverse
    moved[:, :2] = (in_plane - np.round(in_plane)) @ start.cell.array[:2, :2]
    return moved


def periodic_rmsd_a(first: Atoms, second: Atoms, cell_tolerance: float = 1e-3) -> float:
    """Root mean square distance (Å) of the sites of two structures in the same in-plane cell.

    The structures may differ by a translation, by a turn of the whole cell in the plane, by the
    order of atoms and by the vacuum. They are not turned or mirrored against their cell vectors,
    and a different choice of these vectors is not looked for.

    Returns:
        The smallest distance over all translations that put an atom of the rarest element on one
        of the other structure's; infinity where elements, cells (relative `cell_tolerance`) or
        sites do not correspond one to one.
    """
    if sorted(first.numbers) != sorted(second.numbers):
        return float("inf")
    cell, fractional, heights = in_plane(first)
    other_cell, other_fractional, other_heights = in_plane(second)
    mine, other = np.array(cell_parameters(cell)), np.array(cell_parameters(other_cell))
    if np.abs(other / mine - 1).max() > cell_tolerance:
        return float("inf")
    numbers, other_numbers = first.numbers, second.numbers
    elements, counts = np.unique(numbers, return_counts=True)
    rarest = elements[np.argmin(counts)]
    anchor = int(np.flatnonzero(numbers == rarest)[0])
    heights = heights - heights.mean()
    other_heights = other_heights - other_heights.mean()
    lift = heights[:, None] - other_heights[None, :]
    lift[numbers[:, None] != other_numbers[None, :]] = np.inf
    vertical = lift**2
    best = np.inf
    for candidate in np.flatnonzero(other_numbers == rarest):
        if vertical[anchor, candidate] > 1.0:
            continue
        shift = fractional[anchor] - other_fractional[candidate]
        difference = fractional[:, None, :] - other_fractional[None, :, :] - shift
        difference -= np.round(difference)
        square = ((difference @ cell) ** 2).sum(-1) + vertical
        partner = square.argmin(axis=1)
        if len(np.unique(partner)) != len(partner):
            continue
        rows = np.arange(len(partner))
        vectors = np.column_stack([difference[rows, partner] @ cell, lift[rows, partner]])
        vectors -= vectors.mean(axis=0)
        best = min(best, float(np.sqrt((vectors**2).sum(axis=1).mean())))
    return best


def closest_contact(atoms: Atoms) -> tuple[float | None, str]:
    """Shortest distance between atoms of two layers over the sum of their covalent radii.

    Args:
        atoms: with the array `layer`.

    Returns:
        The least ratio over all pairs (None where no two are within 6 Å), and the pair in words.
    """
    first, second, distance = neighbor_list("ijd", atoms, _REACH_A)
    layers = atoms.arrays["layer"]
    across = layers[first] < layers[second]
    if not across.any():
        return None, ""
    radii = covalent_radii[atoms.numbers]
    ratio = distance[across] / (radii[first[across]] + radii[second[across]])
    least = int(ratio.argmin())
    pair = [atoms[int(index[across][least])].symbol for index in (first, second)]
    return float(ratio[least]), f"{'–'.join(pair)} {distance[across][least]:.2f} Å"
