"""Errors of predicted properties of published monolayers, beside simple predictors.

Split by composition: every number is of predictors that have seen no layer of the formula.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from heteroforge.evaluation.property_benchmark import SEED, boosted
from heteroforge.models.monolayer_prediction import (
    LOGARITHMIC,
    MONOLAYER_UNITS,
    MonolayerPredictor,
    train_monolayer_predictor,
)
from heteroforge.models.property_prediction import layer_inputs
from heteroforge.models.property_surrogate import clip_gaps, folds_of_stacks
from heteroforge.sources.published_tables import read_c2db, read_hetml
from heteroforge.structures import Monolayer, StructureError

__all__ = ["read_monolayers", "train_shipped_layers"]


def read_monolayers(folder: str | Path) -> tuple[list[Monolayer], list[dict]]:
    """Published monolayers of which any of `MONOLAYER_UNITS` is known, and what is known.

    Args:
        folder: holds `c2db/` and `hetml/`.

    Raises:
        InputError: a table is missing or lacks a column.
    """
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


def train_shipped_layers(
    layers: list[Monolayer], rows: list[dict], **options: object
) -> tuple[MonolayerPredictor, pd.DataFrame]:
    """The model of layers that ships, and its held-out errors beside those of simple predictors.

    Args:
        layers, rows: of `read_monolayers`.
        options: of `train_monolayer_predictor`.

    Returns:
        The predictor, and per `property` its `unit` (log₁₀ where the logarithm is learned), the
        number of `monolayers`, mean absolute errors of the `mean`, `gradient_boosting`,
        `network_on_descriptors`, `graph_network` and `both_networks`, the weight of the graph
        network in the last, `share_of_graph_network`, and the coverage of the intervals,
        `within_68_percent` and `within_90_percent`.
    """
    predictor, held_out = train_monolayer_predictor(layers, rows, seed=SEED, **options)
    x = np.array([layer_inputs(layer) for layer in layers])
    folds = predictor.descriptors.settings.folds
    outside = folds_of_stacks([(layer.formula,) for layer in layers], folds, SEED)
    found = []
    for name, unit in MONOLAYER_UNITS.items():
        part = held_out[held_out["property"] == name]
        true = part["true"].to_numpy()
        zeros = np.zeros((len(true), 1))
        of_trees = clip_gaps(boosted(x, zeros, true[:, None], outside), [name])[:, 0]
        known = np.isfinite(true)
        errors = {
            "mean": true - np.nanmean(true),
            "gradient_boosting": true - of_trees,
            "network_on_descriptors": true - part["descriptors"].to_numpy(),
            "graph_network": true - part["atoms"].to_numpy(),
            "both_networks": true - part["predicted"].to_numpy(),
        }
        inside = predictor.calibration[name]["coverage"]
        found.append(
            {
                "property": name,
                "unit": "log₁₀" if name in LOGARITHMIC else unit,
                "monolayers": int(known.sum()),
            }
            | {of: float(np.abs(off[known]).mean()) for of, off in errors.items()}
            | {"share_of_graph_network": predictor.metrics[name]["share_of_atoms"]}
            | {"within_68_percent": 100 * inside[0], "within_90_percent": 100 * inside[1]}
        )
    return predictor, pd.DataFrame(found)
