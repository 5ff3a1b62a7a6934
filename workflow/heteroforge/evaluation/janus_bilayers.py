"""The set J2DH-8, rebuilt: 19,926 bilayers of group-III monochalcogenides.

The published structures are not public. Their composition follows from their number; their
geometry is set by rules here (docs/generation.md says how far off they are), nothing is relaxed.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from ase.data import atomic_numbers, covalent_radii

from heteroforge.evaluation.benchmark_sets import BenchmarkSet, random_split
from heteroforge.models.catalogue import Catalogue, StackCode
from heteroforge.models.stack_inputs import at_contact_gaps
from heteroforge.structures import Monolayer
from heteroforge.structures.matching import HALF_TURN, UNTURNED, enumerate_registries

__all__ = ["janus_bilayers", "janus_codes", "janus_matches", "janus_monolayer", "janus_monolayers"]

METALS, CHALCOGENS = ("Al", "Ga", "In"), ("S", "Se", "Te")
TURNS = (UNTURNED, HALF_TURN)  # twist 0° and 60° (equal to 180°)
# Lengths in Å over the sums of covalent radii, and a in units of the metal–chalcogen bond: fitted
# to the nine MX monolayers of C2DB.
BOND_EXCESS_A, METAL_EXCESS_A, LATTICE_PER_BOND = 0.08, 0.06, 1.53


def janus_bilayers(seed: int, number: int | None = None) -> BenchmarkSet:
    """The set at the gaps at which van der Waals spheres touch, split 6:2:2 at random as published.

    Args:
        seed: of the split, and of the choice where fewer are asked for.
        number: a random part of the set; all 19,926 by default.
    """
    monolayers = janus_monolayers()
    matches = janus_matches(monolayers)
    catalogue = Catalogue(monolayers, matches)
    codes = janus_codes(catalogue)
    order = np.random.default_rng(seed).permutation(len(codes))[:number]
    stacks = [at_contact_gaps(catalogue.decode(codes[i])) for i in order]
    return BenchmarkSet(monolayers, matches, stacks, random_split(len(stacks), seed))


def janus_monolayer(sequence: tuple[str, str, str, str]) -> Monolayer:
    """Layer X–M–M′–X′ from bottom to top: metals above each other, chalcogens above each other.

    Metal–chalcogen bonds keep their lengths at the mean lattice constant of the two halves.
    """

    def radius(symbol: str) -> float:
        return float(covalent_radii[atomic_numbers[symbol]])

    lower, metal, other, upper = sequence
    bonds = [radius(m) + radius(x) + BOND_EXCESS_A for m, x in ((metal, lower), (other, upper))]
    a = LATTICE_PER_BOND * (bonds[0] + bonds[1]) / 2
    rises = [float(np.sqrt(bond**2 - a**2 / 3)) for bond in bonds]
    middle = radius(metal) + radius(other) + METAL_EXCESS_A
    heights = np.cumsum([0.0, rises[0], middle, rises[1]])
    return Monolayer(
        species=sequence,
        positions=((0.0, 0.0), (1 / 3, 2 / 3), (1 / 3, 2 / 3), (0.0, 0.0)),
        heights=tuple(float(h) for h in heights - heights[-1] / 2),
        a=a,
        b=a,
        gamma_deg=120.0,
        name="".join(sequence),
    )


def janus_monolayers() -> dict[str, Monolayer]:
    """The 45 layers; of a layer and its mirror image one is listed."""
    found: dict[tuple[str, ...], Monolayer] = {}
    for lower, metal, other, upper in itertools.product(CHALCOGENS, METALS, METALS, CHALCOGENS):
        sequence = (lower, metal, other, upper)
        if sequence[::-1] not in found:
            found[sequence] = janus_monolayer(sequence)
    return {layer.name: layer for layer in found.values()}


def janus_matches(monolayers: dict[str, Monolayer]) -> pd.DataFrame:
    """All pairs on the 1×1 cell at 0° and 60°, whatever the strain, which the stacks record."""
    rows = []
    for bottom, top in itertools.combinations_with_replacement(monolayers, 2):
        one, other = monolayers[bottom].a, monolayers[top].a
        shared = (one + other) / 2
        mismatch = 100 * max(abs(shared / one - 1), abs(shared / other - 1))
        for turn, twist in zip(TURNS, (0.0, 180.0), strict=True):
            rows.append(
                (bottom, top, TURNS[0], turn, twist, mismatch, shared**2 * 0.75**0.5, 8)
            )  # fmt: skip
    columns = ["bottom", "top", "supercell_bottom", "supercell_top", "twist_deg"]
    columns += ["mismatch_percent", "area_a2", "number_of_atoms"]
    return pd.DataFrame(rows, columns=columns)


def janus_codes(catalogue: Catalogue) -> list[StackCode]:
    """Every two oriented layers that are not another two upside down, at six stackings each.

    Of the 81 × 81 ordered pairs half are the other half seen from below: 3321 remain, as many
    as there are unordered pairs with repetition.
    """
    index = {entry: i for i, entry in enumerate(catalogue.entries)}

    def turned(entry: int) -> int:
        name, flipped = catalogue.entries[entry]
        return index.get((name, not flipped), entry)

    codes = []
    # The layers' axes lie at equal places, so that all pairs have the registries of the first.
    first = next(iter(catalogue.monolayers.values()))
    registries = enumerate_registries(first, first)
    for lower, upper in itertools.product(range(len(catalogue)), repeat=2):
        if (lower, upper) > (turned(upper), turned(lower)):
            continue
        for match, registry in itertools.product(range(len(TURNS)), registries):
            codes.append(StackCode((lower, upper), (match,), (registry,), (0.0,)))
    return codes
