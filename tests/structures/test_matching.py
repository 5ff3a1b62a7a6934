"""Commensurate cells: known angles, completeness against brute force, physical bookkeeping."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from ase.build import make_supercell

from heteroforge.structures import Monolayer, StructureError, build
from heteroforge.structures.compare import periodic_rmsd_a
from heteroforge.structures.matching import (
    Match,
    contact_gap_a,
    enumerate_registries,
    find_matches,
    other_registries,
    rotation_axes,
    shared_cell,
    stack_from_match,
    stack_layers,
    turn_between,
    van_der_waals_gap_a,
)
from heteroforge.structures.plane import polar_decomposition


def relation(match: Match) -> np.ndarray:
    """S_bottom⁻¹ S_top: what a match is, whatever cell it is written in."""
    return np.linalg.inv(match.supercell_bottom) @ np.array(match.supercell_top)


def brute_force(bottom, top, cells, maximum_mismatch_percent) -> set[tuple]:
    """Relations of all pairs of small supercells that fit, by trying every integer matrix."""
    found = set()
    reach = range(-4, 5)
    matrices = np.array(list(itertools.product(reach, repeat=4))).reshape(-1, 2, 2)
    determinant = np.round(np.linalg.det(matrices)).astype(int)
    for i, j in itertools.product(range(1, cells + 1), repeat=2):
        firsts, seconds = matrices[determinant == i], matrices[determinant == j]
        # One basis per superlattice of the bottom layer is enough: the top runs over all.
        firsts = [m for m in firsts if m[1, 0] == 0 and m[0, 0] > 0 and 0 <= m[0, 1] < m[1, 1]]
        for first in firsts:
            free_bottom, free_top = first @ bottom.cell, seconds @ top.cell
            stretches = np.linalg.svd(np.linalg.inv(free_bottom) @ free_top, compute_uv=False)
            close = np.abs(np.log(stretches)).max(axis=1) < 3 * maximum_mismatch_percent / 100
            for second in seconds[close]:
                cell_values = shared_cell((bottom, top), (first, second))
                stack = stack_layers((bottom, top), (first, second), gaps_a=[3.0])
                assert cell_values == (stack.a, stack.b, stack.gamma_deg)
                if stack.mismatch_percent <= maximum_mismatch_percent:
                    found.add(tuple(np.round(np.linalg.inv(first) @ second, 6).ravel() + 0.0))
    return found


def orbit(match: Match, bottom, top) -> set[tuple]:
    """Relations that the layers' face-keeping operations make equal to this match."""
    images = set()
    for first in bottom.operations.matrices[~bottom.operations.exchanges_faces]:
        for second in top.operations.matrices[~top.operations.exchanges_faces]:
            if round(np.linalg.det(first)) == round(np.linalg.det(second)):
                image = np.linalg.inv(first) @ relation(match) @ second
                images.add(tuple(np.round(image, 6).ravel() + 0.0))
    return images


def test_twisted_bilayer_graphene(layers):
    matches = find_matches(layers["graphene"], layers["graphene"], 100, 0.01, 100)
    angles = [round(match.twist_deg, 2) for match in matches]
    # cos θ = (m² + 4mn + n²) / 2(m² + mn + n²) for (m, n) = (1, 2), (1, 3), (2, 3)
    assert angles == [0.0, 21.79, 27.8, 13.17]
    assert [match.number_of_atoms for match in matches] == [4, 28, 52, 76]
    assert max(match.mismatch_percent for match in matches) < 1e-8


def test_threefold_layers_keep_the_variants_turned_by_60_degrees(layers):
    matches = find_matches(layers["MoS2"], layers["WSe2"], 70, 3, 60)
    assert [round(match.twist_deg, 2) for match in matches] == [0, 60, 21.79, 38.21]


def test_fourfold_and_twofold_layers(layers):
    # FeSe has a four-fold axis that keeps its faces, phosphorene has none: 4 a ≈ 3 b.
    assert [m.twist_deg for m in find_matches(layers["FeSe"], layers["FeSe"], 14, 0.1, 60)] == [0]
    crossed = find_matches(layers["P"], layers["P"], 190, 2.6, 100)
    assert {0, 90} <= {round(m.twist_deg) for m in crossed}


