"""The property network: invariances, shrinkage to the baseline, honest folds, calibration."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from heteroforge.graphs import GraphStore, atom_graph, stack_graph
from heteroforge.labels import COLUMNS, STACK_PROPERTIES, baseline_labels
from heteroforge.models.calibration import calibrate
from heteroforge.models.property_network import (
    PropertyNetwork,
    PropertySettings,
    correct_baseline,
    embed,
    fit_difference,
    group_folds,
)
from heteroforge.models.property_training import (
    PREDICTORS,
    PropertyData,
    _choose,
    _spreads,
    evaluate,
    load_member,
    pair_of,
    predict,
    save_member,
    train_member,
)
from heteroforge.models.published import PublishedModel, published_labels
from heteroforge.models.stack_inputs import describe_stacks, reference_stack
from heteroforge.predict import MODEL
from heteroforge.report.labels import labels_figure
from heteroforge.sources import Library
from heteroforge.structures import Interface, StructureError, build
from heteroforge.structures.matching import stack_layers


@pytest.fixture(scope="module")
def network() -> PropertyNetwork:
    torch.manual_seed(0)
    return PropertyNetwork(PropertySettings(STACK_PROPERTIES, ("a", "b"), width=16)).eval()


def encode(network, graphs) -> np.ndarray:
    return embed(network, GraphStore(graphs))


def test_embedding_is_invariant(network, small_stacks):
    stack = next(s for s in small_stacks if s.layers[0].monolayer.name == "MoSeS")
    atoms = build(stack)
    variants = {"as it is": atom_graph(atoms)}
    variants["thicker vacuum"] = atom_graph(build(stack, vacuum_a=60.0))
    order = np.random.default_rng(0).permutation(len(atoms))
    variants["other order"] = atom_graph(atoms[order])
    turned = atoms.copy()
    turned.rotate(77.0, "z", rotate_cell=True)
    turned.positions += [0.3, 1.1, 0.0]
    variants["turned and moved"] = atom_graph(turned)
    variants["supercell"] = atom_graph(atoms * (2, 1, 1))
    variants["upside down"] = stack_graph(stack.reversed())
    found = encode(network, list(variants.values()))
    for name, row in zip(variants, found, strict=True):
        assert np.allclose(row, found[0], atol=1e-4), name


def test_embedding_sees_registry_and_faces(network, small_stacks):
    rows = encode(network, [stack_graph(stack) for stack in small_stacks[:12]])
    apart = np.abs(rows[:, None] - rows[None]).max(-1)[np.triu_indices(len(rows), 1)]
    assert apart.min() > 1e-5


def test_gap_of_the_description_does_not_matter(small_stacks, small_table):
    from dataclasses import replace

    stack = small_stacks[0]
    wider = replace(
        stack, interfaces=(Interface(stack.interfaces[0].offset, stack.interfaces[0].gap_a + 0.7),)
    )
    upside_down = reference_stack(wider.reversed())
    assert reference_stack(wider) == reference_stack(stack) == upside_down
    first, second = describe_stacks([reference_stack(stack), upside_down], small_table).to_numpy()
    assert np.array_equal(first, second, equal_nan=True)


def test_correction_shrinks_to_the_baseline():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((200, 1)) + 2
    slope, offset = correct_baseline(x, 0.8 * x + 0.5)
    assert slope[0] == pytest.approx(0.8, abs=0.02) and offset[0] == pytest.approx(0.5, abs=0.05)
    slope, offset = correct_baseline(x[:1], x[:1] + 1.0)
    assert slope[0] == pytest.approx(1.0) and offset[0] == pytest.approx(0.25)
    slope, offset = correct_baseline(x, np.full_like(x, np.nan))
    assert (slope[0], offset[0]) == (1.0, 0.0)


def test_head_overfits_a_few_and_stays_at_the_baseline_without_signal(network):
    generator = np.random.default_rng(1)
    n = 12
    inputs = generator.standard_normal((n, 2 * 16 + len(STACK_PROPERTIES) + 2)).astype(np.float32)
    baselines = generator.standard_normal((n, len(STACK_PROPERTIES)))
    signal = baselines + inputs[:, :1] * 0.5
    as_tensor = [torch.tensor(x, dtype=torch.float32) for x in (inputs, baselines)]
    fit_difference(network, inputs, baselines, signal, seed=0, steps=600, weight_decay=0.0)
    with torch.no_grad():
        error = np.abs(network(*as_tensor).numpy() - signal).mean()
    assert error < 0.1
    fit_difference(network, inputs, baselines, baselines, seed=0)
    with torch.no_grad():
        assert np.allclose(network(*as_tensor).numpy(), baselines, atol=0.02)


def test_missing_labels_and_inputs_are_masked(network):
    generator = np.random.default_rng(1)
    inputs = generator.standard_normal((10, 2 * 16 + len(STACK_PROPERTIES) + 2))
    inputs[3, 5] = np.nan
    baselines = generator.standard_normal((10, len(STACK_PROPERTIES)))
    baselines[2, 1] = np.nan
    values = baselines + 1.0
    values[:, 3] = np.nan
    fit_difference(network, inputs, baselines, values, seed=0, steps=50)
    with torch.no_grad():
        result = network(
            torch.tensor(inputs, dtype=torch.float32), torch.tensor(baselines, dtype=torch.float32)
        ).numpy()
    assert np.isfinite(result).all()


def test_folds_keep_groups_together_and_are_even():
    groups = [f"pair{i // 3}" for i in range(90)]
    folds = group_folds(groups, 10, seed=4)
    assert len(set(folds)) == 10
    for name in set(groups):
        assert len({f for f, g in zip(folds, groups, strict=True) if g == name}) == 1
    assert np.bincount(folds).max() - np.bincount(folds).min() <= 3
    assert np.array_equal(folds, group_folds(groups, 10, seed=4))
    assert group_folds(["a", "a"], 10, 0).tolist() == [0, 0]


def test_calibrated_intervals_cover_what_they_say():
    generator = np.random.default_rng(0)
    coverage = []
    for _ in range(20):
        n = 60
        spread = generator.uniform(0.05, 0.5, n)
        residual = generator.standard_normal(n) * np.sqrt(spread**2 + 0.1**2) * 3.0
        groups = [f"g{i // 2}" for i in range(n)]
        result = calibrate(residual, spread, groups)
        coverage.append(result["coverage"])
        # Fresh residuals of the same kind: the factors must hold there too.
        fresh = generator.uniform(0.05, 0.5, 2000)
        error = np.abs(generator.standard_normal(2000) * np.sqrt(fresh**2 + 0.1**2) * 3.0)
        width = np.sqrt(fresh**2 + result["floor"] ** 2)
        inside = [(error <= f * width).mean() for f in result["factors"]]
        assert inside[0] == pytest.approx(0.68, abs=0.2)
        assert inside[1] == pytest.approx(0.90, abs=0.12)
    assert np.mean(coverage, axis=0) == pytest.approx([0.68, 0.90], abs=0.04)


def test_a_calibration_of_before_counts_until_there_are_labels():
    generator = np.random.default_rng(3)

    def factors(n: int, scale: float, outliers: int = 0, prior_labels: int = 20) -> np.ndarray:
        residual = scale * generator.standard_normal(n)
        residual[:outliers] = 4.0
        groups = [f"g{i}" for i in range(n)]
        return np.array(calibrate(residual, np.ones(n), groups, prior_labels)["factors"])

    # A dozen of the size expected, one far off: that one alone would decide.
    assert factors(12, 0.8, outliers=1, prior_labels=0)[1] > 3.0
    assert factors(12, 0.8, outliers=1) == pytest.approx([1.0, 1.645], abs=0.7)
    # Many that are twice as large decide alone; the floor is half their median.
    wide = 2.0 / np.sqrt(1 + 0.67**2)
    assert factors(2000, 2.0) == pytest.approx([wide, 1.645 * wide], rel=0.06)


@pytest.fixture(scope="module")
def published(small_monolayers, small_table) -> PublishedModel:
    table = small_table.assign(protocol="test")
    return PublishedModel.load(MODEL, Library(small_monolayers, table))


@pytest.fixture(scope="module")
def tables(small_stacks, small_table, published):
    """Training stacks, and labels whose DFT differs from published DFT in a learnable way."""
    labels = published_labels(small_stacks, published)
    generator = np.random.default_rng(2)
    rows = []
    for stack in small_stacks[::3]:
        own = labels[labels["stack_id"] == stack.key()].set_index("property")["value"]
        for name in STACK_PROPERTIES:
            shift = {"gap_ev": -0.2, "binding_energy_mev_a2": 4.0}.get(name, 0.1)
            value = own[name] + shift + 0.02 * generator.standard_normal()
            rows.append([stack.key(), stack.to_json(), name, value, "", "dft", "test", ""])
    physics = baseline_labels(small_stacks, small_table)
    labels = pd.concat([labels, physics, pd.DataFrame(rows, columns=COLUMNS)], ignore_index=True)
    training = pd.DataFrame(
        {
            "stack_id": [stack.key() for stack in small_stacks],
            "specification": [stack.to_json() for stack in small_stacks],
            "number_of_layers": 2,
        }
    )
    return training, labels


@pytest.fixture(scope="module")
def members(tables, small_monolayers, small_table):
    data = PropertyData.from_tables(*tables, small_monolayers, small_table, seed=1)
    options = {"seed": 1, "epochs": 2, "batch_size": 64, "learning_rate": 3e-3, "progress": False}
    return data, [train_member(data, member=k, **options) for k in range(2)]


def test_evaluation_stands_beside_baselines(members, published, small_table, tmp_path):
    data, trained = members
    metrics, calibration, table = evaluate(
        data, [content for _, content in trained], seed=1, published=published
    )
    assert metrics["labelled_stacks"] == len(data.labelled) > 20
    for name in STACK_PROPERTIES:
        entry = metrics["properties"][name]
        assert set(entry["predictors"]) == set(PREDICTORS)
        errors = {p: e["rmse"] for p, e in entry["predictors"].items()}
        assert entry["best"] in (min(PREDICTORS, key=lambda p: errors[p]), "published")
        assert calibration["properties"][name]["predictor"] == entry["best"]
    # A constant shift is what the correction finds and the plain model does not.
    gap = metrics["properties"]["gap_ev"]["predictors"]
    assert gap["corrected_published"]["mae"] < 0.6 * gap["published"]["mae"]
    assert {"property", "true", "predicted", "std", "fold", "pair"} <= set(table.columns)
    by_pair = table.groupby("pair")["fold"].nunique()
    assert by_pair.max() == 1

    save_member(tmp_path / "member_0.pt", *trained[0])
    model, content = load_member(tmp_path / "member_0.pt")
    assert content["member"] == 0
    stacks = [data.stacks[i] for i in data.labelled[:6]]
    arguments = (calibration, data, published, 1)
    first = predict(stacks, small_table, [model, trained[1][0]], *arguments)
    second = predict(
        [stack.reversed() for stack in stacks], small_table, [t[0] for t in trained], *arguments
    )
    numbers = [f"{name}{end}" for name in STACK_PROPERTIES for end in ("", "_std")]
    assert np.allclose(first[numbers], second[numbers], atol=1e-3)
    assert (first.filter(like="_std") > 0).all().all()
    true = data.values[data.labelled[:6], 0]
    assert np.abs(first["gap_ev"] - true).mean() < 0.15


def test_binding_is_corrected_per_interface(members, published, small_monolayers, small_table):
    """What bilayers teach of an interface holds for each of a stack; a stack's are added up."""
    data, _ = members
    corrected = {"predictor": "corrected_published", "floor": 0.0, "factors": [1.0, 1.645]}
    calibration = {"properties": dict.fromkeys(STACK_PROPERTIES, corrected)}
    j = STACK_PROPERTIES.index("binding_energy_mev_a2")
    rows = data.labelled
    slope, offset = correct_baseline(data.baselines[rows], data.values[rows])
    assert abs(offset[j]) > 1.0
    layers = [small_monolayers[name] for name in ("MoSS", "WSS", "MoSS")]
    stacks = [stack_layers(layers[:2]), stack_layers(layers)]
    own, own_std = published.predict(stacks)
    found = predict(stacks, small_table, [], calibration, data, published, 1)
    for i, interfaces in enumerate((1, 2)):
        expected = slope[j] * own[i, j] + interfaces * offset[j]
        assert found["binding_energy_mev_a2"][i] == pytest.approx(expected, abs=1e-4)
        assert found["binding_energy_mev_a2_std"][i] == pytest.approx(own_std[i, j], rel=1e-4)


