"""Formulas that stacks are asked for: of their layers, or of the whole."""

import pytest

from heteroforge.structures import Defect, Stack, StructureError
from heteroforge.structures.formula import StackFormula
from heteroforge.structures.matching import stack_layers

TWO_CELLS = ((2, 0), (0, 1))


@pytest.fixture
def layers(small_monolayers):
    return small_monolayers


def is_of(text: str, stack: Stack) -> bool:
    return StackFormula.parse(text).is_of(stack)


def test_layers_in_any_order_and_of_any_number_of_cells(layers):
    stack = stack_layers((layers["MoSS"], layers["WSeSe"]))
    larger = stack_layers((layers["MoSS"], layers["WSeSe"]), [TWO_CELLS] * 2)
    for one in (stack, larger):
        assert is_of("MoS2/WSe2", one) and is_of("WSe2/MoS2", one) and is_of("MoWS2Se2", one)
        assert not is_of("MoS2/MoS2", one) and not is_of("MoS2/WS2", one)
        assert not is_of("MoSe2/WS2", one)  # as a whole they are equal
    trilayer = stack_layers((layers["MoSS"], layers["WSeSe"], layers["MoSS"]))
    assert is_of("MoS2/MoS2/WSe2", trilayer) and not is_of("MoS2/WSe2/WSe2", trilayer)
    assert is_of("Mo2WS4Se2", trilayer) and not is_of("MoS2/WSe2", trilayer)


def test_the_whole_counts_defects_and_layers_do_not(layers):
    from dataclasses import replace

    stack = stack_layers((layers["MoSS"], layers["WSS"]), [TWO_CELLS] * 2)
    lower = replace(stack.layers[0], defects=(Defect("substitution", 1, "W"),))
    doped = replace(stack, layers=(lower, stack.layers[1]))
    assert is_of("MoS2/WS2", doped) and is_of("MoW3S8", doped) and not is_of("MoWS4", doped)


@pytest.mark.parametrize("text", ["", "MoS2/", "Qq2", "MoS2 on WS2", "MoS2+WS2", "mos2", "X2"])
def test_no_formula(text):
    with pytest.raises(StructureError, match="expected layers such as MoS2/WSe2"):
        StackFormula.parse(text)


@pytest.mark.parametrize(
    ("text", "most_layers", "atoms", "possible"),
    [
        ("MoWS4", 2, 6, True),
        ("MoWS4", 2, 5, False),
        ("Mo2WS6", 2, 9, True),  # two cells on one
        ("Mo2WS6", 2, 8, False),
        ("MoSSe", 2, 6, True),  # the Janus layer twice, or MoS2 on MoSe2
        ("Mo2S3Se", 2, 6, True),  # the Janus layer on MoS2
        ("MoS", 4, 60, False),
        ("MoWS2Se2", 2, 6, True),
        ("MoW4S10", 4, 15, True),
    ],
)
def test_what_layers_add_up_to(layers, text, most_layers, atoms, possible):
    fault = StackFormula.parse(text).fault(layers.values(), (2, most_layers), atoms)
    assert (fault == "") == possible


def test_the_lowest_layer_counts(layers):
    formula = StackFormula.parse("MoSSe")
    assert formula.fault(layers.values(), (2, 2), 6, [layers["MoSeSe"]]) == ""
    assert formula.fault(layers.values(), (2, 2), 6, [layers["WSS"]])
