"""A random draw beside the selection, and what it says of it."""

import pandas as pd
import pytest

from heteroforge.evaluation.hit_rates import advantage, hit_rates
from heteroforge.screening.control import add_control, draw_control
from heteroforge.structures import Stack
from heteroforge.structures.enumeration import enumerate_bilayers, enumerate_matches

LIMITS = {"maximum_atoms": 6, "maximum_mismatch_percent": 3.0, "minimum_materials": 2}


@pytest.fixture(scope="module")
def enumerated(small_monolayers):
    stacks = {}
    for bottom, top, match in enumerate_matches(small_monolayers, 12.0, 3.0, 12):
        for stack in enumerate_bilayers(small_monolayers[bottom], small_monolayers[top], match):
            stacks.setdefault(stack.key(), stack)
    return pd.DataFrame(
        {
            "stack_id": key,
            "specification": stack.to_json(),
            "number_of_atoms": stack.number_of_atoms,
            "mismatch_percent": stack.mismatch_percent,
            "materials": len({layer.monolayer.name for layer in stack.layers}),
        }
        for key, stack in stacks.items()
    )


def draw(enumerated, small_monolayers, number, labelled=(), seed=1, **wanted):
    return draw_control(
        enumerated, small_monolayers, number, labelled=labelled, seed=seed, **LIMITS, **wanted
    )


def test_the_draw_keeps_to_the_limits_and_to_what_is_not_labelled(enumerated, small_monolayers):
    open_to = enumerated[
        (enumerated["materials"] == 2)
        & (enumerated["number_of_atoms"] <= 6)
        & (enumerated["mismatch_percent"] <= 3.0)
    ]
    labelled = set(open_to["stack_id"].iloc[:2])
    drawn = draw(enumerated, small_monolayers, 10_000, labelled)
    assert set(drawn["stack_id"]) == set(open_to["stack_id"]) - labelled
    assert (drawn["drawn_from"] == len(open_to) - 2).all()
    none = draw(enumerated, small_monolayers, 0)
    assert none.empty and list(none) == list(drawn)


def test_the_draw_is_from_what_samples_were_asked_for(enumerated, small_monolayers):
    texts = draw(enumerated, small_monolayers, 10_000)["specification"]
    stacks = [Stack.from_json(text, small_monolayers) for text in texts]
    element = stacks[0].species[0]
    substrate = stacks[0].layers[0].monolayer.name
    with_element = draw(enumerated, small_monolayers, 10_000, elements=[element])
    assert len(with_element) == sum(element in s.species for s in stacks) < len(stacks)
    on_it = draw(enumerated, small_monolayers, 10_000, substrate=substrate)
    expected = sum(substrate in [layer.monolayer.name for layer in s.layers] for s in stacks)
    assert len(on_it) == expected < len(stacks)
    formula = stacks[0].formula
    of_it = draw(enumerated, small_monolayers, 10_000, formula=formula)["formula"]
    either = {formula, "/".join(formula.split("/")[::-1])}
    assert len(of_it) == sum(s.formula in either for s in stacks) < len(stacks)


def test_the_draw_follows_from_its_seed_alone(enumerated, small_monolayers):
    one = draw(enumerated, small_monolayers, 5)
    shuffled = enumerated.sample(frac=1, random_state=3)
    assert one["stack_id"].tolist() == draw(shuffled, small_monolayers, 5)["stack_id"].tolist()
    other = draw(enumerated, small_monolayers, 5, seed=2)
    assert one["stack_id"].tolist() != other["stack_id"].tolist()
    # More of them are the same ones first.
    more = draw(enumerated, small_monolayers, 8)
    assert more["stack_id"].tolist()[:5] == one["stack_id"].tolist()


def test_every_stack_has_the_same_chance(enumerated, small_monolayers):
    space = len(draw(enumerated, small_monolayers, 10_000))
    ids = [
        i
        for seed in range(30)
        for i in draw(enumerated, small_monolayers, 5, seed=seed)["stack_id"]
    ]
    counts = pd.Series(ids).value_counts()
    assert len(counts) > 0.8 * space
    assert counts.max() < 6 * 150 / space


def test_a_drawn_stack_that_was_selected_keeps_its_slot():
    selected = pd.DataFrame(
        {"slot": [0, 1], "stack_id": ["a", "b"], "rank": [1, 2], "is_novel": [True, False],
         "role": "exploitation", "reason": "the best"}
    )  # fmt: skip
    control = pd.DataFrame({"stack_id": ["b", "c"], "formula": ["BN", "C"], "drawn_from": 9})
    found = add_control(selected, control)
    assert found["slot"].tolist() == [0, 1, 2]
    assert found["is_control"].tolist() == [False, True, True]
    assert found["role"].tolist() == ["exploitation", "exploitation", "control"]
    assert "at random from 9" in found["reason"][2]
    assert found["rank"].tolist()[:2] == [1, 2] and pd.isna(found["rank"][2])
    assert str(found["rank"].dtype) == "Int64"
    assert not add_control(selected, control.head(0))["is_control"].any()


def results(*met):
    return [
        {"slot": slot, "status": "failed" if inside is None else "verified", "meets_target": inside}
        for slot, inside in enumerate(met)
    ]


def test_hit_rates_of_both_draws_and_a_failed_one_is_no_hit():
    selected = pd.DataFrame(
        {"slot": range(6), "role": ["exploitation"] * 3 + ["exploration", "control", "control"],
         "is_control": [False, False, True, False, True, True]}
    )  # fmt: skip
    rates = hit_rates(selected, results(True, True, None, True, False, True)).set_index("draw")
    assert rates.loc["selected", ["candidates", "verified", "inside"]].tolist() == [3, 2, 2]
    assert rates.loc["random", ["candidates", "verified", "inside"]].tolist() == [3, 2, 1]
    # Of three, one hit: Clopper and Pearson's interval from tables of the F distribution.
    assert rates.loc["random", ["low", "high"]].tolist() == pytest.approx(
        [0.0084, 0.9057], abs=1e-4
    )
    by_hand = hit_rates(selected[["slot"]], results(True, False))
    assert by_hand[["draw", "candidates", "inside"]].values.tolist() == [["selected", 2, 1]]
    # A slot that waits counts for nothing yet.
    assert hit_rates(selected, results(True))["candidates"].tolist() == [1]


def test_advantage_over_chance():
    columns = ["draw", "candidates", "inside"]
    ten = pd.DataFrame([["selected", 10, 8], ["random", 10, 2]], columns=columns)
    gain = advantage(ten)
    assert gain.ratio == pytest.approx(4.0)
    # exp(ln 4 ± 1.96 sqrt(1/8 - 1/10 + 1/2 - 1/10))
    assert (gain.low, gain.high) == pytest.approx((1.11, 14.35), abs=0.02)
    assert gain.p_value == pytest.approx(2126 / 184756, rel=1e-6)  # hypergeometric, by hand
    assert advantage(ten.head(1)) is None
    assert advantage(ten.assign(inside=0)) is None
    nothing = advantage(ten.assign(inside=[8, 0]))
    assert nothing.ratio == float("inf")