def test_layers_alone_teach_nothing_of_stacks(tables, small_monolayers, small_table):
    training, labels = tables
    alone = stack_layers([small_monolayers["MoSS"]])
    row = {"stack_id": alone.key(), "specification": alone.to_json(), "number_of_layers": 1}
    training = pd.concat([training, pd.DataFrame([row])], ignore_index=True)
    data = PropertyData.from_tables(training, labels, small_monolayers, small_table, seed=1)
    assert len(data) == len(training) - 1 and alone.key() not in data.keys
    with pytest.raises(StructureError, match="no stacks of two layers or more"):
        PropertyData.from_tables(
            training.tail(1), labels.head(0), small_monolayers, small_table, seed=1
        )


def test_a_stack_with_a_proposed_layer_teaches(tables, published, small_monolayers, small_table):
    """Physics knows no edges of such a layer, the model of published bilayers guesses them."""
    training, labels = tables
    proposed = replace(small_monolayers["WSS"], species=("Te", "W", "Te"), name="")
    stack = stack_layers([small_monolayers["MoSeSe"], proposed])
    row = [stack.key(), stack.to_json(), "gap_ev", 0.9, "", "dft", "test", ""]
    labels = pd.concat(
        [labels, pd.DataFrame([row], columns=COLUMNS), baseline_labels([stack], small_table),
         published_labels([stack], published)],
        ignore_index=True,
    )  # fmt: skip
    labels_figure(labels)
    data = PropertyData.from_tables(training, labels, small_monolayers, small_table, seed=1)
    place, j = data.keys.index(stack.key()), STACK_PROPERTIES.index("gap_ev")
    assert data.values[place, j] == 0.9
    assert np.isnan(data.physics[place, j]) and np.isfinite(data.baselines[place, j])


