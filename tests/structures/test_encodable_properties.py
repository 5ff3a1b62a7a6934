"""Whatever a stack can vary in is set, built into atoms, parsed back and found again."""

from dataclasses import replace

import numpy as np
import pytest

from heteroforge.structures import (
    Defect,
    Interface,
    Layer,
    Monolayer,
    Stack,
    StructureError,
    build,
    parse,
)
from heteroforge.structures.compare import periodic_rmsd_a
from heteroforge.structures.matching import find_matches, stack_from_match, stack_layers


@pytest.fixture
def library(layers):
    return list(layers.values())


@pytest.fixture
def bilayer(layers) -> Stack:
    return stack_layers([layers["MoS2"], layers["WSe2"]], gaps_a=[3.1])


def there_and_back(stack: Stack, library=()) -> Stack:
    return parse(build(stack), number_of_layers=stack.number_of_layers, monolayers=library)


def names(stack: Stack) -> list[str]:
    return [layer.monolayer.name for layer in stack.layers]


@pytest.mark.parametrize("upper", ["WSe2", "WS2", "MoSSe", "MoS2"])
def test_composition_of_each_layer(layers, library, upper):
    stack = stack_layers([layers["MoS2"], layers[upper]], gaps_a=[3.1])
    found = there_and_back(stack, library)
    assert names(found) == ["MoS2", upper]
    assert found.key() == stack.key()
    assert sorted(found.species) == sorted(stack.species)
    # Without a library the composition is the same, in cells of the layers' own.
    own = there_and_back(stack)
    assert [la.monolayer.formula for la in own.layers] == [
        la.monolayer.formula for la in stack.layers
    ]


def test_stacking_order(layers, library):
    orders = [["MoS2", "WSe2", "WS2"], ["WSe2", "MoS2", "WS2"], ["MoS2", "WS2", "WSe2"]]
    keys = set()
    for order in orders:
        stack = stack_layers([layers[name] for name in order], gaps_a=[3.1, 3.2])
        found = there_and_back(stack, library)
        assert names(found) == order
        keys.add(found.key())
    assert len(keys) == 3


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_number_of_layers(layers, library, count):
    order = ["MoS2", "WS2", "MoS2", "WSe2"][:count]
    stack = stack_layers([layers[name] for name in order], gaps_a=[3.1] * (count - 1))
    found = parse(build(stack), monolayers=library)
    assert found.number_of_layers == count
    assert found.key() == stack.key()


def test_twist_of_graphene(layers):
    graphene = layers["graphene"]
    match = find_matches(graphene, graphene, 40, 0.01, 60)[1]
    stack = stack_from_match(graphene, graphene, match, gap_a=3.35)
    for library in ([], [graphene]):
        found = there_and_back(stack, library)
        # Graphene turned by 60° is graphene, and parse may call the same turn by either name.
        twist = found.twist_deg(0) % 60
        assert min(abs(twist - 21.787), abs(twist - 38.213)) < 0.01
        assert [layer.number_of_cells for layer in found.layers] == [7, 7]
    assert there_and_back(stack, [graphene]).key() == stack.key()
    straight = stack_layers([graphene, graphene], gaps_a=[3.35])
    assert straight.key() != stack.key()


def test_twist_by_60_degrees(layers, library):
    lower, upper = layers["MoS2"], layers["WSe2"]
    straight, turned = find_matches(lower, upper, 12, 3, 10)
    keys = []
    for match, twist in ((straight, 0), (turned, 60)):
        stack = stack_from_match(lower, upper, match, gap_a=3.1)
        found = there_and_back(stack, library)
        # Turned by 120° more is the same layer.
        assert found.twist_deg(0) % 120 == pytest.approx(twist, abs=1e-4)
        assert found.key() == stack.key()
        keys.append(found.key())
    assert keys[0] != keys[1]


