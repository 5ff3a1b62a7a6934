"""What do the labels AA and AB of HetML mean? The reading that makes its numbers predictable.

    python tests/benchmarks/published_registries.py --data FOLDER

Trees learn binding energies and distances of five sixths of the pairs from descriptors of the
stacks, and predict the others, under each reading: where the lowest atom of the upper layer lies in
AA and in AB, and whether 1T layers and those like them stand as listed or are turned by 180°.
Nothing that was published of a stack enters its registry, so the errors of readings compare.
"""

import argparse
from dataclasses import replace

import numpy as np

from heteroforge.evaluation.property_benchmark import (
    SPLITS,
    boosted,
    describe_known,
    read_bilayers,
    read_layers,
    values_of,
)
from heteroforge.labels import published
from heteroforge.models.property_prediction import STACK_PROPERTIES
from heteroforge.models.property_surrogate import folds_of_stacks
from heteroforge.models.stack_inputs import fast_baselines

A, B, C = (0.0, 0.0), (1 / 3, 2 / 3), (2 / 3, 1 / 3)
REPEATS = 5


def is_like_1t(layer) -> bool:
    """Whether its upper face lies beside its lower one."""
    order = np.argsort(layer.heights)
    apart = np.array(layer.positions[order[0]]) - layer.positions[order[-1]]
    return np.ptp(layer.heights) > 2.0 and np.abs(apart).max() > 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with the published tables")
    folder = parser.parse_args().data
    layers = read_layers(folder)
    print("AA at, AB at, 1T layers: mean absolute errors in meV/Å² and Å, standard error of draws")
    for names, on_top, other in (("B, A", B, A), ("B, C", B, C), ("A, B", A, B), ("C, A", C, A)):
        published.PLACES = {"AA": on_top, "AB": other}
        for stands in ("as listed", "turned"):
            entries = read_bilayers(folder, homobilayers=False)
            if stands == "turned":
                entries = [
                    replace(entry, stack=published.half_turned(entry.stack))
                    if is_like_1t(entry.stack.layers[1].monolayer)
                    else entry
                    for entry in entries
                ]
            described = describe_known(entries, layers)
            values, groups = values_of(entries), [SPLITS["pairs"].groups(e) for e in entries]
            x, baselines = described.to_numpy(float), fast_baselines(described)
            errors = []
            for seed in range(REPEATS):
                found = boosted(x, baselines, values, folds_of_stacks(groups, 6, seed))
                errors.append(np.nanmean(np.abs(found - values), axis=0))
            mean, spread = np.mean(errors, 0), np.std(errors, 0, ddof=1) / np.sqrt(REPEATS)
            told = ", ".join(
                f"{mean[j]:.3f} ± {spread[j]:.3f}"
                for j in map(STACK_PROPERTIES.index, ("binding_energy_mev_a2", "interlayer_gap_a"))
            )
            print(f"{names}, {stands}: {told}", flush=True)


if __name__ == "__main__":
    main()
