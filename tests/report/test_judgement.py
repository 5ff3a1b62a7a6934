"""Which candidate comes first, and what is said for and against it."""

import pytest
from campaign_files import CONFIGURATION, TARGETS
from candidates import candidate, stacked

from heteroforge.io import read_table, write_table
from heteroforge.report.campaign import Campaign
from heteroforge.report.judgement import best_first, doubts, reasons, why_undetermined


def test_order_is_misses_then_doubts_then_binding():
    weak = candidate(1, net_energy_mev_a2=10.0)
    strong = candidate(2, net_energy_mev_a2=30.0)
    doubtful = candidate(3, net_energy_mev_a2=90.0, registry_shift_a=1.4)
    outside = candidate(4, gap_ev=0.2, net_energy_mev_a2=99.0)
    failed, pending = candidate(5, "failed"), candidate(6, "pending")
    mixed = [pending, outside, failed, doubtful, weak, strong]
    assert [c.slot for c in best_first(mixed)] == [2, 1, 3, 4, 5, 6]


def test_a_stack_that_may_slide_into_a_better_one_comes_last():
    best, slid = stacked(0, 33.0), stacked(1, 30.0, offset=(1 / 3, 2 / 3))
    turned, other = stacked(2, 15.0, turned=True), candidate(3, net_energy_mev_a2=16.0)
    same = stacked(4, 32.5, offset=(2 / 3, 1 / 3))  # too close to tell
    upside_down = stacked(5, 20.0, order=("SiC", "BN"))
    verified = [turned, slid, other, upside_down, same, best]
    assert [c.slot for c in best_first(verified)] == [0, 4, 3, 2, 1, 5]
    assert doubts(best, verified) == doubts(same, verified) == doubts(other, verified) == []
    (words,) = doubts(slid, verified)
    assert "3.0\u202fmeV/Å² more in slot 0: they may slide there" in words
    (words,) = doubts(upside_down, verified)
    assert "13.0\u202fmeV/Å² more in slot 0: they may slide there" in words
    (words,) = doubts(turned, verified)
    assert "18.0\u202fmeV/Å² more in slot 0: grown freely they prefer it" in words


def test_layers_that_bond_are_a_doubt_and_the_lowest_registry_a_reason():
    bonded = candidate(0, closest_contact_ratio=1.13, net_energy_mev_a2=80.0)
    slid = candidate(1, net_energy_mev_a2=10.0, registry_gain_mev_a2=19.0)
    stayed = candidate(2, net_energy_mev_a2=9.0, registry_gain_mev_a2=0.0)
    assert [c.slot for c in best_first([bonded, slid, stayed])] == [1, 2, 0]
    (words,) = doubts(bonded)
    assert words.startswith(
        "the layers are as near as bonded ones: two atoms across a gap are 1.13"
    )
    assert not doubts(slid) and not doubts(stayed)
    told = "no registry of high symmetry that it may slide into is clearly lower in energy"
    assert told in reasons(stayed) and not any(told in words for words in reasons(bonded))
    assert f"{told} (19.0\u202fmeV/Å² below the one selected)" in reasons(slid)


@pytest.mark.parametrize(("limit", "told"), [(0, False), (1.1, False), (1.2, True)])
def test_what_counts_as_bonded_is_configured(undrawn_campaign, limit, told):
    path = undrawn_campaign / "dft/results.parquet"
    write_table(path, read_table(path).assign(closest_contact_ratio=1.13))
    limits = {"screening": {"force_field": {"minimum_contact_ratio": limit}}}
    verified = Campaign(undrawn_campaign, TARGETS, CONFIGURATION | limits).verified
    assert verified
    for made in verified:
        assert any("as near as bonded ones" in words for words in doubts(made)) == told


def test_an_edge_off_the_path_is_a_doubt():
    assert not doubts(candidate(0, edges_off_path_ev=0.02))
    (words,) = doubts(candidate(0, edges_off_path_ev=0.31))
    assert words.startswith("a band edge lies 0.31\u202feV beyond the path's")


def test_two_versions_of_quantum_espresso_are_a_doubt():
    one, two = candidate(0), candidate(0)
    one.result, two.result = {"quantum_espresso": "6.7MaX"}, {"quantum_espresso": "6.7MaX, 7.5"}
    assert not doubts(one)
    (words,) = doubts(two)
    assert words.endswith("6.7MaX, 7.5")


def test_a_stacking_fault_away_from_another_alignment_is_a_doubt():
    one, other = stacked(0, 33.0), stacked(1, 31.0, turned=True)
    one.computed["alignment"], other.computed["alignment"] = "II", "I"
    told = "; ".join(doubts(one, [one, other]))
    assert "slot 1" in told and "alignment I instead of II" in told
    other.computed["net_energy_mev_a2"] = 20.0  # too far to occur beside it
    assert not doubts(one, [one, other])


