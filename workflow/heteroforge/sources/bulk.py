"""Cut single layers out of layered bulk crystals."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import spglib
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from pymatgen.analysis.dimensionality import get_dimensionality_larsen
from pymatgen.analysis.graphs import StructureGraph
from pymatgen.core import Structure

from heteroforge.structures import Monolayer, StructureError
from heteroforge.structures.plane import wrap

__all__ = ["bonded_graph", "cut_layers", "symmetrised"]

BOND_SCALE = 1.2  # atoms closer than this times the sum of covalent radii are bonded
SYMMETRY_TOLERANCE_A = 0.05  # relaxed bulk crystals are off their symmetry by less
NOT_LAYERED = {
    0: "0D: molecules or single atoms, no layers",
    1: "1D: chains, no layers",
    3: "3D: bonded in all directions, no layers",
}
# Ions that sit between layers and can be taken out; bonds to them are no bonds of a layer.
INTERCALANTS = frozenset("Li Na K Rb Cs Mg Ca Sr Ba".split())


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
    """The distinct layers of a layered crystal, each primitive, oriented, centred, symmetrised.

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
        raise StructureError(_intercalated(structure) or NOT_LAYERED[dimensionality])
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
                f"intercalated: between the layers lies a part of {', '.join(species)} that "
                f"extends in {len(basis)} dimensions"
            )
        layer = _layer(structure, images, basis)
        layers.setdefault((layer.formula, round(layer.thickness_a, 1)), layer)
    return list(layers.values())


def _intercalated(structure: Structure) -> str:
    """The reason, if the crystal without its electropositive ions is layered; else empty."""
    ions = sorted({site.specie.symbol for site in structure} & INTERCALANTS)
    host = structure.copy()
    host.remove_species(ions)
    if not ions or len(host) == 0 or get_dimensionality_larsen(bonded_graph(host)) != 2:
        return ""
    formula = host.composition.reduced_formula
    return f"intercalated: {', '.join(ions)} between layers of {formula}"


def symmetrised(layer: Monolayer, tolerance_a: float = SYMMETRY_TOLERANCE_A) -> Monolayer:
    """The layer with its lattice and sites averaged over the operations of its layer group.

    Args:
        layer: any layer; one whose symmetry cannot be found comes back as it is.
        tolerance_a: sites off their symmetric place by less are moved there.
    """
    atoms = layer.to_atoms()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = spglib.get_symmetry_layerdataset(
                (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers),
                aperiodic_dir=2,
                symprec=tolerance_a,
            )
        except Exception:  # spglib raises different types across versions
            dataset = None
    if dataset is None:
        return layer
    matrices = np.asarray(dataset.rotations)
    shifts = np.asarray(dataset.translations)
    # Column vectors: x' = W x + w; an operation keeps the metric, W^T G W = G.
    cell = atoms.cell.array
    plane = matrices[:, :2, :2]
    metric = np.mean(np.swapaxes(plane, 1, 2) @ (cell @ cell.T)[:2, :2] @ plane, axis=0)
    a, b = np.sqrt(np.diag(metric))
    gamma_deg = float(np.degrees(np.arccos(metric[0, 1] / (a * b))))
    fractional = atoms.get_scaled_positions(wrap=False)
    averaged = np.zeros_like(fractional)
    for matrix, shift in zip(matrices, shifts, strict=True):
        moved = fractional @ matrix.T + shift
        difference = moved[:, None, :] - fractional[None, :, :]
        difference -= np.round(difference)
        distance = np.linalg.norm(difference @ cell, axis=-1)
        distance[atoms.numbers[:, None] != atoms.numbers[None, :]] = np.inf
        # Each site gets the image nearest to it, back in its own cell.
        source = distance.argmin(axis=0)
        rows = np.arange(len(source))
        averaged += fractional + difference[source, rows]
    averaged /= len(matrices)
    heights = averaged[:, 2] * cell[2, 2]
    return replace(
        layer,
        positions=tuple(map(tuple, wrap(averaged[:, :2], 1e-7).tolist())),
        heights=tuple((heights - (heights.max() + heights.min()) / 2).tolist()),
        a=float(a),
        b=float(b),
        gamma_deg=gamma_deg,
    )


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
    layer, _ = Monolayer.from_atoms(atoms).standardised()
    # A layer can have smaller cells once its sites are where its symmetry puts them.
    return symmetrised(layer).standardised()[0]
