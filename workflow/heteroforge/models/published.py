"""What published DFT says of a campaign's stacks: the step between physics and own DFT.

The shipped model has learned from thousands of published bilayers what physics baselines miss. A
campaign has few stacks of its own: its networks learn what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from heteroforge.labels import COLUMNS, LABELLED, STACK_PROPERTIES
from heteroforge.models.property_prediction import (
    KnownLayers,
    Predictor,
    by_level,
    layer_identity,
    load_predictor,
)
from heteroforge.models.windows import UNCLIPPED
from heteroforge.sources import Library
from heteroforge.structures import Stack

__all__ = ["PublishedModel", "published_labels"]


@dataclass(frozen=True)
class PublishedModel:
    """The shipped model with what a campaign's library knows of layers.

    Attributes:
        predictor: of the shipped model.
        known: layers of the library.
    """

    predictor: Predictor
    known: KnownLayers

    @classmethod
    def load(cls, path: str | Path, library: Library) -> PublishedModel:
        """Read the model (resources/models/bilayers.pt) for a campaign with this library."""
        rows = {name: by_level(row) for name, row in library.table.to_dict("index").items()}
        known = KnownLayers(library.monolayers, pd.DataFrame.from_dict(rows, orient="index"))
        return cls(load_predictor(path), known)

    def has_seen(self, stack: Stack) -> bool:
        """Whether all pairs of neighbours were among the published stacks it learned from.

        Its errors for such a stack say nothing of its errors for others.
        """
        names = [layer_identity(layer.monolayer) for layer in stack.layers]
        pairs = {"|".join(sorted(pair)) for pair in pairwise(names)}
        return bool(pairs) and pairs <= self.predictor.pairs

    def outside_training(self, stack: Stack) -> str:
        """What of a stack the published ones that it learned from lack, in words."""
        return self.predictor.outside_training(stack)

    def predict(self, stacks: Sequence[Stack]) -> tuple[np.ndarray, np.ndarray]:
        """Values and calibrated standard deviations (n, properties), NaN for a layer alone.

        Properties in the order of `STACK_PROPERTIES`, the gap of a metal below zero as a rule, the
        binding energy of all interfaces; gaps in the description do not matter.
        """
        values = np.full((len(stacks), len(STACK_PROPERTIES)), np.nan)
        std = values.copy()
        rows = [i for i, stack in enumerate(stacks) if stack.number_of_layers > 1]
        if rows:
            found = self.predictor.predict([stacks[i] for i in rows], self.known)
            columns = [UNCLIPPED.get(name, name) for name in STACK_PROPERTIES]
            values[rows] = found[columns].to_numpy()
            std[rows] = found[[f"{name}_std" for name in STACK_PROPERTIES]].to_numpy()
        return values, std


def published_labels(stacks: Sequence[Stack], model: PublishedModel) -> pd.DataFrame:
    """Rows of the labels' table with fidelity `published`, one per stack and property, with `std`.

    Args:
        stacks: any, each counted once; a layer alone has no row.
    """
    distinct = {stack.key(): stack for stack in stacks}
    values, std = model.predict(list(distinct.values()))
    gap = STACK_PROPERTIES.index("gap_ev")
    values[:, gap] = np.clip(values[:, gap], 0.0, None)
    rows = []
    for i, (key, stack) in enumerate(distinct.items()):
        specification = stack.to_json()
        for j, name in enumerate(STACK_PROPERTIES):
            if np.isfinite(values[i, j]):
                rows.append(
                    [key, specification, name, values[i, j], LABELLED[name], "published",
                     "model of published bilayers", "", std[i, j]]
                )  # fmt: skip
    return pd.DataFrame(rows, columns=[*COLUMNS, "std"])
