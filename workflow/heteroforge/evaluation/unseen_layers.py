"""How often intervals hold where one layer, both layers, or an element was never seen.

Compositions (or an element) are left out of everything, the networks on descriptors are trained
and calibrated on the rest as the shipped model is, with fewer steps, and heterobilayers of what was
left out are predicted by all members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from heteroforge.evaluation.property_benchmark import SEED, Layers, values_of
from heteroforge.labels import STACK_PROPERTIES
from heteroforge.labels.published import PublishedStack
from heteroforge.models.calibration import LEVELS, calibrated_std
from heteroforge.models.property_prediction import (
    Predictor,
    as_seen,
    calibrate_by_kind,
    describe_with_knowledge,
    has_equal_layers,
)
from heteroforge.models.property_surrogate import (
    SurrogateSettings,
    informative_residuals,
    train_surrogate,
)
from heteroforge.models.stack_inputs import fast_baselines

__all__ = ["errors_of_unseen", "interval_table"]

SHARE_LEFT_OUT = 0.25  # of the compositions of heterobilayers, per draw
ENDS = norm.ppf((1 + np.array(LEVELS)) / 2)
ONE, BOTH, ELEMENT = "one composition", "both compositions", "an element"


def describe_partly(
    entries: Sequence[PublishedStack], layers: Layers, predictor: Predictor
) -> pd.DataFrame:
    """Descriptors (n, columns) with what was published of the layers, the rest predicted.

    The gap of the layers is that of the entry where no table has it.

    Args:
        predictor: whose networks tell what is not published of a layer.
    """
    predicted = predictor.predict_layers(la.monolayer for e in entries for la in e.stack.layers)
    rows = []
    for entry in entries:
        knowledge = []
        for name, layer in zip(entry.layers, entry.stack.layers, strict=True):
            known = {}
            if layers.properties.get(name):
                own = layers.monolayers[name]
                known = as_seen(layers.properties[name], own, layer.monolayer)
            if known.get("gap_ev") is None and np.isfinite(entry.layer_gap_ev):
                known["gap_ev"] = entry.layer_gap_ev
            knowledge.append(known)
        unknown = [predicted[layer.monolayer] for layer in entry.stack.layers]
        rows.append(describe_with_knowledge(entry.stack, knowledge, unknown))
    return pd.DataFrame(rows).astype(float)


def errors_of_unseen(
    entries: Sequence[PublishedStack],
    layers: Layers,
    predictor: Predictor,
    *,
    draws: int = 8,
    elements: int = 8,
    steps: int = 600,
    say: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Errors over calibrated standard deviations of heterobilayers that hold what is new.

    Args:
        entries: heterobilayers and homobilayers.
        layers: what was published of layers.
        predictor: whose layers' networks tell what is not published.
        draws: of compositions that are left out, a quarter each.
        elements: left out, one at a time.
        steps: of training.
        say: told what is done.

    Returns:
        `not_seen` (one composition, both compositions, an element), `left_out`, and per property
        of `STACK_PROPERTIES` the error over the standard deviation, NaN where it is not known.
    """
    values = values_of(entries, with_metals=True)
    descriptors = describe_partly(entries, layers, predictor)
    groups = [tuple(layer.monolayer.formula for layer in e.stack.layers) for e in entries]
    hetero = np.array([len(set(group)) > 1 for group in groups])
    equal = np.array([has_equal_layers(entry.stack) for entry in entries])
    mixed = sorted({name for i in np.flatnonzero(hetero) for name in groups[i]})
    generator = np.random.default_rng(SEED)
    parts = []

    def measure(kinds: Mapping[str, np.ndarray], training, test, left_out: str, seed: int) -> None:
        ratio = _over_std(descriptors, values, groups, hetero, equal, training, test, seed, steps)
        for kind, chosen in kinds.items():
            part = pd.DataFrame(ratio[chosen], columns=list(STACK_PROPERTIES))
            parts.append(part.assign(not_seen=kind, left_out=left_out))
        say(f"{left_out}: {len(test)} heterobilayers")

    for draw in range(draws):
        left_out = set(generator.permutation(mixed)[: round(SHARE_LEFT_OUT * len(mixed))])
        number = np.array([len(left_out & set(group)) for group in groups])
        training, test = np.flatnonzero(number == 0), np.flatnonzero(hetero & (number > 0))
        kinds = {ONE: number[test] == 1, BOTH: number[test] == 2}
        measure(kinds, training, test, f"draw {draw}", SEED + draw)
    species = [set(entry.stack.species) for entry in entries]
    present = sorted(set().union(*(species[i] for i in np.flatnonzero(hetero))))
    for element in generator.permutation(present)[:elements]:
        has = np.array([element in some for some in species])
        training, test = np.flatnonzero(~has), np.flatnonzero(hetero & has)
        measure({ELEMENT: np.ones(len(test), dtype=bool)}, training, test, str(element), SEED)
    return pd.concat(parts, ignore_index=True)


