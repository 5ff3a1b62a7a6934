"""Scoring by shards, and the screen from scores to slots."""

import json

import numpy as np
import pandas as pd
import pytest

from heteroforge.models.property_surrogate import FastPredictor
from heteroforge.models.property_training import PROPERTIES, pair_of
from heteroforge.models.stack_inputs import describe_stacks, fast_baselines
from heteroforge.screening import score_samples
from heteroforge.screening.control import draw_control
from heteroforge.screening.screen import PREDICTED, _registries
from heteroforge.structures.matching import stack_layers

LIMITS = {"maximum_atoms": 6, "maximum_mismatch_percent": 2.0, "minimum_materials": 2}


@pytest.fixture(scope="module")
def predictor(small_stacks, small_table) -> FastPredictor:
    descriptors = describe_stacks(small_stacks, small_table)
    predicted = pd.DataFrame(
        {name: fast_baselines(descriptors)[:, j] for j, name in enumerate(PROPERTIES)}
    ).assign(**{f"{name}_std": 0.1 for name in PROPERTIES})
    pairs = [pair_of(stack) for stack in small_stacks]
    return FastPredictor.of(descriptors, predicted, pairs, seed=1, steps=50)


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
    def score(part):
        return score_samples(
            part, small_monolayers, small_table, predictor, progress=False, **LIMITS
        )

    whole = score(samples)
    shards = [score(samples.iloc[k::3]) for k in range(3)]
    merged = pd.concat(shards).set_index("stack_id").loc[samples["stack_id"]].reset_index()
    words = ["stack_id", "formula", "pair", "reason"]
    pd.testing.assert_frame_equal(whole[words], merged[words])
    numbers = [f"{name}{end}" for name in PROPERTIES for end in ("", "_std")]
    assert np.allclose(whole[numbers], merged[numbers], atol=1e-6, equal_nan=True)
    # Outside the limits there is a reason and no number, within them the other way round.
    outside = whole["reason"] != ""
    assert outside.any() and not outside.all()
    assert whole.loc[outside, numbers].isna().all().all()
    assert whole.loc[~outside, numbers].notna().all().all()


def test_a_shard_without_samples_has_all_columns(samples, predictor, small_monolayers, small_table):
    empty = score_samples(
        samples.head(0), small_monolayers, small_table, predictor, progress=False, **LIMITS
    )
    some = score_samples(
        samples.head(2), small_monolayers, small_table, predictor, progress=False, **LIMITS
    )
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
        }
    )
    samples = samples.reindex(columns=[*samples.columns, *(set(PREDICTED) - set(samples.columns))])
    asked = []

    def models_say(those):
        asked.extend(stack.key() for stack in those)
        found = pd.DataFrame({"binding_energy_mev_a2": [binding[s.key()] for s in those]})
        return found.reindex(columns=PREDICTED, fill_value=0.5)

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
        enumerated, small_monolayers, 6, labelled=set(), slides=False, seed=3, **LIMITS
    )
    control = control.assign(is_high_symmetry=True, **dict.fromkeys(PREDICTED, 1.0))

    def models_say(those):
        return pd.DataFrame(2.0, index=range(len(those)), columns=PREDICTED)

    found = _registries(control, small_monolayers, models_say)
    for key, text, family in zip(
        control["stack_id"], found["predicted_if_slid"], found["sliding_family"], strict=True
    ):
        assert family == min([key, *json.loads(text)])
        assert key not in json.loads(text)
    assert found["predicted_if_slid"].map(json.loads).map(len).max() > 0
