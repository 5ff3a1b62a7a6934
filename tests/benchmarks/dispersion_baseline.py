"""Does it help to learn binding energies as the difference to the D3 energy at contact?

HetML's heterobilayers, pairs not seen, layers as published; mean absolute errors of the binding
energy by trees, networks on descriptors and graph networks, which learn it as it is, or the
difference to the D3 energy between the layers where they touch, told as a descriptor besides.

    python tests/benchmarks/dispersion_baseline.py --data ../shared/data
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.evaluation.property_benchmark import (
    BINDING,
    SEED,
    SMALL,
    SMALL_GRAPHS,
    SPLITS,
    boosted,
    describe_known,
    physics_baselines,
    read_bilayers,
    read_layers,
    values_of,
)
from heteroforge.labels import STACK_PROPERTIES
from heteroforge.models.graph_surrogate import GraphSettings, train_graph_surrogate
from heteroforge.models.property_prediction import graphs_of
from heteroforge.models.property_surrogate import (
    SurrogateSettings,
    folds_of_stacks,
    train_surrogate,
)
from heteroforge.models.stack_inputs import fast_baselines

FOLDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    layers, entries = read_layers(folder), read_bilayers(folder, homobilayers=False)
    values, stacks = values_of(entries), [entry.stack for entry in entries]
    groups = [SPLITS["pairs"].groups(entry) for entry in entries]
    outside, graphs = folds_of_stacks(groups, FOLDS, SEED), graphs_of(stacks)
    descriptors = describe_known(entries, layers)
    physics = physics_baselines(stacks, descriptors)
    told = descriptors.assign(dispersion_binding_mev_a2=physics[:, BINDING])
    for words, table, baselines in (
        ("as it is", descriptors, fast_baselines(descriptors)),
        ("difference to D3", told, physics),
    ):
        x, columns = table.to_numpy(), tuple(table.columns)
        trees = boosted(x, baselines, values, outside)
        _, network, _ = train_surrogate(
            SurrogateSettings(columns, STACK_PROPERTIES, folds=FOLDS, repeats=4),
            x, baselines, values, groups, seed=SEED, **SMALL,
        )  # fmt: skip
        _, atoms, _ = train_graph_surrogate(
            GraphSettings(columns, STACK_PROPERTIES, folds=FOLDS, repeats=1),
            graphs, x, baselines, values, groups, seed=SEED, **SMALL_GRAPHS,
        )  # fmt: skip
        errors = [
            f"{name} {np.nanmean(np.abs(found - values)[:, BINDING]):.2f}"
            for name, found in (("trees", trees), ("descriptors", network), ("graphs", atoms))
        ]
        print(f"{words}: {', '.join(errors)} meV/Å²", flush=True)


if __name__ == "__main__":
    main()
