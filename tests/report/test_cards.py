"""What a card says of a candidate beyond its numbers."""

from candidates import candidate, stacked

from heteroforge.report.campaign import Campaign
from heteroforge.report.cards import make_card

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
