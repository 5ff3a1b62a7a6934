"""Scoring by shards, and the screen from scores to slots."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from heteroforge.generation.new_monolayers import substitute
from heteroforge.io import write_table
from heteroforge.labels import STACK_PROPERTIES
from heteroforge.models.from_layers import FROM_LAYERS
from heteroforge.models.monolayer_prediction import load_monolayer_predictor
from heteroforge.models.property_surrogate import FastPredictor
from heteroforge.models.property_training import PropertyData, pair_of
from heteroforge.models.published import PublishedModel, published_labels
from heteroforge.models.stack_inputs import describe_stacks, fast_baselines
from heteroforge.predict import MODEL, MONOLAYER_MODEL
from heteroforge.screening import (
    HardLimits,
    LayersAlone,
    ScoredSamples,
    joint_probability,
    score_samples,
    screen,
)
from heteroforge.screening.control import draw_control
from heteroforge.screening.screen import PREDICTED, _best, _registries
from heteroforge.sources import Library
from heteroforge.structures.matching import stack_layers

LIMITS = HardLimits(maximum_atoms=6, maximum_mismatch_percent=2.0, minimum_materials=2)


@pytest.fixture(scope="module")
def predictor(small_stacks, small_table) -> FastPredictor:
    descriptors = describe_stacks(small_stacks, small_table)
    predicted = pd.DataFrame(
        {name: fast_baselines(descriptors)[:, j] for j, name in enumerate(STACK_PROPERTIES)}
    ).assign(**{f"{name}_std": 0.1 for name in STACK_PROPERTIES})
    pairs = [pair_of(stack) for stack in small_stacks]
    return FastPredictor.of(small_stacks, small_table, predicted, pairs, seed=1, steps=50)


def score(part, monolayers, table, predictor, limits=LIMITS) -> pd.DataFrame:
    alone = LayersAlone(table)
    return score_samples(
        part, monolayers, table, predictor, limits=limits, alone=alone, progress=False
    )


@pytest.fixture(scope="module")
def samples(small_stacks) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "stack_id": [stack.key() for stack in small_stacks],
            "specification": [stack.to_json() for stack in small_stacks],
            "number_of_atoms": [stack.number_of_atoms for stack in small_stacks],
            "mismatch_percent": [stack.mismatch_percent for stack in small_stacks],
        }
    )


def test_scores_do_not_depend_on_the_sharding(samples, predictor, small_monolayers, small_table):
    def scores(part):
        return score(part, small_monolayers, small_table, predictor)

    whole = scores(samples)
    shards = [scores(samples.iloc[k::3]) for k in range(3)]
    merged = pd.concat(shards).set_index("stack_id").loc[samples["stack_id"]].reset_index()
    words = ["stack_id", "formula", "pair", "reason"]
    pd.testing.assert_frame_equal(whole[words], merged[words])
    numbers = [f"{name}{end}" for name in STACK_PROPERTIES for end in ("", "_std")]
    assert np.allclose(whole[numbers], merged[numbers], atol=1e-6, equal_nan=True)
    # Outside the limits there is a reason and no number, within them the other way round.
    outside = whole["reason"] != ""
    assert outside.any() and not outside.all()
    assert whole.loc[outside, numbers].isna().all().all()
    assert whole.loc[~outside, numbers].notna().all().all()


def test_a_shard_without_samples_has_all_columns(samples, predictor, small_monolayers, small_table):
    empty = score(samples.head(0), small_monolayers, small_table, predictor)
    some = score(samples.head(2), small_monolayers, small_table, predictor)
    assert set(empty.columns) == set(some.columns) and len(empty) == 0


def test_best_registry_is_looked_for_among_those_that_were_not_sampled(small_monolayers):
    """Of two sampled registries neither is the best: the third, which nobody sampled, is."""
    stacks = [
        stack_layers([small_monolayers["MoSS"], small_monolayers["WSS"]], registries=[registry])
        for registry in ((0.0, 0.0), (1 / 3, 2 / 3), (2 / 3, 1 / 3))
    ]
    binding = {stack.key(): 10.0 + i for i, stack in enumerate(stacks)}
    between = stack_layers(
        [small_monolayers["MoSS"], small_monolayers["WSS"]], registries=[(0.1, 0.25)]
    )
    sampled = [*stacks[:2], between]
    samples = pd.DataFrame(
        {
            "stack_id": [stack.key() for stack in sampled],
            "specification": [stack.to_json() for stack in sampled],
            "is_high_symmetry": [True, True, False],
            "number_of_layers": 2,
            "binding_energy_mev_a2": [10.0, 11.0, 50.0],
            "probability": [0.1, 0.2, 0.3],
        }
    )
    samples = samples.reindex(columns=[*samples.columns, *(set(PREDICTED) - set(samples.columns))])
    asked = []

    def models_say(those):
        asked.extend(stack.key() for stack in those)
        found = pd.DataFrame({"binding_energy_mev_a2": [binding[s.key()] for s in those]})
        return found.reindex(columns=PREDICTED, fill_value=0.5).assign(probability=0.9)

    found = _registries(samples, small_monolayers, models_say)
    below = found["binding_below_best_registry_mev_a2"]
    assert below[:2].tolist() == pytest.approx([2.0, 1.0]) and np.isnan(below[2])
    # All three slide into each other, wherever they are found; the name is of the family.
    assert found["sliding_family"].tolist() == [min(binding)] * 3
    assert asked == [stacks[2].key()]
    said = json.loads(found["predicted_if_slid"][0])
    assert set(said) == set(binding) - {stacks[0].key()}
    assert said[stacks[2].key()]["binding_energy_mev_a2"] == 12.0
    assert said[stacks[2].key()]["gap_ev_std"] == 0.5
    # What DFT will verify is what layers slide into, but not for a difference it cannot tell.
    assert found["probability_if_slid"].tolist() == [0.9, 0.2, 0.3]
    # Of three layers the others are not looked for, and nothing is said.
    three = _registries(samples.assign(number_of_layers=3), small_monolayers, models_say)
    assert three["binding_below_best_registry_mev_a2"].isna().all()


def test_stacks_drawn_at_random_are_told_what_they_slide_into(small_monolayers, small_stacks):
    """What `draw_control` gives has all that is asked of it, and enumerated registries families."""
    stacks = {stack.key(): stack for stack in small_stacks}
    enumerated = pd.DataFrame(
        {
            "stack_id": list(stacks),
            "specification": [stack.to_json() for stack in stacks.values()],
            "number_of_layers": [stack.number_of_layers for stack in stacks.values()],
            "number_of_atoms": [stack.number_of_atoms for stack in stacks.values()],
            "mismatch_percent": [stack.mismatch_percent for stack in stacks.values()],
        }
    )
    control = draw_control(
        enumerated, small_monolayers, 6, labelled=set(), slides=False, seed=3, limits=LIMITS
    )
    said = [*PREDICTED, "probability"]
    control = control.assign(is_high_symmetry=True, **dict.fromkeys(said, 1.0))

    def models_say(those):
        return pd.DataFrame(2.0, index=range(len(those)), columns=said)

    found = _registries(control, small_monolayers, models_say)
    for key, text, family in zip(
        control["stack_id"], found["predicted_if_slid"], found["sliding_family"], strict=True
    ):
        assert family == min([key, *json.loads(text)])
        assert key not in json.loads(text)
    assert found["predicted_if_slid"].map(json.loads).map(len).max() > 0


def test_no_pair_takes_more_than_its_share_of_the_refined():
    scored = pd.DataFrame(
        {"pair": ["a"] * 100 + ["b"] * 100, "probability": [0.9] * 100 + [0.5] * 100}
    )
    pairs = scored["pair"].iloc[_best(scored, 100)].value_counts()
    assert pairs["a"] == 95 and pairs["b"] == 5  # five each, then the likeliest
    many = pd.DataFrame({"pair": [f"p{i % 30}" for i in range(600)], "probability": 0.5})
    many.loc[many["pair"] == "p0", "probability"] = 0.9
    assert many["pair"].iloc[_best(many, 60)].value_counts()["p0"] == 3


@pytest.fixture
def write_shards(samples, predictor, small_monolayers, small_table, tmp_path):
    """Writes scored shards; the last stack twice, one text smaller than the other."""
    scored = score(samples, small_monolayers, small_table, predictor)
    again = scored.tail(1).copy()
    again["specification"] = again["specification"].str.replace("{", "{ ", n=1)
    assert again["specification"].iloc[0] < scored["specification"].iloc[-1]
    again["gap_ev"] += 0.01
    scored = pd.concat([scored, again], ignore_index=True)
    scored = scored.assign(
        layers="a/b", number_of_layers=2, is_high_symmetry=True, is_novel=False, split=""
    )

    def write(number: int, order=slice(None)) -> ScoredSamples:
        paths = [tmp_path / f"{number}_{k}.parquet" for k in range(number)]
        for k, path in enumerate(paths):
            write_table(path, scored.iloc[order].iloc[k::number])
        return ScoredSamples.read(paths)

    return write


def test_shards_are_read_to_the_same_whatever_their_number(write_shards, samples):
    # In one shard the sampler has chosen already; that choice is tested where it is made.
    three, two = write_shards(3), write_shards(2, order=slice(None, None, -1))
    pd.testing.assert_frame_equal(three.table, two.table)
    assert len(three.table) == len(samples) and three.number == len(samples) + 1
    assert "specification" not in three.table
    everything = np.arange(len(samples))
    assert three.specifications(everything) == two.specifications(everything)
    twice = np.flatnonzero(three.table["stack_id"] == samples["stack_id"].iloc[-1])
    assert three.specifications(twice)[0].startswith("{ ")
    texts = samples.set_index("stack_id")["specification"]
    some = everything[:5][::-1]
    expected = texts[three.table["stack_id"].iloc[some]].tolist()
    assert [text.replace("{ ", "{") for text in three.specifications(some)] == expected


def test_proposed_layers_that_dft_knows_are_not_given_to_it_again(
    predictor, samples, small_monolayers, small_table, small_stacks, tmp_path
):
    """DFT relaxed the lattice: another campaign proposes the layer with its own guess."""
    guess = substitute(small_monolayers["WSS"], ("Te", "W", "Te"))
    relaxed = replace(guess, a=1.01 * guess.a, b=1.01 * guess.b)
    registries = [(0.0, 0.0), (1 / 3, 2 / 3)]
    below = small_monolayers["MoSeSe"]
    proposed, other = (stack_layers([below, guess], registries=[place]) for place in registries)
    verified = stack_layers([below, relaxed], registries=[registries[0]])
    assert verified.key() != proposed.key()
    sampled = {stack.key(): stack for stack in (proposed, other, small_stacks[0])}
    table = pd.DataFrame(
        {
            "stack_id": list(sampled),
            "specification": [stack.to_json() for stack in sampled.values()],
            "number_of_layers": 2,
            "number_of_atoms": 6,
            "mismatch_percent": 1.0,
            "is_high_symmetry": True,
        }
    )
    limits = replace(LIMITS, minimum_materials=1)
    scored = score(table, small_monolayers, small_table, predictor, limits)
    write_table(tmp_path / "scored_0.parquet", scored)
    published = PublishedModel.load(
        MODEL, Library(small_monolayers, small_table.assign(protocol="test"))
    )
    data = PropertyData.from_tables(
        samples.head(4).assign(number_of_layers=2),
        published_labels(small_stacks[:4], published),
        small_monolayers,
        small_table,
        seed=1,
    )
    as_published = {"predictor": "published", "floor": 0.0, "factors": [1.0, 1.645]}
    ranked = screen(
        ScoredSamples.read([tmp_path / "scored_0.parquet"]),
        small_monolayers,
        small_table,
        models=[],
        calibration={"properties": dict.fromkeys(STACK_PROPERTIES, as_published)},
        data=data,
        published=published,
        of_layers=load_monolayer_predictor(MONOLAYER_MODEL),
        targets={"gap_ev": [0.0, None]},
        labelled={verified.prototype_key(), small_stacks[0].key()},
        trained=set(),
        refined=3,
        seed=1,
        control=pd.DataFrame(),
        progress=False,
    ).ranked.set_index("stack_id")
    assert ranked["is_refined"].all()
    assert ranked["is_labelled"].to_dict() == {
        proposed.key(): True,
        other.key(): False,
        small_stacks[0].key(): True,
    }


@pytest.mark.parametrize("slides", [False, True])
def test_screen_from_shards_to_a_ranking(
    write_shards, samples, small_monolayers, small_table, small_stacks, slides
):
    """By published DFT alone; what training lacks is told of refined ones, whose texts are kept."""
    published = PublishedModel.load(
        MODEL, Library(small_monolayers, small_table.assign(protocol="test"))
    )
    of_layers = load_monolayer_predictor(MONOLAYER_MODEL)
    labels = published_labels(small_stacks[:4], published)
    data = PropertyData.from_tables(
        samples.head(4).assign(number_of_layers=2), labels, small_monolayers, small_table, seed=1
    )
    as_published = {"predictor": "published", "floor": 0.0, "factors": [1.0, 1.645]}
    foreign = stack_layers(
        [small_monolayers["MoSS"], small_monolayers["WSS"], small_monolayers["MoSS"]]
    )
    control = pd.DataFrame(
        {
            "stack_id": [foreign.key()],
            "specification": [foreign.to_json()],
            "number_of_layers": [3],
            "number_of_atoms": [9],
            "mismatch_percent": [1.0],
            "formula": [foreign.formula],
        }
    )

    def ranking(number):
        return screen(
            write_shards(number),
            small_monolayers,
            small_table,
            models=[],
            calibration={"properties": dict.fromkeys(STACK_PROPERTIES, as_published)},
            data=data,
            published=published,
            of_layers=of_layers,
            targets={"gap_ev": [1.0, 2.0], "binding_energy_mev_a2": [15.0, None]},
            labelled=set(),
            trained=set(),
            refined=12,
            seed=1,
            control=control,
            slides=slides,
            progress=False,
        )

    found, again = ranking(3), ranking(2)
    pd.testing.assert_frame_equal(found.ranked, again.ranked, check_exact=False, rtol=1e-4)
    assert found.funnel == again.funnel
    ranked = found.ranked
    refined = ranked[ranked["is_refined"]]
    assert len(refined) == 12 and found.funnel["refined"] == 12
    assert refined["is_measured"].all() and refined["specification"].notna().all()
    for name in FROM_LAYERS:
        assert refined[[name, f"{name}_std"]].notna().all(axis=None)
    assert (refined["strain_energy_mev_a2"] > 0).any()
    others = ranked[~ranked["is_refined"]]
    assert len(others) and others["specification"].isna().all()
    assert not others["is_measured"].any()
    assert found.funnel["likely"] == (refined["probability"] >= 0.5).sum()
    for row in refined.to_dict("records"):
        said = json.loads(row["predicted_if_slid"]) | {row["stack_id"]: row}
        verified = row["stack_id"]
        if slides and row["binding_below_best_registry_mev_a2"] > 1.0:
            verified = max(said, key=lambda key: said[key]["binding_energy_mev_a2"])
        one = pd.DataFrame([said[verified]])
        own = joint_probability(one, {"gap_ev": [1.0, 2.0], "binding_energy_mev_a2": [15.0, None]})
        assert row["probability"] == pytest.approx(own[0], abs=1e-3)
    three = found.control.iloc[0]
    assert "3 layers" in three["outside_training"] and not three["is_measured"]
    assert "is_high_symmetry" not in found.control


def test_an_empty_shard_does_no_harm(write_shards, samples, tmp_path):
    full = write_shards(1)
    write_table(tmp_path / "none.parquet", pd.read_parquet(full.paths[0]).head(0))
    both = ScoredSamples.read([tmp_path / "none.parquet", full.paths[0]])
    assert both.table["stack_id"].tolist() == full.table["stack_id"].tolist()
    assert both.specifications(np.arange(3)) == full.specifications(np.arange(3))
