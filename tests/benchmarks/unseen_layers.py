"""How often intervals hold where one layer, both layers, or an element was never seen.

Run from the project's folder (one thread, some ten minutes):

    python tests/benchmarks/unseen_layers.py --data ../shared/data

Compositions (or an element) are left out of everything, the networks on descriptors are trained
and calibrated on the rest as the shipped model is, with fewer steps, and heterobilayers of what was
left out are predicted by all members. What is not published of a layer is what the shipped layers'
networks say. `factor` is what would have to widen the intervals for both of them to hold as often
as they say; `ratio`, by how much more than for one new composition: the constants `WIDER` of
heteroforge.models.property_prediction, where it is above 1.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from published_bilayers import known_monolayers

from heteroforge.labels.published import read_bidb_stacks, read_hetml_stacks
from heteroforge.models.calibration import LEVELS, calibrate, calibrated_std
from heteroforge.models.property_prediction import (
    STACK_PROPERTIES,
    as_seen,
    describe_with_knowledge,
    load_predictor,
)
from heteroforge.models.property_surrogate import SurrogateSettings, train_surrogate
from heteroforge.models.stack_inputs import fast_baselines

SEED, SHARE_LEFT_OUT = 7, 0.25
ENDS = norm.ppf((1 + np.array(LEVELS)) / 2)
MODEL = Path(__file__).resolve().parents[2] / "resources" / "models" / "bilayers.pt"


def described(entries, monolayers, properties) -> pd.DataFrame:
    """Descriptors with what was published of the layers; the gap of the entry where it is not."""
    layers = {layer.monolayer for entry in entries for layer in entry.stack.layers}
    predicted = load_predictor(MODEL).predict_layers(layers)
    rows = []
    for entry in entries:
        knowledge = []
        for name, layer in zip(entry.layers, entry.stack.layers, strict=True):
            known = {}
            if properties.get(name):
                known = as_seen(properties[name], monolayers[name], layer.monolayer)
            if known.get("gap_ev") is None and np.isfinite(entry.layer_gap_ev):
                known["gap_ev"] = entry.layer_gap_ev
            knowledge.append(known)
        unknown = [predicted[layer.monolayer] for layer in entry.stack.layers]
        rows.append(describe_with_knowledge(entry.stack, knowledge, unknown))
    return pd.DataFrame(rows).astype(float)


def over_std(descriptors, values, groups, hetero, training, test, seed, steps) -> np.ndarray:
    """Errors over standard deviations (test, properties) of an ensemble that saw `training`."""
    x, baselines = descriptors.to_numpy(), fast_baselines(descriptors)
    full = descriptors["gap_known"].to_numpy()
    kind = hetero[training]
    weights = np.where(kind, 0.5 / kind.sum(), 0.5 / (~kind).sum())
    own = [groups[i] for i in training]
    settings = SurrogateSettings(tuple(descriptors.columns), STACK_PROPERTIES, repeats=2)
    model, mean, spread = train_surrogate(
        settings, x[training], baselines[training], values[training], own,
        seed=seed, steps=steps, batch_size=512, weights=weights,
    )  # fmt: skip
    predicted, apart = model.predict(x[test], baselines[test])
    result = np.full((len(test), len(STACK_PROPERTIES)), np.nan)
    for j in range(len(STACK_PROPERTIES)):
        # As the shipped intervals of known layers.
        rows = np.isfinite(values[training, j]) & (full[training] == 1.0)
        residual = mean[rows, j] - values[training, j][rows]
        names = ["|".join(own[i]) for i in np.flatnonzero(rows)]
        scale = calibrate(residual, spread[rows, j], names)
        error = np.abs(predicted[:, j] - values[test, j])
        result[:, j] = error / calibrated_std(scale, apart[:, j])
    return result


def factors(parts: list[np.ndarray]) -> np.ndarray:
    ratio = np.concatenate(parts)
    return np.array(
        [max(np.quantile(r[np.isfinite(r)], LEVELS) / ENDS) for r in ratio.T], dtype=float
    )


def summary(errors: dict[str, list[np.ndarray]]) -> pd.DataFrame:
    one, rows = factors(errors["one composition"]), []
    for kind, parts in errors.items():
        ratio, wanted = np.concatenate(parts), factors(parts)
        for j, name in enumerate(STACK_PROPERTIES):
            known = ratio[np.isfinite(ratio[:, j]), j]
            inside = [f"{100 * (known <= end).mean():.0f} %" for end in ENDS]
            numbers = [f"{wanted[j]:.2f}", f"{wanted[j] / one[j]:.2f}"]
            rows.append([kind, name, len(known), *inside, *numbers])
    columns = ["not seen", "property", "predictions", "68 % holds", "90 % holds", "factor", "ratio"]
    return pd.DataFrame(rows, columns=columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with hetml/, bidb/, c2db/")
    parser.add_argument("--splits", type=int, default=8, help="of compositions")
    parser.add_argument("--steps", type=int, default=600, help="of training")
    parser.add_argument("--elements", type=int, default=8, help="left out, one at a time")
    options = parser.parse_args()
    monolayers, properties = known_monolayers(options.data)
    entries = [*read_hetml_stacks(options.data), *read_bidb_stacks(options.data)]
    entries = [entry for entry in entries if entry.values]
    values = np.array([[e.values.get(key, np.nan) for key in STACK_PROPERTIES] for e in entries])
    descriptors = described(entries, monolayers, properties)
    groups = [tuple(layer.monolayer.formula for layer in e.stack.layers) for e in entries]
    hetero = np.array([len(set(group)) > 1 for group in groups])
    mixed = sorted({name for i in np.flatnonzero(hetero) for name in groups[i]})
    text = f"{len(entries)} bilayers, {hetero.sum()} of two of {len(mixed)} compositions"
    print(text, flush=True)
    generator = np.random.default_rng(SEED)

    errors: dict[str, list] = {"one composition": [], "both compositions": [], "an element": []}
    data = descriptors, values, groups, hetero
    for split in range(options.splits):
        left_out = set(generator.permutation(mixed)[: round(SHARE_LEFT_OUT * len(mixed))])
        number = np.array([len(left_out & set(group)) for group in groups])
        training, test = np.flatnonzero(number == 0), np.flatnonzero(hetero & (number > 0))
        ratio = over_std(*data, training, test, SEED + split, options.steps)
        errors["one composition"].append(ratio[number[test] == 1])
        errors["both compositions"].append(ratio[number[test] == 2])
        print(f"split {split} done", flush=True)
    species = [set(entry.stack.species) for entry in entries]
    elements = sorted(set.union(*(species[i] for i in np.flatnonzero(hetero))))
    for element in generator.permutation(elements)[: options.elements]:
        has = np.array([element in some for some in species])
        training, test = np.flatnonzero(~has), np.flatnonzero(hetero & has)
        errors["an element"].append(over_std(*data, training, test, SEED, options.steps))
        print(f"{element}: {len(test)} bilayers", flush=True)
    print(summary(errors).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
