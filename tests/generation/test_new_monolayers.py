"""New monolayers: prototypes of the library with other elements."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from ase.data import atomic_numbers, covalent_radii

from heteroforge.generation import match_proposed, propose_monolayers
from heteroforge.generation.new_monolayers import _alternatives, substitute
from heteroforge.predict import RESOURCES
from heteroforge.sources import bundled
from heteroforge.structures import Monolayer
from heteroforge.structures.matching import enumerate_registries, stack_layers


def test_proposals_keep_to_the_elements_of_the_library(small_monolayers):
    allowed = {s for layer in small_monolayers.values() for s in layer.species} | {"Te"}
    made = propose_monolayers(small_monolayers, 20, elements_allowed=allowed)
    assert made and all(set(layer.species) <= allowed for layer in made.values())
    without = propose_monolayers(small_monolayers, 20, elements_excluded={"Te"})
    assert without and not any("Te" in layer.species for layer in without.values())


def test_elements_stand_for_neighbours_in_their_group():
    assert set(_alternatives("Se")) == {"S", "Se", "Te"}
    assert set(_alternatives("Mo")) == {"Cr", "Mo", "W"}
    assert _alternatives("H") == ("H",) and _alternatives("Na") == ("Na",)


def test_proposals_are_new_and_distinct(small_monolayers):
    made = propose_monolayers(small_monolayers, 12)
    assert len(made) == 12 and not set(made) & set(small_monolayers)

    def faces(layer):
        order = [layer.species[i] for i in np.argsort(layer.heights)]
        return min(order, order[::-1])

    known = [faces(layer) for layer in small_monolayers.values()]
    new = [faces(layer) for layer in made.values()]
    assert not any(one in known for one in new)
    assert not any(one == other for one, other in itertools.combinations(new, 2))
    assert propose_monolayers(small_monolayers, 12) == made


def test_bonds_keep_their_ratio_to_the_radii(small_monolayers):
    prototype = small_monolayers["MoSS"]
    made = substitute(prototype, ("Se", "Mo", "S"))

    def bond(layer, chalcogen):
        rise = layer.heights[1] - layer.heights[chalcogen]
        length = np.hypot(layer.a / 3**0.5, rise)
        radii = covalent_radii[[atomic_numbers[layer.species[i]] for i in (1, chalcogen)]].sum()
        return length / radii

    assert bond(made, 0) == pytest.approx(bond(prototype, 0), rel=0.01)
    assert bond(made, 2) == pytest.approx(bond(prototype, 2), rel=0.01)
    assert made.a > prototype.a
    assert substitute(prototype, prototype.species).a == pytest.approx(prototype.a, abs=1e-4)


def test_flat_layer_stays_flat():
    from heteroforge.structures import Monolayer

    flat = Monolayer(("B", "N"), ((0.0, 0.0), (1 / 3, 2 / 3)), (0.0, 0.0), 2.51, 2.51, 120.0, "BN")
    made = substitute(flat, ("Al", "N"))
    assert made.thickness_a == 0.0 and made.a > 2.8


def test_matches_are_those_of_new_monolayers(small_monolayers):
    made = propose_monolayers(small_monolayers, 2)
    rows = match_proposed(small_monolayers, made, {}, 20.0, 3.0, 8)
    assert len(rows)
    assert (rows["bottom"].isin(made) | rows["top"].isin(made)).all()
    assert (rows["mismatch_percent"] <= 3.0).all()


@pytest.mark.parametrize(
    ("prototype", "exchange", "found"),
    [
        ("SiC-honeycomb", {"Si": "Ge"}, "GeC-honeycomb"),
        ("AlN-honeycomb", {"Al": "Ga"}, "GaN-honeycomb"),
        ("AlN-honeycomb", {"N": "P"}, "AlP-honeycomb"),
        ("CH-graphane", {"C": "Si"}, "SiH-silicane"),
    ],
)
def test_a_guess_is_recognised_in_what_dft_makes_of_it(prototype, exchange, found):
    """Guessed from one layer of the bundled library, relaxed by DFT in another of its layers."""
    layers = {
        candidate.material: replace(Monolayer.from_atoms(candidate.atoms), name=candidate.material)
        for candidate in bundled.read_candidates(RESOURCES / "library")
    }
    own = layers[prototype]
    guess = substitute(own, [exchange.get(symbol, symbol) for symbol in own.species])
    relaxed = replace(layers[found], name="")
    keys = []
    for upper in (guess, relaxed):
        places = enumerate_registries(layers["BP-honeycomb"], upper)
        stacks = [stack_layers([layers["BP-honeycomb"], upper], registries=[p]) for p in places]
        keys.append([stack.prototype_key() for stack in stacks])
        assert len({stack.key() for stack in stacks}) == len(set(keys[-1])) == 3
    assert keys[0] == keys[1]
