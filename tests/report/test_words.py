"""How numbers, units and targets are written."""

import math

import pytest

from heteroforge.report.words import (
    formula_text,
    interval_text,
    number_text,
    quantity,
    share_text,
    target_sentence,
    value_text,
)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (None, None, "–"),
        (math.nan, 2, "–"),
        (math.inf, None, "∞"),
        (True, None, "yes"),
        (1234567, None, "1\u202f234\u202f567"),
        (-0.0001, 2, "0.00"),
        (-1.5, 1, "−1.5"),
        (0.0123456, None, "0.0123"),
        (1.5e-5, None, "1.50e−05"),
        ("text", None, "text"),
    ],
)
def test_number_text(value, decimals, text):
    assert number_text(value, decimals) == text


def test_values_carry_their_unit():
    assert value_text("binding_energy_mev_a2", 17.23) == "17.2\u202fmeV/Å²"
    assert value_text("twist_deg", 21.787) == "21.8°"
    assert value_text("gamma_deg", 120.0000001) == "120°"
    assert value_text("gap_ev", None) == "–"
    # Unknown columns are read by their suffix; the longest wins.
    assert quantity("formation_energy_mev_a2").unit == "meV/Å²"
    assert quantity("surface_a2").unit == "Å²"
    assert quantity("gap_ev_std").label == "± band gap (eV)"


def test_formulas_have_subscripts():
    assert formula_text("MoS2/In2Se3") == "MoS₂/In₂Se₃"
    assert formula_text("Ca(OH)2") == "Ca(OH)₂"


def test_targets_in_words():
    targets = {"gap_ev": [1.0, None], "vbm_ev": [None, -5.5], "interlayer_gap_a": [3, 3.5]}
    assert target_sentence(targets) == (
        "band gap at least 1\u202feV, valence band maximum at most −5.5\u202feV "
        "and interlayer gap between 3 and 3.5\u202fÅ"
    )
    assert target_sentence({}) == "no targets were set"


def test_shares_tell_nearly_all_from_all():
    assert [share_text(part, 1000) for part in (1000, 997, 820, 2, 0)] == [
        "100\u202f%", "99.7\u202f%", "82\u202f%", "0.2\u202f%", "0\u202f%"
    ]  # fmt: skip
    assert share_text(1, 0) == "–"


def test_a_share_of_few_has_a_wide_interval():
    # Of 4 of 4: lower end 0.025^(1/4) (Clopper, Pearson 1934).
    assert interval_text(4, 4) == "40 to 100\u202f%"
    assert interval_text(0, 4) == "0 to 60\u202f%"
