from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from heteroforge.features import (
    ELECTRONIC,
    descriptor_table,
    ionic_binding_mev_a2,
    stack_descriptor_table,
    stack_descriptors,
    structural_descriptors,
)
from heteroforge.features.elements import element_data
from heteroforge.structures import Monolayer, build
from heteroforge.structures.matching import share_one_cell, stack_layers

THIRD = ((0.0, 0.0), (1 / 3, 2 / 3))
GRAPHENE = Monolayer(("C", "C"), THIRD, (0.0, 0.0), 2.46, 2.46, 120.0, "C")
NITRIDE = Monolayer(("B", "N"), THIRD, (0.0, 0.0), 2.50, 2.50, 120.0, "BN")
SULFIDE = Monolayer(
    ("S", "Mo", "S"), (THIRD[0], THIRD[1], THIRD[0]), (-1.56, 0, 1.56), 3.18, 3.18, 120.0, "MoS2"
)
JANUS = replace(SULFIDE, species=("S", "Mo", "Se"), a=3.25, b=3.25, name="MoSSe")
TABLE = pd.DataFrame(
    {"gap_ev": [0.0, 4.7, np.nan], "vbm_ev": [-4.2, -5.8, -5.9], "cbm_ev": [-4.2, -1.1, -4.3]},
    index=pd.Index(["C", "BN", "MoS2"], name="monolayer_id"),
).reindex(columns=list(ELECTRONIC))


@pytest.mark.parametrize(
    ("symbol", "valence"),
    [("H", 1), ("C", 4), ("S", 6), ("Mo", 6), ("Ga", 3), ("Zn", 12), ("La", 3)],
)
def test_valence_electrons(symbol, valence):
    assert element_data(symbol).valence_electrons == valence


def test_element_without_electronegativity_is_described():
    assert element_data("He").electronegativity == 2.0
    assert element_data("S").electronegativity == pytest.approx(2.58)


def test_descriptors_of_graphene():
    found = structural_descriptors(GRAPHENE)
    assert found["coordination_mean"] == 3
    assert found["bond_length_mean_a"] == pytest.approx(2.46 / np.sqrt(3))
    assert found["area_per_atom_a2"] == pytest.approx(2.46**2 * np.sqrt(3) / 4)
    assert found["rotation_order"] == 6
    assert found["number_of_operations"] == 24
    assert found["electronegativity_spread"] == 0
    assert found["valence_electrons_per_area_a2"] == pytest.approx(8 / GRAPHENE.area_a2)


def test_descriptors_tell_symmetry_and_polarity():
    nitride, sulfide, janus = map(structural_descriptors, (NITRIDE, SULFIDE, JANUS))
    assert nitride["rotation_order"] == 3
    assert nitride["electronegativity_across_bonds"] == pytest.approx(3.04 - 2.04)
    assert sulfide["coordination_mean"] == pytest.approx((6 + 3 + 3) / 3)
    assert sulfide["has_equal_faces"] == 1
    assert janus["has_equal_faces"] == 0
    assert sulfide["electronegativity_between_faces"] == 0
    assert janus["electronegativity_between_faces"] == pytest.approx(2.58 - 2.55)


def test_descriptors_do_not_depend_on_origin_and_order():
    moved = Monolayer(
        ("Mo", "S", "S"),
        ((0.9, 0.1), (0.9 - 1 / 3, 0.1 - 2 / 3), (0.9 - 1 / 3, 0.1 - 2 / 3)),
        (0.0, 1.56, -1.56),
        3.18,
        3.18,
        120.0,
    )
    assert dict(structural_descriptors(moved)) == pytest.approx(
        dict(structural_descriptors(SULFIDE))
    )


def flat(first: str, second: str, a: float) -> Monolayer:
    return Monolayer((first, second), THIRD, (0.0, 0.0), a, a, 120.0, first + second)


