"""Groups of alike monolayers, how far to trust them, and a map with alike ones side by side."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from ase.formula import Formula
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from heteroforge.features import ELECTRONIC

__all__ = [
    "Clustering",
    "chemistry_groups",
    "cluster_monolayers",
    "map_monolayers",
    "structural",
    "usable_descriptors",
]

# Fewer monolayers than this have no shape that UMAP could unfold, and it takes a minute to compile.
SMALLEST_UMAP = 30
VARIANCE_KEPT = 0.9
# Multiples of the smallest cluster size that are tried, and what HDBSCAN takes for a cluster.
SIZES = (1, 2, 4)
SELECTIONS = ("eom", "leaf")
# One cluster of nearly all and a few odd ones beside it are stable and dense, and say nothing.
LARGEST_SHARE = 0.8
RESAMPLINGS = 5
RESAMPLED_SHARE = 0.8
# DBCV takes distances of all pairs, so that methods are compared on at most so many monolayers.
LARGEST_SAMPLE = 2000
FOLDS = 5
VALIDITY = [
    "method",
    "settings",
    "chosen",
    "clusters",
    "share_clustered",
    "share_of_largest",
    "fast_dbcv",
    "stability",
    "dbcv",
]


@dataclass(frozen=True)
class Clustering:
    """Clusters and what speaks for them.

    Attributes:
        clusters: indexed by `monolayer_id`: `cluster` (−1: none) and `probability`.
        validity: one row per method and setting: columns of VALIDITY, and `<target>_explained`.
    """

    clusters: pd.DataFrame
    validity: pd.DataFrame


def structural(descriptors: pd.DataFrame) -> pd.DataFrame:
    """Descriptors of composition, structure and symmetry: what is known before any calculation."""
    return descriptors.drop(columns=list(ELECTRONIC), errors="ignore")


def usable_descriptors(descriptors: pd.DataFrame, known_share: float = 0.6) -> pd.DataFrame:
    """The columns that tell monolayers apart: known for enough of them, and not constant."""
    enough = descriptors.notna().mean() >= known_share
    # Rounding of equal numbers must not be scaled up to a difference.
    varied = descriptors.std() > 1e-6 * (1.0 + descriptors.mean().abs())
    return descriptors.loc[:, enough & varied]


def cluster_monolayers(
    descriptors: pd.DataFrame,
    minimum_cluster_size: int,
    formulas: pd.Series,
    targets: pd.DataFrame,
    seed: int,
) -> Clustering:
    """HDBSCAN on the standardised descriptors, its settings chosen by validity.

    Distances are taken in the principal components that hold 90 % of the variance: with more
    descriptors than monolayers all distances are alike. Unknown values count as average. Only
    structural descriptors go in, so that what clusters say of gaps is no circle.

    The setting is the one with the largest product of DBCV (D. Moulavi et al., SIAM SDM (2014), as
    hdbscan's fast `relative_validity_`) and stability (mean adjusted Rand index between the
    clusters and those of samples of 80 %), among those without a cluster of more than 80 % of all.
    Beside it stand its like on shuffled descriptors, k-means with as many clusters, and groups by
    chemistry, on equal terms: exact DBCV on one sample, and the share of each target's variance
    that the clusters explain out of sample (formulas apart).

    Args:
        descriptors: indexed by `monolayer_id`.
        minimum_cluster_size: smaller groups are noise; twice and four times of it are tried, too.
        formulas: same index.
        targets: same index; numbers, unknown ones are left out.
        seed: of samples, shuffles and k-means.
    """
    space = _components(structural(descriptors))
    random = np.random.default_rng(seed)
    tried = []
    if len(space) >= 2 * minimum_cluster_size:
        for size, selection in itertools.product(SIZES, SELECTIONS):
            if 2 * size * minimum_cluster_size <= len(space):
                tried.append(_try(space, size * minimum_cluster_size, selection, random))
    worth = [
        max(fit["fast_dbcv"], 0.0) * max(fit["stability"], 0.0) * (fit["largest"] <= LARGEST_SHARE)
        for fit in tried
    ]
    if not any(worth):
        # Two groups do not fit, or none stand out: all are noise.
        nothing = {"cluster": -1, "probability": 0.0}
        clusters = pd.DataFrame(nothing, index=descriptors.index)
        return Clustering(clusters, pd.DataFrame(columns=VALIDITY))
    best = tried[int(np.argmax(worth))]
    labels, count = best["labels"], best["clusters"]
    size, selection = best["size"], best["selection"]
    table = structural(descriptors)
    shuffled = _components(table.apply(lambda column: random.permutation(column.to_numpy())))
    control = _try(shuffled, size, selection, random)
    k_means = KMeans(count, n_init=4, random_state=seed)
    rows = [_row("HDBSCAN", fit) | {"chosen": fit is best} for fit in tried]
    rows.append(_row("HDBSCAN, descriptors shuffled", control))
    compared = {
        len(rows) - 1: (shuffled, control["labels"]),
        int(np.argmax(worth)): (space, labels),
    }
    for method, found in (
        ("k-means", k_means.fit_predict(space)),
        ("chemistry", chemistry_groups(formulas)),
    ):
        compared[len(rows)] = (space, found)
        rows.append({"method": method, "clusters": len(np.unique(found)), "share_clustered": 1.0})
    sample = random.permutation(len(space))[:LARGEST_SAMPLE]
    groups = pd.factorize(formulas)[0]
    for place, (points, found) in compared.items():
        rows[place]["dbcv"] = _dbcv(points[sample], found[sample])
        for name in targets:
            rows[place][f"{name}_explained"] = _explained(found, targets[name], groups)
    validity = pd.DataFrame(rows)
    validity = validity[[*VALIDITY, *(c for c in validity if c not in VALIDITY)]]
    validity["chosen"] = validity["chosen"].fillna(False).astype(bool)
    clusters = {"cluster": labels.astype(int), "probability": best["probability"]}
    return Clustering(pd.DataFrame(clusters, index=descriptors.index), validity)


def chemistry_groups(formulas: Iterable[str]) -> np.ndarray:
    """Numbers (n) of groups by the periodic-table columns of the first and the last element.

    First and last by electronegativity: MoS2 and WSe2 are one group, SnS2 is another.
    """
    # Imported here: pymatgen takes a second to load.
    from pymatgen.core.periodic_table import Element

    def columns(formula: str) -> tuple[int, int]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # noble gases have no electronegativity
            elements = sorted((Element(s) for s in Formula(formula).count()), key=lambda e: e.X)
        return elements[0].group, elements[-1].group

    return pd.factorize(pd.Series([columns(formula) for formula in formulas]))[0]


def map_monolayers(descriptors: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, str]:
    """Places in the plane: UMAP, or two principal components for fewer than 30 monolayers.

    Returns:
        `x`, `y` indexed by `monolayer_id`, and the name of the method.
    """
    if len(descriptors) < 3:
        places = np.column_stack([np.arange(len(descriptors)), np.zeros(len(descriptors))])
        return pd.DataFrame(places, index=descriptors.index, columns=["x", "y"]), "List"
    components = _components(structural(descriptors))
    if len(descriptors) < SMALLEST_UMAP:
        places, method = np.pad(components, ((0, 0), (0, 1)))[:, :2], "Principal components"
    else:
        # Imported here: it compiles on import.
        import umap

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a seed leaves one thread is what is wanted
            model = umap.UMAP(
                n_neighbors=min(15, len(descriptors) - 1),
                min_dist=0.3,
                init="pca",
                random_state=seed,
                n_jobs=1,
            )
            places, method = model.fit_transform(components), "UMAP"
    return pd.DataFrame(places, index=descriptors.index, columns=["x", "y"]), method


def _components(descriptors: pd.DataFrame) -> np.ndarray:
    """Principal components (n, m) of the standardised descriptors."""
    usable = usable_descriptors(descriptors)
    if usable.shape[1] == 0:
        return np.zeros((len(descriptors), 1))
    values = SimpleImputer(strategy="mean").fit_transform(usable)
    return PCA(n_components=VARIANCE_KEPT, svd_solver="full").fit_transform(
        StandardScaler().fit_transform(values)
    )


def _fit(space: np.ndarray, size: int, selection: str):
    # Imported here: it compiles on import.
    import hdbscan

    model = hdbscan.HDBSCAN(
        min_cluster_size=size,
        min_samples=min(5, max(1, size // 2)),
        cluster_selection_method=selection,
        gen_min_span_tree=True,
        core_dist_n_jobs=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # divisions by the zero distance of equal points
        model.fit(space)
        return model, float(np.nan_to_num(model.relative_validity_, nan=-1.0))


def _try(space: np.ndarray, size: int, selection: str, random: np.random.Generator) -> dict:
    model, validity = _fit(space, size, selection)
    labels = model.labels_
    count = int(min(len(space), 2 * LARGEST_SAMPLE) * RESAMPLED_SHARE)
    agreement = []
    for _ in range(RESAMPLINGS if labels.max() > 0 else 0):
        kept = random.choice(len(space), count, replace=False)
        # As large a share of the sample as of the whole.
        scaled = max(2, round(size * count / len(space)))
        again = _fit(space[kept], scaled, selection)[0].labels_
        agreement.append(adjusted_rand_score(labels[kept], again))
    return {
        "labels": labels,
        "probability": model.probabilities_,
        "size": size,
        "selection": selection,
        "clusters": int(labels.max() + 1),
        "largest": float(np.bincount(labels + 1)[1:].max(initial=0) / len(labels)),
        "fast_dbcv": validity,
        "stability": float(np.mean(agreement)) if agreement else 0.0,
    }


def _row(method: str, fit: Mapping) -> dict:
    return {
        "method": method,
        "settings": f"at least {fit['size']}, {fit['selection']}",
        "clusters": fit["clusters"],
        "share_clustered": float((fit["labels"] >= 0).mean()),
        "share_of_largest": fit["largest"],
        "fast_dbcv": fit["fast_dbcv"],
        "stability": fit["stability"],
    }


def _dbcv(points: np.ndarray, labels: np.ndarray) -> float:
    """Density-based cluster validity, −1 to 1, of points that each differ from the others."""
    from hdbscan.validity import validity_index

    _, first = np.unique(np.round(points, 6), axis=0, return_index=True)
    points, labels = points[first].astype(float), labels[first]
    # The density of fewer than three points is not known: they count as noise.
    counts = pd.Series(labels).value_counts()
    labels = np.where(np.isin(labels, counts.index[counts < 3]), -1, labels)
    if len(np.unique(labels[labels >= 0])) < 2:
        return float("nan")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return float(validity_index(points, _renumbered(labels)))


def _renumbered(labels: np.ndarray) -> np.ndarray:
    """Clusters from 0 without gaps, noise still −1."""
    renumbered = np.full(len(labels), -1)
    renumbered[labels >= 0] = pd.factorize(labels[labels >= 0])[0]
    return renumbered


def _explained(labels: np.ndarray, target: pd.Series, groups: np.ndarray) -> float:
    """Share of a target's variance that the cluster means of other formulas explain."""
    known = target.notna().to_numpy()
    values, cluster, group = target[known].to_numpy(float), labels[known], groups[known]
    if len(np.unique(group)) < 2 * FOLDS or values.std() == 0:
        return float("nan")
    predicted = np.empty(len(values))
    for train, test in GroupKFold(FOLDS).split(values, groups=group):
        means = pd.Series(values[train]).groupby(cluster[train]).mean()
        predicted[test] = pd.Series(cluster[test]).map(means).fillna(values[train].mean())
    return float(1 - ((values - predicted) ** 2).sum() / ((values - values.mean()) ** 2).sum())