@pytest.mark.parametrize("offset", [(0.0, 0.0), (1 / 3, 2 / 3), (0.5, 0.0), (0.21, 0.55)])
def test_lateral_offset(bilayer, library, offset):
    stack = replace(bilayer, interfaces=(Interface(offset, 3.1),))
    found = there_and_back(stack, library)
    assert found.key() == stack.key()
    assert periodic_rmsd_a(build(found), build(stack)) < 1e-3
    exact = there_and_back(stack)
    assert periodic_rmsd_a(build(exact), build(stack)) < 1e-6


def test_offset_of_equal_layers_is_what_was_put_in(layers):
    layer = layers["MoS2"]
    stack = stack_layers([layer, layer], registries=[(0.25, 0.1)], gaps_a=[3.0])
    found = there_and_back(stack)
    assert np.allclose(found.registry(0), (0.25, 0.1), atol=1e-6)


@pytest.mark.parametrize("gap_a", [2.8, 3.1, 3.9, 5.0])
def test_gap(bilayer, library, gap_a):
    stack = replace(bilayer, interfaces=(Interface((0.0, 0.0), gap_a),))
    assert there_and_back(stack, library).interfaces[0].gap_a == pytest.approx(gap_a, abs=1e-6)


@pytest.mark.parametrize(("a", "b", "gamma_deg"), [(3.2, 3.2, 120.0), (3.3, 3.25, 119.0)])
def test_lattice_parameters_and_strain(bilayer, library, a, b, gamma_deg):
    stack = replace(bilayer, a=a, b=b, gamma_deg=gamma_deg)
    found = there_and_back(stack, library)
    assert (found.a, found.b, found.gamma_deg) == pytest.approx((a, b, gamma_deg))
    assert names(found) == ["MoS2", "WSe2"]
    assert found.mismatch_percent == pytest.approx(stack.mismatch_percent, abs=0.01)


@pytest.mark.parametrize("flipped", [False, True])
def test_flip_of_a_janus_layer(layers, library, flipped):
    stack = stack_layers([layers["WSe2"], layers["MoSSe"]], gaps_a=[3.1], flipped=[False, flipped])
    found = there_and_back(stack, library)
    assert found.layers[1].flipped is flipped
    assert found.key() == stack.key()
    atoms = build(stack)
    upper = atoms[atoms.arrays["layer"] == 1]
    facing = upper.symbols[int(np.argmin(upper.positions[:, 2]))]
    from_below = layers["MoSSe"].species[int(np.argmin(layers["MoSSe"].heights))]
    assert facing == ({"S": "Se", "Se": "S"}[from_below] if flipped else from_below)
    other = stack_layers(
        [layers["WSe2"], layers["MoSSe"]], gaps_a=[3.1], flipped=[False, not flipped]
    )
    assert other.key() != stack.key()


def test_the_two_faces_of_a_symmetric_layer_are_one(layers):
    stack = stack_layers([layers["WSe2"], layers["MoS2"]], gaps_a=[3.1])
    turned = stack_layers([layers["WSe2"], layers["MoS2"]], gaps_a=[3.1], flipped=[False, True])
    assert turned.key() == stack.key()


@pytest.fixture
def supercell(layers) -> Stack:
    return stack_layers([layers["WSe2"], layers["MoS2"]], [((3, 0), (0, 3))] * 2, gaps_a=[3.1])


