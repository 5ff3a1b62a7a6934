"""Registries that a bilayer may slide into, and which of them is lowest in energy."""

import numpy as np
import pytest

from heteroforge.dft.registries import RESOLVED_MEV_A2, compare_registries, preferred
from heteroforge.dft.running import CalculationFailed
from heteroforge.dft.scan import lowest_point, next_shift
from heteroforge.dft.verification import _registry
from heteroforge.structures import Monolayer
from heteroforge.structures.compare import interlayer_gaps_a
from heteroforge.structures.matching import (
    find_matches,
    other_registries,
    stack_from_match,
    stack_layers,
)

TURNED = [((1, 0), (0, 1)), ((-1, 0), (0, -1))]


def honeycomb(first: str, second: str, a: float = 3.1) -> Monolayer:
    sites = ((1 / 3, 2 / 3), (2 / 3, 1 / 3))
    return Monolayer((first, second), sites, (0.0, 0.0), a, a, 120.0, first + second)


def test_other_registries_are_those_that_sliding_reaches():
    nitride, carbide = honeycomb("Al", "N"), honeycomb("Si", "C")
    stack = stack_layers([nitride, carbide], registries=[(0.0, 0.0)])
    found = other_registries(stack)
    assert len({other.key() for other in found} | {stack.key()}) == 3
    for other in found:
        assert [layer.supercell for layer in other.layers] == [la.supercell for la in stack.layers]
        # Atoms above hollows come nearer than atoms above atoms.
        assert other.interfaces[0].gap_a < stack.interfaces[0].gap_a
        assert stack.key() in {back.key() for back in other_registries(other)}


def test_registries_equal_by_symmetry_come_once():
    nitride = honeycomb("B", "N", 2.5)
    parallel = stack_layers([nitride, nitride], registries=[(0.0, 0.0)])
    # Nitrogen above boron is boron above nitrogen, seen from below.
    assert len(other_registries(parallel)) == 1
    antiparallel = stack_layers([nitride, nitride], TURNED, registries=[(0.0, 0.0)])
    assert len(other_registries(antiparallel)) == 2


def test_layers_that_meet_in_all_registries_have_no_others():
    lower, upper = honeycomb("B", "N", 2.5), honeycomb("C", "C", 2.46)
    twisted = next(
        m for m in find_matches(lower, upper, 60.0, 5.0, 40) if abs(m.twist_deg - 21.79) < 0.1
    )
    assert other_registries(stack_from_match(lower, upper, twisted, (0.0, 0.0), 3.3)) == []
    three = stack_layers([lower, lower, lower])
    assert other_registries(three) == []


def test_a_single_point_is_the_lowest():
    assert lowest_point([(0.3, -1.0, 0.2)]) == (0.3, -1.0)


def scan(depth_ev, best_a, gap_a, area_a2, decay_per_a=1.5) -> list:
    """Of a Morse curve, with the steps of `next_shift`."""
    points, shift = [], 0.0
    while shift is not None:
        decay = np.exp(-decay_per_a * (gap_a + shift - best_a))
        energy = depth_ev * ((1 - decay) ** 2 - 1)
        points.append((shift, energy, 2 * decay_per_a * depth_ev * decay * (1 - decay)))
        shift = next_shift(points, area_a2)
        assert len(points) < 9
    return sorted(points)


@pytest.mark.parametrize("depth_ev", [0.02, 0.15, 0.6])
@pytest.mark.parametrize("decay_per_a", [1.5, 2.3])
@pytest.mark.parametrize("away_a", [-0.7, -0.3, -0.02, 0.0, 0.2, 0.6, 1.3])
def test_a_scan_finds_the_lowest_point_with_few_energies(depth_ev, decay_per_a, away_a):
    """Weakly and strongly bound honeycombs, soft and hard, from too near and from far away."""
    area = 8.3
    points = scan(depth_ev, 3.0, 3.0 + away_a, area, decay_per_a)
    shift, energy = lowest_point(points)
    assert len(points) <= (4 if abs(away_a) < 0.5 else 7)
    # A fifth of what DFT resolves, or less than a hundredth of the depth.
    assert 1e3 * abs(energy + depth_ev) / area < max(0.2, 10 * depth_ev / area)
    assert shift == pytest.approx(-away_a, abs=0.08)


PLACES = [(0.0, 0.0), (1 / 3, 2 / 3), (2 / 3, 1 / 3)]


DEPTH_EV, BEST_A = [0.05, 0.30, 0.12], [3.7, 2.6, 3.3]