@pytest.mark.parametrize(
    ("bottom", "top", "mismatch"),
    [
        ("MoS2", "WSe2", 3.0),
        ("graphene", "BN", 2.0),
        ("SnS2", "SnS2", 1.0),
        ("P", "FeSe", 6.0),
        ("P", "oblique", 2.0),
    ],
)
def test_agrees_with_brute_force(layers, bottom, top, mismatch):
    oblique = replace(layers["P"], a=3.38, b=4.70, gamma_deg=91.5)
    bottom, top = layers[bottom], oblique if top == "oblique" else layers[top]
    area = 4.4 * max(bottom.area_a2, top.area_a2)
    matches = find_matches(bottom, top, area, mismatch, 1000)
    listed = [orbit(match, bottom, top) for match in matches]
    small = [
        (match, images)
        for match, images in zip(matches, listed, strict=True)
        if max(
            round(np.linalg.det(match.supercell_bottom)), round(np.linalg.det(match.supercell_top))
        )
        <= 4
    ]
    expected = brute_force(bottom, top, 4, mismatch)
    assert small and expected
    covered = set().union(*(images for _, images in small))
    # The strain in a shared cell depends on its basis by terms of second order: leave the edge.
    certain = brute_force(bottom, top, 4, 0.97 * mismatch)
    assert certain <= covered
    for match, images in small:
        if match.mismatch_percent < 0.97 * mismatch:
            assert images & expected, f"{match} is no match by brute force"


def test_finds_what_zsl_of_pymatgen_finds(layers):
    from pymatgen.analysis.interfaces.zsl import ZSLGenerator

    bottom, top = layers["MoS2"], layers["SnS2"]

    def flat(layer):
        return [np.append(row, 0.0) for row in layer.cell]

    generator = ZSLGenerator(max_area=120, max_length_tol=0.03, max_angle_tol=0.03)
    pairs = {
        (
            round(np.linalg.det(np.array(m.film_transformation))),
            round(np.linalg.det(np.array(m.substrate_transformation))),
        )
        for m in generator(flat(top), flat(bottom))
    }
    ours = {
        (
            round(np.linalg.det(m.supercell_top)) * k,
            round(np.linalg.det(m.supercell_bottom)) * k,
        )
        for m in find_matches(bottom, top, 130, 3, 1000)
        for k in range(1, 8)
    }
    assert pairs and pairs <= ours


def test_no_match_is_listed_twice(layers):
    bottom, top = layers["MoS2"], layers["SnS2"]
    matches = find_matches(bottom, top, 150, 3, 1000)
    assert len(matches) > 1
    orbits = [orbit(match, bottom, top) for match in matches]
    for first, second in itertools.combinations(orbits, 2):
        assert not first & second


def test_limits_hold(layers):
    matches = find_matches(layers["MoS2"], layers["SnS2"], 90, 2.5, 60)
    assert matches
    for match in matches:
        assert match.area_a2 <= 90
        assert match.mismatch_percent <= 2.5
        assert match.number_of_atoms <= 60
        assert np.linalg.det(match.supercell_bottom) > 0 < np.linalg.det(match.supercell_top)
    with pytest.raises(StructureError, match="maximum_area_a2"):
        find_matches(layers["MoS2"], layers["P"], -1.0)


def test_match_describes_its_stack(layers):
    bottom, top = layers["graphene"], layers["MoS2"]
    matches = find_matches(bottom, top, 120, 3, 60)
    assert matches
    for match in matches[:6]:
        stack = stack_from_match(bottom, top, match)
        assert stack.twist_deg(0) == pytest.approx(match.twist_deg, abs=1e-6)
        assert stack.mismatch_percent == pytest.approx(match.mismatch_percent, abs=1e-9)
        assert stack.area_a2 == pytest.approx(match.area_a2)
        assert len(build(stack)) == match.number_of_atoms


