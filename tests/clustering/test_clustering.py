import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from heteroforge.clustering import (
    add_targets,
    check_known,
    cluster_cards,
    cluster_monolayers,
    find_drivers,
    map_monolayers,
    works_label,
    works_where_all_known,
)
from heteroforge.clustering import drivers as drivers_module
from heteroforge.clustering.clusters import chemistry_groups
from heteroforge.io import read_table
from heteroforge.report.clustering_figures import drivers_figure, map_figure
from heteroforge.report.library import library_figure

ROOT = Path(__file__).parents[2]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(drivers_module, "TREES", 20)
    monkeypatch.setattr(drivers_module, "REPEATS", 2)
    monkeypatch.setattr(drivers_module, "NULL_ROUNDS", 10)


def names(count: int) -> pd.Index:
    return pd.Index([f"m{i}" for i in range(count)], name="monolayer_id")


def random_descriptors(count: int, columns: int, seed: int) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(size=(count, columns))
    return pd.DataFrame(values, names(count), [f"d{k}" for k in range(columns)])


def test_works_needs_all_and_one_known_failure_is_enough():
    targets = pd.DataFrame(
        {
            "gap_ev": [1.0, 1.0, 3.0, np.nan, 3.0],
            "mobility_cm2_vs": [500.0, np.nan, 500.0, 50.0, np.nan],
        },
        index=names(5),
    )
    label = works_label(targets, {"gap_ev": [0.5, 2.5], "mobility_cm2_vs": [100, None]})
    assert label.isna().tolist() == [False, True, False, False, False]
    assert label.dropna().tolist() == [True, False, False, False]
    assert works_label(targets, {}).isna().all()
    # What separates the ones that work is asked of the equally well known only.
    asked = {"gap_ev": [0.5, 2.5], "mobility_cm2_vs": [100, None]}
    assert works_where_all_known(targets, label, asked).isna().tolist() == [
        False, True, False, True, True,
    ]  # fmt: skip


def test_binding_energy_of_a_monolayer_is_the_mean_over_its_dft_stacks():
    def label(layers, value, fidelity="dft", key="binding_energy_mev_a2"):
        text = json.dumps({"layers": [{"monolayer": m} for m in layers]})
        return {"specification": text, "property": key, "value": value, "fidelity": fidelity}

    labels = pd.DataFrame(
        [
            label(["m0", "m0"], 10.0),
            label(["m0", {"name": "m1"}], 20.0),
            label(["m1", "m2"], 99.0, fidelity="baseline"),
            label(["m2", "m2"], 1.0, key="gap_ev"),
        ]
    )
    table = pd.DataFrame(
        {
            "gap_ev": [1.0, 1.0, 1.0],
            "electron_mobility_cm2_vs": [10.0, np.nan, np.nan],
            "hole_mobility_cm2_vs": [30.0, 5.0, np.nan],
            "binding_energy_mev_a2": np.nan,
            "hull_distance_ev_atom": [0.0, 0.1, np.nan],
        },
        index=names(3),
    )
    targets = add_targets(table, labels)
    assert targets["binding_energy_mev_a2"].tolist()[:2] == [15.0, 20.0]
    assert np.isnan(targets["binding_energy_mev_a2"].iloc[2])
    assert targets["mobility_cm2_vs"].tolist()[:2] == [30.0, 5.0]
    assert np.isnan(targets["mobility_cm2_vs"].iloc[2])
    # A library's own binding energies are of another kind: none is taken from the stacks.
    published = add_targets(table.assign(binding_energy_mev_a2=[7.0, np.nan, np.nan]), labels)
    assert published["binding_energy_mev_a2"].tolist()[0] == 7.0
    assert np.isnan(published["binding_energy_mev_a2"].iloc[1])


def clustering(descriptors: pd.DataFrame, size: int, seed: int = 0):
    index = descriptors.index
    target = pd.DataFrame({"gap_ev": descriptors.iloc[:, 0]}, index=index)
    # Groups by chemistry that have nothing to do with the descriptors.
    formulas = pd.Series(
        [f"Mo{k + 1}S" if k % 2 else f"B{k + 1}N" for k in range(len(index))], index
    )
    return cluster_monolayers(descriptors, size, formulas, target, seed)


def test_clusters_are_found_and_few_monolayers_are_noise():
    descriptors = random_descriptors(40, 5, seed=0)
    descriptors.iloc[20:] += 12
    found = clustering(descriptors, 4)
    clusters = found.clusters["cluster"]
    for half in (clusters.iloc[:20], clusters.iloc[20:]):
        assert half[half >= 0].nunique() == 1
    assert clusters.iloc[:20].max() != clusters.iloc[20:].max()
    few = clustering(descriptors.iloc[:5], 4)
    assert few.clusters["cluster"].tolist() == [-1] * 5
    assert few.validity.empty


