"""What a card says of a candidate beyond its numbers."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
from candidates import candidate, stacked

from heteroforge.features import facing_levels
from heteroforge.report.campaign import Campaign
from heteroforge.report.cards import make_card
from heteroforge.report.sections import told_far_off
from heteroforge.structures.matching import stack_layers

LACKS = {"outside_training": "pair BN-2-lg78-2c and SiC-2-lg78-2c", "is_measured": True}
SAID = "Published bilayers that the model learned from lack: pair BN and SiC."


def test_a_card_says_what_the_predictions_rest_on(tmp_path):
    known, new = stacked(0, 19.5), stacked(1, 19.5)
    new.predicted, known.atoms, new.atoms = LACKS, None, None
    cards = [make_card(Campaign(tmp_path), one, {}) for one in (known, new)]
    title = "Trust in its predictions"
    assert title not in dict(cards[0].details)
    assert dict(cards[1].details)[title] == SAID


def test_so_does_one_that_waits_for_dft(tmp_path):
    waiting = candidate(status="pending")
    waiting.predicted = LACKS | {"is_measured": False}
    card = make_card(Campaign(tmp_path), waiting, {}, brief=True)
    assert card.summary.endswith("BN and SiC; errors of such were not measured.")


def test_a_card_and_the_stage_say_which_predictions_dft_contradicts():
    far, near = stacked(0, 19.5), stacked(1, 19.5)
    for one, std in ((far, 1.0), (near, 4.0)):
        one.predicted = {"binding_energy_mev_a2": 12.0, "binding_energy_mev_a2_std": std}
        one.atoms = None
    notes = [value_note(one) for one in (far, near)]
    assert notes == ["8 standard deviations from what was predicted", ""]
    (told,) = told_far_off([far, near], ["gap_ev", "binding_energy_mev_a2"])
    assert "binding energy of BN/CSi (slot 0, 8 standard deviations)" in told
    assert told.startswith("1 of 2 predicted values lies more than 3 ")
    assert "slot 1" not in told
    near.predicted["binding_energy_mev_a2_std"] = float("nan")
    assert value_note(near) == ""
    assert told_far_off([near], ["binding_energy_mev_a2"]) == []


def value_note(one) -> str:
    (note,) = [
        v.note for v in make_card(Campaign(""), one, {}).values if v.label == "binding energy"
    ]
    return note


def test_edges_of_polar_layers_are_drawn_with_facing_vacuum_levels_equal(small_monolayers):
    """As Anderson's rule beside the drawing has them; a layer upside down has the opposite step."""
    janus = small_monolayers["MoSS"]
    library = pd.DataFrame(
        {"monolayer_id": [janus.name], "vbm_ev": -6.0, "cbm_ev": -4.5, "vacuum_step_ev": 0.8}
    )
    campaign = SimpleNamespace(table=lambda path: library)
    plain = stack_layers([janus, janus])
    turned = replace(plain, layers=(plain.layers[0], replace(plain.layers[1], flipped=True)))
    for stack, steps in ((plain, [0.8, 0.8]), (turned, [0.8, -0.8])):
        candidate = SimpleNamespace(stack=stack, result={})
        rows = Campaign.layer_rows(campaign, candidate)
        expected = -6.0 + facing_levels(steps)
        assert [row["vbm_ev"] for row in rows] == pytest.approx(expected)
        computed = {"vbm_ev": -5.8, "cbm_ev": -4.4, "is_metal": False, "vacuum_step_ev": 0.0}
        candidate.result = {"layers": [computed, computed]}
        rows = Campaign.layer_rows(campaign, candidate)
        assert [row["cbm_ev"] for row in rows] == pytest.approx([-4.4, -4.4])
