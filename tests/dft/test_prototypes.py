import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from heteroforge.dft.prototypes import PROTOTYPES, starting_structure
from heteroforge.structures import Monolayer

# Neighbours of the first element's atoms, and the layer group, of each ideal structure.
KNOWN = [
    ("honeycomb", ["B", "N"], 2.51, 3, 78),
    ("buckled", ["As", "As"], 3.61, 3, 72),
    ("hydrogenated", ["C", "H"], 2.54, 4, 72),
    ("2H", ["Mo", "S"], 3.18, 6, 78),
    ("2H", ["Mo", "S", "Se"], 3.25, 6, 69),
    ("1T", ["Sn", "S"], 3.70, 6, 72),
    ("1T", ["Sn", "S", "Se"], 3.78, 6, 69),
    ("monochalcogenide", ["Ga", "Se"], 3.82, 4, 78),
    ("monochalcogenide", ["S", "Ga", "Ga", "Se"], 3.73, 3, 69),
    ("monochalcogenide_trans", ["Al", "S"], 3.58, 4, 72),
    ("puckered", ["P", "P"], 3.30, 3, 42),
    ("puckered", ["Sn", "S"], 4.07, 3, 32),
]


@pytest.mark.parametrize(("prototype", "elements", "a", "neighbours", "group"), KNOWN)
def test_prototypes_have_the_bonds_and_symmetry_of_their_family(
    prototype, elements, a, neighbours, group
):
    atoms = starting_structure(prototype, elements, a)
    first = "C" if prototype == "hydrogenated" else elements[0]
    centre = atoms.get_chemical_symbols().index(first)
    bonds = neighbor_list("i", atoms, 1.15 * _shortest(atoms, prototype))
    assert (bonds == centre).sum() == neighbours
    assert Monolayer.from_atoms(atoms).layer_group == group


def _shortest(atoms, prototype):
    distances = neighbor_list("d", atoms, 4.0)
    # C–H is shorter than C–C: all four bonds of the carbon count.
    return 1.55 if prototype == "hydrogenated" else distances.min()


@pytest.mark.parametrize(
    ("prototype", "elements", "a", "thickness"),
    [
        # Å between the outer planes by PBE (C2DB), whose lattice constants these are.
        ("2H", ["Mo", "S"], 3.184, 3.13),
        ("2H", ["W", "Se"], 3.319, 3.36),
        ("1T", ["Hf", "S"], 3.652, 2.90),
        ("1T", ["Mg", "Cl"], 3.673, 2.75),
        ("1T", ["Pt", "S"], 3.574, 2.46),  # no bond valence is known of platinum
        ("monochalcogenide", ["Ga", "Se"], 3.824, 4.83),
    ],
)
def test_layers_of_shared_anions_begin_near_their_thickness(prototype, elements, a, thickness):
    heights = starting_structure(prototype, elements, a).positions[:, 2]
    assert heights.max() - heights.min() == pytest.approx(thickness, abs=0.35)


def test_elements_that_are_no_anions_have_bonds():
    assert np.isfinite(starting_structure("2H", ["Ti", "B"], 3.0).positions).all()
    assert np.isfinite(starting_structure("1T", ["Ar", "Kr"], 3.0).positions).all()


def test_every_prototype_is_tested():
    assert {row[0] for row in KNOWN} == set(PROTOTYPES)


def test_wrong_seeds_say_what_is_expected():
    with pytest.raises(ValueError, match="unknown prototype '3R'.*2H"):
        starting_structure("3R", ["Mo", "S"], 3.2)
    with pytest.raises(ValueError, match="2H: 4 elements, expected 2 or 3"):
        starting_structure("2H", ["Mo", "S", "Se", "Te"], 3.2)
