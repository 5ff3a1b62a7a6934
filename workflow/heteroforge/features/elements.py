"""Numbers per element."""

from __future__ import annotations

import math
import warnings
from functools import cache
from typing import NamedTuple

from ase.data import atomic_numbers, covalent_radii
from ase.data.vdw_alvarez import vdw_radii

__all__ = ["ElementData", "element_data"]


class ElementData(NamedTuple):
    """Properties of an element.

    Attributes:
        symbol: of the element.
        atomic_number, row, group: place in the periodic table.
        electronegativity: Pauling's; 2.0 for the elements that have none there.
        covalent_radius_a, van_der_waals_radius_a: radii in Å (Cordero 2008; Alvarez 2013).
        valence_electrons: s and p electrons of the outer shell, with d of open d shells.
        ionization_energy_ev: first one.
        anion_electrons: electrons missing to a closed shell of groups 15 to 17; 0 elsewhere.
        cation_electrons: electrons an atom of another group can give: its valence electrons, those
            of closed d shells (groups 11 and 12) left out.
    """

    symbol: str
    atomic_number: int
    row: int
    group: int
    electronegativity: float
    covalent_radius_a: float
    van_der_waals_radius_a: float
    valence_electrons: int
    ionization_energy_ev: float
    anion_electrons: int
    cation_electrons: int


@cache
def element_data(symbol: str) -> ElementData:
    """Look an element up by its symbol."""
    # Imported here: pymatgen takes a second to load.
    from pymatgen.core.periodic_table import Element

    element = Element(symbol)
    number = atomic_numbers[symbol]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is none is dealt with below
        electronegativity = element.X
    if math.isnan(electronegativity):
        # Noble gases and some heavy elements have no value on Pauling's scale.
        electronegativity = 2.0
    radius = float(vdw_radii[number]) if number < len(vdw_radii) else math.nan
    group = element.group
    if element.is_lanthanoid or element.is_actinoid:
        valence = 3
    elif group <= 12:
        valence = group
    else:
        valence = group - 10
    is_anion = 15 <= group <= 17 and not (element.is_lanthanoid or element.is_actinoid)
    d_shell_closed = group in (11, 12)
    return ElementData(
        symbol=symbol,
        atomic_number=number,
        row=element.row,
        group=group,
        electronegativity=float(electronegativity),
        covalent_radius_a=float(covalent_radii[number]),
        van_der_waals_radius_a=2.0 if math.isnan(radius) else radius,
        valence_electrons=2 if symbol == "He" else valence,
        # The heaviest elements have no measured one.
        ionization_energy_ev=float(element.ionization_energy or 6.0),
        anion_electrons=8 - valence if is_anion else 0,
        cation_electrons=0 if is_anion else valence - 10 * d_shell_closed,
    )
