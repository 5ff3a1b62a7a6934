"""The fast ensemble: members that have not seen a group, unknown inputs, and standing in."""

import numpy as np
import pandas as pd
import pytest
import torch

from heteroforge.labels import STACK_PROPERTIES
from heteroforge.models import stack_inputs
from heteroforge.models.property_surrogate import (
    FastPredictor,
    SurrogateSettings,
    clip_gaps,
    difference_loss,
    folds_of_stacks,
    informative_residuals,
    train_surrogate,
    upper_bounds,
)
from heteroforge.models.property_training import pair_of
from heteroforge.models.stack_inputs import describe_stacks, fast_baselines
from heteroforge.structures.matching import stack_layers


@pytest.fixture(scope="module")
def problem():
    generator = np.random.default_rng(0)
    n = 300
    inputs = generator.standard_normal((n, 4))
    inputs[:, 3] = 1.0  # never varies
    baselines = generator.standard_normal((n, 2))
    values = baselines + np.column_stack([inputs[:, 0] * inputs[:, 1], inputs[:, 2]])
    groups = [(f"layer{i % 30}", f"layer{(7 * i) % 30}") for i in range(n)]
    return inputs, baselines, values, groups


SETTINGS = SurrogateSettings(("a", "b", "c", "d"), ("x", "y"), folds=3, repeats=2, width=32)


def test_a_stack_is_left_out_with_any_of_its_layers(problem):
    groups = problem[3]
    outside = folds_of_stacks(groups, 3, seed=1)
    for fold in range(3):
        hidden = {name for row, g in zip(outside, groups, strict=True) if row[fold] for name in g}
        seen = {name for row, g in zip(outside, groups, strict=True) if not row[fold] for name in g}
        # Every stack of a layer that belongs to the fold is hidden.
        own = {name for name in hidden if name not in seen}
        for row, group in zip(outside, groups, strict=True):
            assert row[fold] == bool(own & set(group))
    assert outside.any(axis=1).all()


def test_learns_the_difference_and_says_so_on_what_it_has_not_seen(problem):
    inputs, baselines, values, groups = problem
    model, held_out, spread = train_surrogate(
        SETTINGS, inputs, baselines, values, groups, seed=0, steps=400, batch_size=64
    )
    error = np.abs(held_out - values).mean(0)
    assert (error < 0.3 * np.abs(baselines - values).mean(0)).all()
    assert (spread > 0).all()
    mean, _ = model.predict(inputs, baselines)
    assert np.abs(mean - values).mean() < error.mean() + 1e-6
    # An input that never varied in training has no say, however large it becomes.
    moved = inputs.copy()
    moved[:, 3] = 100.0
    assert np.allclose(model.predict(moved, baselines)[0], mean)


def test_held_out_predictions_do_not_know_their_own_values(problem):
    inputs, baselines, values, groups = problem
    chosen = np.array([("layer3" in group) for group in groups])
    spoilt = values.copy()
    spoilt[chosen] += 50.0
    arguments = {"seed": 0, "steps": 60, "batch_size": 64}
    names = [("layer3",) if c else (f"other{i}",) for i, c in enumerate(chosen)]
    _, held_out, _ = train_surrogate(SETTINGS, inputs, baselines, spoilt, names, **arguments)
    # Values that were raised by 50 are predicted as if they were not.
    assert np.abs(held_out[chosen] - values[chosen]).mean() < 15.0


def test_unknown_values_and_inputs_are_left_out(problem):
    inputs, baselines, values, groups = (np.array(p, dtype=object) for p in problem)
    inputs, baselines, values = (x.astype(float).copy() for x in (inputs, baselines, values))
    inputs[::3, 1] = np.nan
    baselines[::5, 0] = np.nan
    values[::2, 1] = np.nan
    model, held_out, _ = train_surrogate(
        SETTINGS, inputs, baselines, values, problem[3], seed=0, steps=30, batch_size=64
    )
    assert np.isfinite(held_out).all()
    assert np.isfinite(model.predict(inputs, baselines)[0]).all()


