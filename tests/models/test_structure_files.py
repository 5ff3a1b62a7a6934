"""Structure files of several formats as stacks; what is none comes with its reason."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene

from heteroforge.io import InputError
from heteroforge.models.structure_files import read_structures, stack_of
from heteroforge.structures import build
from heteroforge.structures.matching import stack_layers


@pytest.fixture(scope="module")
def twisted(small_monolayers):
    """MoS2 on itself at 21.79°: 7 cells each."""
    layer = small_monolayers["MoSS"]
    return stack_layers([layer, layer], [((3, 1), (-1, 2)), ((3, 2), (-2, 1))], gaps_a=[3.0])


def test_formats_give_one_stack(small_stacks, tmp_path):
    atoms = build(small_stacks[0])
    for name in ("a.cif", "b.extxyz", "c.vasp"):
        ase.io.write(tmp_path / name, atoms)
    found = list(read_structures([tmp_path]))
    assert [f.name for f in found] == ["a", "b", "c"]
    assert len({f.stack.formula for f in found}) == 1
    assert all(f.stack.number_of_layers == 2 and not f.reason for f in found)


def test_what_is_no_stack_is_set_aside(tmp_path):
    ase.io.write(tmp_path / "bulk.cif", bulk("Cu", cubic=True))
    (tmp_path / "broken.extxyz").write_text("two\natoms\n")
    found = {f.name: f for f in read_structures([tmp_path])}
    assert found["bulk"].stack is None and "no layer: 1.8 Å from its image" in found["bulk"].reason
    assert found["broken"].stack is None and "unreadable" in found["broken"].reason
    with pytest.raises(InputError, match="no such file"):
        list(read_structures([tmp_path / "missing.cif"]))


def test_a_layer_alone_is_a_stack_of_one(tmp_path, small_monolayers):
    layers = {"MoSS": small_monolayers["MoSS"].to_atoms(), "C": graphene(vacuum=6.0)}
    for name, atoms in layers.items():
        ase.io.write(tmp_path / f"{name}.cif", atoms.repeat((2, 2, 1)))
    found = {f.name: f.stack for f in read_structures([tmp_path])}
    assert {name: len(stack.layers) for name, stack in found.items()} == {"MoSS": 1, "C": 1}
    assert len(found["MoSS"].layers[0].monolayer.species) == 3


@pytest.mark.parametrize("corrugation_a", [0.0, 0.03])
def test_layers_of_twisted_stacks_are_found_in_their_own_cells(twisted, corrugation_a):
    atoms = build(twisted)
    generator = np.random.default_rng(0)
    atoms.positions += corrugation_a * generator.standard_normal(atoms.positions.shape)
    found = stack_of(atoms)
    assert [len(layer.monolayer.species) for layer in found.layers] == [3, 3]
    assert [layer.number_of_cells for layer in found.layers] == [7, 7]
    assert abs(found.twist_deg(0) % 60 - 30) == pytest.approx(abs(21.79 - 30), abs=0.2)


def test_layers_nearer_than_bonds_are_told_apart_by_the_widest_interval(small_stacks):
    atoms = build(small_stacks[0])
    upper = atoms.arrays["layer"] == 1
    gap = atoms.positions[upper, 2].min() - atoms.positions[~upper, 2].max()
    atoms.positions[upper, 2] -= gap - 2.4
    assert stack_of(atoms).number_of_layers == 2
    assert stack_of(atoms).interfaces[0].gap_a == pytest.approx(2.4, abs=1e-3)


def test_a_single_atom_is_refused():
    from heteroforge.structures import StructureError

    with pytest.raises(StructureError, match="a layer has two atoms"):
        stack_of(Atoms("C", cell=[2, 2, 20], pbc=True))