def test_validity_tells_clusters_from_a_control():
    descriptors = random_descriptors(90, 6, seed=3)
    descriptors += np.repeat(np.random.default_rng(4).normal(scale=10, size=(6, 6)), 15, axis=0)
    validity = clustering(descriptors, 5).validity.set_index("method")
    (best,) = validity[validity["chosen"]].to_dict("records")
    control = validity.loc["HDBSCAN, descriptors shuffled"]
    assert best["clusters"] == 6
    assert best["stability"] > 0.8
    # Shuffled columns keep each its own gaps, but these no longer meet.
    assert not control["dbcv"] >= best["dbcv"] - 0.1
    assert best["gap_ev_explained"] > 0.8 > validity.loc["chemistry", "gap_ev_explained"]
    assert validity.loc["k-means", "clusters"] == 6


def test_electronic_descriptors_make_no_clusters():
    descriptors = random_descriptors(40, 3, seed=1)
    with_gap = descriptors.assign(cohesive_energy_ev_atom=np.repeat([0.0, 100.0], 20))
    one, other = (clustering(table, 4).clusters for table in (descriptors, with_gap))
    assert one.equals(other)


def test_groups_by_chemistry():
    assert chemistry_groups(["MoS2", "WSe2", "SnS2", "C"]).tolist() == [0, 0, 1, 2]


def test_card_says_what_members_share():
    descriptors = random_descriptors(20, 3, seed=2)
    descriptors.iloc[:10, 1] = 8.0
    clusters = pd.DataFrame(
        {
            "cluster": np.repeat([0, -1], 10),
            "probability": 1.0,
            "works": pd.array([True] * 4 + [False] * 4 + [None] * 12, dtype="boolean"),
        },
        index=names(20),
    )
    targets = pd.DataFrame({"gap_ev": np.arange(20.0)}, index=names(20))
    table = pd.DataFrame({"formula": ["MoS2", "WS2"] * 10, "layer_group": 78}, index=names(20))
    cards = cluster_cards(clusters, descriptors, targets, table).set_index("cluster")
    card = cards.loc[0]
    assert card["shared"].startswith("d1 +")
    assert (card["monolayers"], card["share_that_works"]) == (10, 0.5)
    assert card["known_to_work_or_not"] == 8
    assert (card["gap_ev_median"], card["gap_ev_known"]) == (4.5, 10)
    assert card["examples"] == "MoS2, WS2"
    assert card["layer_groups"] == "78 (10)"


def test_known_materials_check_the_definition():
    known = read_table(ROOT / "resources/sources/known_semiconductors.csv")
    assert set(known["verdict"]) == {"good", "poor"}
    table = pd.DataFrame(
        {"formula": ["MoS2", "MoS2", "S2W", "C"], "layer_group": [78, 78, 78, 80]}, names(4)
    )
    targets = pd.DataFrame({"hull_distance_ev_atom": [0.2, 0.0, 0.0, 0.0]}, index=names(4))
    works = pd.Series(pd.array([False, True, None, True], dtype="boolean"), names(4))
    found = check_known(known, table, targets, works).set_index("name")
    assert found.loc["2H-MoS2", "monolayer_id"] == "m1", "the one nearest to the hull"
    assert found.loc["2H-MoS2", "agrees"] is np.True_ or bool(found.loc["2H-MoS2", "agrees"])
    assert pd.isna(found.loc["2H-WS2", "agrees"])
    assert not found.loc["graphene", "agrees"]
    assert pd.isna(found.loc["SnS", "monolayer_id"])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 12])
def test_map_of_few_monolayers(count):
    places, method = map_monolayers(random_descriptors(count, 4, seed=1), seed=0)
    assert len(places) == count
    assert np.isfinite(places.to_numpy()).all()
    assert method in ("List", "Principal components")


def test_driver_is_found_and_noise_is_chance(quick):
    descriptors = random_descriptors(40, 6, seed=2)
    # Unknown values and a constant column must not stand in the way.
    descriptors.iloc[3, 0] = np.nan
    descriptors["constant"] = 1.0
    targets = pd.DataFrame({"gap_ev": -descriptors["d2"]}, index=descriptors.index)
    table = find_drivers(descriptors, targets, pd.Series(names(40), names(40)), seed=0)
    first = table.iloc[0]
    assert (first["descriptor"], first["effect"], first["rank"]) == ("d2", "lowers", 1)
    assert first["importance"] > 3 * first["null_importance"]
    assert first["skill"] > 0.3
    assert first["samples"] == 40
    assert "constant" not in set(table["descriptor"])
    assert (table["effect"] == "chance").sum() >= 4


