"""Time and memory of scoring many stacks: what a million of them cost.

Run from the project's folder, one process per core:

    OMP_NUM_THREADS=1 python tests/benchmarks/scoring_speed.py --number 20000

The stacks are those of the bundled library on its smallest common cells, with registries drawn at
random, so all are distinct; the predictor is trained on some hundred of them.
"""

import argparse
import itertools
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.labels import STACK_PROPERTIES
from heteroforge.models.property_surrogate import FastPredictor
from heteroforge.models.property_training import pair_of
from heteroforge.models.stack_inputs import describe_stacks, fast_baselines
from heteroforge.screening import HardLimits, LayersAlone, score_samples
from heteroforge.sources import bundled, collect
from heteroforge.structures.matching import find_matches, stack_from_match

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=20000)
    number = parser.parse_args().number
    library, _ = collect(bundled.read_candidates(ROOT / "resources" / "library"), 6)
    matched = []
    for lower, upper in itertools.combinations_with_replacement(library.monolayers.values(), 2):
        for match in find_matches(lower, upper, 40.0, 3.0, 12)[:4]:
            matched.append(stack_from_match(lower, upper, match))
    generator = np.random.default_rng(0)
    stacks = []
    for k in range(number):
        stack = matched[k % len(matched)]
        offset = tuple(generator.random(2))
        stacks.append(replace(stack, interfaces=(replace(stack.interfaces[0], offset=offset),)))
    some = stacks[:300]
    descriptors = describe_stacks(some, library.table)
    predicted = pd.DataFrame(fast_baselines(descriptors), columns=[*STACK_PROPERTIES]).fillna(0.0)
    predicted = predicted.assign(**{f"{name}_std": 0.1 for name in STACK_PROPERTIES})
    predictor = FastPredictor.of(
        some, library.table, predicted, [pair_of(s) for s in some], seed=0, steps=100
    )
    samples = pd.DataFrame(
        {
            "stack_id": [str(k) for k in range(number)],
            "specification": [stack.to_json() for stack in stacks],
            "number_of_atoms": [stack.number_of_atoms for stack in stacks],
            "mismatch_percent": [stack.mismatch_percent for stack in stacks],
        }
    )
    del stacks
    wall, processor = time.perf_counter(), time.process_time()
    scored = score_samples(
        samples,
        library.monolayers,
        library.table,
        predictor,
        limits=HardLimits(maximum_atoms=100, maximum_mismatch_percent=10.0),
        alone=LayersAlone(library.table),
        progress=False,
    )
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{len(scored)} stacks of {len(matched)} cells: {1e3 * processor / number:.2f} ms of "
        f"processor time each ({wall:.0f} s on the clock), peak memory {peak:.2f} GB; "
        f"a million on two cores: {processor / number * 1e6 / 2 / 60:.0f} min"
    )


if __name__ == "__main__":
    main()
