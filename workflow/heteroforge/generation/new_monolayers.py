"""Monolayers that a library lacks: its prototypes with other elements of the same groups.

Elements of one group of the periodic table stand for each other, so that the valences of a
prototype, and with them its charge balance, are kept. Every site is free, which makes Janus layers
and alloys of the cell. Geometry follows from bond lengths: each bond keeps its ratio to the sum of
the covalent radii, and cell and heights are those that meet all bonds best. They are guesses to
be relaxed, not results.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
from ase.data import atomic_numbers, covalent_radii
from scipy.optimize import least_squares

from heteroforge.structures import Layer, Monolayer, StructureError
from heteroforge.structures.defects import as_monolayer
from heteroforge.structures.enumeration import enumerate_matches, match_table

__all__ = ["match_proposed", "propose_monolayers", "substitute"]

# Groups whose elements are not taken for each other: hydrogen and the alkali metals have little
# in common, noble gases do not bind.
FIXED_GROUPS = (1, 18)
LAST_PERIOD = 6
# Bonds: pairs nearer than this times the sum of their covalent radii.
BOND_REACH = 1.25
# How much a changed height costs against a relative error of a bond (1/Å).
HEIGHT_WEIGHT = 0.05


@lru_cache(maxsize=128)
def _alternatives(symbol: str) -> tuple[str, ...]:
    """The element and its neighbours in its group, at most one period away."""
    # Imported here: pymatgen takes a second to load.
    from pymatgen.core.periodic_table import Element

    own = Element(symbol)
    if own.group in FIXED_GROUPS or own.is_lanthanoid or own.is_actinoid:
        return (symbol,)
    found = [
        str(other)
        for other in (Element.from_Z(z) for z in range(1, 87))
        if other.group == own.group
        and abs(other.row - own.row) <= 1
        and other.row <= LAST_PERIOD
        and not (other.is_lanthanoid or other.is_radioactive or other.symbol == "H")
    ]
    return (symbol, *[name for name in found if name != symbol])


def substitute(monolayer: Monolayer, species: Sequence[str], name: str = "") -> Monolayer:
    """The prototype of a monolayer with other elements, its bonds scaled to theirs.

    Args:
        monolayer: the prototype.
        species: element per site.
        name: of the new layer.
    """
    positions, heights = np.array(monolayer.positions), np.array(monolayer.heights)
    first, second, images = _bonds(monolayer)

    def radii(symbols: Sequence[str]) -> np.ndarray:
        return np.array([covalent_radii[atomic_numbers[s]] for s in symbols])

    lateral = (positions[second] + images - positions[first]) @ monolayer.cell
    rise = heights[second] - heights[first]
    old = np.sqrt((lateral**2).sum(1) + rise**2)
    before, after = radii(monolayer.species), radii(species)
    wanted = old * (after[first] + after[second]) / (before[first] + before[second])
    scale, moved = 1.0, heights
    if len(old):
        scale = float((wanted / old).mean())

        def misfit(variables: np.ndarray) -> np.ndarray:
            rises = variables[1:][second] - variables[1:][first]
            lengths = np.sqrt(variables[0] ** 2 * (lateral**2).sum(1) + rises**2)
            held = HEIGHT_WEIGHT * (variables[1:] - scale * heights)
            return np.concatenate([lengths / wanted - 1.0, held])

        solved = least_squares(misfit, np.concatenate([[scale], scale * heights])).x
        scale, moved = float(solved[0]), solved[1:]
    moved = moved - (moved.max() + moved.min()) / 2
    layer = replace(
        monolayer,
        species=tuple(species),
        heights=tuple(float(h) for h in moved),
        a=monolayer.a * scale,
        b=monolayer.b * scale,
        name=name,
    )
    # As it reads back from its description, so that its key does not depend on digits lost there.
    return Monolayer.from_dict(layer.to_dict())


def propose_monolayers(
    library: Mapping[str, Monolayer],
    number: int,
    maximum_atoms: int = 6,
    elements_allowed: Collection[str] = (),
    elements_excluded: Collection[str] = (),
) -> dict[str, Monolayer]:
    """New monolayers, those with fewest sites changed first, shared out over the prototypes.

    Args:
        library: what is known; none of it is proposed.
        number: how many at most.
        maximum_atoms: per cell of a prototype.
        elements_allowed: nothing but these; empty: any.
        elements_excluded: none of these.
    """
    if number == 0:
        return {}
    known = {_arrangement(layer, layer.species) for layer in library.values()}
    queues = []
    for layer in library.values():
        if len(layer.species) > maximum_atoms:
            continue
        options = [
            [
                other
                for other in _alternatives(symbol)
                if other not in elements_excluded
                and (not elements_allowed or other in elements_allowed)
            ]
            for symbol in layer.species
        ]
        changed = sorted(
            itertools.product(*options),
            key=lambda made: (
                sum(one != other for one, other in zip(made, layer.species, strict=True)),
                made,
            ),
        )
        queues.append((layer, iter(changed)))
    proposed: dict[str, Monolayer] = {}
    while queues and len(proposed) < number:
        for layer, queue in list(queues):
            for species in queue:
                arrangement = _arrangement(layer, species)
                if arrangement not in known:
                    known.add(arrangement)
                    name = f"new-{''.join(species)}-{layer.name}"
                    proposed[name] = substitute(layer, species, name)
                    break
            else:
                queues.remove((layer, queue))
            if len(proposed) == number:
                break
    return proposed


def match_proposed(
    library: Mapping[str, Monolayer],
    new: Mapping[str, Monolayer],
    defective: Mapping[str, Layer],
    maximum_area_a2: float,
    maximum_mismatch_percent: float,
    maximum_atoms: int,
    fewest_layers: int = 2,
) -> pd.DataFrame:
    """Rows of `matches.parquet` for all pairs in which a layer beyond the library takes part.

    Args:
        library: all its monolayers.
        new, defective: of `propose_monolayers` and `propose_defects`.
        maximum_area_a2, maximum_mismatch_percent, maximum_atoms: of the shared cell.
        fewest_layers: of a stack; a layer that may be alone need not share its cell.

    Raises:
        StructureError: there are layers with defects, and none shares such a cell with another or
            may be alone in its own.
    """
    made = {name: as_monolayer(layer, name) for name, layer in defective.items()}
    limits = (maximum_area_a2, maximum_mismatch_percent, maximum_atoms)
    matches = match_table(
        enumerate_matches(library | new | made, *limits, taking_part=new.keys() | made.keys())
    )
    usable = made.keys() & {*matches["bottom"], *matches["top"]}
    if fewest_layers == 1:
        usable |= {
            name
            for name, layer in made.items()
            if len(layer.species) <= maximum_atoms and layer.area_a2 <= maximum_area_a2
        }
    if made and not usable:
        raise StructureError(
            f"samples.defects: none of {len(made)} layers with defects shares a cell of at most "
            f"{maximum_atoms} atoms and {maximum_area_a2:g} Å² with another layer; raise "
            "stacks.maximum_atoms and stacks.maximum_area_a2"
        )
    return matches


def _bonds(layer: Monolayer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sites (n), (n) and lattice vectors (n, 2) of the bonds, each once or from both ends."""
    radii = np.array([covalent_radii[atomic_numbers[s]] for s in layer.species])
    positions, heights = np.array(layer.positions), np.array(layer.heights)
    images = np.array(list(itertools.product((-1, 0, 1), repeat=2)))
    difference = positions[None, :, None] + images - positions[:, None, None]
    squared = ((difference @ layer.cell) ** 2).sum(-1)
    squared += (heights[None, :, None] - heights[:, None, None]) ** 2
    reach = BOND_REACH * (radii[:, None] + radii[None, :])
    first, second, image = np.nonzero((squared < reach[:, :, None] ** 2) & (squared > 1e-8))
    return first, second, images[image]


def _arrangement(layer: Monolayer, species: Sequence[str]) -> tuple:
    """Which elements sit where, the same for a layer and the layer upside down.

    The number of distinct places in the plane tells trigonal prisms from octahedra.
    """
    _, level = np.unique(np.round(layer.heights, 1), return_inverse=True)
    upright = sorted(zip(level.tolist(), species, strict=True))
    turned = sorted((int(level.max()) - one, symbol) for one, symbol in upright)
    places = np.array(layer.positions)
    apart = places[:, None] - places[None, :]
    same = np.abs(apart - np.round(apart)).max(-1) < 0.05
    distinct = len(np.unique(same, axis=0))
    return round(layer.gamma_deg), distinct, tuple(min(upright, turned))
