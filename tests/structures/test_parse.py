"""What parse finds does not depend on how the atoms were written down."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell

from heteroforge.structures import Monolayer, StructureError, build, parse, split_layers
from heteroforge.structures.compare import periodic_rmsd_a
from heteroforge.structures.matching import (
    enumerate_registries,
    find_matches,
    stack_from_match,
    stack_layers,
)


@pytest.fixture
def library(layers):
    return list(layers.values())


@pytest.fixture(params=["MoS2/WSe2", "MoSSe/SnS2", "graphene/graphene", "P/P", "trilayer"])
def stack(request, layers):
    if request.param == "trilayer":
        chosen = [layers[name] for name in ("MoS2", "MoSSe", "WSe2")]
        return stack_layers(
            chosen, registries=[(1 / 3, 2 / 3), (0.1, 0.2)], gaps_a=[3.1, 3.3], flipped=[0, 1, 0]
        )
    lower, upper = (layers[name] for name in request.param.split("/"))
    matches = find_matches(lower, upper, 50, 7, 60)
    match = matches[1] if request.param.startswith("graphene") else matches[0]
    registry = enumerate_registries(lower, upper)[-1]
    return stack_from_match(lower, upper, match, registry, 3.2)


def same(atoms: Atoms, stack, library) -> None:
    found = parse(atoms, monolayers=library)
    assert found.key() == stack.key()
    assert found.number_of_layers == stack.number_of_layers
    own = parse(atoms)
    assert [la.monolayer.formula for la in own.layers] == [
        la.monolayer.formula for la in stack.layers
    ] or [la.monolayer.formula for la in own.layers[::-1]] == [
        la.monolayer.formula for la in stack.layers
    ]
    gaps = [interface.gap_a for interface in own.interfaces]
    expected = [interface.gap_a for interface in stack.interfaces]
    assert np.allclose(gaps, expected, atol=1e-6) or np.allclose(gaps[::-1], expected, atol=1e-6)


@pytest.mark.parametrize("vacuum_a", [10.0, 20.0, 40.0])
def test_vacuum(stack, library, vacuum_a):
    atoms = build(stack, vacuum_a=vacuum_a)
    same(atoms, stack, library)
    assert parse(atoms).to_json(True) == parse(build(stack)).to_json(True)
    assert Monolayer.from_atoms(atoms).layer_group == stack.layer_group


def test_order_of_atoms(stack, library, generator):
    atoms = build(stack)
    same(atoms[generator.permutation(len(atoms))], stack, library)


def test_translation(stack, library, generator):
    for _ in range(3):
        atoms = build(stack)
        atoms.positions += generator.uniform(-20, 20, 3)
        same(atoms, stack, library)


def test_cut_by_the_boundary_in_z(stack, library):
    atoms = build(stack)
    height = atoms.cell[2, 2]
    for part in (0.3, 0.5, 0.55, 0.9):
        cut = atoms.copy()
        cut.positions[:, 2] = (cut.positions[:, 2] + part * height) % height
        same(cut, stack, library)


def test_turn_of_the_cell(stack, library):
    for angle in (17.0, 90.0, 200.0):
        atoms = build(stack)
        atoms.rotate(angle, "z", rotate_cell=True)
        same(atoms, stack, library)


def test_cell_in_space(stack, library):
    atoms = build(stack)
    atoms.rotate(35.0, (1.0, 0.4, 0.2), rotate_cell=True)
    same(atoms, stack, library)


@pytest.mark.parametrize("change", [((1, 0), (1, 1)), ((0, 1), (-1, 0)), ((0, 1), (1, 0))])
def test_choice_of_cell_vectors(stack, library, change):
    matrix = np.eye(3, dtype=int)
    matrix[:2, :2] = change
    atoms = build(stack)
    # Left-handed vectors are allowed too.
    atoms.set_cell(matrix @ atoms.cell.array)
    atoms.wrap()
    same(atoms, stack, library)


def test_multiple_of_the_cell(layers, library):
    stack = stack_layers([layers["MoS2"], layers["WSe2"]], gaps_a=[3.1])
    matrix = np.array([[2, 1, 0], [0, 1, 0], [0, 0, 1]])
    same(make_supercell(build(stack), matrix), stack, library)


def test_upside_down(stack, library):
    atoms = build(stack)
    turned = atoms.copy()
    turned.rotate(180.0, "x", rotate_cell=True)
    same(turned, stack, library)
    mirrored = atoms.copy()
    mirrored.positions[:, 2] *= -1
    same(mirrored, stack, library)


def test_tilted_cell_of_a_bulk_code(stack, library):
    # The third vector need not be normal to the layers: positions repeat along it.
    atoms = build(stack, vacuum_a=20)
    cell = atoms.cell.array.copy()
    cell[2] += 0.37 * cell[0] + 0.2 * cell[1]
    height = cell[2, 2]
    moved = atoms.copy()
    moved.set_cell(cell)
    above = moved.positions[:, 2] > height / 2
    moved.positions[above] -= cell[2]
    same(moved, stack, library)


def test_noise_of_a_relaxation_keeps_the_identity(stack, library, generator):
    atoms = build(stack)
    reference = parse(atoms, monolayers=library)
    atoms.positions += generator.normal(0, 0.01, atoms.positions.shape)
    found = parse(atoms, monolayers=library)
    assert [la.monolayer.name for la in found.layers] == [
        la.monolayer.name for la in reference.layers
    ]
    assert periodic_rmsd_a(build(found), atoms) < 0.05


def test_closest_of_similar_monolayers_is_taken(layers):
    # Both explain the layer within the tolerance; the one that is less strained is the better.
    similar = replace(layers["MoS2"], a=3.25, b=3.25, name="stretched")
    stack = stack_layers([layers["MoS2"], layers["WSe2"]], gaps_a=[3.1])
    alone = replace(stack, layers=stack.layers[:1], interfaces=(), a=3.18, b=3.18)
    for library in ([similar, layers["MoS2"]], [layers["MoS2"], similar]):
        assert parse(build(alone), monolayers=library).layers[0].monolayer.name == "MoS2"


def test_perfect_layer_is_preferred_to_a_doped_other_one(layers):
    gallium = Atoms(
        "Ga2S2",
        scaled_positions=[[0, 0, 0.44], [0, 0, 0.56], [1 / 3, 2 / 3, 0.38], [1 / 3, 2 / 3, 0.62]],
        cell=[[3.6, 0, 0], [-1.8, 3.118, 0], [0, 0, 20]],
        pbc=True,
    )
    janus = gallium.copy()
    janus.symbols[3] = "Se"
    plain = Monolayer.from_atoms(gallium, "Ga2S2")
    mixed = Monolayer.from_atoms(janus, "Ga2SSe")
    atoms = make_supercell(mixed.to_atoms(), np.diag([2, 2, 1]))
    found = parse(atoms, number_of_layers=1, monolayers=[plain, mixed])
    assert found.layers[0].monolayer.name == "Ga2SSe"
    assert not found.layers[0].defects


def test_layers_are_told_apart_by_bonds_not_by_height(layers):
    # Interpenetrating heights belong to one layer: buckled SnS2 is not three planes.
    assert len(split_layers(layers["SnS2"].to_atoms())) == 1
    stack = stack_layers([layers["P"], layers["P"]], gaps_a=[3.1])
    assert [len(part) for part in split_layers(build(stack))] == [4, 4]


def test_number_of_layers_can_be_told(layers):
    # Two layers pressed together until bonds join them.
    stack = stack_layers([layers["MoS2"], layers["MoS2"]], gaps_a=[1.6])
    atoms = build(stack)
    assert len(split_layers(atoms)) == 1
    found = parse(atoms, number_of_layers=2)
    assert found.interfaces[0].gap_a == pytest.approx(1.6)
    assert len(parse(build(stack_layers([layers["P"]] * 2, gaps_a=[3.1])), 1).layers) == 1


def test_bad_atoms_are_refused(layers):
    good = build(stack_layers([layers["MoS2"]] * 4, gaps_a=[3.1] * 3))
    with pytest.raises(StructureError, match="no atoms"):
        parse(Atoms(cell=[3, 3, 20]))
    with pytest.raises(StructureError, match="no in-plane cell"):
        parse(Atoms("C", positions=[[0, 0, 0]]))
    broken = good.copy()
    broken.positions[3, 1] = np.nan
    with pytest.raises(StructureError, match="not finite"):
        parse(broken)
    five = Atoms("C5", positions=[[0, 0, 4.0 * i] for i in range(5)], cell=[2.5, 2.5, 40])
    with pytest.raises(StructureError, match="5 layers found"):
        parse(five)
    with pytest.raises(StructureError, match="cannot make 3 layers"):
        parse(Atoms("C2", positions=[[0, 0, 0], [1.2, 1.2, 0]], cell=[2.5, 2.5, 20]), 3)
    with pytest.raises(StructureError, match="no empty interval"):
        parse(layers["graphene"].to_atoms(), 2)
    with pytest.raises(StructureError, match="unknown element 'X'"):
        parse(Atoms("X", positions=[[0, 0, 0]], cell=[2.5, 2.5, 20]))