def test_a_gap_of_zero_is_a_bound():
    names = ("gap_ev", "vbm_ev", "gap_ev_std")
    values = np.array([[0.0, 0.0, 0.0], [1.0, -5.0, 0.2], [np.nan, -5.0, 0.2]])
    bounds = upper_bounds(values, names)
    assert bounds.tolist() == [[True, False, False], [False] * 3, [False] * 3]
    predicted = np.array([[-0.4, 0.1, 0.1], [-0.2, -5.1, 0.1], [0.3, -5.0, 0.2]])
    assert clip_gaps(predicted, names)[:, 0].tolist() == [0.0, 0.0, 0.3]
    assert clip_gaps(predicted, names)[:, 1:].tolist() == predicted[:, 1:].tolist()
    residuals = informative_residuals(predicted, values, names)
    assert np.isnan(residuals[[0, 2], 0]).all()  # bound kept; not known
    assert residuals[1] == pytest.approx([-1.2, -0.1, -0.1]) and residuals[0, 1] == 0.1
    loss = difference_loss(
        torch.tensor([[[-1.0], [1.0]]]), torch.zeros(2, 1), torch.tensor([[True], [True]])
    )
    assert loss[0, 0, 0] == 0 and loss[0, 1, 0] > 0.8


def test_metals_do_not_draw_gaps_to_zero():
    """Gaps that follow a line, cut off at zero for two thirds of the rows."""
    generator = np.random.default_rng(3)
    x = generator.uniform(-2.0, 1.0, (1500, 2))
    line = 2.0 * x[:, :1]
    settings = SurrogateSettings(("a", "b"), ("gap_ev",), folds=3, repeats=1, width=24)
    model, _, _ = train_surrogate(
        settings, x, np.zeros_like(line), np.maximum(line, 0.0), [(str(i),) for i in range(1500)],
        seed=0, steps=300,
    )  # fmt: skip
    found = model.predict(x, np.zeros_like(line))[0]
    small = (line > 0.05) & (line < 0.5)
    assert abs((found - line)[small].mean()) < 0.05
    assert found[line < -2.0].mean() < -0.3, "nothing holds the networks at zero"


@pytest.fixture(scope="module")
def fast(small_stacks, small_table):
    descriptors = describe_stacks(small_stacks, small_table)
    predicted = pd.DataFrame(
        {name: fast_baselines(descriptors)[:, j] + 0.3 for j, name in enumerate(STACK_PROPERTIES)}
    )
    predicted = predicted.assign(**{f"{name}_std": 0.1 for name in STACK_PROPERTIES})
    pairs = [pair_of(stack) for stack in small_stacks]
    return FastPredictor.of(
        small_stacks, small_table, predicted, pairs, seed=1, steps=250
    ), predicted


def test_stands_in_for_a_slower_predictor(fast, small_stacks, small_table, tmp_path):
    predictor, wanted = fast
    found = predictor.predict(small_stacks, small_table)
    assert np.abs(found["gap_ev"] - wanted["gap_ev"]).mean() < 0.05
    # Its uncertainty holds that of the predictor it stands for.
    assert (found["gap_ev_std"] >= 0.1).all()
    predictor.save(tmp_path / "fast.pt")
    again = FastPredictor.load(tmp_path / "fast.pt").predict(small_stacks, small_table)
    pd.testing.assert_frame_equal(found, again)
    upside_down = predictor.predict([s.reversed() for s in small_stacks], small_table)
    assert np.allclose(found.to_numpy(), upside_down.to_numpy(), atol=1e-4)
    # One at a time as in blocks: nothing depends on what else is predicted.
    alone = pd.concat([predictor.predict([s], small_table) for s in small_stacks[:5]])
    assert np.allclose(alone.to_numpy(), found.head(5).to_numpy(), atol=1e-6)