def _over_std(
    descriptors: pd.DataFrame,
    values: np.ndarray,
    groups: Sequence[tuple[str, ...]],
    hetero: np.ndarray,
    equal: np.ndarray,
    training: np.ndarray,
    test: np.ndarray,
    seed: int,
    steps: int,
) -> np.ndarray:
    """Errors over standard deviations (test, properties) of an ensemble that saw `training`."""
    x, baselines = descriptors.to_numpy(), fast_baselines(descriptors)
    kind = hetero[training]
    weights = np.where(kind, 0.5 / max(kind.sum(), 1), 0.5 / max((~kind).sum(), 1))
    own = [groups[i] for i in training]
    settings = SurrogateSettings(tuple(descriptors.columns), STACK_PROPERTIES, repeats=2)
    model, mean, spread = train_surrogate(
        settings, x[training], baselines[training], values[training], own,
        seed=seed, steps=steps, batch_size=512, weights=weights,
    )  # fmt: skip
    predicted, apart = model.predict(x[test], baselines[test])
    # As the shipped intervals of known layers.
    full = descriptors["gap_known"].to_numpy()[training] == 1.0
    scales = calibrate_by_kind(
        informative_residuals(mean, values[training], STACK_PROPERTIES)[full],
        spread[full],
        np.array(["|".join(group) for group in own])[full],
        equal[training][full],
    )["heterobilayer"]
    errors = np.abs(informative_residuals(predicted, values[test], STACK_PROPERTIES))
    widths = [calibrated_std(scales[n], apart[:, j]) for j, n in enumerate(STACK_PROPERTIES)]
    return errors / np.column_stack(widths)


def interval_table(errors: pd.DataFrame) -> pd.DataFrame:
    """How often intervals hold, and how much wider they would have to be.

    Args:
        errors: of `errors_of_unseen`.

    Returns:
        Per `not_seen` and `property` the number of `predictions`, the shares
        `within_68_percent, within_90_percent` (in percent) of truths inside the intervals that say
        so, the `factor` that would make both hold as often as they say, and the `ratio` of that
        factor to the one of one new composition.
    """
    rows = []
    for kind, part in errors.groupby("not_seen", sort=False):
        for name in STACK_PROPERTIES:
            known = part[name].dropna().to_numpy()
            first, second = (float(100 * (known <= end).mean()) for end in ENDS)
            factor = float((np.quantile(known, LEVELS) / ENDS).max())
            rows.append([kind, name, len(known), first, second, factor])
    columns = ["not_seen", "property", "predictions", "within_68_percent", "within_90_percent"]
    table = pd.DataFrame(rows, columns=[*columns, "factor"])
    one = table[table["not_seen"] == ONE].set_index("property")["factor"]
    return table.assign(ratio=table["factor"] / table["property"].map(one))