@pytest.mark.parametrize(
    "defects",
    [
        (Defect("vacancy", 4),),
        (Defect("vacancy", 0),),
        (Defect("substitution", 1, "V"),),
        (Defect("substitution", 5, "Te"), Defect("vacancy", 11)),
    ],
    ids=["vacancy", "vacancy at the bottom face", "dopant", "two defects"],
)
@pytest.mark.parametrize("layer", [0, 1])
def test_defects(supercell, layers, defects, layer):
    broken = list(supercell.layers)
    broken[layer] = replace(broken[layer], defects=defects)
    stack = replace(supercell, layers=tuple(broken))
    found = there_and_back(stack, [layers["WSe2"], layers["MoS2"]])
    assert [len(la.defects) for la in found.layers] == [
        len(defects) if i == layer else 0 for i in (0, 1)
    ]
    assert sorted((d.kind, d.species) for d in found.layers[layer].defects) == sorted(
        (d.kind, d.species) for d in defects
    )
    assert found.key() == stack.key()
    assert found.key() != supercell.key()
    assert periodic_rmsd_a(build(found), build(stack)) < 1e-3
    assert found.interfaces[0].gap_a == pytest.approx(3.1, abs=1e-3)


def test_defects_on_either_face_are_told_apart(supercell):
    # Sulphur facing the other layer, and sulphur facing the vacuum.
    keys = set()
    for site in (0, 2):
        upper = replace(supercell.layers[1], defects=(Defect("vacancy", site),))
        keys.add(replace(supercell, layers=(supercell.layers[0], upper)).key())
    assert len(keys) == 2


def with_vacancy(layers, supercell, registry=(0.0, 0.0)) -> Stack:
    pair = [layers["WSe2"], layers["MoS2"]]
    stack = stack_layers(pair, [supercell] * 2, [registry], gaps_a=[3.1])
    broken = replace(stack.layers[1], defects=(Defect("vacancy", 1),))
    return replace(stack, layers=(stack.layers[0], broken))


def test_the_lattice_of_defects_is_told(layers):
    shapes = [((2, 0), (0, 2)), ((4, 0), (0, 1)), ((2, 0), (1, 2)), ((3, 0), (0, 3))]
    assert len({with_vacancy(layers, shape).key() for shape in shapes}) == 4
    # Turned by a symmetry of both layers, another basis, and a strained cell.
    one = with_vacancy(layers, ((4, 0), (0, 1)))
    assert with_vacancy(layers, ((0, 4), (-1, -1))).key() == one.key()
    assert (
        with_vacancy(layers, ((4, 0), (1, 1))).key()
        == with_vacancy(layers, ((4, 0), (1, 1))).reversed().key()
    )
    assert replace(one, a=1.02 * one.a, b=1.02 * one.b).key() == one.key()


def test_rows_of_defects_know_how_they_lie_on_the_other_layer(layers):
    along, across = (
        with_vacancy(layers, ((2, 0), (0, 1)), registry) for registry in ((0.5, 0.0), (0.0, 0.5))
    )
    assert along.key() != across.key()


def test_a_multiple_of_the_cell_of_defects_is_one(layers):
    from heteroforge.structures.defects import repeated

    stack = with_vacancy(layers, ((2, 0), (0, 2)))
    double = ((1, 0), (0, 2))
    twice = replace(
        stack,
        layers=tuple(repeated(layer, double, False) for layer in stack.layers),
        interfaces=(Interface((0.0, 0.0), 3.1),),
        b=2 * stack.b,
    )
    assert twice.key() == stack.key()


def test_equal_defects_at_other_cells_are_one(supercell):
    keys = set()
    for cell in range(9):
        upper = replace(supercell.layers[1], defects=(Defect("vacancy", 3 * cell),))
        keys.add(replace(supercell, layers=(supercell.layers[0], upper)).key())
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("registry", "turned", "label"),
    [
        ((0, 0), False, "AA"),
        ((1 / 3, 2 / 3), False, "AB"),
        ((2 / 3, 1 / 3), False, "BA"),
        ((0.5, 0), False, "SP"),
        ((0, 0), True, "AA'"),
        ((0.12, 0.4), False, "(0.12, 0.40)"),
    ],
)
def test_stacking_label(layers, registry, turned, label):
    layer = layers["MoS2"]
    match = find_matches(layer, layer, 12, 1, 10)[int(turned)]
    stack = stack_from_match(layer, layer, match, registry, 3.0)
    assert stack.stacking(0) == label
    assert there_and_back(stack).stacking(0) == label


