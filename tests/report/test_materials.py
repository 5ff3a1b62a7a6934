"""Stackings of the same layers are one material to grow."""

import pytest
from candidates import candidate, stacked

from heteroforge.report.judgement import best_first
from heteroforge.report.materials import make_materials, other_stackings, stacking_text


def slots(materials) -> list[list[int]]:
    return [[m.best.slot, *(c.slot for c in m.others)] for m in materials]


def test_stackings_and_turns_are_one_material_the_lowest_in_energy_first():
    low, slid = stacked(0, 30.0), stacked(1, 33.0, offset=(1 / 3, 2 / 3))
    turned, upside_down = stacked(2, 15.0, turned=True), stacked(3, 20.0, order=("SiC", "BN"))
    other = stacked(4, 40.0, order=("BN", "BN"))
    found = make_materials(best_first([low, slid, turned, upside_down, other]))
    assert slots(found) == [[4], [1, 0, 3, 2]]
    told = other_stackings(found[1])
    assert told.startswith("slot 0 (stacking AA), bound by 3.0\u202fmeV/Å² less;")
    assert "slot 2 (stacking AA′, turned by 60°), bound by 18.0\u202fmeV/Å² less" in told
    assert other_stackings(found[0]).startswith("none was verified. Layers slide")
    found[0].best.result["registries"] = [
        {"stacking": "AA'", "energy_mev_a2": 0.0, "offset": [0.0, 0.0]},
        {"stacking": "BA'", "energy_mev_a2": 2.0, "offset": [2 / 3, 1 / 3]},
        {"stacking": "AB'", "energy_mev_a2": 19.04, "offset": [1 / 3, 2 / 3]},
    ]
    assert other_stackings(found[0]).startswith(
        "registry BA′ +2.0 and AB′ +19.0\u202fmeV/Å² against this one"
    )
    found[0].best.result["registries"][-1]["energy_mev_a2"] = None
    assert "AB′: not known, its calculation failed" in other_stackings(found[0])
    found[0].best.stack = None
    assert other_stackings(found[0]) == ""


def test_the_best_stacking_meets_the_targets_even_where_another_is_bound_more():
    outside, inside = stacked(0, 33.0, gap_ev=0.2), stacked(1, 30.0, offset=(1 / 3, 2 / 3))
    (material,) = make_materials(best_first([outside, inside]))
    assert material.best is inside
    told = other_stackings(material)
    assert "bound by 3.0\u202fmeV/Å² more, outside in band gap" in told
    assert "band gap 0.20 to 2.00\u202feV" in told


@pytest.mark.parametrize("computed", [{"protocol": "standard"}, {"net_energy_mev_a2": None}])
def test_energies_that_were_not_computed_alike_are_not_compared(computed):
    one, two = stacked(0, 30.0, protocol="quick"), stacked(1, 33.0, protocol="quick")
    two.computed |= computed
    (material,) = make_materials(best_first([one, two]))
    assert not material.comparable
    assert "energy not comparable" in other_stackings(material)


def test_candidates_without_a_structure_are_told_apart_by_name():
    named = [candidate(i, formula=name) for i, name in enumerate(("BN/AlN", "AlN/P", "AlN/P"))]
    assert sorted(map(len, slots(make_materials(named)))) == [1, 2]


def test_turns_that_are_equal_are_told_alike():
    stack = stacked(0, 30.0, turned=True).stack
    assert stacking_text(stack) == "stacking AA′, turned by 60°"
    assert stack.twist_deg(0) == pytest.approx(300)
