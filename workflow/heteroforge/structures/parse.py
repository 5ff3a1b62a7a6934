"""From atoms to a stack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from scipy.sparse.csgraph import connected_components

from heteroforge.structures.build import layer_sites
from heteroforge.structures.monolayer import Monolayer, StructureError, in_plane
from heteroforge.structures.plane import (
    cell_parameters,
    minimum_image_distances,
    polar_decomposition,
    wrap,
)
from heteroforge.structures.stack import MAXIMUM_LAYERS, Defect, Interface, Layer, Stack

__all__ = ["identify_layer", "parse", "split_layers"]

# Atoms closer than this times the sum of covalent radii are bonded; see docs/structures.md for the
# share of published layers and bilayers that it tells apart.
BOND_SCALE = 1.25
PROBES = 4
# A layer is a known monolayer, as a relaxed or strained stack has it, within these.
KNOWN_WITHIN_A = 0.3
KNOWN_STRAIN = 0.08


def split_layers(atoms: Atoms, number_of_layers: int | None = None) -> list[np.ndarray]:
    """Indices of the atoms of each layer, bottom to top.

    Layers are groups of bonded atoms (covalent radii × 1.25, periodic in the plane only); groups
    whose height ranges overlap are one layer. With `number_of_layers`, the widest empty height
    intervals decide wherever bonds give another count.

    Raises:
        StructureError: the layers asked for cannot be told apart.
    """
    cell, fractional, heights = in_plane(atoms)
    radii = covalent_radii[atoms.numbers]
    near = minimum_image_distances(fractional, fractional, cell)
    distance = np.sqrt(near**2 + (heights[:, None] - heights[None, :]) ** 2)
    bonded = distance < BOND_SCALE * (radii[:, None] + radii[None, :])
    count, component = connected_components(bonded, directed=False)
    ranges = sorted(
        (heights[component == k].min(), heights[component == k].max(), [k]) for k in range(count)
    )
    merged = [ranges[0]]
    for low, high, members in ranges[1:]:
        last_low, last_high, last = merged[-1]
        if low <= last_high:
            merged[-1] = (last_low, max(high, last_high), last + members)
        else:
            merged.append((low, high, members))
    layers = [np.flatnonzero(np.isin(component, members)) for _, _, members in merged]
    if number_of_layers is None or len(layers) == number_of_layers:
        return layers
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    if len(steps) < number_of_layers - 1:
        raise StructureError(f"{len(atoms)} atoms cannot make {number_of_layers} layers")
    cuts = np.sort(np.argsort(steps)[::-1][: number_of_layers - 1])
    if len(cuts) and steps[cuts].min() < 0.5:
        raise StructureError(
            f"no empty interval between the {number_of_layers} layers expected: "
            f"the widest left is {steps[cuts].min():.2f} Å"
        )
    return [np.sort(part) for part in np.split(order, cuts + 1)]


def parse(
    atoms: Atoms,
    number_of_layers: int | None = None,
    monolayers: Sequence[Monolayer] = (),
    tolerance_a: float = 0.005,
) -> Stack:
    """Describe atoms as a stack.

    Each layer is first looked up among `monolayers` (strained by up to `KNOWN_STRAIN`, its
    atoms within `KNOWN_WITHIN_A`, point defects allowed). A layer found there is described
    by it. Any other layer is described by its own primitive cell, exactly within `tolerance_a`;
    equal layers of a stack share one monolayer.

    Raises:
        StructureError: more layers than a stack can hold, or a structure that is no set of
            layers.
    """
    cell, fractional, heights = in_plane(atoms)
    groups = split_layers(atoms, number_of_layers)
    if len(groups) > MAXIMUM_LAYERS:
        raise StructureError(f"{len(groups)} layers found: a stack holds up to {MAXIMUM_LAYERS}")
    symbols = np.array(atoms.get_chemical_symbols())
    own: list[Monolayer] = []
    layers: list[Layer] = []
    origins: list[np.ndarray] = []
    for group in groups:
        site = (symbols[group].tolist(), fractional[group], heights[group], cell)
        found = _identify_best(*site, monolayers)
        for monolayer in own if not found else []:
            found = identify_layer(*site, monolayer, tolerance_a, 2e-4, allow_defects=False)
            if found:
                break
        if not found:
            found = _own_layer(*site, tolerance_a)
            own.append(found[0].monolayer)
        layers.append(found[0])
        origins.append(found[1])
    interfaces = []
    for i in range(len(layers) - 1):
        offset = wrap(origins[i + 1] - origins[i], 1e-7)
        low, high = (_extent(layers[j], heights[groups[j]]) for j in (i, i + 1))
        interfaces.append(Interface(tuple(offset.tolist()), float(high[0] - low[1])))
    a, b, gamma = cell_parameters(cell)
    return Stack(tuple(layers), tuple(interfaces), a, b, gamma)


def _identify_best(
    species, fractional, heights, cell, monolayers
) -> tuple[Layer, np.ndarray] | None:
    """The monolayer that explains a layer with the fewest defects, then the least strain."""
    best = None
    for monolayer in monolayers:
        found = identify_layer(
            species,
            fractional,
            heights,
            cell,
            monolayer,
            KNOWN_WITHIN_A,
            KNOWN_STRAIN,
            allow_defects=True,
        )
        if found is None:
            continue
        strain, _ = polar_decomposition(
            np.linalg.inv(np.array(found[0].supercell) @ monolayer.cell) @ cell
        )
        thickness = abs(np.ptp(heights) - monolayer.thickness_a)
        score = (len(found[0].defects), float(np.abs(strain).max()) + thickness / 10)
        if best is None or score < best[0]:
            best = (score, found)
    return None if best is None else best[1]


def identify_layer(
    species: list[str],
    fractional: np.ndarray,
    heights: np.ndarray,
    cell: np.ndarray,
    monolayer: Monolayer,
    tolerance_a: float,
    maximum_strain: float,
    allow_defects: bool,
) -> tuple[Layer, np.ndarray] | None:
    """Describe a layer's atoms by a given monolayer, or return None.

    Returns:
        The layer and its origin as a fraction of `cell`.
    """
    area = abs(np.linalg.det(cell))
    cells = int(round(area / monolayer.area_a2))
    if cells < 1 or abs(area / (cells * monolayer.area_a2) - 1) > 2.5 * maximum_strain + 1e-3:
        return None
    sites = cells * len(monolayer.species)
    allowed = max(1, sites // 4) if allow_defects and cells > 1 else 0
    if not sites - allowed <= len(species) <= sites:
        return None
    # Atoms of elements that the layer has not enough of must be substitutions.
    present, expected = Counter(species), Counter(monolayer.species)
    common = sum(min(count, cells * expected[symbol]) for symbol, count in present.items())
    if sites - common > allowed:
        return None
    best = None
    for supercell in _supercells(monolayer.cell, cell, cells, maximum_strain):
        for flipped in (False, True):
            layer = Layer(monolayer, supercell, flipped)
            match = _match_sites(species, fractional, heights, cell, layer, tolerance_a, allowed)
            if match is None:
                continue
            defects, origin, deviation = match
            rotation = _rotation(layer, cell)
            score = (len(defects), round(deviation, 3), flipped, abs(rotation))
            if best is None or score < best[0]:
                best = (score, replace(layer, defects=defects), origin)
    return None if best is None else (best[1], best[2])


def _supercells(free: np.ndarray, cell: np.ndarray, cells: int, maximum_strain: float):
    """Integer matrices S with |det| `cells` for which S @ free is `cell` turned and strained."""
    reach = int(np.ceil(np.linalg.norm(cell, axis=1).max() * 1.2 / _shortest_height(free))) + 1
    grid = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1)
    grid = grid.reshape(-1, 2)
    lengths = np.linalg.norm(grid @ free, axis=1)
    rows = []
    for target in np.linalg.norm(cell, axis=1):
        rows.append(grid[np.abs(lengths / target - 1) < maximum_strain + 1e-3])
    for first in rows[0]:
        for second in rows[1]:
            if first[0] * second[1] - first[1] * second[0] != cells:
                continue
            supercell = np.array([first, second])
            strain, _ = polar_decomposition(np.linalg.inv(supercell @ free) @ cell)
            if np.abs(np.linalg.eigvalsh(strain)).max() <= maximum_strain:
                yield tuple(tuple(int(x) for x in row) for row in supercell)


def _shortest_height(cell: np.ndarray) -> float:
    return abs(np.linalg.det(cell)) / np.linalg.norm(cell, axis=1).max()


def _rotation(layer: Layer, cell: np.ndarray) -> float:
    free = np.array(layer.supercell) @ layer.monolayer.cell
    return polar_decomposition(np.linalg.inv(free) @ cell)[1]


def _match_sites(species, fractional, heights, cell, layer, tolerance_a, allowed):
    """Defects, origin and largest deviation of the best placement of `layer`, or None."""
    site_species, site_fractional, site_heights = layer_sites(layer)
    species_array, site_array = np.array(species), np.array(site_species)
    # The anchor is a site of the element of which there is least.
    symbols, counts = np.unique(site_array, return_counts=True)
    best = None
    for symbol in symbols[np.argsort(counts)]:
        anchors = np.flatnonzero(site_array == symbol)[:1]
        candidates = np.flatnonzero(species_array == symbol)
        for anchor in anchors:
            for candidate in candidates:
                shift = fractional[candidate] - site_fractional[anchor]
                lift = heights[candidate] - site_heights[anchor]
                # A few sites tell most wrong placements of large cells before all are compared.
                if not allowed and not _all_near(
                    site_fractional[:PROBES] + shift,
                    site_heights[:PROBES] + lift,
                    fractional,
                    heights,
                    cell,
                    max(tolerance_a, 1e-4),
                ):
                    continue
                dz = np.abs(site_heights[:, None] + lift - heights[None, :])
                dxy = minimum_image_distances(site_fractional + shift, fractional, cell)
                distance = np.sqrt(dxy**2 + dz**2)
                nearest = distance.argmin(axis=1)
                reach = distance[np.arange(len(site_array)), nearest]
                hit = reach < max(tolerance_a, 1e-4)
                if len(set(nearest[hit])) != hit.sum() or hit.sum() != len(species):
                    continue
                wrong = [
                    Defect("substitution", int(s), species[nearest[s]])
                    for s in np.flatnonzero(hit)
                    if species[nearest[s]] != site_species[s]
                ]
                missing = [Defect("vacancy", int(s)) for s in np.flatnonzero(~hit)]
                defects = tuple(sorted(wrong + missing, key=lambda d: d.site))
                if len(defects) > allowed:
                    continue
                # Centre the placement on all matched sites, not on the anchor alone.
                difference = fractional[nearest[hit]] - site_fractional[hit] - shift
                shift = shift + (difference - np.round(difference)).mean(axis=0)
                deviation = float(reach[hit].max())
                key = (len(defects), round(deviation, 4), *np.round(wrap(shift, 1e-4), 4))
                if best is None or key < best[0]:
                    best = (key, defects, shift, deviation)
        if best is not None or not allowed:
            break
    return None if best is None else best[1:]


def _all_near(site_fractional, site_heights, fractional, heights, cell, tolerance_a) -> bool:
    """Whether each site has an atom within the tolerance."""
    dxy = minimum_image_distances(site_fractional, fractional, cell)
    dz = site_heights[:, None] - heights[None, :]
    return bool(((dxy**2 + dz**2).min(axis=1) < tolerance_a**2).all())


def _own_layer(species, fractional, heights, cell, tolerance_a) -> tuple[Layer, np.ndarray]:
    """A layer described by its own primitive cell, and its origin as a fraction of `cell`."""
    a, b, gamma = cell_parameters(cell)
    middle = (heights.max() + heights.min()) / 2
    raw = Monolayer(
        tuple(species),
        tuple(map(tuple, wrap(fractional).tolist())),
        tuple((heights - middle).tolist()),
        a,
        b,
        gamma,
    )
    monolayer, supercell = raw.standardised(tolerance_a)
    layer = Layer(monolayer, tuple(tuple(int(x) for x in row) for row in supercell))
    count = layer.number_of_cells
    match = _match_sites(species, fractional, heights, cell, layer, 6 * tolerance_a, 0)
    if match is None:
        # The primitive description does not reproduce the layer: keep its cell as given.
        origin = np.zeros(2)
        if count == 1:
            raise StructureError("a layer could not be described by its own cell")
        return Layer(raw), origin
    return layer, match[1]


def _extent(layer: Layer, heights: np.ndarray) -> tuple[float, float]:
    """Heights (low, high) of a perfect layer whose atoms, with defects, lie at `heights`."""
    if not layer.defects:
        return float(heights.min()), float(heights.max())
    thickness = layer.monolayer.thickness_a
    _, _, perfect = layer_sites(layer)
    gone = {d.site for d in layer.defects if d.kind == "vacancy"}
    kept = np.array([h for i, h in enumerate(perfect) if i not in gone])
    middle = float(heights.mean() - kept.mean())
    return middle - thickness / 2, middle + thickness / 2
