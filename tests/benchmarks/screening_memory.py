"""Memory of the ranking of a million scored stacks, and of choosing among them.

Run from the project's folder (one thread, some minutes, some hundred MB in a temporary folder):

    OMP_NUM_THREADS=1 python tests/benchmarks/screening_memory.py --number 1100000

The shards are rows of some hundred scored stacks of the bundled library, repeated under other keys
and with other probabilities. Said is the peak of the process after each step; what the steps need
to begin with (imports, library, models) comes first.
"""

import argparse
import itertools
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.io import read_table, write_table
from heteroforge.labels import STACK_PROPERTIES
from heteroforge.models.monolayer_prediction import load_monolayer_predictor
from heteroforge.models.property_surrogate import FastPredictor
from heteroforge.models.property_training import PropertyData, pair_of
from heteroforge.models.published import PublishedModel, published_labels
from heteroforge.report.models import pareto_figure
from heteroforge.report.stacks import chances_figure
from heteroforge.screening import (
    HardLimits,
    LayersAlone,
    ScoredSamples,
    score_samples,
    screen,
    select_candidates,
)
from heteroforge.sources import Library, bundled, collect
from heteroforge.structures.matching import find_matches, stack_from_match

ROOT = Path(__file__).resolve().parents[2]
SHARDS = 8
TARGETS = {"gap_ev": [1.0, 2.0], "binding_energy_mev_a2": [15.0, None]}


def tell(step: str) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{step}: peak {peak:.2f} GB", flush=True)


def scored_stacks(library: Library, published: PublishedModel) -> tuple[pd.DataFrame, PropertyData]:
    """Some hundred scored stacks, and what the screen knows of stacks (nothing but those)."""
    stacks = {}
    for lower, upper in itertools.combinations(library.monolayers.values(), 2):
        for match in find_matches(lower, upper, 40.0, 3.0, 12)[:1]:
            stack = stack_from_match(lower, upper, match)
            stacks[stack.key()] = stack
    stacks = list(stacks.values())[:200]
    samples = pd.DataFrame(
        {
            "stack_id": [stack.key() for stack in stacks],
            "specification": [stack.to_json() for stack in stacks],
            "layers": ["/".join(la.monolayer.name for la in stack.layers) for stack in stacks],
            "number_of_layers": 2,
            "number_of_atoms": [stack.number_of_atoms for stack in stacks],
            "mismatch_percent": [stack.mismatch_percent for stack in stacks],
            "twist_deg": [stack.twist_deg(0) for stack in stacks],
            "is_high_symmetry": True,
            "is_novel": True,
            "split": "",
            "new_monolayers": 0,
            "number_of_defects": 0,
        }
    )
    labels = published_labels(stacks[:4], published)
    data = PropertyData.from_tables(
        samples.head(4), labels, library.monolayers, library.table, seed=0
    )
    predicted = pd.DataFrame(2.0, index=range(len(stacks)), columns=list(STACK_PROPERTIES))
    predicted = predicted.assign(**{f"{name}_std": 0.3 for name in STACK_PROPERTIES})
    predictor = FastPredictor.of(
        stacks, library.table, predicted, [pair_of(s) for s in stacks], seed=0, steps=5
    )
    scored = score_samples(
        samples, library.monolayers, library.table, predictor,
        limits=HardLimits(maximum_atoms=24, maximum_mismatch_percent=3.0),
        alone=LayersAlone(library.table), progress=False,
    )  # fmt: skip
    return scored, data


def write_shards(folder: Path, scored: pd.DataFrame, number: int) -> list[Path]:
    """Tables of scored stacks under new keys; a tenth of each has keys of the one before."""
    generator, paths, size = np.random.default_rng(0), [], number // SHARDS
    for k in range(SHARDS):
        rows = scored.iloc[generator.integers(0, len(scored), size)].reset_index(drop=True)
        first = k * size - (size // 10 if k else 0)
        rows["stack_id"] = [f"{key:032x}" for key in range(first, first + size)]
        rows["gap_unclipped_ev"] = rows["gap_ev"] = generator.uniform(0, 4, size)
        paths.append(folder / f"scored_{k}.parquet")
        write_table(paths[-1], rows)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=1_100_000)
    number = parser.parse_args().number
    library, _ = collect(bundled.read_candidates(ROOT / "resources" / "library"), 6)
    published = PublishedModel.load(ROOT / "resources" / "models" / "bilayers.pt", library)
    scored, data = scored_stacks(library, published)
    as_published = {"predictor": "published", "floor": 0.0, "factors": [1.0, 1.645]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_shards(folder, scored, number)
        tell("shards written, one at a time")
        samples = ScoredSamples.read(paths)
        tell(f"{len(samples.table)} distinct of {samples.number} read")
        screened = screen(
            samples,
            library.monolayers,
            library.table,
            models=[],
            calibration={"properties": dict.fromkeys(STACK_PROPERTIES, as_published)},
            data=data,
            published=published,
            of_layers=load_monolayer_predictor(ROOT / "resources" / "models" / "monolayers.pt"),
            targets=TARGETS,
            labelled=set(),
            trained=set(),
            refined=100,
            seed=0,
            control=scored.head(0),
            progress=False,
        )
        tell("ranked")
        write_table(folder / "ranked.parquet", screened.ranked)
        tell("ranking written")
        del samples, screened
        ranked = read_table(folder / "ranked.parquet")
        tell("ranking read")
        selected = select_candidates(ranked[ranked["is_refined"]], 10)
        pareto_figure(ranked, selected, TARGETS)
        chances_figure(ranked, selected, list(library.monolayers))
        tell("slots filled, pictures drawn")


if __name__ == "__main__":
    main()