def test_a_labelled_multilayer_teaches_of_its_interfaces(tables, small_monolayers, small_table):
    training, labels = tables
    three = stack_layers([small_monolayers[name] for name in ("MoSS", "WSS", "MoSS")])
    row = [three.key(), three.to_json(), "binding_energy_mev_a2", 50.0, "", "dft", "test", ""]
    labels = pd.concat([labels, pd.DataFrame([row], columns=COLUMNS)], ignore_index=True)
    data = PropertyData.from_tables(training, labels, small_monolayers, small_table, seed=1)
    j = STACK_PROPERTIES.index("binding_energy_mev_a2")
    assert data.values[data.keys.index(three.key()), j] == 25.0


def test_what_training_lacks_and_how_far_below_zero_a_gap_is(
    members, published, small_monolayers, small_table
):
    data, _ = members
    # DFT that is told to find far smaller gaps than published DFT.
    values = data.values.copy()
    values[:, 0] -= 4.0
    data = replace(data, values=values)
    corrected = {"predictor": "corrected_published", "floor": 0.0, "factors": [1.0, 1.645]}
    calibration = {"properties": dict.fromkeys(STACK_PROPERTIES, corrected)}
    layers = [small_monolayers[name] for name in ("MoSS", "WSS", "MoSS")]
    stacks = [stack_layers(layers[:2]), stack_layers(layers)]
    found = predict(stacks, small_table, [], calibration, data, published, 1)
    assert (found["gap_ev"] == 0.0).all() and (found["gap_unclipped_ev"] < -1.0).all()
    assert found["is_measured"].tolist() == [True, False]
    assert "3 layers" in found["outside_training"][1]
    assert "layers" not in found["outside_training"][0]