def test_twist_is_the_turn_of_the_atoms(layers):
    graphene = layers["graphene"]
    match = find_matches(graphene, graphene, 40, 0.01, 60)[1]
    atoms = build(stack_from_match(graphene, graphene, match))
    angles = []
    for layer in (0, 1):
        part = atoms[atoms.arrays["layer"] == layer]
        vectors = part.get_all_distances(mic=True, vector=True)[0]
        bonds = vectors[(np.linalg.norm(vectors, axis=1) < 1.6) & vectors.any(axis=1)]
        angles.append(np.degrees(np.arctan2(bonds[:, 1], bonds[:, 0]))[0] % 60)
    turn = (angles[1] - angles[0]) % 60
    assert min(turn, 60 - turn) == pytest.approx(21.787, abs=0.01)


def test_stiffer_layer_is_strained_less(layers):
    bottom, top = layers["MoS2"], layers["WSe2"]
    match = find_matches(bottom, top, 20, 3, 60)[0]
    equal = stack_from_match(bottom, top, match)
    stiff = stack_from_match(bottom, top, match, stiffness_n_m=(300.0, 100.0))
    assert equal.a == pytest.approx((3.18 + 3.32) / 2)
    assert stiff.a == pytest.approx((3 * 3.18 + 3.32) / 4)
    unknown = stack_from_match(bottom, top, match, stiffness_n_m=(300.0, None))
    assert unknown.a == equal.a
    strained = [np.abs(polar_decomposition(stiff.deformation(i))[0]).max() for i in (0, 1)]
    assert strained[0] < strained[1]


def test_registry_and_flips_reach_the_stack(layers):
    bottom, top = layers["MoS2"], layers["MoSSe"]
    match = find_matches(bottom, top, 80, 3, 100)[2]
    stack = stack_from_match(bottom, top, match, (1 / 3, 2 / 3), 3.1, (False, True))
    assert stack.registry(0) == pytest.approx((1 / 3, 2 / 3))
    assert stack.interfaces[0].gap_a == 3.1
    assert [layer.flipped for layer in stack.layers] == [False, True]


def test_registries_of_hexagonal_layers(layers):
    found = enumerate_registries(layers["MoS2"], layers["WSe2"])
    assert np.allclose(found, [(0, 0), (1 / 3, 2 / 3), (2 / 3, 1 / 3)], atol=1e-5)
    # Published: a homobilayer of 2H layers has five high-symmetry stackings, two parallel
    # (AA and AB, equal to BA upside down) and three antiparallel ones.
    layer = layers["MoS2"]
    keys = {
        stack_from_match(layer, layer, match, registry, 3.0).key()
        for match in find_matches(layer, layer, 10, 1, 10)
        for registry in enumerate_registries(layer, layer)
    }
    assert len(keys) == 5


def test_registries_put_axes_on_axes(layers):
    for name, count in (("FeSe", 4), ("P", 4)):
        layer = layers[name]
        registries = enumerate_registries(layer, layer)
        assert len(registries) == count
        assert (0.0, 0.0) in registries
    assert len(rotation_axes(layers["graphene"], 6)) == 1
    assert len(rotation_axes(layers["P"], 2)) == 4


def test_layer_without_symmetry_gets_half_cell_shifts(layers):
    base = layers["P"]
    low = Monolayer(
        ("P", "As", "S"), ((0, 0), (0.31, 0.17), (0.62, 0.43)), (0, 0.9, -0.4), 3.9, 5.2, 97.0
    )
    assert len(enumerate_registries(low, base)) == 4


def test_three_and_four_layers(layers):
    names = ["MoS2", "WSe2", "MoSSe", "WS2"]
    stack = stack_layers(
        [layers[name] for name in names],
        registries=[(1 / 3, 2 / 3), (0, 0), (2 / 3, 1 / 3)],
        flipped=[False, False, True, False],
        maximum_mismatch_percent=3,
    )
    assert stack.number_of_layers == 4
    assert stack.a == pytest.approx(np.mean([layers[name].a for name in names]))
    assert np.allclose(stack.registry(2), (2 / 3, 1 / 3))
    larger = stack_layers([layers[n] for n in names[:3]], supercells=[((2, 0), (0, 2))] * 3)
    assert larger.number_of_atoms == 36
    with pytest.raises(StructureError, match="differ by"):
        stack_layers([layers["MoS2"], layers["SnS2"]], maximum_mismatch_percent=3)
    with pytest.raises(StructureError, match="need 1 registries, got 2"):
        stack_layers([layers["MoS2"]] * 2, registries=[(0, 0)] * 2)


