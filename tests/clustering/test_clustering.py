import json

import numpy as np
import pandas as pd
import pytest

from heteroforge.clustering import (
    add_targets,
    cluster_monolayers,
    find_drivers,
    map_monolayers,
    works_label,
)
from heteroforge.clustering import drivers as drivers_module
from heteroforge.report.stages import drivers_figure, library_figure, map_figure


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(drivers_module, "TREES", 20)
    monkeypatch.setattr(drivers_module, "REPEATS", 2)


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
        },
        index=names(3),
    )
    targets = add_targets(table, labels)
    assert targets["binding_energy_mev_a2"].tolist()[:2] == [15.0, 20.0]
    assert np.isnan(targets["binding_energy_mev_a2"].iloc[2])
    assert targets["mobility_cm2_vs"].tolist()[:2] == [30.0, 5.0]
    assert np.isnan(targets["mobility_cm2_vs"].iloc[2])


def test_clusters_are_found_and_few_monolayers_are_noise():
    descriptors = random_descriptors(20, 5, seed=0)
    descriptors.iloc[10:] += 12
    clusters = cluster_monolayers(descriptors, 4)["cluster"]
    assert clusters.iloc[:10].nunique() == clusters.iloc[10:].nunique() == 1
    assert clusters.iloc[0] != clusters.iloc[10]
    assert cluster_monolayers(descriptors.iloc[:5], 4)["cluster"].tolist() == [-1] * 5


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
            "monolayer_id": ["a", "b"],
            "x": [0.0, 1.0],
            "y": [0.0, 1.0],
            "cluster": [0, -1],
            "works": pd.array([True, None], dtype="boolean"),
        }
    )
    assert len(map_figure(places, "PCA").axes[0].collections) == 3
    skipped = pd.DataFrame(
        {"target": ["gap_ev"], "importance": [np.nan], "effect": ["too few known values"]}
    )
    (text,) = drivers_figure(skipped).axes[0].texts
    assert "too few known values" in text.get_text()
