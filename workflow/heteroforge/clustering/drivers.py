"""Which descriptors drive a property: importance out of sample, against the level of chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
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
    "importance": "float64",
    "importance_std": "float64",
    "null_importance": "float64",
    "effect": "string",
    "spearman": "float64",
    "rank": "Int64",
    "samples": "int64",
    "skill": "float64",
}

SMALLEST_SAMPLE = 8
FOLDS = 5
TREES = 60
# Shuffled targets that the level of chance comes from: its 95 % quantile needs twenty.
NULL_ROUNDS = 20
REPEATS = 5
NULL_QUANTILE = 0.95

# What a target is made of, or the same thing once more: no discovery.
SAME_THING = {
    "gap_ev": ("gap_ev", "vbm_ev", "cbm_ev"),
    "works": ("gap_ev", "vbm_ev", "cbm_ev"),
}


def find_drivers(
    descriptors: pd.DataFrame,
    targets: pd.DataFrame,
    groups: pd.Series,
    seed: int,
    jobs: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
) -> pd.DataFrame:
    """Drivers of each target, the strongest first.

    Extra trees predict every monolayer from models that have seen neither it nor another of its
    group (cross-validation, repeated). The importance of a descriptor is by how much the mean
    absolute error of these predictions grows when its values are shuffled among the monolayers, in
    units of the target's mean absolute deviation; `importance_std` is its spread over the repeats.
    `null_importance` is what chance reaches: the 95 % quantile, over shuffled targets, of the
    largest importance among all descriptors (one of many is always the best). Of descriptors that
    order the monolayers alike (Spearman above 0.97) the first stands for all.

    Args:
        descriptors: indexed by `monolayer_id`.
        targets: same index; numbers or nullable booleans, unknown values are left out.
        groups: same index; monolayers of a group are never split (e.g. of one formula).
        seed: of the folds, trees and shuffles.
        jobs: threads of the trees.
        progress: wraps the rounds, e.g. `tqdm`.

    Returns:
        Columns of COLUMNS. `effect` is `raises` or `lowers` (the sign of `spearman`) for a
        descriptor above chance of a model with skill, else `chance`. `skill` is the share of the
        target's mean absolute deviation that the model explains out of sample: where it is not
        positive, no descriptor says anything. A target with too few known values has one row,
        with the reason as `effect`.
    """
    tables = [
        _drivers_of(name, descriptors, targets[name], groups, seed, jobs, progress)
        for name in targets
    ]
    frame = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))
    return frame[list(COLUMNS)].astype(COLUMNS)


def _drivers_of(name, descriptors, target, groups, seed, jobs, progress) -> pd.DataFrame:
    known = target.notna()
    y = target[known].astype(float).to_numpy()
    x = descriptors.loc[known].drop(columns=list(SAME_THING.get(name, (name,))), errors="ignore")
    x = _distinct(usable_descriptors(x)) if len(x) else x
    group = pd.factorize(groups[known])[0]
    reason = _too_little(y, group, x)
    if reason:
        row = dict.fromkeys(COLUMNS) | {"target": name, "effect": reason, "samples": len(y)}
        return pd.DataFrame([row])
    random = np.random.default_rng(seed)
    values = x.to_numpy(float)
    rounds = [y] * REPEATS + [random.permutation(y) for _ in range(NULL_ROUNDS)]
    importance, skill = [], []
    for goal in progress(rounds):
        found = _importance(values, goal, group, int(random.integers(2**31)), jobs)
        importance.append(found[0])
        skill.append(found[1])
    real, null = np.array(importance[:REPEATS]), np.array(importance[REPEATS:])
    level = max(0.0, float(np.quantile(null.max(axis=1), NULL_QUANTILE)))
    gained = float(np.mean(skill[:REPEATS]))
    spearman = np.array([_spearman(values[:, k], y) for k in range(values.shape[1])])
    frame = pd.DataFrame(
        {
            "target": name,
            "descriptor": list(x.columns),
            "importance": real.mean(axis=0),
            "importance_std": real.std(axis=0),
            "null_importance": level,
            "effect": np.where(
                (real.mean(axis=0) > level) & (gained > 0),
                np.where(spearman >= 0, "raises", "lowers"),
                "chance",
            ),
            "spearman": spearman,
            "samples": len(y),
            "skill": gained,
        }
    ).sort_values("importance", ascending=False, ignore_index=True)
    frame["rank"] = np.arange(1, len(frame) + 1)
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


def _distinct(x: pd.DataFrame) -> pd.DataFrame:
    """Leave out columns that order the rows as one before them does."""
    ranks = x.rank().fillna(x.rank().mean())
    correlation = np.abs(np.nan_to_num(np.corrcoef(ranks.to_numpy().T))).reshape(
        x.shape[1], x.shape[1]
    )
    kept: list[int] = []
    for k in range(x.shape[1]):
        if all(correlation[k, other] <= 0.97 for other in kept):
            kept.append(k)
    return x.iloc[:, kept]


def _importance(x: np.ndarray, y: np.ndarray, group: np.ndarray, seed: int, jobs: int):
    """Importance per column, and the skill, of one round of cross-validation."""
    random = np.random.default_rng(seed)
    n, m = x.shape
    # Column k shuffled over all monolayers, for every k at once.
    shuffled = np.repeat(x[None], m, axis=0)
    for k in range(m):
        shuffled[k, :, k] = random.permutation(x[:, k])
    plain, changed, mean = np.empty(n), np.empty((m, n)), np.empty(n)
    folds = GroupKFold(n_splits=min(FOLDS, len(np.unique(group))), shuffle=True, random_state=seed)
    for train, test in folds.split(x, y, group):
        model = make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            ExtraTreesRegressor(TREES, min_samples_leaf=2, random_state=seed, n_jobs=jobs),
        )
        model.fit(x[train], y[train])
        both = np.concatenate([x[test], shuffled[:, test].reshape(-1, m)])
        predicted = model.predict(both)
        plain[test] = predicted[: len(test)]
        changed[:, test] = predicted[len(test) :].reshape(m, len(test))
        mean[test] = y[train].mean()
    deviation = np.abs(y - y.mean()).mean()
    error = np.abs(plain - y).mean()
    importance = (np.abs(changed - y).mean(axis=1) - error) / deviation
    return importance, 1.0 - error / np.abs(mean - y).mean()


def _spearman(x: np.ndarray, y: Sequence[float]) -> float:
    known = np.isfinite(x)
    if known.sum() < 3 or len(np.unique(x[known])) < 2 or len(np.unique(y[known])) < 2:
        return float("nan")
    return float(spearmanr(x[known], y[known]).statistic)