SIXTHS = {
    0: ((1, 0), (0, 1)),
    60: ((0, -1), (1, 1)),
    120: ((-1, -1), (1, 0)),
    180: ((-1, 0), (0, -1)),
    240: ((0, 1), (-1, -1)),
    300: ((1, 1), (-1, 0)),
}


@pytest.mark.parametrize("turned", SIXTHS)
@pytest.mark.parametrize(
    ("names", "period"),
    [(("MoS2", "WS2"), 120), (("BN", "BN"), 120), (("MoS2", "graphene"), 60)],
)
def test_turns_that_a_layer_does_not_notice_are_one(layers, names, period, turned):
    lower, upper = (layers[name] for name in names)
    cell = (lower.a, lower.a, lower.gamma_deg)
    made = Stack((Layer(lower), Layer(upper, SIXTHS[turned])), (Interface(),), *cell)
    assert made.twist_deg(0) == pytest.approx(turned)
    assert made.least_twist_deg(0) == pytest.approx(turned % period)  # 0 or 60


def test_turns_count_where_nothing_makes_them_equal(layers):
    lower, upper = layers["MoS2"], layers["WS2"]
    vacancy = (Defect("vacancy", 1),)
    turned = (Layer(lower, defects=vacancy), Layer(upper, SIXTHS[300], defects=vacancy))
    damaged = Stack(turned, (Interface(),), lower.a, lower.a, lower.gamma_deg)
    assert damaged.least_twist_deg(0) == pytest.approx(-60)
    pulled = Stack((Layer(lower), Layer(upper, SIXTHS[300])), (Interface(),), lower.a * 1.03,
                   lower.a, lower.gamma_deg)  # fmt: skip
    assert pulled.least_twist_deg(0) == pytest.approx(pulled.twist_deg(0) - 360)


def test_stacking_label_of_a_twisted_stack(layers):
    graphene = layers["graphene"]
    stack = stack_from_match(graphene, graphene, find_matches(graphene, graphene, 40, 0.01)[1])
    assert stack.stacking(0) == "twisted 21.79°"


@pytest.mark.parametrize(
    ("names", "registries", "group"),
    [
        (["graphene"], [], 80),  # p6/mmm
        (["MoS2"], [], 78),  # p-6m2
        (["SnS2"], [], 72),  # p-3m1
        (["MoSSe"], [], 69),  # p3m1
        (["P"], [], 42),  # pman
        (["graphene", "graphene"], [(0, 0)], 80),
        (["graphene", "graphene"], [(1 / 3, 2 / 3)], 72),
        (["MoS2", "MoS2"], [(1 / 3, 2 / 3)], 69),
        (["MoS2", "WSe2"], [(0, 0)], 69),
    ],
)
def test_symmetry(layers, names, registries, group):
    stack = stack_layers(
        [layers[n] for n in names], registries=registries, gaps_a=[3.3] * len(registries)
    )
    assert stack.layer_group == group
    assert there_and_back(stack).layer_group == group


def test_stoichiometry(layers, library):
    cases = {("MoS2", "MoS2"): "AB2", ("MoS2", "WS2"): "ABC4", ("MoS2", "WSe2"): "ABC2D2"}
    for pair, stoichiometry in cases.items():
        stack = stack_layers([layers[name] for name in pair], gaps_a=[3.1])
        assert stack.stoichiometry == stoichiometry
        assert there_and_back(stack, library).stoichiometry == stoichiometry


def test_elements_of_a_stack_come_back(layers, library):
    stack = stack_layers([layers["MoSSe"], layers["WSe2"]], gaps_a=[3.1])
    found = there_and_back(stack, library)
    for each in (stack, found):
        elements, counts = np.unique(each.species, return_counts=True)
        assert dict(zip(elements.tolist(), counts.tolist(), strict=True)) == {
            "Mo": 1,
            "S": 1,
            "Se": 3,
            "W": 1,
        }


