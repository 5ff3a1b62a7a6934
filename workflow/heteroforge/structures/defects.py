"""A layer with point defects as a layer of its own, in the cell that its defects repeat in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from heteroforge.structures.build import layer_sites
from heteroforge.structures.monolayer import Monolayer, StructureError
from heteroforge.structures.plane import cell_parameters, lattice_points, minimum_image_distances
from heteroforge.structures.stack import Layer

__all__ = ["as_monolayer", "repeated"]

SAME_SITE_A = 0.01


def as_monolayer(layer: Layer, name: str) -> Monolayer:
    """The supercell of a layer with its defects made, the perfect layer's origin kept.

    Raises:
        StructureError: vacancies empty a face: gaps count from the perfect layer's outermost
            atoms.
    """
    species, fractional, heights = layer_sites(layer)
    changed = {defect.site: defect for defect in layer.defects}
    kept = [i for i in range(len(species)) if i not in changed or changed[i].species]
    if np.ptp(heights[kept]) < np.ptp(heights) - SAME_SITE_A:
        raise StructureError(f"{name}: vacancies empty a face of {layer.monolayer.formula}")
    a, b, gamma = cell_parameters(np.array(layer.supercell) @ layer.monolayer.cell)
    return Monolayer(
        species=tuple(changed[i].species if i in changed else species[i] for i in kept),
        positions=tuple(tuple(place) for place in fractional[kept].tolist()),
        heights=tuple(heights[kept].tolist()),
        a=a,
        b=b,
        gamma_deg=gamma,
        name=name,
    )


def repeated(layer: Layer, supercell: Sequence, flipped: bool) -> Layer:
    """A layer whose cell is a supercell of the cell that `layer` and its defects repeat in.

    Args:
        layer: upright, with its defects.
        supercell: integer rows (2, 2), det > 0, in units of that cell.
        flipped: whether to turn it upside down.
    """
    multiple = np.array(supercell, dtype=int)
    whole = tuple(tuple(int(x) for x in row) for row in multiple @ np.array(layer.supercell))
    perfect = Layer(layer.monolayer, whole, flipped)
    _, fractional, heights = layer_sites(perfect)
    _, own_places, own_heights = layer_sites(layer)
    cell = np.array(whole) @ layer.monolayer.cell
    corners = lattice_points(multiple)
    defects = []
    for defect in layer.defects:
        places = (own_places[defect.site] + corners) @ np.linalg.inv(multiple)
        lateral = minimum_image_distances(places, fractional, cell)
        rise = heights - (-1.0 if flipped else 1.0) * own_heights[defect.site]
        sites = np.hypot(lateral, rise[None, :]).argmin(axis=1)
        defects += [replace(defect, site=int(site)) for site in sites]
    return replace(perfect, defects=tuple(sorted(defects, key=lambda d: d.site)))
