"""Graphs whose nodes are atoms: bonds within a layer, contacts across an interface.

Periodic in the plane only. Edges carry a distance and a rise along z, so that a graph does not
depend on the choice of cell, on the order of atoms, on a rotation or shift in the plane, or on
the vacuum.
"""

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from heteroforge.structures.build import build
from heteroforge.structures.monolayer import StructureError, in_plane
from heteroforge.structures.stack import Stack

__all__ = ["AtomGraph", "atom_graph", "stack_graph", "CUTOFF_A", "INTERFACE_CUTOFF_A"]

CUTOFF_A = 4.2
# Reaches the middle of the neighbouring layer: metal above metal is all that tells AA from AA′.
INTERFACE_CUTOFF_A = 7.0


@dataclass(frozen=True)
class AtomGraph:
    """Directed graph of a layer or stack.

    Attributes:
        numbers: atomic numbers (n).
        layers: index of each atom's layer from the bottom (n).
        heights: z from the middle of the atom's own layer in Å (n).
        source, target: edges (e), messages go from source to target.
        distances: lengths of the edges in Å (e).
        rises: z of the source minus z of the target in Å (e).
        crossing: whether an edge crosses an interface (e).
    """

    numbers: np.ndarray
    layers: np.ndarray
    heights: np.ndarray
    source: np.ndarray
    target: np.ndarray
    distances: np.ndarray
    rises: np.ndarray
    crossing: np.ndarray

    @property
    def number_of_atoms(self) -> int:
        return len(self.numbers)

    @property
    def number_of_edges(self) -> int:
        return len(self.source)


def atom_graph(
    atoms: Atoms,
    layers: np.ndarray | None = None,
    cutoff_a: float = CUTOFF_A,
    interface_cutoff_a: float = INTERFACE_CUTOFF_A,
) -> AtomGraph:
    """Graph of atoms that are periodic in the plane; z is open whatever the cell says.

    Args:
        atoms: a layer or a stack.
        layers: layer of each atom (n); by default the array `layer` of the atoms, and one layer
            where there is none.
        cutoff_a: longest edge within a layer in Å.
        interface_cutoff_a: longest edge between neighbouring layers in Å.

    Raises:
        StructureError: no in-plane cell, or one layer index per atom is missing.
    """
    cell, fractional, heights = in_plane(atoms)
    n = len(heights)
    if layers is None:
        layers = atoms.arrays.get("layer", np.zeros(n, dtype=int))
    layers = np.asarray(layers, dtype=int)
    if layers.shape != (n,):
        raise StructureError(f"{n} atoms but layer indices of shape {layers.shape}")
    reach = max(cutoff_a, interface_cutoff_a)
    # Distance between opposite edges of the cell: as many images as the reach needs, and one
    # more because fractional coordinates may differ by up to a whole cell.
    area = abs(np.linalg.det(cell))
    widths = area / np.linalg.norm(cell[::-1], axis=1)
    images_a, images_b = (int(np.ceil(reach / width)) + 1 for width in widths)
    grid_a, grid_b = np.meshgrid(
        np.arange(-images_a, images_a + 1), np.arange(-images_b, images_b + 1), indexing="ij"
    )
    shifts = np.stack([grid_a.ravel(), grid_b.ravel()], axis=1) @ cell
    xy = fractional @ cell
    flat = xy[:, None, :] - xy[None, :, :]
    rise = heights[:, None] - heights[None, :]
    separation = np.abs(layers[:, None] - layers[None, :])
    limit = np.where(separation == 0, cutoff_a, np.where(separation == 1, interface_cutoff_a, 0.0))
    lateral = flat[:, :, None, :] + shifts
    squared = (lateral**2).sum(-1) + rise[:, :, None] ** 2
    # The small margin keeps an edge that sits exactly at the cut-off on one side of it.
    source, target, image = np.nonzero(
        (squared < (limit[:, :, None] - 1e-6) ** 2 * (limit[:, :, None] > 0)) & (squared > 1e-8)
    )
    middle = np.zeros(n)
    for layer in np.unique(layers):
        own = heights[layers == layer]
        middle[layers == layer] = (own.max() + own.min()) / 2
    return AtomGraph(
        numbers=atoms.numbers.copy(),
        layers=layers,
        heights=heights - middle,
        source=source,
        target=target,
        distances=np.sqrt(squared[source, target, image]),
        rises=rise[source, target],
        crossing=separation[source, target] == 1,
    )


def stack_graph(
    stack: Stack, cutoff_a: float = CUTOFF_A, interface_cutoff_a: float = INTERFACE_CUTOFF_A
) -> AtomGraph:
    """Graph of a stack, defects made and strain applied."""
    return atom_graph(build(stack), cutoff_a=cutoff_a, interface_cutoff_a=interface_cutoff_a)
