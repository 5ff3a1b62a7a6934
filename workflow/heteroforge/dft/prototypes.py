"""Ideal starting structures of the usual two-dimensional prototypes, to be relaxed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from pymatgen.analysis.bond_valence import BV_PARAMS
from pymatgen.core import Element

__all__ = ["PROTOTYPES", "starting_structure"]

# Site as (in-plane fraction, element's place in the list); bonds name the step in height.
PROTOTYPES = {
    "honeycomb": "A, B in one plane",
    "buckled": "A, B at different heights",
    "hydrogenated": "buckled A, B on both sides: A the carbon, B the hydrogen of graphane",
    "2H": "M between two planes of X, Y, trigonal prisms; X and Y may differ (Janus)",
    "1T": "M between two planes of X, Y, octahedra; X and Y may differ (Janus)",
    "monochalcogenide": "X, M, N, Y, outer planes on top of each other as in GaSe; may be Janus",
    "monochalcogenide_trans": "the same, outer planes on different sublattices (space group 164)",
    "puckered": "A, B of black phosphorus or SnS",
}
_MINIMUM_STEP_A = 0.3  # flat by symmetry is no place to start where bonds are too short for a
_SOFTNESS_A = 0.37  # of all bonds alike: N. E. Brese, M. O'Keeffe, Acta Cryst. B 47, 192 (1991)


def _bond_a(first: str, second: str) -> float:
    return float(sum(covalent_radii[atomic_numbers[e]] for e in (first, second)))


def _shared_bond_a(cation: str, anion: str) -> float:
    """Length of the bonds of an anion that has three, in Å, from bond valences.

    Each of the three has a third of the anion's valence; radii are those of M. O'Keeffe and N. E.
    Brese, J. Am. Chem. Soc. 113, 3226 (1991). Within 5 % of the bonds of this project's DFT, where
    sums of covalent radii are up to 11 % off (transition metals). These sums where an element has
    no such radius (platinum) or is no anion.
    """
    valence = -min(Element(anion).common_oxidation_states, default=0)
    if valence <= 0 or not {Element(cation), Element(anion)} <= BV_PARAMS.keys():
        return _bond_a(cation, anion)
    (r1, c1), (r2, c2) = ([BV_PARAMS[Element(e)][k] for k in "rc"] for e in (cation, anion))
    single = r1 + r2 - r1 * r2 * (c1**0.5 - c2**0.5) ** 2 / (c1 * r1 + c2 * r2)
    return float(single - _SOFTNESS_A * np.log(valence / 3))


def _step_a(bond_a: float, in_plane_a: float) -> float:
    """Height between bonded atoms that are `in_plane_a` apart in the plane."""
    return max(bond_a**2 - in_plane_a**2, _MINIMUM_STEP_A**2) ** 0.5


def starting_structure(
    prototype: str, elements: Sequence[str], a: float, b: float | None = None
) -> Atoms:
    """Ideal atoms of a prototype (see PROTOTYPES), heights from bond lengths usual elsewhere.

    Args:
        prototype: one of PROTOTYPES.
        elements: of the sites, in the prototype's order; "2H" and "1T" take (M, X) or (M, X, Y),
            those of monochalcogenides (M, X) or (X, M, N, Y) from the bottom.
        a: in-plane lattice constant in Å.
        b: second one of "puckered" in Å; 1.39 a, as in black phosphorus, when missing.

    Raises:
        ValueError: unknown prototype, or a number of elements that it does not take.
    """
    expected = {
        "2H": (2, 3),
        "1T": (2, 3),
        "monochalcogenide": (2, 4),
        "monochalcogenide_trans": (2, 4),
    }.get(prototype, (2,))
    if prototype not in PROTOTYPES:
        raise ValueError(
            f"unknown prototype {prototype!r}: expected one of {', '.join(PROTOTYPES)}"
        )
    if len(elements) not in expected:
        raise ValueError(
            f"{prototype}: {len(elements)} elements, expected {' or '.join(map(str, expected))}"
        )
    cell = np.array([[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, 20.0]])
    corner, third, other = [0.0, 0.0], [1 / 3, 2 / 3], [2 / 3, 1 / 3]
    side = a / 3**0.5  # in-plane distance of neighbouring sublattices
    if prototype == "honeycomb":
        symbols, places, z = elements, [corner, third], [0.0, 0.0]
    elif prototype == "buckled":
        symbols, places, z = elements, [corner, third], [0.0, _step_a(_bond_a(*elements), side)]
    elif prototype == "hydrogenated":
        first, second = elements
        step, bond = _step_a(_bond_a(first, first), side), _bond_a(first, second)
        symbols = [first, first, second, second]
        places, z = [corner, third] * 2, [0.0, step, -bond, step + bond]
    elif prototype in ("2H", "1T"):
        metal, lower, upper = elements if len(elements) == 3 else (*elements, elements[1])
        symbols = [metal, lower, upper]
        places = [corner, third, third if prototype == "2H" else other]
        below, above = (_step_a(_shared_bond_a(metal, x), side) for x in (lower, upper))
        z = [0.0, -below, above]
    elif prototype.startswith("monochalcogenide"):
        if len(elements) == 2:
            elements = [elements[1], elements[0], elements[0], elements[1]]
        symbols, places = list(elements), [third, corner, corner, third]
        if prototype == "monochalcogenide_trans":
            places[3] = other
        bond = _bond_a(elements[1], elements[2])
        below = _step_a(_shared_bond_a(elements[1], elements[0]), side)
        above = _step_a(_shared_bond_a(elements[2], elements[3]), side)
        z = [-below, 0.0, bond, bond + above]
    else:
        first, second = elements
        b = 1.39 * a if b is None else b
        cell = np.array([[a, 0, 0], [0, b, 0], [0, 0, 20.0]])
        # Two zigzag chains: neighbours along a in one chain, and one bond between the chains.
        chain = max(_bond_a(first, second) ** 2 - (a / 2) ** 2, 0.04) ** 0.5
        shift = (b / 2 - chain) / 2
        half = _step_a(_bond_a(first, second), 2 * abs(shift)) / 2
        symbols = [first, second, second, first]
        places = [
            [0.0, shift / b],
            [0.5, 0.5 - shift / b],
            [0.0, -shift / b],
            [0.5, 0.5 + shift / b],
        ]
        z = [half, half, -half, -half]
    positions = np.column_stack([np.array(places) @ cell[:2, :2], np.array(z, float)])
    positions[:, 2] += 10.0 - (positions[:, 2].max() + positions[:, 2].min()) / 2
    return Atoms(symbols, positions=positions, cell=cell, pbc=(True, True, False))