def morse(name: str, atoms) -> dict:
    """Scan of a curve per registry of AlN on SiC."""
    metal, silicon = (list(atoms.symbols).index(symbol) for symbol in ("Al", "Si"))
    apart = atoms.positions[silicon] - atoms.positions[metal]
    apart = np.array(PLACES) - (apart @ np.linalg.inv(atoms.cell.array))[:2]
    which = int(np.abs(apart - np.round(apart)).sum(1).argmin())
    (gap,) = interlayer_gaps_a(atoms)
    return {"scan": scan(DEPTH_EV[which], BEST_A[which], gap, 8.3), "attempts": [{"step": "scan"}]}


@pytest.mark.parametrize("own", [0, 1, 2])
def test_registries_are_compared_each_at_its_best_distance(own):
    """Depths and distances come back whichever was asked for, and the deepest is taken."""
    stack = stack_layers(
        [honeycomb("Al", "N"), honeycomb("Si", "C")], registries=[PLACES[own]], gaps_a=[3.4]
    )
    found = compare_registries(morse, stack)
    expected = sorted((1e3 * (0.30 - DEPTH_EV[i]) / stack.area_a2, BEST_A[i]) for i in range(3))
    assert [e["energy_mev_a2"] for e in found] == pytest.approx([e for e, _ in expected], abs=0.2)
    assert [e["gap_a"] for e in found] == pytest.approx([gap for _, gap in expected], abs=0.05)
    family = [stack, *other_registries(stack)]
    assert {e["stack_id"] for e in found} == {one.key() for one in family}
    assert [e["is_asked"] for e in found].count(True) == 1
    taken = preferred(stack, found)
    assert taken.key() == found[0]["stack_id"]
    assert taken.interfaces[0].gap_a == pytest.approx(2.6, abs=0.05)
    assert taken.layers == stack.layers


def test_what_was_asked_for_stays_where_no_other_is_clearly_lower():
    stack = stack_layers([honeycomb("Al", "N"), honeycomb("Si", "C")], registries=[PLACES[0]])
    found = compare_registries(morse, stack)
    for entry in found:
        entry["energy_mev_a2"] = 0.9 * RESOLVED_MEV_A2 if entry["is_asked"] else 0.0
    assert preferred(stack, found).key() == stack.key()
    for entry in found:
        entry["energy_mev_a2"] *= 2
    assert preferred(stack, sorted(found, key=lambda e: e["energy_mev_a2"])).key() != stack.key()
    assert preferred(stack, []) is stack


def test_a_registry_that_fails_does_not_cost_the_others():
    stack = stack_layers([honeycomb("Al", "N"), honeycomb("Si", "C")], registries=[PLACES[0]])
    bad = {other_registries(stack)[0].key()}

    def some(name, atoms):
        if name in bad:
            return {"reason": "did not converge", "attempts": [{"step": "scan"}]}
        return morse(name, atoms)

    *good, failed = compare_registries(some, stack)
    assert len(good) == 2 and good[0]["energy_mev_a2"] == 0.0
    assert failed["stack_id"] in bad and failed["energy_mev_a2"] is None
    assert failed["reason"] == "did not converge" and failed["attempts"]
    bad |= {stack.key()}
    known, *_ = found = compare_registries(some, stack)
    # Nothing is known of the one asked for: the one that is known is verified.
    assert preferred(stack, found).key() == known["stack_id"]
    bad |= {other.key() for other in other_registries(stack)}
    with pytest.raises(CalculationFailed, match="no registry: did not converge"):
        compare_registries(some, stack)


def test_what_has_no_other_registries_is_told_from_what_nobody_looked_for():
    layer = honeycomb("Al", "N")
    assert compare_registries(morse, stack_layers([layer])) == []
    assert compare_registries(morse, stack_layers([layer, layer, layer])) is None


def test_the_result_names_the_registry_and_what_it_gains():
    stack = stack_layers([honeycomb("Al", "N"), honeycomb("Si", "C")], registries=[PLACES[0]])
    found = compare_registries(morse, stack)
    taken = preferred(stack, found)
    gain = 1e3 * 0.25 / stack.area_a2
    assert _registry(taken, found) == {
        "registry": taken.stacking(0),
        "registry_gain_mev_a2": pytest.approx(gain, abs=0.2),
    }
    assert _registry(stack, found)["registry_gain_mev_a2"] == 0.0
    for entry in found:
        if entry["is_asked"]:
            entry["energy_mev_a2"] = None
    assert _registry(taken, found)["registry_gain_mev_a2"] is None
    unknown = {"registry": None, "registry_gain_mev_a2": None}
    assert _registry(stack, None) == _registry(stack, []) == unknown
