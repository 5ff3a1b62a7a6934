"""Cut single layers out of layered bulk crystals."""

from __future__ import annotations

import warnings

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from pymatgen.analysis.dimensionality import get_dimensionality_larsen
from pymatgen.analysis.graphs import StructureGraph
from pymatgen.core import Structure

from heteroforge.structures import Monolayer, StructureError

__all__ = ["bonded_graph", "cut_layers"]

BOND_SCALE = 1.2  # atoms closer than this times the sum of covalent radii are bonded


def bonded_graph(structure: Structure, scale: float = BOND_SCALE) -> StructureGraph:
    """Bonds of a crystal: pairs closer than `scale` times the sum of their covalent radii."""
    atoms = Atoms(
        numbers=structure.atomic_numbers,
        scaled_positions=structure.frac_coords,
        cell=structure.lattice.matrix,
        pbc=True,
    )
    cutoffs = scale * covalent_radii[atoms.numbers]
    first, second, images = neighbor_list("ijS", atoms, cutoffs)
    graph = StructureGraph.from_empty_graph(structure)
    with warnings.catch_warnings():
        # Every bond is found from both its ends; pymatgen warns on the second.
        warnings.simplefilter("ignore")
        for i, j, image in zip(first, second, images, strict=True):
            graph.add_edge(int(i), int(j), (0, 0, 0), tuple(int(x) for x in image))
    return graph


def cut_layers(structure: Structure) -> list[Monolayer]:
    """The distinct layers of a layered crystal, each primitive, oriented and centred.

    A crystal is layered when all its bonded parts extend in two dimensions (P. M. Larsen et al.,
    Phys. Rev. Materials 3, 034003 (2019)). Parts of equal composition and thickness count once.

    Raises:
        StructureError: the crystal is disordered or not layered.
    """
    if not structure.is_ordered:
        raise StructureError("disordered: sites with partial occupancy")
    graph = bonded_graph(structure)
    dimensionality = get_dimensionality_larsen(graph)
    if dimensionality != 2:
        raise StructureError(
            f"not layered: bonds extend in {dimensionality} dimensions, 2 expected"
        )
    layers: dict[tuple, Monolayer] = {}
    placed: set[int] = set()
    for start in range(len(structure)):
        if start in placed:
            continue
        images, translations = _connected(graph, start)
        placed.update(images)
        basis = _lattice_basis(translations)
        if len(basis) != 2:
            species = sorted({structure[i].specie.symbol for i in images})
            raise StructureError(
                f"not layered alone: between the layers lies a part of {', '.join(species)} that "
                f"extends in {len(basis)} dimensions"
            )
        layer = _layer(structure, images, basis)
        layers.setdefault((layer.formula, round(layer.thickness_a, 1)), layer)
    return list(layers.values())


def _connected(graph: StructureGraph, start: int) -> tuple[dict[int, np.ndarray], list[np.ndarray]]:
    """The bonded part around a site: an image (3) per site, and its lattice translations."""
    images = {start: np.zeros(3, dtype=int)}
    translations = []
    waiting = [start]
    while waiting:
        here = waiting.pop()
        for neighbour in graph.get_connected_sites(here):
            image = images[here] + np.array(neighbour.jimage, dtype=int)
            if neighbour.index not in images:
                images[neighbour.index] = image
                waiting.append(neighbour.index)
            elif np.any(image != images[neighbour.index]):
                translations.append(image - images[neighbour.index])
    return images, translations


def _lattice_basis(vectors: list[np.ndarray]) -> np.ndarray:
    """Basis (rank, 3) of the integer lattice that vectors span (row echelon form)."""
    rows = [vector.copy() for vector in vectors]
    basis = []
    for column in range(3):
        with_entry = [row for row in rows if row[column] != 0]
        rest = [row for row in rows if row[column] == 0]
        while len(with_entry) > 1:
            # Euclid's algorithm on the entries of this column.
            with_entry.sort(key=lambda row: abs(row[column]))
            pivot = with_entry[0]
            reduced = [row - (row[column] // pivot[column]) * pivot for row in with_entry[1:]]
            rest += [row for row in reduced if row[column] == 0 and row.any()]
            with_entry = [pivot] + [row for row in reduced if row[column] != 0]
        basis += with_entry
        rows = rest
    return np.array(basis)


def _layer(structure: Structure, images: dict[int, np.ndarray], basis: np.ndarray) -> Monolayer:
    plane = basis @ structure.lattice.matrix
    normal = np.cross(plane[0], plane[1])
    normal /= np.linalg.norm(normal)
    sites = sorted(images)
    positions = np.array(
        [(structure[i].frac_coords + images[i]) @ structure.lattice.matrix for i in sites]
    )
    heights = positions @ normal
    thickness = heights.max() - heights.min()
    atoms = Atoms(
        [structure[i].specie.symbol for i in sites],
        positions=positions,
        cell=[*plane, normal * (thickness + 20.0)],
        pbc=(True, True, False),
    )
    return Monolayer.from_atoms(atoms).standardised()[0]
