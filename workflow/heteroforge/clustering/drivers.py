"""Which descriptors drive a property: importance out of sample, against the level of chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline

from heteroforge.clustering.clusters import usable_descriptors

__all__ = ["COLUMNS", "find_drivers"]

COLUMNS = {
    "target": "string",
    "descriptor": "string",
    "correlated_with_it": "string",
    "importance": "float64",
    "importance_low": "float64",
    "importance_high": "float64",
    "null_importance": "float64",
    "effect": "string",
    "spearman": "float64",
    "separation": "float64",
    "rank": "Int64",
    "separation_rank": "Int64",
    "samples": "int64",
    "skill": "float64",
}

SMALLEST_SAMPLE = 8
# More monolayers than this add time, not certainty.
LARGEST_SAMPLE = 1500
FOLDS = 5
TREES = 40
# Shuffled targets that the level of chance comes from: its 95 % quantile needs twenty.
NULL_ROUNDS = 20
REPEATS = 5
NULL_QUANTILE = 0.95
RESAMPLINGS = 500
# Descriptors with a larger mean Spearman correlation are shuffled together: alone, each would seem
# unimportant, since the others stand in for it.
ALIKE = 0.7
# A weaker order is no direction.
SMALLEST_SPEARMAN = 0.1

# What a target is made of, or the same thing once more: no discovery.
_GAP_AGAIN = (
    "gap_ev",
    "vbm_ev",
    "cbm_ev",
    "polarizability_in_plane_a",
    "polarizability_out_of_plane_a",
)
# Metals have none of these: that they are missing tells that there is no gap.
_OF_CARRIERS = (
    "electron_mass_m0",
    "hole_mass_m0",
    "deformation_potential_cbm_ev",
    "deformation_potential_vbm_ev",
)
SAME_THING = {
    "gap_ev": (*_GAP_AGAIN, *_OF_CARRIERS),
    "is_semiconductor": (*_GAP_AGAIN, *_OF_CARRIERS),
    "mobility_cm2_vs": (*_OF_CARRIERS, "stiffness_n_m"),
    "works": (*_GAP_AGAIN, *_OF_CARRIERS, "stiffness_n_m", "hull_distance_ev_atom"),
}
# Spread over orders of magnitude: the logarithm is learned.
LOGARITHMIC = ("mobility_cm2_vs",)


def find_drivers(
    descriptors: pd.DataFrame,
    targets: pd.DataFrame,
    groups: pd.Series,
    seed: int,
    clusters: pd.Series | None = None,
    jobs: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
) -> pd.DataFrame:
    """Drivers of each target, the strongest first.

    Extra trees predict every monolayer from models that have seen neither it nor another of its
    group (cross-validation, repeated). The importance of a descriptor is by how much the mean
    absolute error of these predictions grows when its values, and those of the descriptors
    correlated with it, are shuffled among the monolayers, in units of the target's mean absolute
    deviation. Its interval (95 %) comes from drawing the groups anew. `null_importance` is what
    chance reaches: the 95 % quantile, over shuffled targets, of the largest importance among all
    descriptors (one of many is always the best).

    Args:
        descriptors: indexed by `monolayer_id`.
        targets: same index; numbers or nullable booleans, unknown values are left out.
        groups: same index; monolayers of a group are never split (e.g. of one formula).
        seed: of the folds, trees and shuffles.
        clusters: same index, −1 for none; None: separation stays unknown.
        jobs: threads of the trees.
        progress: wraps the rounds, e.g. `tqdm`.

    Returns:
        Columns of COLUMNS. `descriptor` is, of a set of correlated ones, the one that orders the
        target best. `effect` is `raises` or `lowers` (the sign of `spearman`), or `not monotonic`,
        for one above chance of a model with skill, else `chance`. `separation` is the share of the
        variance of its ranks that lies between the clusters. `skill` is the share of the target's
        mean absolute deviation that the model explains out of sample: where it is not positive, no
        descriptor says anything. A target with too few known values has one row, with the reason
        as `effect`.
    """
    separation = _separation(descriptors, clusters)
    tables = [
        _drivers_of(name, descriptors, targets[name], groups, separation, seed, jobs, progress)
        for name in targets
    ]
    frame = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))
    return frame.reindex(columns=list(COLUMNS)).astype(COLUMNS)


def _drivers_of(
    name, descriptors, target, groups, separation, seed, jobs, progress
) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    known = np.flatnonzero(target.notna().to_numpy())
    if len(known) > LARGEST_SAMPLE:
        known = np.sort(random.choice(known, LARGEST_SAMPLE, replace=False))
    y = target.iloc[known].astype(float).to_numpy()
    if name in LOGARITHMIC:
        y = np.log10(np.maximum(y, 1e-3))
    x = descriptors.iloc[known].drop(columns=list(SAME_THING.get(name, (name,))), errors="ignore")
    x = usable_descriptors(x) if len(x) else x
    group = pd.factorize(groups.iloc[known])[0]
    reason = _too_little(y, group, x)
    if reason:
        row = dict.fromkeys(COLUMNS) | {"target": name, "effect": reason, "samples": len(y)}
        return pd.DataFrame([row])
    values = x.to_numpy(float)
    spearman = np.array([_spearman(values[:, k], y) for k in range(values.shape[1])])
    sets = _correlated(x)
    rounds = [y] * REPEATS + [random.permutation(y) for _ in range(NULL_ROUNDS)]
    found = [
        _growth(values, goal, group, sets, int(random.integers(2**31)), jobs)
        for goal in progress(rounds)
    ]
    deviation = np.abs(y - y.mean()).mean()
    null = np.array([growth.mean(axis=1).max() for growth, _ in found[REPEATS:]]) / deviation
    level = max(0.0, float(np.quantile(null, NULL_QUANTILE)))
    growth = np.mean([growth for growth, _ in found[:REPEATS]], axis=0) / deviation
    importance = growth.mean(axis=1)
    low, high = _interval(growth, group, random)
    skill = float(np.mean([skill for _, skill in found[:REPEATS]]))
    rows = []
    for number, members in enumerate(sets):
        order = members[np.argsort(-np.abs(np.nan_to_num(spearman[members])))]
        first = order[0]
        if importance[number] <= level or skill <= 0:
            effect = "chance"
        elif not abs(spearman[first]) >= SMALLEST_SPEARMAN:
            effect = "not monotonic"
        else:
            effect = "raises" if spearman[first] > 0 else "lowers"
        rows.append(
            {
                "target": name,
                "descriptor": x.columns[first],
                "correlated_with_it": ", ".join(x.columns[order[1:]]),
                "importance": importance[number],
                "importance_low": low[number],
                "importance_high": high[number],
                "null_importance": level,
                "effect": effect,
                "spearman": spearman[first],
                "separation": separation.get(x.columns[first], np.nan),
                "samples": len(y),
                "skill": skill,
            }
        )
    frame = pd.DataFrame(rows).sort_values("importance", ascending=False, ignore_index=True)
    frame["rank"] = np.arange(1, len(frame) + 1)
    frame["separation_rank"] = frame["separation"].rank(ascending=False, method="first")
    return frame


def _too_little(y: np.ndarray, group: np.ndarray, x: pd.DataFrame) -> str:
    if len(y) < SMALLEST_SAMPLE:
        return f"too few known values: {len(y)}, at least {SMALLEST_SAMPLE} needed"
    if len(np.unique(y)) < 2:
        return f"all {len(y)} known values are equal"
    values, counts = np.unique(y, return_counts=True)
    if len(values) == 2 and counts.min() < 3:
        return f"too few of one kind: {counts.min()} of {len(y)}, at least 3 needed"
    if len(np.unique(group)) < 3:
        return f"too few different materials: {len(np.unique(group))}, at least 3 needed"
    if x.shape[1] == 0:
        return "no descriptor tells the monolayers apart"
    return ""


def _correlated(x: pd.DataFrame) -> list[np.ndarray]:
    """Columns in sets whose mean correlation (Spearman, magnitude) is above ALIKE."""
    if x.shape[1] == 1:
        return [np.array([0])]
    ranks = x.rank().apply(lambda column: column.fillna(column.mean()))
    distance = 1 - np.abs(np.nan_to_num(np.corrcoef(ranks.to_numpy().T)))
    np.fill_diagonal(distance, 0.0)
    tree = linkage(squareform(distance, checks=False), "average")
    labels = fcluster(tree, 1 - ALIKE, criterion="distance")
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _growth(
    x: np.ndarray, y: np.ndarray, group: np.ndarray, sets: list[np.ndarray], seed: int, jobs: int
) -> tuple[np.ndarray, float]:
    """Growth of the absolute error (sets, n) when a set is shuffled, and the skill: one round."""
    random = np.random.default_rng(seed)
    n, m = x.shape
    order = [random.permutation(n) for _ in sets]
    plain, changed, mean = np.empty(n), np.empty((len(sets), n)), np.empty(n)
    folds = GroupKFold(n_splits=min(FOLDS, len(np.unique(group))), shuffle=True, random_state=seed)
    for train, test in folds.split(x, y, group):
        model = make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            ExtraTreesRegressor(TREES, min_samples_leaf=2, random_state=seed, n_jobs=jobs),
        )
        model.fit(x[train], y[train])
        shuffled = np.repeat(x[test][None], len(sets), axis=0)
        for number, members in enumerate(sets):
            shuffled[number][:, members] = x[np.ix_(order[number][test], members)]
        predicted = model.predict(np.concatenate([x[test], shuffled.reshape(-1, m)]))
        plain[test] = predicted[: len(test)]
        changed[:, test] = predicted[len(test) :].reshape(len(sets), len(test))
        mean[test] = y[train].mean()
    error = np.abs(plain - y)
    return np.abs(changed - y) - error, 1.0 - error.mean() / np.abs(mean - y).mean()


def _interval(growth: np.ndarray, group: np.ndarray, random: np.random.Generator):
    """Ends (sets) of the 95 % interval of the mean of `growth` (sets, n), groups drawn anew."""
    count = int(group.max()) + 1
    sums = np.stack([np.bincount(group, row, minlength=count) for row in growth])
    sizes = np.bincount(group, minlength=count)
    drawn = random.integers(count, size=(RESAMPLINGS, count))
    means = sums[:, drawn].sum(axis=2) / sizes[drawn].sum(axis=1)
    return np.quantile(means, [0.025, 0.975], axis=1)


def _separation(descriptors: pd.DataFrame, clusters: pd.Series | None) -> dict[str, float]:
    """Share of the variance of each descriptor's ranks that lies between the clusters."""
    if clusters is None:
        return {}
    inside = descriptors[clusters.reindex(descriptors.index) >= 0]
    found = {}
    for name in inside:
        ranks = inside[name].rank().dropna()
        if len(ranks) > 2 and ranks.var() > 0:
            means = ranks.groupby(clusters.loc[ranks.index]).transform("mean")
            found[name] = float(means.var() / ranks.var())
    return found


def _spearman(x: np.ndarray, y: Sequence[float]) -> float:
    known = np.isfinite(x)
    if known.sum() < 3 or len(np.unique(x[known])) < 2 or len(np.unique(y[known])) < 2:
        return float("nan")
    return float(spearmanr(x[known], y[known]).statistic)
