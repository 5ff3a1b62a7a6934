"""One key per physical stack: invariance, distinction, cost."""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest

from heteroforge.structures import Interface, Layer, Stack
from heteroforge.structures.matching import (
    enumerate_registries,
    find_matches,
    stack_from_match,
    stack_layers,
)
from heteroforge.structures.plane import cell_parameters

PAIRS = [
    ("MoS2", "WSe2"),
    ("MoSSe", "MoSSe"),
    ("SnS2", "SnS2"),
    ("graphene", "graphene"),
    ("graphene", "BN"),
    ("P", "P"),
    ("FeSe", "FeSe"),
]


def described_otherwise(stack: Stack, generator: np.random.Generator) -> Stack:
    """The same stack (or its mirror image) by another cell, other origins, turned layers."""
    parity = generator.choice([1, -1])
    change = np.zeros((2, 2), dtype=int)
    while round(np.linalg.det(change)) != parity:
        change = generator.integers(-2, 3, (2, 2))
    cell = change @ stack.cell
    origins = np.cumsum([(0.0, 0.0), *(i.offset for i in stack.interfaces)], axis=0)
    layers, moved = [], []
    for layer, origin in zip(stack.layers, origins, strict=True):
        operations = layer.monolayer.operations
        allowed = np.flatnonzero(np.round(np.linalg.det(operations.matrices)) == parity)
        chosen = generator.choice(allowed)
        turn = operations.matrices[chosen]
        inverse = np.linalg.inv(layer.supercell)
        supercell = np.round(change @ layer.supercell @ np.linalg.inv(turn)).astype(int)
        shift = operations.shifts[chosen] - operations.origin @ turn + operations.origin
        shift = shift + generator.integers(-3, 4, 2)
        layers.append(
            Layer(
                layer.monolayer,
                tuple(map(tuple, supercell.tolist())),
                bool(layer.flipped ^ operations.exchanges_faces[chosen]),
            )
        )
        moved.append((origin + shift @ inverse) @ np.linalg.inv(change))
    interfaces = tuple(
        Interface(tuple((moved[i + 1] - moved[i]).tolist()), interface.gap_a)
        for i, interface in enumerate(stack.interfaces)
    )
    other = Stack(tuple(layers), interfaces, *cell_parameters(cell))
    return other.reversed() if generator.random() < 0.5 else other


@pytest.mark.parametrize(("lower", "upper"), PAIRS)
def test_bilayers(layers, generator, lower, upper):
    lower, upper = layers[lower], layers[upper]
    mismatch = 3.0 if lower != upper else 0.5
    matches = find_matches(lower, upper, 45, mismatch, 60)
    assert matches
    for match in matches[:3]:
        for flipped in itertools.product((False, True), repeat=2):
            registries = enumerate_registries(lower, upper)
            for registry in [*registries, tuple(generator.random(2))]:
                stack = stack_from_match(lower, upper, match, registry, 3.3, flipped)
                for _ in range(4):
                    assert described_otherwise(stack, generator).key() == stack.key()


@pytest.mark.parametrize("count", [3, 4])
def test_more_layers(layers, generator, count):
    turns = [((1, 0), (0, 1)), ((0, -1), (1, 1)), ((-1, 0), (0, -1))]
    kinds = [layers[name] for name in ("MoS2", "WSe2", "MoSSe")]
    for _ in range(40):
        stack = stack_layers(
            [kinds[i] for i in generator.integers(0, 3, count)],
            [turns[i] for i in generator.integers(0, 3, count)],
            [tuple(generator.integers(0, 12, 2) / 12) for _ in range(count - 1)],
            [3.3] * (count - 1),
            generator.integers(0, 2, count).astype(bool),
        )
        for _ in range(3):
            assert described_otherwise(stack, generator).key() == stack.key()


@pytest.mark.parametrize(
    ("lower", "upper", "stackings"),
    [
        # Published numbers of distinct high-symmetry stackings of 1×1 cells, both orientations.
        ("MoS2", "MoS2", 5),
        ("MoS2", "WS2", 6),
        ("graphene", "graphene", 2),
        ("graphene", "BN", 3),
        ("BN", "BN", 5),
        ("MoSSe", "MoSSe", 16),  # S–S and Se–Se contacts 5 each, S–Se 6
    ],
)
def test_number_of_distinct_stackings(layers, lower, upper, stackings):
    lower, upper = layers[lower], layers[upper]
    keys = {
        stack_from_match(lower, upper, match, registry, 3.3, flipped).key()
        for match in find_matches(lower, upper, 12, 3, 10)
        for flipped in itertools.product((False, True), repeat=2)
        for registry in enumerate_registries(lower, upper)
    }
    assert len(keys) == stackings


