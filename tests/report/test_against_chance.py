"""What the page says of selection beside a draw at random."""

import pandas as pd

from heteroforge.report.sections import _against_chance

COLUMNS = ["draw", "candidates", "verified", "inside"]


def told(*rows, shared=0):
    rates = pd.DataFrame(rows, columns=COLUMNS).assign(shared=shared, shared_inside=shared)
    return " ".join(_against_chance(rates))


def test_nothing_is_said_without_a_draw():
    assert _against_chance(None) == []
    assert told(("selected", 4, 4, 4)) == ""


def test_the_ratio_comes_with_its_interval():
    text = told(("selected", 10, 10, 8), ("random", 10, 9, 2))
    assert "Of 10 stacks drawn at random" in text and "2 are inside all targets: 20" in text
    assert "hits 4.0 times as often (1.1 to 14.4" in text
    assert "p = 0.012" in text


def test_no_ratio_where_chance_hit_nothing_and_none_without_hits():
    assert "no ratio" in told(("selected", 10, 10, 8), ("random", 10, 10, 0))
    text = told(("selected", 2, 2, 0), ("random", 2, 2, 0))
    assert "p =" not in text and "ratio" not in text


def test_what_both_hold_and_what_the_force_field_keeps_is_told():
    text = told(("selected", 10, 10, 8), ("random", 10, 9, 2), shared=1)
    assert "1 stack of them was selected, too." in text
    text = told(("selected", 10, 10, 8), ("random", 10, 9, 2), ("random_kept", 8, 8, 2))
    assert "8 of the drawn ones hold together" in text and "of these 2 are inside (25" in text
    assert text.count("p = ") == 2