CARBIDE_OXIDE = Monolayer(
    ("O", "Ti", "C", "Ti", "O"),
    ((1 / 3, 2 / 3), (2 / 3, 1 / 3), (0.0, 0.0), (1 / 3, 2 / 3), (2 / 3, 1 / 3)),
    (-2.22, -1.25, 0.0, 1.25, 2.22), 3.03, 3.03, 120.0, "Ti2CO2",
)  # fmt: skip
GRAPHANE = Monolayer(
    ("H", "C", "C", "H"),
    (THIRD[0], THIRD[0], THIRD[1], THIRD[1]),
    (-1.34, -0.23, 0.23, 1.34), 2.54, 2.54, 120.0, "CH",
)  # fmt: skip
FLUOROGRAPHENE = Monolayer(
    ("F", "C", "C", "F"),
    (THIRD[0], THIRD[0], THIRD[1], THIRD[1]),
    (-1.62, -0.24, 0.24, 1.62), 2.60, 2.60, 120.0, "CF",
)  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "left"),
    [
        (flat("Si", "C", 3.10), 0),
        (flat("C", "Ge", 3.26), 0),
        (CARBIDE_OXIDE, 0),
        (FLUOROGRAPHENE, 3 / 2),
        (GRAPHENE, 4),
        (flat("Si", "Sn", 4.20), 4),
        (flat("Pb", "Si", 4.40), 4),
        (replace(CARBIDE_OXIDE, species=("O", "W", "C", "W", "O"), name="W2CO2"), 4 / 5),
        (GRAPHANE, 5 / 2),
        (flat("Pb", "Te", 4.60), 1),
        (flat("C", "Se", 3.30), 1),
        (flat("Se", "C", 3.30), 1),
        (SULFIDE, 2 / 3),
        (NITRIDE, 0),
    ],
    ids=lambda x: x.name if isinstance(x, Monolayer) else "",
)
def test_electrons_left_by_anions(layer, left):
    """Group 14 is told by its neighbours, whatever Pauling says of lead and tungsten."""
    assert structural_descriptors(layer)["electrons_left_by_anions"] == pytest.approx(left)


def test_table_holds_what_is_known_and_leaves_the_rest_open():
    table = descriptor_table({"C": GRAPHENE, "MoS2": SULFIDE}, TABLE)
    assert table.loc["C", "gap_ev"] == 0
    assert np.isnan(table.loc["MoS2", "gap_ev"])
    assert table[[c for c in table if c not in ELECTRONIC]].notna().all().all()


def test_stack_seen_from_below_is_described_alike():
    stack = stack_layers([SULFIDE, JANUS], registries=[(1 / 3, 2 / 3)], flipped=[False, True])
    found, below = (stack_descriptors(s, TABLE) for s in (stack, stack.reversed()))
    assert found == pytest.approx(below, nan_ok=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda: stack_layers([SULFIDE, JANUS], flipped=[False, True]),
        lambda: stack_layers([SULFIDE, JANUS], registries=[(1 / 3, 2 / 3)]),
        lambda: stack_layers([SULFIDE, SULFIDE]),
        lambda: stack_layers([SULFIDE, JANUS, SULFIDE]),
    ],
    ids=["face", "registry", "layer", "number of layers"],
)
def test_change_of_the_stack_changes_its_description(change):
    before = stack_descriptors(stack_layers([SULFIDE, JANUS]), TABLE)
    after = stack_descriptors(change(), TABLE)
    assert before != pytest.approx(after, nan_ok=True)


def test_gap_in_the_specification_does_not_leak_into_descriptors():
    near, far = (stack_layers([NITRIDE, GRAPHENE], gaps_a=[gap]) for gap in (3.0, 4.0))
    assert stack_descriptors(near, TABLE) == pytest.approx(
        stack_descriptors(far, TABLE), nan_ok=True
    )


def test_baselines_and_unknown_layers():
    stack = stack_layers([NITRIDE, replace(GRAPHENE, name="elsewhere")])
    found = stack_descriptors(stack, TABLE, {"gap_ev": 0.3, "vbm_ev": None})
    assert found["baseline_gap_ev"] == 0.3
    assert np.isnan(found["baseline_vbm_ev"])
    assert np.isnan(found["gap_ev_mean"])
    frame = stack_descriptor_table([stack], TABLE, {stack.key(): {"gap_ev": 0.3}})
    assert frame.loc[stack.key(), "baseline_gap_ev"] == 0.3


