"""What do the labels AA and AB of HetML mean? The reading that makes its numbers predictable.

    python tests/benchmarks/published_registries.py --data FOLDER

Trees learn binding energies and distances of four fifths of the pairs from descriptors of the
stacks, and predict the others, under several readings. All readings look at layers and labels
alone, and at nothing published of a stack. Printed are mean absolute errors, and how much larger
they are than those of `read_hetml_stacks`, with the standard error over pairs of layers.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.evaluation.property_benchmark import (
    SPLITS,
    boosted,
    describe_known,
    read_layers,
    values_of,
)
from heteroforge.labels import STACK_PROPERTIES
from heteroforge.labels.published import (
    PLACES,
    PublishedStack,
    half_turned,
    read_hetml_stacks,
)
from heteroforge.models.property_surrogate import folds_of_stacks
from heteroforge.models.stack_inputs import fast_baselines
from heteroforge.structures.matching import (
    HALF_TURN,
    UNTURNED,
    enumerate_registries,
    stack_layers,
)

LOWER_MIDDLE = (2 / 3, 1 / 3)
SHOWN = {"binding_energy_mev_a2": "meV/Å²", "interlayer_gap_a": "Å"}
REPEATS = 5


def as_listed(entries: Iterable[PublishedStack]) -> list[PublishedStack]:
    """1T layers that are read turned, as the table lists them."""
    return [
        replace(e, stack=half_turned(e.stack)) if e.stack.layers[1].supercell != UNTURNED else e
        for e in entries
    ]


def by_touching_spheres(entries: Iterable[PublishedStack]) -> list[PublishedStack]:
    """AA where spheres of both faces touch first, AB where they touch last."""
    found = []
    for entry in entries:
        layers = [layer.monolayer for layer in entry.stack.layers]
        stacks = [
            stack_layers(layers, [UNTURNED, turn], [registry])
            for turn in (UNTURNED, HALF_TURN)
            for registry in enumerate_registries(*layers, turn)
        ]
        stacks.sort(key=lambda stack: stack.interfaces[0].gap_a)
        found.append(replace(entry, stack=stacks[-1 if entry.name.endswith("AA") else 0]))
    return found


def errors(entries: Sequence[PublishedStack], layers) -> np.ndarray:
    """Absolute errors of held-out predictions (entries, shown), the mean of several draws."""
    described, values = describe_known(entries, layers), values_of(entries)
    x, baselines = described.to_numpy(float), fast_baselines(described)
    groups = [SPLITS["pairs"].groups(entry) for entry in entries]
    found = [
        np.abs(boosted(x, baselines, values, folds_of_stacks(groups, 5, seed)) - values)
        for seed in range(REPEATS)
    ]
    return np.mean(found, axis=0)[:, [STACK_PROPERTIES.index(name) for name in SHOWN]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with the published tables")
    folder = parser.parse_args().data
    layers = read_layers(folder)
    read = [entry for entry in read_hetml_stacks(folder) if entry.values]
    moved = {"AA": PLACES["AA"], "AB": LOWER_MIDDLE}
    readings = {
        "as read": read,
        "1T layers as listed": as_listed(read),
        "AB at (2/3, 1/3)": [e for e in read_hetml_stacks(folder, moved) if e.values],
        "by touching spheres": by_touching_spheres(read),
    }
    of_pairs = pd.Series(["|".join(entry.layers) for entry in read])
    first = None
    for name, entries in readings.items():
        found = errors(entries, layers)
        first = found if first is None else first
        worse = pd.DataFrame(found - first).groupby(of_pairs).mean()
        told = [
            f"{np.nanmean(found[:, j]):.3f} {unit} ({worse[j].mean():+.3f} ± {worse[j].sem():.3f})"
            for j, unit in enumerate(SHOWN.values())
        ]
        print(f"{name}: {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