def test_what_learns_from_closed_gaps_leaves_the_overlap_to_published_dft(
    tables, small_monolayers, small_table, published
):
    """Labels have no gap below zero: trees put a metal at it, whose bands overlap by far."""
    training, labels = tables
    data = PropertyData.from_tables(training, labels, small_monolayers, small_table, 1)
    own, _ = published.predict(data.stacks[:2])
    deep = np.where(np.arange(own.shape[1]) == STACK_PROPERTIES.index("gap_ev"), own - 6.0, own)
    values = np.where(np.isfinite(data.values), data.values, np.nan)
    values[:, STACK_PROPERTIES.index("gap_ev")] = 0.0  # all are metals
    data = replace(data, values=values)
    chosen = {"predictor": "mean", "floor": 0.0, "factors": [1.0, 1.645]}
    calibration = {"properties": dict.fromkeys(STACK_PROPERTIES, chosen)}
    says = SimpleNamespace(
        predict=lambda stacks: (
            deep[: len(stacks)].copy(),
            np.full((len(stacks), own.shape[1]), 0.1),
        ),
        outside_training=lambda stack: "",
    )
    found = predict(data.stacks[:2], small_table, [], calibration, data, says, 1)
    assert (found["gap_ev"] == 0.0).all()
    assert np.allclose(found["gap_unclipped_ev"], deep[:, 0]) and (deep[:, 0] < -1.0).all()


