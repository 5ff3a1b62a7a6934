import numpy as np
import pytest
from crystals import (
    BISMUTH_TELLURIDE,
    BORON_NITRIDE,
    CHROMIUM_IODIDE,
    DRY_ICE,
    GALLIUM_SELENIDE,
    GRAPHITE,
    INDIUM_SELENIDE,
    LITHIUM_COBALT_OXIDE,
    MOLYBDENITE,
    MOLYBDITE,
    PHOSPHORUS,
    ROCK_SALT,
    SELENIUM,
    SILICON,
    TIN_SULFIDE,
    TUNGSTEN_TELLURIDE,
    hexagonal,
)

from heteroforge.sources.bulk import cut_layers, symmetrised
from heteroforge.structures import StructureError


@pytest.mark.parametrize(
    ("crystal", "formula", "atoms", "a", "b", "gamma", "thickness", "layer_group"),
    [
        (GRAPHITE, "C", 2, 2.46, 2.46, 120, 0.0, 80),
        (BORON_NITRIDE, "BN", 2, 2.50, 2.50, 120, 0.0, 78),
        (MOLYBDENITE, "MoS2", 3, 3.16, 3.16, 120, 2 * 0.129 * 12.30, 78),
        # In the crystal the layers are stacked along b, not along c.
        (PHOSPHORUS, "P", 4, 3.3136, 4.3763, 90, 2 * 0.10168 * 10.478, 42),
        (PHOSPHORUS.get_primitive_structure(), "P", 4, 3.3136, 4.3763, 90, 2.1308, 42),
        (INDIUM_SELENIDE, "InSe", 4, 4.002, 4.002, 120, 5.36, 78),
        (GALLIUM_SELENIDE, "GaSe", 4, 3.755, 3.755, 120, 4.80, 78),
        (BISMUTH_TELLURIDE, "Bi2Te3", 5, 4.386, 4.386, 120, 7.553, 72),
        (MOLYBDITE, "MoO3", 8, 3.6964, 3.9628, 90, 6.1350, 15),
        (CHROMIUM_IODIDE, "CrI3", 8, 6.867, 6.867, 120, 2 * 0.0787 * 19.807, 71),
        # The layer of the polar Td crystal has an inversion centre, as 1T′ layers do.
        (TUNGSTEN_TELLURIDE, "Te2W", 6, 3.477, 6.249, 90, 4.141, 15),
        (TIN_SULFIDE, "SnS", 4, 3.982, 4.329, 90, 2.920, 32),
    ],
    ids=[
        "graphite", "h-BN", "2H-MoS2", "black phosphorus", "its primitive cell", "gamma-InSe",
        "epsilon-GaSe", "Bi2Te3", "MoO3", "CrI3", "Td-WTe2", "SnS",
    ],
)  # fmt: skip
def test_layer_of_a_known_crystal(crystal, formula, atoms, a, b, gamma, thickness, layer_group):
    (layer,) = cut_layers(crystal)
    assert sorted(layer.formula) == sorted(formula)
    assert len(layer.species) == atoms
    assert (layer.a, layer.b) == pytest.approx((a, b))
    assert layer.gamma_deg == pytest.approx(gamma)
    assert layer.thickness_a == pytest.approx(thickness, abs=2e-3)
    assert layer.layer_group == layer_group
    assert max(layer.heights) == pytest.approx(-min(layer.heights), abs=1e-6)


def test_noise_of_a_relaxation_is_taken_off():
    (clean,) = cut_layers(MOLYBDENITE)
    noisy_bulk = MOLYBDENITE.copy()
    noisy_bulk.perturb(0.01, seed=1)
    noisy_bulk.apply_strain([0.002, 0.0, 0.0])
    (layer,) = cut_layers(noisy_bulk)
    assert layer.layer_group == clean.layer_group
    assert layer.b == pytest.approx(layer.a, rel=1e-9)
    assert np.allclose(layer.heights, clean.heights, atol=0.02)


def test_symmetric_layer_stays_as_it_is():
    (layer,) = cut_layers(TIN_SULFIDE)
    again = symmetrised(layer)
    assert np.allclose(again.positions, layer.positions, atol=1e-6)
    assert again.heights == pytest.approx(layer.heights, abs=1e-6)


@pytest.mark.parametrize(
    "cell", [[[2, 1, 0], [0, 1, 1], [1, 0, 1]], [[1, 0, 0], [0, 1, 0], [3, 1, 1]]]
)
def test_choice_of_the_bulk_cell_does_not_matter(cell):
    (layer,) = cut_layers(MOLYBDENITE * cell)
    assert len(layer.species) == 3
    assert layer.a == pytest.approx(3.16)
    assert layer.gamma_deg == pytest.approx(120)


@pytest.mark.parametrize(
    ("crystal", "reason"),
    [
        (SILICON, "3D: bonded in all directions"),
        (ROCK_SALT, "3D: bonded in all directions"),
        (SELENIUM, "1D: chains"),
        (DRY_ICE, "0D: molecules"),
        (LITHIUM_COBALT_OXIDE, "intercalated: Li between layers of CoO2"),
    ],
    ids=["Si", "NaCl", "Se", "CO2", "LiCoO2"],
)
def test_crystals_without_layers(crystal, reason):
    with pytest.raises(StructureError, match=reason):
        cut_layers(crystal)


def test_intercalated_crystal_is_told_apart():
    crystal = hexagonal(2.46, 20.0, ["C", "C"], [[0, 0, 0], [1 / 3, 2 / 3, 0]]) * (4, 4, 1)
    crystal.append("Ne", [0.5, 0.5, 0.5])
    with pytest.raises(StructureError, match="intercalated: between the layers lies a part of Ne"):
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