def test_json_round_trip(layers, supercell):
    broken = replace(supercell.layers[1], defects=(Defect("substitution", 1, "W"),), flipped=True)
    stack = replace(supercell, layers=(supercell.layers[0], broken))
    inline = Stack.from_json(stack.to_json(inline_monolayers=True))
    assert inline.key() == stack.key()
    assert periodic_rmsd_a(build(inline), build(stack)) < 1e-4
    by_name = Stack.from_json(stack.to_json(), layers)
    assert by_name.key() == stack.key()
    assert by_name.layers[0].monolayer is layers["WSe2"]
    assert '"monolayer":"WSe2"' in stack.to_json()
    with pytest.raises(StructureError, match="'WSe2', which is not known"):
        Stack.from_json(stack.to_json(), {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"species": ("Mo", "S", "Xx")}, "unknown element 'Xx'"),
        ({"species": ("Mo", "S")}, "2 species but 3 positions"),
        ({"a": -1.0}, "impossible in-plane cell"),
        ({"gamma_deg": 180.0}, "impossible in-plane cell"),
        ({"heights": (0.0, float("nan"), 1.0)}, "not finite"),
        ({"species": (), "positions": (), "heights": ()}, "at least one atom"),
    ],
)
def test_bad_monolayers_are_refused(layers, change, message):
    with pytest.raises(StructureError, match=message):
        replace(layers["MoS2"], **change)


def test_bad_stacks_are_refused(layers):
    layer = Layer(layers["MoS2"])
    with pytest.raises(StructureError, match="5 layers: expected 1 to 4"):
        Stack((layer,) * 5, (Interface(),) * 4, 3.2, 3.2, 120.0)
    with pytest.raises(StructureError, match="2 layers need 1 interfaces, got 0"):
        Stack((layer,) * 2, (), 3.2, 3.2, 120.0)
    with pytest.raises(StructureError, match="determinant -1"):
        Layer(layers["MoS2"], ((0, 1), (1, 0)))
    with pytest.raises(StructureError, match="site 3 of a layer with 3 sites"):
        Layer(layers["MoS2"], defects=(Defect("vacancy", 3),))
    with pytest.raises(StructureError, match="two defects at site 1"):
        Layer(layers["MoS2"], defects=(Defect("vacancy", 1), Defect("substitution", 1, "W")))
    with pytest.raises(StructureError, match="substitution by Mo at site 1, which is Mo already"):
        Layer(layers["MoS2"], defects=(Defect("substitution", 1, "Mo"),))
    with pytest.raises(StructureError, match="unknown element 'Qq'"):
        Defect("substitution", 0, "Qq")
    with pytest.raises(StructureError, match="defect kind"):
        Defect("interstitial", 0)
    with pytest.raises(StructureError, match="does not fit"):
        build(Stack((layer,), (), 3.2, 3.2, 120.0), cell_height_a=2.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_stacks_of_impossible_numbers_are_refused(layers, value):
    layer = Layer(layers["MoS2"])
    with pytest.raises(StructureError, match="not finite|impossible"):
        Stack((layer,), (), value, 3.2, 120.0)
    with pytest.raises(StructureError, match="not finite"):
        Interface((0.0, 0.0), value)


def test_monolayer_dictionary_round_trip(layers):
    for layer in layers.values():
        again = Monolayer.from_dict(layer.to_dict())
        assert again.name == layer.name
        assert np.allclose(again.cell, layer.cell, atol=1e-4)
        assert again.layer_group == layer.layer_group


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nonsense", "no JSON"),
        ('{"layers": "many"}', "'many'"),
        ('{"layers": []}', "'interfaces'"),
        ("[]", "expected layers, interfaces and cell"),
    ],
)
def test_what_is_no_specification_is_told(text, told):
    with pytest.raises(StructureError, match=told):
        Stack.from_json(text, {})
