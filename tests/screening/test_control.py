"""A random draw beside the selection, and what it says of it."""

import numpy as np
import pandas as pd
import pytest

from heteroforge.evaluation.hit_rates import advantage, hit_rates
from heteroforge.screening import HardLimits
from heteroforge.screening.control import add_control, draw_control
from heteroforge.structures import Stack
from heteroforge.structures.enumeration import enumerate_bilayers, enumerate_matches
from heteroforge.structures.matching import other_registries

LIMITS = HardLimits(maximum_atoms=6, maximum_mismatch_percent=3.0, minimum_materials=2)


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


def draw(enumerated, small_monolayers, number, labelled=(), seed=1, slides=False, **wanted):
    return draw_control(
        enumerated,
        small_monolayers,
        number,
        labelled=labelled,
        seed=seed,
        slides=slides,
        limits=LIMITS,
        **wanted,
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


def families(drawn, small_monolayers) -> list[set[str]]:
    """Keys of all that each stack slides into, and its own."""
    stacks = [Stack.from_json(text, small_monolayers) for text in drawn["specification"]]
    return [{s.key(), *(other.key() for other in other_registries(s))} for s in stacks]


def test_of_stacks_that_slide_into_each_other_one_is_drawn(enumerated, small_monolayers):
    whole = draw(enumerated, small_monolayers, 10_000)
    different = {min(family) for family in families(whole, small_monolayers)}
    assert len(different) < len(whole)
    once = draw(enumerated, small_monolayers, 10_000, slides=True)
    drawn = families(once, small_monolayers)
    assert sorted(min(family) for family in drawn) == sorted(different)
    # Any of a family's registries may be the one that is asked for.
    assert any(key != min(family) for key, family in zip(once["stack_id"], drawn, strict=True))
    few = draw(enumerated, small_monolayers, 4, slides=True)
    assert few["stack_id"].tolist() == once["stack_id"].tolist()[:4]
    # One label tells of the whole family.
    labelled = {max(drawn[0])}
    left = families(draw(enumerated, small_monolayers, 10_000, labelled, slides=True),
                    small_monolayers)  # fmt: skip
    assert len(left) == len(drawn) - 1 and min(drawn[0]) not in {min(family) for family in left}


def test_a_family_with_more_registries_has_no_greater_chance(enumerated, small_monolayers):
    # Registries thinned out, so that families differ in size.
    whole = draw(enumerated, small_monolayers, 10_000)
    names = pd.Series([min(f) for f in families(whole, small_monolayers)], whole["stack_id"])
    alone = set(names.drop_duplicates().iloc[::2])
    kept = names.index[~names.isin(alone) | (names.index == names)]
    thinned = enumerated[enumerated["stack_id"].isin(kept)]
    sizes = names[kept].value_counts()
    assert sizes.min() == 1 and sizes.max() > 1
    drawn = [
        names[i]
        for seed in range(150)
        for i in draw(thinned, small_monolayers, 1, seed=seed, slides=True)["stack_id"]
    ]
    single = sum(sizes[name] == 1 for name in drawn) / len(drawn)
    expected = (sizes == 1).mean()  # far above their share of the stacks
    assert abs(single - expected) < 3 * (expected * (1 - expected) / len(drawn)) ** 0.5
    assert expected - (sizes == 1).sum() / sizes.sum() > 0.2


@pytest.mark.parametrize("slides", [False, True])
def test_a_drawn_stack_that_was_selected_keeps_its_slot(slides):
    selected = pd.DataFrame(
        {"slot": [0, 1], "stack_id": ["a", "b"], "sliding_family": ["a", "b"], "rank": [1, 2],
         "is_novel": [True, False], "role": "exploitation", "reason": "the best"}
    )  # fmt: skip
    control = pd.DataFrame(
        {"stack_id": ["b", "c", "d"], "sliding_family": ["b", "c", "a"], "formula": "BN",
         "drawn_from": 9}
    )  # fmt: skip
    found = add_control(selected, control, slides)
    # Where layers slide, d ends as a does, and has no slot of its own.
    assert found["stack_id"].tolist() == (["a", "b", "c"] if slides else ["a", "b", "c", "d"])
    assert found["slot"].tolist() == list(range(len(found)))
    assert found["is_control"].tolist() == ([True] * 3 if slides else [False, True, True, True])
    assert found["role"].tolist()[:3] == ["exploitation", "exploitation", "control"]
    assert "at random from 9" in found["reason"][2]
    assert found["rank"].tolist()[:2] == [1, 2] and pd.isna(found["rank"][2])
    assert str(found["rank"].dtype) == "Int64"
    empty = control[["stack_id"]].head(0)  # as `draw_control` gives it
    assert not add_control(selected, empty, slides)["is_control"].any()
    nothing = add_control(selected.head(0), control, slides)
    assert nothing["slot"].tolist() == [0, 1, 2] and set(nothing["role"]) == {"control"}


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
    assert "random_kept" not in rates.index  # nothing was relaxed
    assert (rates["shared"] == 1).all() and (rates["shared_inside"] == 0).all()
    verdicts = ["kept", "kept", "kept", "kept", "rejected", None]
    relaxed = hit_rates(
        selected.assign(force_field=verdicts), results(True, True, None, True, True)
    )
    kept = relaxed.set_index("draw").loc["random_kept"]
    # The drawn one that was rejected hits, and counts among the drawn ones alone.
    assert kept[["candidates", "inside", "shared"]].tolist() == [1, 0, 1]
    assert relaxed.set_index("draw").loc["random", "inside"] == 1
    assert relaxed["expected"].isna().all()  # nobody told probabilities
    told = selected.assign(probability=[0.9, 0.8, 0.5, 0.1, 0.2, 0.3])
    told = hit_rates(told, results(True, True, None, True, False, True)).set_index("draw")
    assert told["expected"].to_dict() == pytest.approx({"selected": 2.2, "random": 1.0})
    by_hand = hit_rates(selected[["slot"]], results(True, False))
    assert by_hand[["draw", "candidates", "inside"]].values.tolist() == [["selected", 2, 1]]
    # A slot that waits counts for nothing yet.
    assert hit_rates(selected, results(True))["candidates"].tolist() == [1]


COLUMNS = ["draw", "candidates", "inside", "shared", "shared_inside"]


def test_advantage_over_chance():
    ten = pd.DataFrame([["selected", 10, 8, 0, 0], ["random", 10, 2, 0, 0]], columns=COLUMNS)
    gain = advantage(ten)
    assert gain.ratio == pytest.approx(4.0)
    # exp(ln 4 ± 1.96 sqrt(1/8 - 1/10 + 1/2 - 1/10))
    assert (gain.low, gain.high) == pytest.approx((1.11, 14.35), abs=0.02)
    assert gain.p_value == pytest.approx(2126 / 184756, rel=1e-6)  # hypergeometric, by hand
    assert advantage(ten.head(1)) is None
    assert advantage(ten.assign(inside=0)) is None
    nothing = advantage(ten.assign(inside=[8, 0]))
    assert nothing.ratio == float("inf")
    assert advantage(ten, "random_kept") is None


def test_stacks_in_both_draws_are_no_evidence():
    rows = [["selected", 4, 3, 2, 1], ["random", 4, 1, 2, 1]]
    gain = advantage(pd.DataFrame(rows, columns=COLUMNS))
    assert gain.ratio == pytest.approx(3.0)  # of the shares of all
    # Left are two that hit against two that do not: one of the six ways to share them out.
    assert gain.p_value == pytest.approx(1 / 6)
    same = [["selected", 2, 1, 2, 1], ["random", 2, 1, 2, 1]]
    assert advantage(pd.DataFrame(same, columns=COLUMNS)).p_value == 1.0


@pytest.mark.parametrize("selection_is_better", [False, True])
def test_p_values_with_shared_stacks_hold_their_level(selection_is_better):
    """Twenty stacks, ten selected and ten drawn: half of them are in both, as a rule."""
    generator = np.random.default_rng(0)
    below = []
    for _ in range(300):
        hits = generator.random(20) < 0.5
        worth = hits + generator.random(20) if selection_is_better else generator.random(20)
        chosen = np.isin(np.arange(20), np.argsort(-worth)[:10])
        drawn = np.isin(np.arange(20), generator.permutation(20)[:10])
        both = chosen & drawn
        rows = [
            [name, 10, (group & hits).sum(), both.sum(), (both & hits).sum()]
            for name, group in (("selected", chosen), ("random", drawn))
        ]
        gain = advantage(pd.DataFrame(rows, columns=COLUMNS))
        below.append(gain is not None and gain.p_value <= 0.05)
    assert (np.mean(below) > 0.5) if selection_is_better else (np.mean(below) <= 0.07)
