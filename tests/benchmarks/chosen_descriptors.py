"""Whether the descriptors that the clustering stage chooses help to predict stacks.

Gaps, distances and binding energies of HetML's heterobilayers, of which one layer at least was
never seen in training, from extra trees on four sets of layer descriptors. All sets hold the
layers' gaps and band edges; beside these
    none                 nothing
    all                  every structural descriptor
    chosen               those that drive gap, mobility or being a semiconductor above chance
    chosen and cluster   and which cluster each layer belongs to

    python tests/benchmarks/chosen_descriptors.py --data ../shared/data

Prints mean absolute errors over repeated splits by monolayer, ± the spread over the splits, and the
error of the mean of the training values.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow"))

from heteroforge.clustering import add_targets, cluster_monolayers, find_drivers
from heteroforge.clustering.clusters import structural
from heteroforge.features import descriptor_table
from heteroforge.sources import collect
from heteroforge.sources.published_tables import read_hetml

ELECTRONIC = ["gap_ev", "vbm_ev", "cbm_ev"]
PROPERTIES = {"Egap": "gap (eV)", "ILD": "distance (Å)", "Ebind": "binding (meV/Å²)"}
HELD_OUT = 0.2
SPLITS = 5
TREES = 200


def read(data: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Descriptors and table of the monolayers, and bilayers with the layers' identifiers."""
    library, _ = collect(read_hetml(data), maximum_atoms=20)
    descriptors = descriptor_table(library.monolayers, library.table)
    names = pd.read_csv(data / "hetml/monolayers.csv").set_index("hetml_id")["uid"]
    bilayers = pd.read_csv(data / "hetml/bilayers.csv")
    for side in ("bot", "top"):
        bilayers[side] = bilayers[f"uid_{side}"].map(names)
    known = bilayers["bot"].isin(descriptors.index) & bilayers["top"].isin(descriptors.index)
    return descriptors, library.table, bilayers[known & bilayers["converged"].astype(bool)]


def layer_sets(descriptors: pd.DataFrame, table: pd.DataFrame, seed: int) -> dict:
    """The sets of layer descriptors, by name; none of them has seen a bilayer."""
    targets = add_targets(table).drop(columns=["binding_energy_mev_a2", "hull_distance_ev_atom"])
    clusters = cluster_monolayers(
        descriptors, 8, table["formula"], targets.astype("float64"), seed
    ).clusters["cluster"]
    shapes = structural(descriptors)
    targets["gap_ev"] = targets["gap_ev"].where(targets["gap_ev"] > 0)
    drivers = find_drivers(shapes, targets, table["formula"], seed)
    chosen = sorted(set(drivers.loc[~drivers["effect"].eq("chance"), "descriptor"].dropna()))
    edges = descriptors[ELECTRONIC]
    marks = pd.get_dummies(clusters, prefix="cluster").astype(float)
    print(f"{shapes.shape[1]} structural descriptors; {len(chosen)} chosen: {', '.join(chosen)}")
    print(f"{marks.shape[1]} clusters, noise included")
    return {
        "none": edges,
        "all": edges.join(shapes),
        "chosen": edges.join(shapes[chosen]),
        "chosen and cluster": edges.join(shapes[chosen]).join(marks),
    }


def stack_features(layers: pd.DataFrame, bilayers: pd.DataFrame) -> np.ndarray:
    """Mean and difference of both layers (n, 2m), and the stacking (n): the same from below."""
    lower, upper = (layers.loc[bilayers[side]].to_numpy() for side in ("bot", "top"))
    stacking = (bilayers["stacktype"] == "AA").to_numpy(float)[:, None]
    both = np.hstack([(lower + upper) / 2, np.abs(lower - upper), stacking])
    # An edge of a metal is unknown: far outside what is known, where trees can tell it apart.
    return np.nan_to_num(both, nan=-99.0)


def errors(layers: pd.DataFrame, bilayers: pd.DataFrame, seed: int, trees: int = TREES) -> dict:
    """Mean absolute error per property, of extra trees and of the mean, on unseen layers."""
    random = np.random.default_rng(seed)
    names = sorted({*bilayers["bot"], *bilayers["top"]})
    held = set(random.permutation(names)[: round(HELD_OUT * len(names))])
    test = (bilayers["bot"].isin(held) | bilayers["top"].isin(held)).to_numpy()
    x = stack_features(layers, bilayers)
    found = {}
    for column in PROPERTIES:
        y = bilayers[column].to_numpy(float)
        seen, unseen = ~test & np.isfinite(y), test & np.isfinite(y)
        model = ExtraTreesRegressor(trees, min_samples_leaf=2, random_state=seed)
        model.fit(x[seen], y[seen])
        found[column] = np.abs(model.predict(x[unseen]) - y[unseen]).mean()
        found[f"{column}, mean"] = np.abs(y[seen].mean() - y[unseen]).mean()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of published tables")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    descriptors, table, bilayers = read(arguments.data)
    print(f"{len(bilayers)} bilayers of {len(descriptors)} monolayers")
    rows = {}
    for name, layers in layer_sets(descriptors, table, arguments.seed).items():
        tried = pd.DataFrame([errors(layers, bilayers, seed) for seed in range(SPLITS)])
        rows[name] = {
            label: f"{tried[column].mean():.3f} ± {tried[column].std():.3f}"
            for column, label in PROPERTIES.items()
        }
        rows["mean of training"] = {
            label: f"{tried[f'{column}, mean'].mean():.3f} ± {tried[f'{column}, mean'].std():.3f}"
            for column, label in PROPERTIES.items()
        }
    print(pd.DataFrame(rows).T.to_string())


if __name__ == "__main__":
    main()
