"""How far to trust the numbers: what is counted here, and what is known from elsewhere."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from candidates import candidate

from heteroforge.report.cards import _values
from heteroforge.report.trust import (
    HSE_OPENS_BY_GAP_EV,
    HSE_OPENS_GAP_EV,
    HSE_PARTS_EDGES_EV,
    MASSES_CHECKED,
    trust_in_numbers,
    trust_in_states,
)

ROOT = Path(__file__).parents[2]
C2DB = ROOT.parent / "shared" / "data" / "c2db" / "properties_2021.csv"


def test_trust_compares_predictions_with_what_dft_found():
    made = [candidate(gap_ev=2.0), candidate(1, gap_ev=1.5)]
    for one, predicted in zip(made, (2.3, 1.4), strict=True):
        one.predicted["gap_ev"] = predicted
    metrics = {"properties": {"gap_ev": {"labels": 9, "best": "network",
                                         "predictors": {"network": {"mae": 0.123}}}}}  # fmt: skip
    calibration = {"properties": {"gap_ev": {"coverage": [0.5, 0.9]}}}
    gap, gap_known = (trust_in_numbers(m, c, made, ["gap_ev"])[0]
                      for m, c in (({}, {}), (metrics, calibration)))  # fmt: skip
    assert gap.unseen == "not measured" and gap.interval == "not measured"
    assert gap_known.unseen == "0.12\u202feV in the mean (9 stacks)"
    assert gap_known.interval == "50\u202f% of them, 68\u202f% expected"
    assert gap_known.here == "0.20\u202feV in the mean of 2, 0.30\u202feV at worst"


@pytest.mark.parametrize(
    ("predicted", "told"),
    [
        ((2.3, 1.6, 1.7), "all predicted too large"),
        ((1.9, 1.2, 1.1), "all predicted too small"),
        ((2.3, 1.2, 1.7), "at worst"),
    ],
)
def test_an_error_of_one_sign_is_told(predicted, told):
    made = [candidate(0, gap_ev=2.0), candidate(1, gap_ev=1.5), candidate(2, gap_ev=1.4)]
    for one, value in zip(made, predicted, strict=True):
        one.predicted["gap_ev"] = value
    assert trust_in_numbers({}, {}, made, ["gap_ev"])[0].here.endswith(told)


def test_a_card_says_what_a_pbe_gap_is():
    (value,) = [v for v in _values(candidate(gap_ev=2.0)) if v.label == "band gap"]
    assert value.note.endswith("2.40 to 3.02\u202feV")
    (metal,) = [v for v in _values(candidate(gap_ev=0.0)) if v.label == "band gap"]
    assert metal.note == ""


def test_how_much_hse_opens_gaps():
    """The numbers in the page, from C2DB's export: PBE without spin–orbit coupling, and HSE06."""
    pbe, hse = published("Gap wo. soc.", "Band gap (HSE06)")
    both = (pbe > 0) & (hse > 0)
    opened = pd.Series(hse[both] - pbe[both])
    number, *quartiles = HSE_OPENS_GAP_EV
    assert number == both.sum()
    assert opened.quantile([0.25, 0.5, 0.75]).tolist() == pytest.approx(quartiles, abs=0.006)
    least = 0.0
    for most, *ends in HSE_OPENS_BY_GAP_EV:
        some = opened[(pbe[both] > least) & (pbe[both] <= most)]
        assert len(some) > 100
        assert some.quantile([0.25, 0.75]).tolist() == pytest.approx(ends, abs=0.006)
        least = most


def test_how_far_hse_moves_edges_apart():
    """Over all pairs of monolayers, with spin–orbit coupling in both functionals."""
    pbe, hse, *edges = published(
        "Band gap", "Band gap (HSE06)", "Val. band maximum", "Valence band maximum (HSE06)",
        "Cond. band minimum", "Conduction band minimum (HSE06)",
    )  # fmt: skip
    known = (pbe > 0) & (hse > 0) & np.isfinite(edges).all(axis=0)
    assert known.sum() == HSE_PARTS_EDGES_EV[0]
    for before, after, expected in zip(edges[::2], edges[1::2], HSE_PARTS_EDGES_EV[1:],
                                       strict=True):  # fmt: skip
        moved = (after - before)[known]
        apart = np.abs(moved[:, None] - moved)[np.triu_indices(len(moved), 1)]
        assert np.median(apart) == pytest.approx(expected, abs=0.006)


def published(*columns):
    if not C2DB.is_file():
        pytest.skip(f"no reference data at {C2DB.parents[1]}")
    return pd.read_csv(C2DB)[list(columns)].apply(pd.to_numeric, errors="coerce").to_numpy().T


def test_masses_are_those_of_the_document():
    lines = (ROOT / "docs/dft_accuracy.md").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines if " mass (m₀) |" in line]
    off = [abs(float(row[5].replace("%", ""))) for row in rows]
    half, most = (round(float(x), 1) for x in np.percentile(off, [50, 90]))
    assert (len(off), half, most, max(off)) == MASSES_CHECKED


def test_types_by_andersons_rule_are_counted_where_dft_decides():
    types = [("I", "I"), ("II", "I"), ("III", "undetermined"), ("II", "II")]
    made = [candidate(i, anderson_alignment=rule, alignment=dft)
            for i, (rule, dft) in enumerate(types)]  # fmt: skip
    alignment = trust_in_states(made)[0]
    assert alignment.here == "the type that DFT finds for 2 of 3; for 1 DFT leaves it undetermined"
    assert trust_in_states([])[0].here == "no candidate to compare"


def test_masses_and_mobilities_say_what_was_computed():
    one = candidate(0, mass_fit_residual_ev=2e-5, electron_mobility_cm2_vs=120.0)
    masses, mobility = trust_in_states([one, candidate(1)])[1:]
    assert "off by at most 0.02\u202fmeV" in masses.here
    assert mobility.here == "not predicted; computed for 1 of 2"
    masses, mobility = trust_in_states([candidate(1)])[1:]
    assert masses.here == "no masses computed" and "not computed" in mobility.here
