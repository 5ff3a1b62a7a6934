"""Registries that a bilayer may slide into, and which of them is lowest in energy."""

import numpy as np
import pytest

from heteroforge.dft.registries import compare_registries, lowest_point
from heteroforge.dft.running import CalculationFailed
from heteroforge.dft.verification import _best_registry
from heteroforge.structures import Monolayer, build
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


@pytest.mark.parametrize("own", [0, 1, 2])
def test_registries_are_compared_each_at_its_best_distance(own):
    """A Morse curve per registry: depths and distances come back, whichever is the stack's own."""
    places = [(0.0, 0.0), (1 / 3, 2 / 3), (2 / 3, 1 / 3)]
    depth_ev, best_a = [0.05, 0.30, 0.12], [3.7, 2.6, 3.3]
    stack = stack_layers(
        [honeycomb("Al", "N"), honeycomb("Si", "C")], registries=[places[own]], gaps_a=[3.4]
    )

    class Calculator:
        attempts = [{"step": "scan"}]

        def __init__(self, name: str) -> None:
            self.name = name

        def scan_gap(self, atoms, step_a=0.3):
            metal, silicon = (list(atoms.symbols).index(symbol) for symbol in ("Al", "Si"))
            apart = atoms.positions[silicon] - atoms.positions[metal]
            shift = (apart @ np.linalg.inv(atoms.cell.array))[:2]
            apart = np.array(places) - shift
            which = int(np.abs(apart - np.round(apart)).sum(1).argmin())
            (gap,) = interlayer_gaps_a(atoms)
            points = []
            for place in np.arange(-5, 6) * step_a:
                decay = np.exp(-1.5 * (gap + place - best_a[which]))
                energy = depth_ev[which] * ((1 - decay) ** 2 - 1)
                points.append((place, energy, depth_ev[which] * 3 * decay * (1 - decay)))
            return points

        def clean(self) -> None:
            pass

    scan = Calculator("own").scan_gap(build(stack, cell_height_a=40.0))
    found = compare_registries(Calculator, stack, scan, 40.0)
    others = [i for i in range(3) if i != own]
    expected = sorted(
        (1e3 * (depth_ev[own] - depth_ev[i]) / stack.area_a2, best_a[i]) for i in others
    )
    assert [e["energy_mev_a2"] for e in found] == pytest.approx([e for e, _ in expected], abs=0.1)
    assert [e["gap_a"] for e in found] == pytest.approx([gap for _, gap in expected], abs=0.02)
    assert {e["stack_id"] for e in found} == {o.key() for o in other_registries(stack)}


def test_a_registry_that_fails_does_not_cost_the_others(monkeypatch):
    stack = stack_layers([honeycomb("Al", "N"), honeycomb("Si", "C")])
    bad = other_registries(stack)[0].key()

    class Calculator:
        attempts = [{"step": "scan"}]

        def __init__(self, name: str) -> None:
            self.name = name

        def scan_gap(self, atoms):
            if self.name == bad:
                raise CalculationFailed("did not converge", self.attempts)
            return [(0.0, -1.0, 0.0)]

        def clean(self) -> None:
            pass

    good, failed = compare_registries(Calculator, stack, [(0.0, -0.9, 0.0)], 40.0)
    assert good["energy_mev_a2"] == pytest.approx(-1e2 / stack.area_a2)
    assert failed["stack_id"] == bad and failed["energy_mev_a2"] is None
    assert failed["reason"] == "did not converge" and failed["attempts"]
    # Nothing is asked of a layer alone, which has no scan either.
    assert compare_registries(Calculator, stack_layers([honeycomb("Al", "N")]), [], 40.0) == []


def test_the_result_names_the_lowest_registry():
    stack = stack_layers([honeycomb("Al", "N"), honeycomb("Si", "C")])
    lower = [{"stacking": "AB", "energy_mev_a2": -19.0}, {"stacking": "BA", "energy_mev_a2": 2.0}]
    assert _best_registry(stack, lower) == {
        "energy_above_best_registry_mev_a2": 19.0,
        "best_registry": "AB",
    }
    assert _best_registry(stack, lower[1:])["best_registry"] == "AA"
    assert _best_registry(stack, lower[1:])["energy_above_best_registry_mev_a2"] == 0.0
    failed = {"stacking": "BA'", "energy_mev_a2": None, "reason": "did not converge"}
    assert _best_registry(stack, [lower[0], failed])["best_registry"] == "AB"
    assert _best_registry(stack, [lower[1], failed])["best_registry"] is None
    assert _best_registry(stack, [failed])["best_registry"] is None
    unknown = {"energy_above_best_registry_mev_a2": None, "best_registry": None}
    assert _best_registry(stack, None) == _best_registry(stack, []) == unknown