def test_baselines_are_in_the_order_of_the_properties(small_stacks, small_table, monkeypatch):
    descriptors = describe_stacks(small_stacks[:3], small_table)
    found = pd.DataFrame(fast_baselines(descriptors), columns=list(STACK_PROPERTIES))
    columns = ["donor_aligned_vbm_ev", "acceptor_aligned_cbm_ev", "touching_gap_a"]
    by_name = found[["vbm_ev", "cbm_ev", "interlayer_gap_a"]]
    assert np.array_equal(by_name, descriptors[columns])
    assert np.array_equal(found["gap_ev"], descriptors["anderson_gap_ev"].clip(lower=0.0))
    assert (found["binding_energy_mev_a2"] == 0.0).all()
    monkeypatch.setattr(stack_inputs, "STACK_PROPERTIES", STACK_PROPERTIES[::-1])
    assert np.array_equal(fast_baselines(descriptors), found.to_numpy()[:, ::-1])


def test_the_order_of_what_was_predicted_does_not_matter(fast, small_stacks, small_table):
    _, predicted = fast
    pairs = [pair_of(stack) for stack in small_stacks]
    one, other = (
        FastPredictor.of(small_stacks, small_table, table, pairs, seed=1, steps=1)
        for table in (predicted, predicted[predicted.columns[::-1]])
    )
    assert np.array_equal(one.error, other.error)


def test_layers_beyond_the_library_widen_the_intervals(fast, small_stacks, small_table):
    """As much as not knowing them costs on stacks whose layers are known."""
    predictor, wanted = fast
    stack = small_stacks[0]
    known = predictor.predict([stack], small_table)
    unknown = predictor.predict([stack], small_table.drop(index=stack.layers[0].monolayer.name))
    spread = wanted[["gap_ev", "vbm_ev"]].std()
    for name in ("gap_ev", "vbm_ev"):
        assert unknown[f"{name}_std"][0] > known[f"{name}_std"][0] + 0.3 * spread[name]


def test_the_uncertainty_follows_that_of_the_slower_predictor(small_stacks, small_table):
    descriptors = describe_stacks(small_stacks, small_table)
    gap = fast_baselines(descriptors)[:, 0]
    sure = gap > np.median(gap)
    predicted = pd.DataFrame(fast_baselines(descriptors), columns=list(STACK_PROPERTIES))
    predicted = predicted.assign(
        **{f"{name}_std": np.where(sure, 0.1, 0.8) for name in STACK_PROPERTIES}
    )
    pairs = [pair_of(stack) for stack in small_stacks]
    predictor = FastPredictor.of(small_stacks, small_table, predicted, pairs, seed=1, steps=250)
    std = predictor.predict(small_stacks, small_table)["gap_ev_std"]
    assert std[sure].mean() < 0.5 < std[~sure].mean()


def test_a_gap_below_zero_is_kept_for_probabilities(small_stacks, small_table):
    descriptors = describe_stacks(small_stacks, small_table)
    predicted = pd.DataFrame(fast_baselines(descriptors), columns=list(STACK_PROPERTIES))
    predicted = predicted.assign(gap_ev=0.0, gap_unclipped_ev=predicted["gap_ev"] - 3.0)
    predicted = predicted.assign(**{f"{name}_std": 0.1 for name in STACK_PROPERTIES})
    pairs = [pair_of(stack) for stack in small_stacks]
    predictor = FastPredictor.of(small_stacks, small_table, predicted, pairs, seed=1, steps=100)
    found = predictor.predict(small_stacks, small_table)
    assert (found["gap_ev"] == 0.0).all() and (found["gap_unclipped_ev"] < -0.5).all()


def test_binding_is_learned_per_interface(small_stacks, small_table, small_monolayers):
    descriptors = describe_stacks(small_stacks, small_table)
    predicted = pd.DataFrame(fast_baselines(descriptors), columns=list(STACK_PROPERTIES))
    predicted["binding_energy_mev_a2"] = 20.0
    predicted = predicted.assign(**{f"{name}_std": 0.1 for name in STACK_PROPERTIES})
    pairs = [pair_of(stack) for stack in small_stacks]
    predictor = FastPredictor.of(small_stacks, small_table, predicted, pairs, seed=1, steps=50)
    three = stack_layers([small_monolayers[name] for name in ("MoSS", "WSS", "MoSS")])
    found = predictor.predict([three], small_table)
    assert found["binding_energy_mev_a2"][0] == pytest.approx(40.0, abs=1e-3)
