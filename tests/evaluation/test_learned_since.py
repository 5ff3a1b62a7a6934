"""Errors before and after learning from earlier campaigns."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from heteroforge.evaluation.learned_since import errors_before_and_after
from heteroforge.labels import LABELLED
from heteroforge.report.models import learned_figure
from heteroforge.structures.matching import stack_layers


def table(predicted: dict, true: float = 1.0) -> pd.DataFrame:
    """Held-out predictions of the gap, by stack; a stack's pair is its first letter."""
    return pd.DataFrame(
        {
            "stack_id": list(predicted),
            "pair": [name[0] for name in predicted],
            "property": "gap_ev",
            "true": true,
            "predicted": list(predicted.values()),
            "network": [1.0 + 2 * (value - 1.0) for value in predicted.values()],
        }
    )


@pytest.fixture
def verified(small_monolayers):
    """Verified stacks by their predicted gaps, of layers of the library or of new ones."""

    def make(predicted: dict, new: bool = False) -> pd.DataFrame:
        lower, upper = small_monolayers["MoSS"], small_monolayers["WSS"]
        stack = stack_layers([lower, replace(upper, name="") if new else upper])
        return pd.DataFrame(
            {
                "verified_stack_id": list(predicted),
                "specification": stack.to_json(inline_monolayers=True),
                "predicted_gap_ev": list(predicted.values()),
                "predicted_binding_energy_mev_a2": np.nan,
            }
        )

    return make


def test_known_stacks_and_verified_ones_are_told_apart(verified):
    earlier = table({"a1": 1.4, "a2": 1.2, "b1": 0.8})
    now = table({"a1": 1.2, "a2": 1.2, "b1": 1.0, "b2": 0.1, "c1": 1.1, "c2": 0.5})
    # a1 was verified again, of the pair of b2 a label was there; c2 has no prediction by it.
    said = verified({"c1": 2.0, "a1": 5.0, "b2": 3.0})
    found = errors_before_and_after(now, earlier, said, "first", 0)
    known, network, news = found.to_dict("records")
    assert [row["predictor"] for row in (known, network, news)] == ["chosen", "network", "chosen"]
    assert network["before"] == pytest.approx(2 * known["before"])
    assert (known["stacks"], news["stacks"]) == ("known before", "verified")
    assert known["values"] == 3 and news["values"] == 1
    assert known["before"] == pytest.approx(0.8 / 3) and known["after"] == pytest.approx(0.4 / 3)
    assert known["difference"] == pytest.approx(known["after"] - known["before"])
    assert news["before"] == pytest.approx(1.0) and news["after"] == pytest.approx(0.1)
    assert known["low"] == pytest.approx(-0.2) and known["high"] == pytest.approx(-0.1)
    assert np.isnan([news["low"], news["high"]]).all(), "a single pair tells no interval"
    assert set(found["unit"]) == {LABELLED["gap_ev"]} and set(found["campaign"]) == {"first"}


def test_proposed_layers_are_left_out(verified):
    """Before DFT their lattice is a guess: what is gained is not learned."""
    said = verified({"c1": 2.0}, new=True)
    assert errors_before_and_after(table({"c1": 1.1}), table({"a1": 1.0}), said, "c", 0).empty


def test_draws_are_of_pairs_and_repeatable(verified):
    generator = np.random.default_rng(0)
    names = [f"{pair}{i}" for pair in "abcdefgh" for i in range(5)]
    error = {name: 0.1 * (ord(name[0]) - ord("a")) for name in names}
    earlier = table(dict.fromkeys(names, 1.0))
    now = table({name: 1.0 + error[name] + 1e-3 * generator.random() for name in names})
    rows = [errors_before_and_after(now, earlier, verified({}), "c", 3).iloc[0] for _ in range(2)]
    assert rows[0].equals(rows[1])
    # Forty values, but eight draws: ± 2 σ/√8 of pairs.
    width = rows[0]["high"] - rows[0]["low"]
    assert width == pytest.approx(4 * np.std([0.1 * i for i in range(8)]) / 8**0.5, rel=0.2)


def test_campaigns_without_predictions_or_common_stacks_have_no_rows(verified):
    # Of a version that kept no predictions.
    old = verified({"c1": 1.0})[["verified_stack_id", "specification"]]
    found = errors_before_and_after(table({"c1": 1.0}), table({"a1": 1.0}), old, "first", 0)
    assert found.empty and list(found.columns)[:3] == ["campaign", "stacks", "predictor"]
    assert learned_figure(found).texts


def test_the_picture_has_a_panel_per_property(verified):
    found = errors_before_and_after(
        table({"a1": 1.2, "b1": 1.0}), table({"a1": 1.4, "b1": 0.8}), verified({}), "first", 0
    )
    (panel,) = learned_figure(found).axes
    assert panel.get_xlabel().startswith("band gap")
    assert [text.get_text() for text in panel.get_yticklabels()] == [
        "first: known before, chosen", "first: known before, network",
    ]  # fmt: skip