def test_no_slide_at_all_is_no_reason():
    """At a registry of high symmetry no force pulls sideways, stable or not."""
    assert not any("registry" in reason for reason in reasons(candidate(registry_shift_a=0.0)))


def test_a_slide_that_gives_no_labels_is_no_reason():
    """One number decides which stack is still the one specified, here and among the labels."""
    kept = "relaxation kept the registry (slid by 0.20\u202fÅ)"
    assert kept in reasons(candidate(registry_shift_a=0.2))
    assert not any("registry" in words for words in reasons(candidate(registry_shift_a=0.4)))


def test_reasons_carry_the_numbers():
    said = reasons(candidate(), [candidate(), candidate(1, net_energy_mev_a2=3.0)])
    assert said[0] == "band gap 2.00\u202feV (1.00\u202feV inside the window)"
    assert "the most of the 2 verified" in said[2]
    assert "not the most" not in said[2]
    assert len(reasons(candidate(gap_ev=0.5))) == len(said) - 1  # outside is no reason


@pytest.mark.parametrize(
    ("computed", "words"),
    [
        ({"gap_ev": 1.04}, "only 0.04\u202feV from the end of its window"),
        ({"strain_energy_mev_a2": 9.0}, "45\u202f% of the binding energy"),
        ({"binding_energy_mev_a2": -1.0}, "do not bind"),
        ({"registry_shift_a": 0.4}, "slid by 0.40"),
        ({"layer_deformation_a": 0.4}, "moved by 0.40"),
        ({"magnetisation_bohr": 2.0}, "magnetic (2.00"),
        ({"symbols": "WS2"}, "W: spin–orbit"),
        ({"strain_energy_mev_a2": -1.2}, "is negative (−1.2"),
    ],
)
def test_doubts(computed, words):
    (said,) = doubts(candidate(**computed))
    assert words in said


def test_no_doubt_without_cause():
    assert doubts(candidate()) == []


def test_a_better_stacking_outside_the_targets_is_told_as_such():
    best, slid = stacked(0, 33.0, gap_ev=0.2), stacked(1, 30.0, offset=(1 / 3, 2 / 3))
    (words,) = doubts(slid, [best, slid])
    assert "more in slot 0, which misses band gap: they may slide there" in words


def undetermined(vbm_weights, cbm_weights):
    found = stacked(0, 30.0)
    found.computed |= {"alignment": "undetermined", "vbm_layer_weights": vbm_weights,
                       "cbm_layer_weights": cbm_weights}  # fmt: skip
    return found


def test_an_edge_that_both_layers_share_is_why_the_alignment_is_open():
    shared = undetermined("[0.56, 0.44]", "[0.9, 0.1]")
    assert why_undetermined(shared) == (
        "the state at the valence band maximum lies 56\u202f% on BN and 44\u202f% on SiC; "
        "65\u202f% on one layer would decide"
    )


def test_near_edges_are_why_the_alignment_is_open():
    near = undetermined("[0.1, 0.9]", "[0.08, 0.92]")
    energies = [[-6.0, -5.08, -5.0, -2.0, -1.0]]
    weights = [[0.9, 0.9, 0.1, 0.1, 0.9]]
    near.bands = {
        "energies_ev": energies, "vbm_ev": -5.0, "cbm_ev": -2.0,
        "layer_weights": [weights, [[1 - w for w in weights[0]]]],
    }  # fmt: skip
    told = why_undetermined(near)
    edges = "SiC (−5.00\u202feV) and BN (−5.08\u202feV) differ in their valence band maximum by "
    assert edges + "0.08\u202feV" in told and "conduction" not in told
    assert "both edge states lie on SiC (90\u202f% and 92\u202f%), which alone" in told
    near.bands["energies_ev"] = [[-6.0, -5.2, -5.0, -2.0, -1.0]]
    assert why_undetermined(near) == "the bands that tell why are not there"


def test_a_layer_that_the_library_does_not_know_is_a_doubt():
    made = candidate()
    assert doubts(made) == []
    made.result = {"lattices": [{"formula": "MoSe2", "proposed": [3.2, 3.2], "found": [3.3, 3.3]}]}
    (words,) = doubts(made)
    assert "does not know MoSe₂" in words and "3.30\u202fÅ (proposed with 3.20\u202fÅ)" in words


@pytest.mark.parametrize(("b", "told"), [(3.19, False), (3.13, True)])
def test_a_lattice_constant_far_from_the_library_s_is_a_doubt(b, told):
    made = candidate()
    made.result = {
        "lattices": [
            {"formula": "MoS2", "in_library": True, "proposed": [3.1, 3.2], "found": [3.1, b]}
        ]
    }
    words = doubts(made)
    assert bool(words) == told
    if told:
        assert "3.13\u202fÅ, its library has 3.20\u202fÅ" in words[0]