def honeycomb(first: str, second: str, a: float = 3.1) -> Monolayer:
    third = 1 / 3
    return Monolayer(
        species=(first, second),
        positions=((third, 2 * third), (2 * third, third)),
        heights=(0.0, 0.0),
        a=a,
        b=a,
        gamma_deg=120.0,
        name=first + second,
    )


def test_ions_bind_where_opposite_ones_face_each_other():
    layer = honeycomb("Al", "N")
    turned = ((-1, 0), (0, -1))  # aluminium above nitrogen, both ways
    alike = stack_layers([layer, layer], registries=[(0.0, 0.0)], gaps_a=[3.0])
    opposite = stack_layers(
        [layer, layer], [((1, 0), (0, 1)), turned], registries=[(0.0, 0.0)], gaps_a=[3.0]
    )
    found = [ionic_binding_mev_a2(stack, 0, (3.0, 4.0)) for stack in (alike, opposite)]
    assert found[0][0] < -1.0 and found[1][0] > 1.0
    assert np.allclose(found[0], -found[1])
    # The first reciprocal vectors carry nearly all: |G| = 4π/(√3 a).
    assert found[1][1] / found[1][0] == pytest.approx(np.exp(-4 * np.pi / (3**0.5 * 3.1)), rel=0.02)
    carbon = honeycomb("C", "C", 2.46)
    assert np.all(ionic_binding_mev_a2(stack_layers([carbon, carbon]), 0, (3.0,)) == 0.0)


def test_ionic_binding_is_that_of_ewald_sums():
    """Against pymatgen's three-dimensional Ewald sum of both layers and of each alone."""
    from pymatgen.analysis.ewald import EwaldSummation
    from pymatgen.core import Structure

    lower, upper = honeycomb("Al", "N"), honeycomb("Si", "C")
    stack = stack_layers([lower, upper], registries=[(1 / 3, 2 / 3)], gaps_a=[3.0])
    atoms = build(stack, cell_height_a=60.0)
    charges = np.zeros(len(atoms))
    for i in range(2):
        own = atoms.arrays["layer"] == i
        values = [element_data(s).electronegativity for s in atoms.symbols[own]]
        charges[own] = np.mean(values) - values

    def energy(rows) -> float:
        structure = Structure(
            atoms.cell.array,
            atoms.symbols[rows],
            atoms.positions[rows],
            coords_are_cartesian=True,
            site_properties={"charge": charges[rows]},
        )
        structure.add_oxidation_state_by_site(list(charges[rows]))
        return EwaldSummation(structure, acc_factor=14).total_energy

    rows = np.arange(len(atoms))
    layers = atoms.arrays["layer"]
    alone = sum(energy(rows[layers == i]) for i in range(2))
    expected = 1e3 * (alone - energy(rows)) / stack.area_a2
    assert ionic_binding_mev_a2(stack, 0, (3.0,))[0] == pytest.approx(expected, rel=0.01)


def test_ionic_binding_does_not_depend_on_the_description(small_stacks):
    for stack in small_stacks[:40]:
        if not share_one_cell(*stack.layers):
            continue
        found = ionic_binding_mev_a2(stack, 0, (2.5, 3.5))
        assert np.allclose(found, ionic_binding_mev_a2(stack.reversed(), 0, (2.5, 3.5)), atol=1e-6)
    layer, other = honeycomb("Al", "N"), honeycomb("Si", "C")
    for registry in ((0.0, 0.0), (1 / 3, 2 / 3)):
        small = stack_layers([layer, other], registries=[registry])
        doubled = ((2, 1), (-1, 1))
        large = stack_layers([layer, other], [doubled, doubled], registries=[registry])
        assert share_one_cell(*large.layers)
        assert np.allclose(
            ionic_binding_mev_a2(small, 0, (3.0,)), ionic_binding_mev_a2(large, 0, (3.0,))
        )