def test_multiple_of_the_cell(layers):
    pair = [layers["MoS2"], layers["WSe2"]]
    single = stack_layers(pair, registries=[(1 / 3, 2 / 3)], gaps_a=[3.1])
    double = stack_layers(pair, [((2, 0), (0, 2))] * 2, [(1 / 3, 2 / 3)], [3.1])
    assert double.key() == single.key()


def test_what_changes_the_key(layers):
    stack = stack_layers([layers["MoS2"], layers["WSe2"]], gaps_a=[3.1])
    others = [
        replace(stack, interfaces=(Interface((0.2, 0.0), 3.1),)),
        stack_layers([layers["WS2"], layers["WSe2"]], gaps_a=[3.1]),
        stack_layers([layers["MoS2"]]),
        stack_layers([layers["MoS2"], layers["WSe2"]], [((1, 0), (0, 1)), ((-1, 0), (0, -1))]),
    ]
    assert len({other.key() for other in others} | {stack.key()}) == len(others) + 1


def test_what_does_not_change_the_key(layers):
    stack = stack_layers([layers["MoS2"], layers["WSe2"]], gaps_a=[3.1])
    # Less than the resolution of the registry; the gap; the strain.
    assert replace(stack, interfaces=(Interface((0.01, 0.0), 3.1),)).key() == stack.key()
    assert replace(stack, interfaces=(Interface((0.0, 0.0), 3.6),)).key() == stack.key()
    assert replace(stack, a=3.2, b=3.2).key() == stack.key()


def test_registry_of_a_twisted_cell_counts_in_the_common_lattice(layers):
    # Shifts of twisted graphene by vectors of either lattice change nothing.
    graphene = layers["graphene"]
    match = find_matches(graphene, graphene, 40, 0.01)[1]
    upper = np.linalg.inv(match.supercell_top) @ np.array(match.supercell_bottom)
    base = stack_from_match(graphene, graphene, match, (0.1, 0.03))
    for vector in (upper[0], upper[1], upper[0] - upper[1], (1, 0), (0, 1)):
        registry = tuple(np.array([0.1, 0.03]) + vector)
        assert stack_from_match(graphene, graphene, match, registry).key() == base.key()


def test_key_is_cheap(layers, generator):
    match = find_matches(layers["MoS2"], layers["WSe2"], 80, 3)[2]
    stacks = [
        stack_from_match(layers["MoS2"], layers["WSe2"], match, tuple(generator.random(2)), 3.3)
        for _ in range(200)
    ]
    stacks[0].key()
    start = time.process_time()
    for stack in stacks:
        stack.key()
    assert (time.process_time() - start) / len(stacks) < 1e-3


def test_proposed_layers_are_told_by_prototype(layers):
    """The lattice of a layer that no library knows is a guess until DFT relaxes it."""

    def stack(upper, registry=(1 / 3, 2 / 3), flipped=False):
        return stack_layers(
            [layers["MoS2"], upper], registries=[registry], flipped=[False, flipped]
        )

    proposed = replace(layers["MoSSe"], name="")
    relaxed = replace(
        proposed,
        a=1.03 * proposed.a,
        b=1.03 * proposed.b,
        heights=tuple(0.95 * height for height in proposed.heights),
    )
    own = stack(proposed)
    assert stack(relaxed).key() != own.key()
    assert stack(relaxed).prototype_key() == own.prototype_key()
    for moved in (own, stack(relaxed)):  # digits that are lost in a file
        read = Stack.from_json(moved.to_json(), {"MoS2": layers["MoS2"]})
        assert read.prototype_key() == own.prototype_key()
    # Described from the other side: the same atoms.
    turned = replace(relaxed, heights=tuple(-height for height in relaxed.heights))
    assert stack(turned, flipped=True).prototype_key() == own.prototype_key()
    assert own.reversed().prototype_key() == own.prototype_key()
    with_te = tuple("Te" if element == "Se" else element for element in proposed.species)
    octahedral = replace(layers["SnS2"], species=with_te, name="")
    others = {
        "registry": stack(proposed, registry=(0.0, 0.0)),
        "face": stack(proposed, flipped=True),
        "elements": stack(replace(proposed, species=with_te)),
        "prototype": stack(octahedral),
        "library": stack(layers["MoSSe"]),
    }
    keys = {name: other.prototype_key() for name, other in others.items()}
    assert len({own.prototype_key(), *keys.values()}) == 1 + len(keys)
    assert keys["library"] == others["library"].key()
