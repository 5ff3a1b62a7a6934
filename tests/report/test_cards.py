"""What a card says of a candidate beyond its numbers."""

from candidates import candidate, stacked

from heteroforge.report.campaign import Campaign
from heteroforge.report.cards import make_card
from heteroforge.report.sections import told_far_off

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
