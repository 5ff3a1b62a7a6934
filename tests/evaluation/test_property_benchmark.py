"""Errors of predictors on published bilayers: what is held out, what is told of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from heteroforge.evaluation import property_benchmark as benchmark
from heteroforge.evaluation.crystal_network import (
    CrystalSettings,
    crystal_graphs,
    predict_from_pretrained,
    predict_with_crystal_network,
)
from heteroforge.evaluation.property_pages import (
    behind_trees,
    beside_goals,
    coverage_markdown,
    crystal_training_markdown,
    interval_markdown,
)
from heteroforge.evaluation.unseen_layers import errors_of_unseen, interval_table
from heteroforge.io import read_table
from heteroforge.labels import STACK_PROPERTIES
from heteroforge.labels.baseline import dispersion_binding_mev_a2
from heteroforge.labels.published import PublishedStack
from heteroforge.models.property_prediction import WIDER
from heteroforge.models.stack_inputs import at_contact_gaps, fast_baselines
from heteroforge.report.models import property_errors_figure

ROOT = Path(__file__).parents[2]
SMALL = CrystalSettings(
    channels=8, blocks=2, basis=5, epochs=3, batch_size=8, learning_rates=(1e-3, 1e-2)
)


@pytest.fixture(scope="module")
def layers(small_monolayers, small_table):
    """With polarizabilities, one polar layer and one that spin–orbit coupling matters to."""
    table = small_table.assign(polarizability_in_plane_a=4.0, polarizability_out_of_plane_a=0.3)
    rows = table.to_dict("index")
    rows["MoSeS"]["vacuum_step_ev"] = 0.7
    for name, row in rows.items():
        widening = 0.3 if name == "WSS" else 0.0
        row["gap_without_spin_orbit_ev"] = row["gap_ev"] + widening
        row["vbm_without_spin_orbit_ev"] = row["vbm_ev"] - widening
        row["cbm_without_spin_orbit_ev"] = row["cbm_ev"]
    return benchmark.Layers(small_monolayers, rows)


@pytest.fixture(scope="module")
def entries(small_stacks, layers):
    """Bilayers whose gap is 0.2 eV below the physics baseline; edges of heterobilayers alone."""
    found = []
    for number, stack in enumerate(small_stacks):
        names = tuple(layer.monolayer.name for layer in stack.layers)
        is_hetero = len(set(names)) > 1
        source = "HetML" if is_hetero else "BiDB"
        own = float("nan") if is_hetero else layers.properties[names[0]]["gap_ev"]
        found.append(PublishedStack(f"entry {number}", stack, {}, names, source, own))
    baselines = fast_baselines(benchmark.describe_known(found, layers))
    for number, (entry, (gap, vbm, cbm, _, _)) in enumerate(zip(found, baselines, strict=True)):
        entry.values["gap_ev"] = gap - 0.2
        entry.values["binding_energy_mev_a2"] = 20.0 + number % 3
        entry.values["interlayer_gap_a"] = 3.0 + 0.01 * number
        if entry.source == "HetML":
            entry.values.update(vbm_ev=vbm + 0.1 * (number % 2), cbm_ev=cbm - 0.1)
    return found


@pytest.fixture(scope="module")
def shipped(entries, layers):
    return benchmark.train_shipped(entries, layers, steps=60, layer_steps=30, epochs=1, width=16)


def test_metals_of_hetml_are_learned_from_and_not_counted(entries):
    some = heterobilayers(entries)[:3]
    some[1] = replace(some[1], values=some[1].values | {"gap_ev": 0.0})
    gaps = benchmark.values_of(some)[:, 0]
    assert np.isnan(gaps[1]) and np.isfinite(gaps[[0, 2]]).all()
    assert benchmark.values_of(some, with_metals=True)[1, 0] == 0.0
    metal = replace(some[1], source="BiDB")
    assert benchmark.values_of([metal])[0, 0] == 0.0


def heterobilayers(entries):
    return [entry for entry in entries if entry.source == "HetML"]


def test_splits_hold_out_what_they_say(entries):
    some = heterobilayers(entries)
    for name, key in (("pairs", lambda e: frozenset(e.layers)), ("entries", lambda e: e.name)):
        split = benchmark.SPLITS[name]
        outside = benchmark.folds_of_stacks([split.groups(e) for e in some], split.folds, 7)
        assert (outside.sum(1) == 1).all()
        for test in outside.T:
            held = {key(e) for e, out in zip(some, test, strict=True) if out}
            seen = {key(e) for e, out in zip(some, test, strict=True) if not out}
            assert not held & seen
    split = benchmark.SPLITS["layers"]
    outside = benchmark.folds_of_stacks([split.groups(e) for e in some], 4, 7)
    for test in outside.T:
        seen = {n for e, out in zip(some, test, strict=True) if not out for n in e.layers}
        held = [e for e, out in zip(some, test, strict=True) if out]
        # A stack is left out when one of its layers is, so no seen stack has that layer.
        assert all(not set(e.layers) <= seen for e in held)


def test_shipped_model_stands_beside_simple_predictors(shipped):
    _, table = shipped
    errors = benchmark.mean_errors(
        table[(table["source"] == "HetML") & (table["knowledge"] == "known")]
    )
    wanted = set(benchmark.PREDICTORS) - {"CHGNet", "CHGNet, pretrained features"}
    assert set(errors.index) == wanted
    # Anderson's rule is 0.2 eV off by construction.
    assert errors.loc["physics baseline", "gap_ev"] == pytest.approx(0.2, abs=1e-6)
    assert errors.loc["both networks", "gap_ev"] < errors.loc["mean", "gap_ev"]
    homo = benchmark.mean_errors(
        table[(table["source"] == "BiDB") & (table["knowledge"] == "known")]
    )
    # By the baseline the gap of equal layers is that of the layer, where no layer is polar.
    plain = table[(table["source"] == "BiDB") & (table["layer"] != "MoSeS")]
    own = benchmark.mean_errors(plain[plain["knowledge"] == "known"])
    assert own.loc["monolayer", "gap_ev"] == pytest.approx(0.2, abs=1e-6)
    assert np.isnan(homo.loc["mean", "vbm_ev"])
    assert homo.loc["gradient boosting", "gap_ev"] < 2 * homo.loc["mean", "gap_ev"]


def test_the_mean_is_that_of_the_training_part():
    values = np.array([[0.0, np.nan], [2.0, np.nan], [10.0, np.nan]])
    outside = np.array([[True, False], [False, True], [True, True]])
    found = benchmark._means(values, outside)
    assert found[:, 0].tolist() == [2.0, 0.0, 1.0] and np.isnan(found[:, 1]).all()


def test_trees_predict_what_they_have_not_seen():
    generator = np.random.default_rng(0)
    x = generator.random((120, 2))
    baselines = np.ones((120, 1))
    values = np.where(x[:, :1] > 0.5, 3.0, 1.0)
    outside = np.eye(3, dtype=bool)[np.arange(120) % 3]
    found = benchmark.boosted(x, baselines, values, outside)
    assert np.abs(found - values).mean() < 0.1
    other = values.copy()
    other[0] += 50.0
    again = benchmark.boosted(x, baselines, other, outside)
    own = np.arange(120) % 3 == 0
    assert np.array_equal(again[own], found[own]) and not np.allclose(again[~own], found[~own])


def test_predictors_on_a_split(entries, layers, monkeypatch):
    monkeypatch.setattr(benchmark, "SMALL", {"steps": 40, "batch_size": 16})
    monkeypatch.setattr(benchmark, "SMALL_GRAPHS", {"epochs": 2})
    some = heterobilayers(entries)
    x = benchmark.describe_known(some, layers)
    values = benchmark.values_of(some)
    groups = [benchmark.SPLITS["pairs"].groups(entry) for entry in some]
    stacks = [entry.stack for entry in some]
    predictions = benchmark.predict_held_out(x, stacks, values, groups, 3)
    about = pd.DataFrame({"entry": [entry.name for entry in some]})
    table = benchmark.long_table(about, values, predictions)
    errors = benchmark.mean_errors(table)
    assert errors.loc["physics baseline", "gap_ev"] == pytest.approx(0.2, abs=1e-6)
    assert errors.notna().all().all()
    touching = dispersion_binding_mev_a2(at_contact_gaps(stacks[0]))
    first = table[(table["entry"] == some[0].name) & (table["predictor"] == "physics baseline")]
    binding = first[first["property"] == "binding_energy_mev_a2"]["predicted"]
    assert binding.item() == pytest.approx(touching) and touching > 5.0
    kinds = benchmark.errors_by_kind(table, some, x, layers).set_index("kind")
    polar = [e.name for e in some if "MoSeS" in e.layers]
    assert kinds.loc["a polar layer", "bilayers"] == len(polar)
    both = table[(table["predictor"] == "both networks") & table["entry"].isin(polar)]
    own = benchmark.mean_errors(both).loc["both networks", "gap_ev"]
    assert kinds.loc["a polar layer", "gap_ev"] == pytest.approx(own)
    less = benchmark.errors_without_inputs(some, layers).set_index("inputs")
    assert len(less) == 4
    assert less.loc["all", "gap_ev"] != less.loc["no vacuum steps", "gap_ev"]


def test_learning_curve_with_and_without_the_baseline(entries, layers):
    some = heterobilayers(entries)
    x, values = benchmark.describe_known(some, layers), benchmark.values_of(some)
    curve = benchmark.learning_curve(x, values, [e.layers for e in some], (10,), steps=150)
    assert curve["stacks"].tolist()[:2] == [10, 10] and curve["stacks"].iloc[-1] > 10
    # What is to be learned is the baseline less 0.2 eV.
    few = curve[curve["stacks"] == 10].set_index("baseline")["gap_ev"]
    assert few[True] < few[False]


def test_choice_of_a_stacking():
    rows = [
        ["a", true, predicted, "known"]
        for true, predicted in ((20.0, 1.0), (18.0, 3.0), (10.0, 2.0))
    ] + [["b", true, true, "known"] for true in (5.0, 8.0, 11.0)]
    rows += [["alike", 5.0 + 0.1 * i, 0.0, "known"] for i in range(4)]
    table = pd.DataFrame(rows, columns=["layer", "true", "predicted", "knowledge"])
    table = table.assign(predictor="both networks", property="binding_energy_mev_a2")
    found = benchmark.stacking_choice(table).iloc[0]
    assert found["layers"] == 2  # stackings of the third bind alike
    assert found["loss_mev_a2"] == pytest.approx(1.0)  # 2 of the first, 0 of the second
    assert found["found_percent"] == pytest.approx(50.0)
    assert found["loss_at_random_mev_a2"] == pytest.approx((4.0 + 3.0) / 2)


def test_intervals_of_unseen_layers(entries, layers, shipped):
    errors = errors_of_unseen(
        entries, layers, shipped[0], draws=2, elements=1, steps=30, say=lambda text: None
    )
    table = interval_table(errors)
    assert set(table["not_seen"]) <= {"one composition", "both compositions", "an element"}
    one = table[table["not_seen"] == "one composition"]
    assert (one["ratio"] == 1.0).all()
    assert (table["within_68_percent"] <= table["within_90_percent"]).all()
    assert interval_markdown(table).count("\n") == 1 + table["not_seen"].nunique()


def test_factor_makes_both_intervals_hold():
    generator = np.random.default_rng(1)
    narrow = np.abs(generator.normal(size=20000))
    parts = [("one composition", narrow), ("an element", 2 * narrow)]
    errors = pd.concat(
        pd.DataFrame(dict.fromkeys(STACK_PROPERTIES, values)).assign(not_seen=kind, left_out="")
        for kind, values in parts
    )
    table = interval_table(errors).set_index(["not_seen", "property"])
    first, second = (table.loc[(kind, "gap_ev")] for kind, _ in parts)
    assert first["factor"] == pytest.approx(1.0, abs=0.03)
    assert first["within_68_percent"] == pytest.approx(68, abs=1)
    assert second["ratio"] == pytest.approx(2.0, abs=1e-6)


def test_shipped_factors_are_those_of_the_page():
    lines = (ROOT / "docs/prediction_accuracy.md").read_text(encoding="utf-8").splitlines()
    for kind, new in (("both compositions", "both layers"), ("an element", "element")):
        (line,) = [line for line in lines if line.startswith(f"| {kind} |")]
        ratios = [float(cell.split(";")[1]) for cell in line.split("|")[3:-1]]
        assert [max(1.0, ratio) for ratio in ratios] == list(WIDER[new].values())


def test_crystal_network_is_held_out_and_learns(entries):
    some = heterobilayers(entries)
    graphs = crystal_graphs([entry.stack for entry in some])
    values = benchmark.values_of(some)
    groups = [benchmark.SPLITS["pairs"].groups(entry) for entry in some]
    found, history = predict_with_crystal_network(graphs, values, groups, 3, SMALL, seed=1)
    assert found.shape == values.shape and np.isfinite(found).all()
    assert set(history["fold"]) == {-1, 0, 1, 2}
    own = history[history["fold"] >= 0]
    assert own["learning_rate"].nunique() == 1
    chosen = own["learning_rate"].iloc[0]
    last = history[(history["fold"] == -1) & (history["epoch"] == SMALL.epochs - 1)]
    assert chosen == last.loc[last["error"].idxmin(), "learning_rate"]
    losses = own.groupby("epoch")["training_loss"].mean()
    assert losses.iloc[-1] < losses.iloc[0]
    # What a fold leaves out does not enter its network.
    outside = benchmark.folds_of_stacks(groups, 3, 1)
    other = values.copy()
    fold_alone = outside[:, 0] & (outside.sum(1) == 1)
    other[fold_alone] += 5.0
    one_rate = CrystalSettings(**(vars(SMALL) | {"learning_rates": (1e-2,)}))
    before, _ = predict_with_crystal_network(graphs, values, groups, 3, one_rate, seed=1)
    after, _ = predict_with_crystal_network(graphs, other, groups, 3, one_rate, seed=1)
    assert np.allclose(before[fold_alone], after[fold_alone], atol=1e-5)
    assert not np.allclose(before[~fold_alone], after[~fold_alone], atol=1e-5)
    assert "pairs not seen" in crystal_training_markdown({"pairs": history})


def test_crystal_network_sees_no_order_and_no_size_of_the_cell(small_stacks):
    import torch

    from heteroforge.evaluation.crystal_network import CrystalNetwork

    torch.manual_seed(0)
    network = CrystalNetwork(SMALL, 5).eval()
    stack = small_stacks[0]
    # Seen upside down, its atoms come in another order.
    with torch.no_grad():
        one, other = (network(crystal_graphs([s])) for s in (stack, stack.reversed()))
    assert torch.allclose(one, other, atol=1e-4) and one.shape == (1, 5)


def test_features_of_the_published_weights(entries):
    some = heterobilayers(entries)[:12]
    graphs = crystal_graphs([entry.stack for entry in some])
    values = benchmark.values_of(some)
    groups = [(entry.name,) for entry in some]
    found = predict_from_pretrained(graphs, values, groups, 3, seed=1, steps=5, batch_size=8)
    assert found.shape == values.shape and np.isfinite(found).all()


def test_goals_stand_beside_ours():
    goals = read_table(ROOT / "resources/sources/published_property_errors.csv")
    ours = pd.DataFrame(
        [[0.13] * len(STACK_PROPERTIES)], index=["both networks"], columns=list(STACK_PROPERTIES)
    )
    table = beside_goals(goals, dict.fromkeys(benchmark.SPLITS, ours), ours)
    gap = table[(table["split"] == "entries") & (table["property"] == "gap_ev")].iloc[0]
    assert gap["error"] == 0.12 and not gap["is_beaten"]
    assert set(table["data"]) == {"HetML", "BiDB"}
    assert table[table["data"] == "BiDB"]["is_beaten"].all()


def test_page_says_where_trees_are_nearer():
    errors = pd.DataFrame(
        {"gap_ev": [0.2, 0.3], "vbm_ev": [0.2, 0.1]},
        index=["gradient boosting", "both networks"],
    ).reindex(columns=list(STACK_PROPERTIES))
    assert behind_trees({"pairs": errors}) == "pairs not seen, gap (0.2 instead of 0.3 eV)"
    assert behind_trees({"pairs": errors[["vbm_ev"]].reindex(columns=errors.columns)}) == "nowhere"


def test_coverage_is_told_for_both_kinds_where_it_was_counted(shipped):
    predictor, _ = shipped
    text = coverage_markdown(predictor.calibration)
    assert text.count("| homobilayer | known |") == 3
    assert text.count("| heterobilayer | known |") == 5


def test_picture_has_a_panel_per_property():
    table = pd.DataFrame(
        np.arange(10.0).reshape(2, 5), index=["mean", "both networks"], columns=STACK_PROPERTIES
    )
    figure = property_errors_figure({"pairs": table, "layers": table / 2})
    panels = [axes for axes in figure.axes if axes.collections]
    assert len(panels) == 5
    assert [len(axes.collections) for axes in panels] == [2] * 5
    # The largest error on top.
    labels = [tick.get_text() for tick in panels[0].get_yticklabels()]
    assert labels == ["both networks", "mean"]
