import pytest
from pymatgen.core import Lattice, Structure

from heteroforge.sources.bulk import cut_layers
from heteroforge.structures import StructureError


def hexagonal(a, c, species, places):
    return Structure(Lattice.hexagonal(a, c), species, places)


GRAPHITE = hexagonal(
    2.46,
    6.71,
    ["C"] * 4,
    [[0, 0, 0.25], [1 / 3, 2 / 3, 0.25], [0, 0, 0.75], [2 / 3, 1 / 3, 0.75]],
)
BORON_NITRIDE = hexagonal(
    2.50,
    6.66,
    ["B", "N", "N", "B"],
    [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.25], [1 / 3, 2 / 3, 0.75], [2 / 3, 1 / 3, 0.75]],
)
MOLYBDENITE = hexagonal(
    3.16,
    12.30,
    ["Mo", "Mo", "S", "S", "S", "S"],
    [
        [1 / 3, 2 / 3, 0.25],
        [2 / 3, 1 / 3, 0.75],
        [1 / 3, 2 / 3, 0.621],
        [2 / 3, 1 / 3, 0.121],
        [2 / 3, 1 / 3, 0.379],
        [1 / 3, 2 / 3, 0.879],
    ],
)
PHOSPHORUS = Structure.from_spacegroup(
    "Cmce", Lattice.orthorhombic(3.3136, 10.478, 4.3763), ["P"], [[0, 0.10168, 0.08056]]
)
SILICON = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)


@pytest.mark.parametrize(
    ("crystal", "formula", "atoms", "a", "b", "gamma", "thickness", "layer_group"),
    [
        (GRAPHITE, "C", 2, 2.46, 2.46, 120, 0.0, 80),
        (BORON_NITRIDE, "BN", 2, 2.50, 2.50, 120, 0.0, 78),
        (MOLYBDENITE, "MoS2", 3, 3.16, 3.16, 120, 2 * 0.129 * 12.30, 78),
        # In the crystal the layers are stacked along b, not along c.
        (PHOSPHORUS, "P", 4, 3.3136, 4.3763, 90, 2 * 0.10168 * 10.478, 42),
        (PHOSPHORUS.get_primitive_structure(), "P", 4, 3.3136, 4.3763, 90, 2.1308, 42),
    ],
    ids=["graphite", "h-BN", "MoS2", "black phosphorus", "its primitive cell"],
)
def test_layer_of_a_known_crystal(crystal, formula, atoms, a, b, gamma, thickness, layer_group):
    (layer,) = cut_layers(crystal)
    assert layer.formula == formula
    assert len(layer.species) == atoms
    assert (layer.a, layer.b) == pytest.approx((a, b))
    assert layer.gamma_deg == pytest.approx(gamma)
    assert layer.thickness_a == pytest.approx(thickness, abs=1e-3)
    assert layer.layer_group == layer_group
    assert max(layer.heights) == pytest.approx(-min(layer.heights), abs=1e-6)


@pytest.mark.parametrize(
    "cell", [[[2, 1, 0], [0, 1, 1], [1, 0, 1]], [[1, 0, 0], [0, 1, 0], [3, 1, 1]]]
)
def test_choice_of_the_bulk_cell_does_not_matter(cell):
    (layer,) = cut_layers(MOLYBDENITE * cell)
    assert len(layer.species) == 3
    assert layer.a == pytest.approx(3.16)
    assert layer.gamma_deg == pytest.approx(120)


@pytest.mark.parametrize("crystal", [SILICON, ROCK_SALT], ids=["Si", "NaCl"])
def test_bonded_crystals_are_not_layered(crystal):
    with pytest.raises(StructureError, match="not layered: bonds extend in 3 dimensions"):
        cut_layers(crystal)


def test_molecules_are_not_layered():
    crystal = Structure(Lattice.cubic(8), ["N", "N"], [[0.5, 0.5, 0.43], [0.5, 0.5, 0.57]])
    with pytest.raises(StructureError, match="extend in 0 dimensions"):
        cut_layers(crystal)


def test_intercalated_crystal_is_told_apart():
    crystal = hexagonal(2.46, 20.0, ["C", "C"], [[0, 0, 0], [1 / 3, 2 / 3, 0]]) * (4, 4, 1)
    crystal.append("Ne", [0.5, 0.5, 0.5])
    with pytest.raises(StructureError, match="part of Ne that extends in 0 dimensions"):
        cut_layers(crystal)


def test_disordered_crystal_is_rejected():
    crystal = hexagonal(2.5, 6.7, [{"B": 0.5, "C": 0.5}, "N"], [[1 / 3, 2 / 3, 0], [0, 0, 0]])
    with pytest.raises(StructureError, match="disordered"):
        cut_layers(crystal)


def test_different_layers_of_one_crystal_are_all_cut():
    crystal = hexagonal(
        2.5,
        6.8,
        ["B", "N", "C", "C"],
        [[0, 0, 0], [1 / 3, 2 / 3, 0], [0, 0, 0.5], [1 / 3, 2 / 3, 0.5]],
    )
    assert sorted(layer.formula for layer in cut_layers(crystal)) == ["BN", "C"]
