"""Groups of alike monolayers, and a map on which alike ones are neighbours."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

__all__ = ["cluster_monolayers", "map_monolayers", "usable_descriptors"]

# Fewer monolayers than this have no shape that UMAP could unfold, and it takes a minute to compile.
SMALLEST_UMAP = 30
VARIANCE_KEPT = 0.9


def usable_descriptors(descriptors: pd.DataFrame, known_share: float = 0.6) -> pd.DataFrame:
    """The columns that tell monolayers apart: known for enough of them, and not constant."""
    enough = descriptors.notna().mean() >= known_share
    varied = descriptors.nunique(dropna=True) > 1
    return descriptors.loc[:, enough & varied]


def cluster_monolayers(descriptors: pd.DataFrame, minimum_cluster_size: int) -> pd.DataFrame:
    """HDBSCAN on the standardised descriptors.

    Distances are taken in the principal components that hold 90 % of the variance: with more
    descriptors than monolayers all distances are alike. Unknown values count as average.

    Args:
        descriptors: indexed by `monolayer_id`.
        minimum_cluster_size: smaller groups are noise.

    Returns:
        Indexed by `monolayer_id`: `cluster` (−1: noise) and `probability` of belonging to it.
    """
    # Imported here: it compiles on import.
    import hdbscan

    if len(descriptors) < 2 * minimum_cluster_size:
        # Two groups do not fit: all are noise.
        labels, strength = np.full(len(descriptors), -1), np.zeros(len(descriptors))
    else:
        model = hdbscan.HDBSCAN(min_cluster_size=minimum_cluster_size, min_samples=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model.fit(_components(descriptors))
        labels, strength = model.labels_, model.probabilities_
    return pd.DataFrame(
        {"cluster": labels.astype(int), "probability": strength.astype(float)},
        index=descriptors.index,
    )


def map_monolayers(descriptors: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, str]:
    """Places in the plane: UMAP, or two principal components for fewer than 30 monolayers.

    Returns:
        `x`, `y` indexed by `monolayer_id`, and the name of the method.
    """
    if len(descriptors) < 3:
        places = np.column_stack([np.arange(len(descriptors)), np.zeros(len(descriptors))])
        return pd.DataFrame(places, index=descriptors.index, columns=["x", "y"]), "List"
    components = _components(descriptors)
    if len(descriptors) < SMALLEST_UMAP:
        places, method = np.pad(components, ((0, 0), (0, 1)))[:, :2], "Principal components"
    else:
        # Imported here: it compiles on import.
        import umap

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a seed leaves one thread is what is wanted
            model = umap.UMAP(
                n_neighbors=min(10, len(descriptors) - 1),
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
