"""Graph networks of bilayers: what they do not depend on, what they learn, who leaves what out."""

import numpy as np
import pytest

from heteroforge.models.graph_surrogate import (
    GraphSettings,
    best_shares,
    pooled,
    train_graph_surrogate,
)
from heteroforge.models.property_prediction import graphs_of
from heteroforge.models.property_surrogate import folds_of_stacks, held_out
from heteroforge.structures.matching import contact_gap_a

SETTINGS = GraphSettings(("constant",), ("contact",), folds=2, repeats=1, width=16)


@pytest.fixture(scope="module")
def stacks(small_stacks):
    return small_stacks[:: max(1, len(small_stacks) // 40)]


@pytest.fixture(scope="module")
def trained(stacks):
    """Learns from atoms alone the gap at which layers touch: the one input is constant."""
    values = np.array([[contact_gap_a(stack, 0)] for stack in stacks])
    inputs = np.ones((len(stacks), 1))
    baselines = np.zeros_like(values)
    groups = [tuple(layer.monolayer.name for layer in stack.layers) for stack in stacks]
    model, mean, spread = train_graph_surrogate(
        SETTINGS, graphs_of(stacks), inputs, baselines, values, groups,
        seed=3, epochs=250, batch_size=40,
    )  # fmt: skip
    return model, inputs, baselines, values, groups, (mean, spread)


def test_atoms_tell_what_descriptors_do_not(trained, stacks):
    model, inputs, baselines, values, *_ = trained
    found, _ = model.predict(graphs_of(stacks), inputs, baselines)
    assert np.abs(found - values).mean() < 0.5 * np.abs(values - values.mean()).mean()


def test_a_gap_of_zero_does_not_hold_networks_at_zero(stacks):
    """Gaps that follow an input, cut off at zero: below it the networks go on along the line."""
    line = np.linspace(-2.0, 2.0, len(stacks))[:, None]
    settings = GraphSettings(("a",), ("gap_ev",), folds=2, repeats=1, width=16)
    model, _, _ = train_graph_surrogate(
        settings, graphs_of(stacks), line, np.zeros_like(line), np.maximum(line, 0.0),
        [(str(i),) for i in range(len(stacks))], seed=3, epochs=120, batch_size=40,
    )  # fmt: skip
    found, _ = model.predict(graphs_of(stacks), line, np.zeros_like(line))
    assert found[line < -1.0].mean() < -0.1
    assert np.abs(found - line)[line > 0.5].mean() < 0.3


def test_a_stack_upside_down_is_the_same(trained, stacks):
    model, inputs, baselines, *_ = trained
    found, _ = model.predict(graphs_of(stacks), inputs, baselines)
    turned = graphs_of([stack.reversed() for stack in stacks])
    assert model.predict(turned, inputs, baselines)[0] == pytest.approx(found, abs=1e-4)


def test_held_out_are_predictions_of_members_that_have_not_seen_a_layer(trained, stacks):
    model, inputs, baselines, _, groups, (mean, _) = trained
    members = model.predict_members(graphs_of(stacks), inputs, baselines)
    outside = folds_of_stacks(groups, 2, 3)
    for i in range(len(stacks)):
        assert mean[i] == pytest.approx(members[outside[i], i].mean(axis=0), abs=1e-5)


def test_held_out_of_members_by_hand():
    members = np.array([1.0, 3.0, 10.0, 20.0]).reshape(4, 1, 1)
    mean, spread = held_out(members, np.array([[True, False]]))
    assert mean[0, 0] == 2.0 and spread[0, 0] == pytest.approx(np.std([1, 3], ddof=1))


def test_shares_that_err_least_by_rows_that_count():
    """Gaps below zero are taken for zero; the first row decides where it counts alone."""
    values = np.array([[0.0, 1.0, 2.0], [0.0, np.nan, 4.0]])
    descriptors = np.array([[-0.4, 1.0, 2.0], [-0.2, 9.0, 2.0]])
    atoms = np.array([[0.8, 3.0, 6.0], [1.0, 9.0, 4.0]])
    names = ("gap_ev", "vbm_ev", "cbm_ev")
    assert best_shares(descriptors, atoms, values, names).tolist() == [0.0, 0.0, 0.0]
    weighted = best_shares(descriptors, atoms, values, names, np.array([0.1, 1.0]))
    assert weighted.tolist() == [0.0, 0.0, 1.0]
    middle = best_shares(np.array([[1.0]]), np.array([[2.0]]), np.array([[1.55]]), ("vbm_ev",))
    assert middle.tolist() == [0.5]


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5])
def test_two_ensembles_are_pooled_as_draws_of_both(weight):
    generator = np.random.default_rng(0)
    number = 400000
    draws = np.where(
        generator.random(number) < weight,
        generator.normal(1.6, 0.4, number),
        generator.normal(1.0, 0.2, number),
    )
    ensembles = (np.array(1.0), np.array(0.2)), (np.array(1.6), np.array(0.4))
    mean, std = pooled(*ensembles, weight)
    assert mean == pytest.approx(np.mean(draws), abs=0.005)
    assert std == pytest.approx(np.std(draws), abs=0.005)
    if weight == 0.5:
        assert pooled(*ensembles) == (mean, std)
