"""Errors on published monolayers beside simple predictors, and the model of layers that ships.

Run from the project's folder (one thread), always whole:

    python tests/benchmarks/published_monolayers.py --data ../shared/data \\
        --model resources/models/monolayers.pt --output docs/monolayer_accuracy.md

Split by composition: every number is of predictors that have seen no layer of the formula.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.io import write_text
from heteroforge.models.monolayer_prediction import (
    LOGARITHMIC,
    MONOLAYER_UNITS,
    save_monolayer_predictor,
    train_monolayer_predictor,
)
from heteroforge.models.property_prediction import layer_inputs
from heteroforge.models.property_surrogate import folds_of_stacks
from heteroforge.sources.published_tables import read_c2db, read_hetml
from heteroforge.structures import Monolayer, StructureError

SEED = 7
FOLDS = 5

PAGE = """# Accuracy of predictions for single layers

Made, with the shipped model and from the published tables alone, by `python
tests/benchmarks/published_monolayers.py --data ../shared/data --model
resources/models/monolayers.pt --output docs/monolayer_accuracy.md` in {minutes:.0f} minutes of
processor time (one thread).

{number} monolayers of C2DB and HetML, each with what is known of it. Errors are mean absolute ones
of layers whose formula the predictor has not seen; of masses, stiffness, polarizabilities and
mobilities those of the logarithm to base 10 (0.3 is a factor of two). Gaps, edges, masses and
deformation potentials are with spin–orbit coupling, as published. Mobilities are
deformation-potential estimates of hexagonal layers, upper limits. The shipped model is the mean of
the networks on descriptors and the graph networks (DGL). The last columns: how often the intervals
of 68 and 90 % hold, counted on formulas left out.

{table}
"""


def known_monolayers(folder: Path) -> tuple[list[Monolayer], list[dict]]:
    """Published monolayers of which any of the properties is known."""
    layers, rows = [], []
    for candidate in [*read_c2db(folder), *read_hetml(folder)]:
        values = {name: candidate.properties.get(name) for name in MONOLAYER_UNITS}
        if candidate.atoms is None or not any(v is not None for v in values.values()):
            continue
        try:
            layers.append(Monolayer.from_atoms(candidate.atoms))
        except StructureError:
            continue
        rows.append(values)
    return layers, rows


def boosted(x: np.ndarray, values: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Held-out predictions of one property by trees on the same descriptors; NaN where unknown."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    found, known = np.full(len(values), np.nan), np.isfinite(values)
    for fold in range(outside.shape[1]):
        test = outside[:, fold] & known
        rows = ~outside[:, fold] & known
        trees = HistGradientBoostingRegressor(
            max_iter=150, learning_rate=0.08, max_leaf_nodes=15, random_state=SEED
        )
        found[test] = trees.fit(x[rows], values[rows]).predict(x[test])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with hetml/, c2db/, bidb/")
    parser.add_argument("--model", type=Path, help="where to write the trained model")
    parser.add_argument("--output", type=Path, help="where to write the page")
    options = parser.parse_args()
    layers, rows = known_monolayers(options.data)
    print(f"{len(layers)} monolayers", flush=True)
    predictor, held_out = train_monolayer_predictor(layers, rows, seed=SEED, progress=True)
    if options.model:
        options.model.parent.mkdir(parents=True, exist_ok=True)
        save_monolayer_predictor(options.model, predictor)
    x = np.array([layer_inputs(layer) for layer in layers])
    outside = folds_of_stacks([(layer.formula,) for layer in layers], FOLDS, SEED)
    lines = [
        "| property | monolayers | mean | gradient boosting | network on descriptors "
        "| graph network | both (shipped) | 68 % holds | 90 % holds |",
        "|---" * 9 + "|",
    ]
    for name, unit in MONOLAYER_UNITS.items():
        part = held_out[held_out["property"] == name]
        true = part["true"].to_numpy()
        known = np.isfinite(true)
        errors = [np.abs(true - np.nanmean(true)), np.abs(true - boosted(x, true, outside))]
        errors += [np.abs(part[c].to_numpy() - true) for c in ("descriptors", "atoms", "predicted")]
        cells = [f"{np.mean(error[known]):.3g}" for error in errors]
        shares = [f"{100 * c:.1f} %" for c in predictor.calibration[name]["coverage"]]
        title = f"`{name}` ({'log₁₀' if name in LOGARITHMIC else unit})"
        lines.append(f"| {' | '.join([title, str(known.sum()), *cells, *shares])} |")
    minutes = time.process_time() / 60
    text = PAGE.format(minutes=minutes, number=len(layers), table="\n".join(lines))
    if options.output:
        write_text(options.output, text)
    print(text)


if __name__ == "__main__":
    main()