def test_correlated_descriptors_are_judged_together(quick):
    descriptors = random_descriptors(60, 4, seed=12)
    noise = np.random.default_rng(13).normal(size=(60, 2))
    for number in range(2):
        descriptors[f"copy{number}"] = descriptors["d0"] + 0.05 * noise[:, number]
    targets = pd.DataFrame({"x": descriptors["d0"]}, index=descriptors.index)
    clusters = pd.Series((descriptors["d3"] > 0).astype(int), descriptors.index)
    table = find_drivers(descriptors, targets, pd.Series(names(60), names(60)), 0, clusters)
    first = table.iloc[0]
    assert len(table) == 4
    assert {first["descriptor"], *first["correlated_with_it"].split(", ")} == {
        "d0", "copy0", "copy1",
    }  # fmt: skip
    assert first["importance_low"] < first["importance"] < first["importance_high"]
    assert first["importance_low"] > first["null_importance"]
    separated = table.set_index("separation_rank").loc[1]
    assert separated["descriptor"] == "d3"
    assert separated["separation"] > 0.5


def test_effect_without_direction(quick):
    descriptors = random_descriptors(80, 3, seed=14)
    targets = pd.DataFrame({"x": descriptors["d1"].abs()}, index=descriptors.index)
    first = find_drivers(descriptors, targets, pd.Series(names(80), names(80)), 0).iloc[0]
    assert (first["descriptor"], first["effect"]) == ("d1", "not monotonic")


def test_nothing_drives_random_numbers(quick):
    descriptors = random_descriptors(30, 6, seed=3)
    noise = np.random.default_rng(4).normal(size=30)
    table = find_drivers(
        descriptors, pd.DataFrame({"x": noise}, index=names(30)), pd.Series(names(30), names(30)), 0
    )
    assert set(table["effect"]) == {"chance"}


def test_group_members_do_not_teach_each_other(quick):
    # Twins share descriptors and target: alone, each could be learned from the other.
    base = random_descriptors(10, 3, seed=5)
    twins = pd.DataFrame(np.repeat(base.to_numpy(), 2, axis=0), names(20), base.columns)
    target = pd.DataFrame({"x": np.repeat(np.random.default_rng(6).normal(size=10), 2)}, names(20))
    pairs = pd.Series(np.repeat(np.arange(10), 2), names(20))
    apart = find_drivers(twins, target, pd.Series(np.arange(20), names(20)), seed=0)
    together = find_drivers(twins, target, pairs, seed=0)
    assert together["skill"].iloc[0] < 0.2 < apart["skill"].iloc[0]


def test_skipped_targets_say_why(quick):
    descriptors = random_descriptors(12, 3, seed=7)
    targets = pd.DataFrame(
        {
            "gap_ev": [1.0, 2.0, *[np.nan] * 10],
            "flat": [1.0] * 12,
            "works": pd.array([True, *[False] * 11], dtype="boolean"),
        },
        index=names(12),
    )
    table = find_drivers(descriptors, targets, pd.Series(names(12), names(12)), seed=0)
    assert table["target"].tolist() == ["gap_ev", "flat", "works"]
    assert table["effect"].tolist() == [
        "too few known values: 2, at least 8 needed",
        "all 12 known values are equal",
        "too few of one kind: 1 of 12, at least 3 needed",
    ]
    assert table["importance"].isna().all()
    assert table["samples"].tolist() == [2, 12, 12]


def test_edges_are_no_drivers_of_the_gap(quick):
    descriptors = random_descriptors(12, 2, seed=8).rename(columns={"d0": "vbm_ev"})
    targets = pd.DataFrame({"gap_ev": descriptors["vbm_ev"]})
    table = find_drivers(descriptors, targets, pd.Series(names(12), names(12)), seed=0)
    assert table["descriptor"].tolist() == ["d1"]


def test_figures_take_unknown_and_skipped_values():
    table = pd.DataFrame(
        {"monolayer_id": ["a", "b", "c"], "a_a": [2.5, 3.1, 3.2], "gap_ev": [0.0, 1.7, np.nan]}
    )
    assert "1 of 3 monolayers" in library_figure(table).axes[0].get_title(loc="left")
    places = pd.DataFrame(
        {
            "monolayer_id": ["a", "b", "c"],
            "x": [0.0, 1.0, 2.0],
            "y": [0.0, 1.0, 0.5],
            "cluster": [0, -1, 0],
            "gap_ev": [1.2, 0.0, np.nan],
            "works": pd.array([True, None, False], dtype="boolean"),
        }
    )
    left, right, *_ = map_figure(places, "PCA").axes
    assert [text.get_text() for text in left.texts] == ["a", "b", "c"]
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels == ["gap not known", "no gap", "good semiconductor (1)"]
    many = pd.concat([places] * 40, ignore_index=True)
    many["monolayer_id"] = [f"m{k}" for k in range(len(many))]
    named = map_figure(many, "UMAP", {"m0": "2H-MoS2"}).axes[0].texts
    assert [text.get_text() for text in named] == ["2H-MoS₂"]
    skipped = pd.DataFrame(
        {"target": ["gap_ev"], "importance": [np.nan], "effect": ["too few known values"]}
    )
    told = [text.get_text() for text in drivers_figure(skipped).texts]
    assert "skipped: too few known values" in told
