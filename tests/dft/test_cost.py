"""What DFT of a stack is expected to cost, against what the bundled library took."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from heteroforge.dft.calculations import Calculator
from heteroforge.dft.cost import expected_core_min
from heteroforge.dft.protocols import Protocol, Pseudopotentials
from heteroforge.dft.running import Launcher
from heteroforge.sources import read_library
from heteroforge.structures import Stack, build
from heteroforge.structures.matching import stack_layers

FAMILY = {"pseudopotentials": "pseudodojo"}


def test_the_library_took_as_long_as_expected():
    folder = Path(__file__).parents[2] / "resources" / "library"
    layers = read_library(folder / "monolayers.extxyz", folder / "monolayers.csv").monolayers
    labels = pd.read_csv(folder / "bilayers.csv").drop_duplicates("stack_id").set_index("stack_id")
    entries = pd.read_csv(folder / "stacks.csv").set_index("stack_id")["entry"]
    measured = entries.map(pd.read_csv(folder / "runs.csv").set_index("entry")["core_seconds"]) / 60
    measured = measured.dropna()
    expected = [
        expected_core_min(Stack.from_json(labels.at[key, "specification"], layers), **FAMILY)
        for key in measured.index
    ]
    ratio = measured / expected
    assert len(ratio) > 30 and 0.8 < ratio.median() < 1.25
    # But silicene on AlP, whose layers bond: 23 and 29 ionic steps.
    assert ratio.between(1 / 3, 3).mean() > 0.95, ratio
    # It tells light stacks from heavy ones, not just their mean: of two that are expected to differ
    # threefold the lighter one took less.
    expected, measured = np.array(expected), measured.to_numpy()
    heavy, light = np.nonzero(expected[:, None] > 3 * expected)
    assert len(heavy) > 1000 and (measured[heavy] > measured[light]).mean() > 0.95


@pytest.fixture
def bilayer(small_monolayers):
    return stack_layers(list(small_monolayers.values())[:2])


def test_what_is_polarised_alone_costs_as_much_in_a_stack(bilayer):
    """Two layers of odd numbers of electrons have an even one, and still two spin channels."""

    def of(metal: str) -> Stack:
        own = bilayer.layers[0]
        species = tuple("S" if s == "S" else metal for s in own.monolayer.species)
        layer = replace(own.monolayer, species=species, name="")
        return replace(bilayer, layers=tuple(replace(x, monolayer=layer) for x in bilayer.layers))

    family = Pseudopotentials("pseudodojo")
    run = Calculator(Path(), Protocol.named("quick", family), family, Launcher())
    costs = {}
    for metal, polarised in (("Mo", False), ("Nb", True)):
        assert run.is_spin_polarised(build(of(metal))) is polarised
        costs[metal] = expected_core_min(of(metal), **FAMILY)
    assert costs["Nb"] > 1.5 * costs["Mo"]


def test_what_costs_more(bilayer):
    cost = expected_core_min(bilayer, **FAMILY)
    # Of layers that have a common cell, there are three.
    assert expected_core_min(bilayer, **FAMILY, registries=True) == pytest.approx(
        (1 + 3 * 0.27) * cost, rel=0.1
    )
    assert expected_core_min(bilayer, **FAMILY, mobility=True) == pytest.approx(2 * cost)
    assert expected_core_min(bilayer, **FAMILY, protocol="standard") > 2 * cost
    # In a registry of no symmetry there are three times as many k-points.
    offset = replace(bilayer.interfaces[0], offset=(0.21, 0.04))
    astray = replace(bilayer, interfaces=(offset,))
    assert 2 < expected_core_min(astray, **FAMILY) / cost < 4
    # Where layers slide, it does not stay there, but is compared.
    assert 1.8 < expected_core_min(astray, **FAMILY, registries=True) / cost < 3


def test_a_supercell_costs_in_proportion_to_its_bands(bilayer):
    """As many k-points less as it has more plane waves; bands are left."""
    large = replace(
        bilayer,
        layers=tuple(
            replace(layer, supercell=tuple(tuple(3 * n for n in row) for row in layer.supercell))
            for layer in bilayer.layers
        ),
        a=3 * bilayer.a,
        b=3 * bilayer.b,
    )
    ratio = expected_core_min(large, **FAMILY) / expected_core_min(bilayer, **FAMILY)
    assert 9 < ratio < 40  # of few k-points symmetry leaves a larger share


def test_an_element_without_a_pseudopotential_has_no_cost(bilayer):
    layer = bilayer.layers[0].monolayer
    strange = replace(layer, species=("At",) * len(layer.species))
    assert np.isnan(expected_core_min(stack_layers([strange, layer]), **FAMILY))
    with pytest.raises(ValueError, match="dft.protocol"):
        expected_core_min(bilayer, **FAMILY, protocol="slow")