def test_another_predictor_takes_over_where_it_is_better_by_more_than_chance():
    pairs = np.array([f"p{i // 2}" for i in range(24)])
    ones = np.where(np.arange(24) % 3 == 0, 1.0, -1.0)
    residuals = dict.fromkeys(PREDICTORS, ones)
    assert _choose(residuals, pairs) == "published"  # none is better
    # Better for some pairs and worse for others: in the mean by 0.025, which is nothing.
    residuals["physics"] = ones * np.where(np.arange(24) % 4 < 2, 0.5, 1.45)
    assert _choose(residuals, pairs) == "published"
    residuals["boosting"] = 0.5 * ones
    assert _choose(residuals, pairs) == "boosting"
    # The smallest error of all may be chance, and a larger one not: that is no reason against it.
    squares = np.tile([1.0, 1.0, 3.0, 3.0], 6)
    residuals = dict.fromkeys(PREDICTORS, np.sqrt(squares))
    residuals["corrected_published"] = np.sqrt(squares - 0.3)
    residuals["boosting"] = np.sqrt(np.tile([2.2, 2.2, 0.2, 0.2], 6))
    assert (residuals["boosting"] ** 2).mean() < (residuals["corrected_published"] ** 2).mean()
    assert _choose(residuals, pairs) == "corrected_published"
    # One pair of many stackings counts as one, for the choice as for what is chance.
    many = np.array(["p0"] * 10 + [f"p{i}" for i in range(1, 25)])
    residuals = dict.fromkeys(PREDICTORS, np.ones(34))
    residuals["boosting"] = np.where(many == "p0", 1.4, 0.8)
    residuals["mean"] = np.where(many == "p0", 0.9, 0.95)
    assert (residuals["boosting"] ** 2).mean() > (residuals["mean"] ** 2).mean()
    assert _choose(residuals, many) == "boosting"


def test_another_predictor_is_as_unsure_as_published_dft_where_that_is():
    """Labels of one's own tell how large errors are, published DFT where: of new elements, say."""
    published = np.array([[0.1], [0.4]])
    members = np.array([[[1.0], [1.0]], [[1.2], [1.0]]])
    spreads = _spreads(published, members)
    assert set(spreads) == set(PREDICTORS)
    assert spreads["boosting"].tolist() == published.tolist()
    assert spreads["network"][:, 0] == pytest.approx([np.hypot(0.1, 0.02**0.5), 0.4])
    assert _spreads(published, members[:1])["network"].tolist() == published.tolist()


def test_same_seed_same_member(members, tables, small_monolayers, small_table):
    data, trained = members
    options = {"seed": 1, "epochs": 2, "batch_size": 64, "learning_rate": 3e-3, "progress": False}
    _, content = train_member(data, member=1, **options)
    assert content["held_out"] == trained[1][1]["held_out"]
    assert content["held_out"] != trained[0][1]["held_out"]


def test_without_labels_published_dft_is_used(
    tables, published, small_monolayers, small_table, small_stacks
):
    training, labels = tables
    data = PropertyData.from_tables(
        training, labels[labels["fidelity"] != "dft"], small_monolayers, small_table, seed=1
    )
    model, content = train_member(
        data, member=0, seed=1, epochs=1, batch_size=64, learning_rate=3e-3, progress=False
    )
    metrics, calibration, table = evaluate(data, [content], seed=1, published=published)
    assert metrics["labelled_stacks"] == 0 and len(table) == 0
    assert not calibration["properties"]["gap_ev"]["calibrated"]
    result = predict(small_stacks[:3], small_table, [model], calibration, data, published, 1)
    values, std = published.predict(small_stacks[:3])
    assert np.allclose(result["gap_ev"], values[:, 0], atol=1e-5)
    assert np.allclose(result["gap_ev_std"], std[:, 0], atol=1e-5)
    nothing = predict([], small_table, [model], calibration, data, published, 1)
    assert len(nothing) == 0 and list(nothing.columns) == list(result.columns)


def test_physics_stands_in_where_published_dft_says_nothing(
    tables, published, small_monolayers, small_table
):
    training, labels = tables
    alone = stack_layers([small_monolayers["MoSS"]])
    assert np.isnan(published.predict([alone])[0]).all()
    some = labels["fidelity"] != "published"
    data = PropertyData.from_tables(training, labels[some], small_monolayers, small_table, seed=1)
    assert np.array_equal(data.baselines, data.physics, equal_nan=True)
    assert np.isfinite(data.baseline_std).all()


def test_pairs_that_the_shipped_model_knows_do_not_decide_its_intervals(members, published):
    data, trained = members
    contents = [content for _, content in trained]
    stacks = [data.stacks[i] for i in data.labelled]
    known = {i for i, stack in enumerate(stacks) if published.has_seen(stack)}
    assert known < set(range(len(stacks)))
    metrics, _, table = evaluate(data, contents, seed=1, published=published)
    assert all(entry["not_learned_from"] for entry in metrics["properties"].values())
    assert set(table["stack_id"]) == {
        data.keys[data.labelled[i]] for i in range(len(stacks)) if i not in known
    }


def test_pair_does_not_depend_on_order(small_stacks):
    for stack in small_stacks[:10]:
        assert pair_of(stack) == pair_of(stack.reversed())