def test_contact_gap_knows_the_registry(layers):
    layer = layers["MoS2"]
    gaps = {}
    for registry in ((0.0, 0.0), (1 / 3, 2 / 3)):
        stack = stack_layers([layer, layer], registries=[registry])
        gaps[registry] = stack.interfaces[0].gap_a
        assert contact_gap_a(stack, 0) == pytest.approx(gaps[registry])
    # Sulphur on sulphur: twice its radius; in a hollow it sinks in by √(4r² − a²/3).
    assert gaps[0.0, 0.0] == pytest.approx(3.6)
    assert gaps[1 / 3, 2 / 3] == pytest.approx(np.sqrt(3.6**2 - 3.18**2 / 3), abs=1e-6)
    assert gaps[1 / 3, 2 / 3] < van_der_waals_gap_a(layer, layer) < 3.6
    assert van_der_waals_gap_a(layers["graphene"], layers["graphene"]) == pytest.approx(
        3.35, abs=0.1
    )


def test_gap_of_a_janus_layer_depends_on_the_face(layers):
    janus = layers["MoSSe"]
    graphene = layers["graphene"]
    faces = [van_der_waals_gap_a(janus, graphene, (flipped, False)) for flipped in (False, True)]
    assert abs(faces[0] - faces[1]) > 0.02


def test_repeating_the_cell_gives_the_same_layer(layers):
    # The supercell of a match, built, is the monolayer repeated and strained: same neighbours.
    layer = layers["SnS2"]
    match = find_matches(layer, layer, 90, 0.1, 60)[-1]
    stack = stack_from_match(layer, layer, match, gap_a=3.0)
    bottom = build(stack)[: len(layer.species) * round(np.linalg.det(match.supercell_bottom))]
    matrix = np.eye(3, dtype=int)
    matrix[:2, :2] = match.supercell_bottom
    repeated = make_supercell(layer.to_atoms(), matrix)
    assert periodic_rmsd_a(bottom, repeated) < 1e-6


def test_registries_of_a_turned_layer_whose_origin_lies_off_its_axes():
    """Moving a layer's origin off its axes must not change the stacks of high symmetry."""
    on = Monolayer(("B", "N"), ((0.0, 0.0), (1 / 3, 2 / 3)), (0.0, 0.0), 2.5, 2.5, 120.0, "BN")
    off = replace(on, positions=tuple((x + 0.1, y + 0.35) for x, y in on.positions))
    turned = [((1, 0), (0, 1)), ((-1, 0), (0, -1))]
    turn = turn_between(*turned)
    assert turn == ((-1, 0), (0, -1))

    def gaps(layer: Monolayer, turn: tuple) -> list[float]:
        found = [
            stack_layers([layer, layer], turned, registries=[registry]).interfaces[0].gap_a
            for registry in enumerate_registries(layer, layer, turn)
        ]
        return sorted(found)

    assert gaps(off, turn) == pytest.approx(gaps(on, turn), abs=1e-6)
    assert gaps(off, ((1, 0), (0, 1))) != pytest.approx(gaps(on, turn), abs=1e-2)
    stack = stack_layers([off, off], turned, registries=[enumerate_registries(off, off, turn)[0]])
    assert len(other_registries(stack)) == 2
    # Layers without a common cell meet in all registries: nothing is turned.
    assert turn_between(((2, 1), (0, 1)), ((1, 0), (0, 1))) == ((1, 0), (0, 1))


def test_layers_of_equal_geometry_keep_their_names(layers):
    names = ["one", "other", ""]
    made = [stack_layers((replace(layers["MoS2"], name=name),)) for name in names]
    assert [stack.layers[0].monolayer.name for stack in made] == names
    assert len({stack.key() for stack in made}) == 3
