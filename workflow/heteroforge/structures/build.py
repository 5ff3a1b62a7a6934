"""From a stack to atoms."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from ase import Atoms

from heteroforge.structures.monolayer import StructureError
from heteroforge.structures.plane import lattice_points, wrap
from heteroforge.structures.stack import Defect, Layer, Stack

__all__ = ["build", "layer_sites", "cell_height_for_truncation_a", "perfect_sites"]

TAIL_OF_DENSITY_A = 5.3


def cell_height_for_truncation_a(thickness_a: float) -> float:
    """Cell height (Å) that a truncated Coulomb interaction needs: c ≥ 2 (t + 5.3 Å).

    The cut-off acts at c/2 in z, so the density with its tails must fit within half the cell
    (Sohier, Calandra, Mauri, Phys. Rev. B 96, 075448 (2017)).
    """
    return 2.0 * (thickness_a + TAIL_OF_DENSITY_A)


def layer_sites(layer: Layer) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Species, fractional coordinates (n, 2) and heights (n) of a perfect layer's supercell."""
    species, fractional, heights = _sites(layer)
    return list(species), fractional.copy(), heights.copy()


@lru_cache(maxsize=20000)
def _sites(layer: Layer) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    supercell = np.array(layer.supercell)
    points = lattice_points(supercell)
    base = np.array(layer.monolayer.positions)
    fractional = (points[:, None, :] + base[None, :, :]).reshape(-1, 2) @ np.linalg.inv(supercell)
    heights = np.tile(layer.monolayer.heights, len(points))
    if layer.flipped:
        heights = -heights
    return tuple(layer.monolayer.species) * len(points), wrap(fractional), heights


def build(stack: Stack, vacuum_a: float = 15.0, cell_height_a: float | None = None) -> Atoms:
    """Atoms of a stack, periodic in x and y, centred in a cell of the given height.

    Heights within a layer are kept as in the free layer: its strain acts in the plane only.

    Args:
        stack: what to build.
        vacuum_a: empty space between the outermost atoms and their images in z, in Å.
        cell_height_a: cell height in Å; takes precedence over `vacuum_a`.

    Returns:
        Atoms with the array `layer` (index from the bottom).

    Raises:
        StructureError: the stack does not fit into `cell_height_a`.
    """
    cell = stack.cell
    symbols: list[str] = []
    positions: list[np.ndarray] = []
    index: list[int] = []
    origin = np.zeros(2)
    bottom = 0.0
    for i, layer in enumerate(stack.layers):
        if i > 0:
            interface = stack.interfaces[i - 1]
            origin = origin + np.array(interface.offset)
            bottom += interface.gap_a
        species, fractional, heights = layer_sites(layer)
        substituted = {d.site: d.species for d in layer.defects if d.kind == "substitution"}
        gone = {d.site for d in layer.defects if d.kind == "vacancy"}
        kept = [n for n in range(len(species)) if n not in gone]
        xy = wrap(fractional + origin) @ cell
        z = heights + layer.monolayer.thickness_a / 2 + bottom
        symbols += [substituted.get(n, species[n]) for n in kept]
        positions.append(np.column_stack([xy, z])[kept])
        index += [i] * len(kept)
        bottom += layer.monolayer.thickness_a
    xyz = np.concatenate(positions)
    extent = stack.thickness_a
    height = extent + vacuum_a if cell_height_a is None else cell_height_a
    if height < extent:
        raise StructureError(f"stack is {extent:.2f} Å thick: does not fit into c = {height:.2f} Å")
    xyz[:, 2] += (height - extent) / 2
    box = np.zeros((3, 3))
    box[:2, :2] = cell
    box[2, 2] = height
    atoms = Atoms(symbols, positions=xyz, cell=box, pbc=(True, True, False))
    atoms.set_array("layer", np.array(index))
    return atoms


def perfect_sites(
    stack: Stack, gap_a: float | None = None
) -> tuple[list[str], np.ndarray, np.ndarray, list[tuple[int, Defect]]]:
    """Sites of a stack without its defects, and where these are.

    Args:
        stack: what to describe.
        gap_a: taken for all gaps instead of the stack's own, in Å.

    Returns:
        Species (n), Cartesian positions (n, 3) and in-plane cell (2, 2) in Å, and per defect the
        index of its site and the defect.
    """
    gaps = [interface.gap_a for interface in stack.interfaces]
    if gap_a is not None:
        gaps = [gap_a] * len(gaps)
    perfect = replace(
        stack,
        layers=tuple(replace(layer, defects=()) for layer in stack.layers),
        interfaces=tuple(
            replace(interface, gap_a=gap)
            for interface, gap in zip(stack.interfaces, gaps, strict=True)
        ),
    )
    atoms = build(perfect)
    defects, first = [], 0
    for layer in stack.layers:
        defects += [(first + defect.site, defect) for defect in layer.defects]
        first += layer.number_of_cells * len(layer.monolayer.species)
    return atoms.get_chemical_symbols(), atoms.positions, stack.cell, defects
