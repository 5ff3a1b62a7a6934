"""Layers with point defects as layers of their own, and back."""

import numpy as np
import pytest

from heteroforge.structures import Defect, Interface, Layer, Stack, StructureError, build
from heteroforge.structures.build import layer_sites
from heteroforge.structures.defects import as_monolayer, repeated

TWICE = ((2, 0), (0, 2))


@pytest.mark.parametrize("supercell", [((1, 0), (0, 1)), ((2, 0), (0, 1)), ((1, 1), (-1, 2))])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("defect", [Defect("vacancy", 2), Defect("substitution", 1, "Nb")])
def test_a_defective_layer_and_its_repetition_are_one_structure(
    small_monolayers, supercell, flipped, defect
):
    layer = Layer(small_monolayers["MoSeS"], TWICE, defects=(defect,))
    own = Layer(as_monolayer(layer, "defective"), supercell, flipped)
    made = repeated(layer, supercell, flipped)
    assert len(made.defects) == own.number_of_cells
    cell = (7.0, 8.0, 100.0)
    offset = Interface((0.3, 0.1), 3.0)
    on = Layer(small_monolayers["WSS"])
    one, other = (build(Stack((on, upper), (offset,), *cell)) for upper in (own, made))
    assert sorted(one.get_chemical_symbols()) == sorted(other.get_chemical_symbols())
    for symbol, position in zip(one.get_chemical_symbols(), one.positions, strict=True):
        same = [i for i, s in enumerate(other.get_chemical_symbols()) if s == symbol]
        difference = np.linalg.solve(one.cell.T, (other.positions[same] - position).T).T
        difference[:, :2] -= np.round(difference[:, :2])
        assert np.abs(difference).max(axis=1).min() < 1e-6


def test_sites_of_the_repetition_hold_what_the_defects_replace(small_monolayers):
    layer = Layer(small_monolayers["MoSeS"], TWICE, defects=(Defect("vacancy", 2),))
    gone = layer_sites(layer)[0][2]
    made = repeated(layer, ((1, 1), (-1, 2)), True)
    species = layer_sites(made)[0]
    assert {species[defect.site] for defect in made.defects} == {gone}


def test_an_emptied_face_is_an_error(small_monolayers):
    sites = layer_sites(Layer(small_monolayers["MoSS"], ((2, 0), (0, 1))))
    top = np.flatnonzero(sites[2] > 1.0)
    bare = Layer(
        small_monolayers["MoSS"],
        ((2, 0), (0, 1)),
        defects=tuple(Defect("vacancy", int(i)) for i in top),
    )
    with pytest.raises(StructureError, match="empty a face"):
        as_monolayer(bare, "bare")
