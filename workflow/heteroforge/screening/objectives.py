"""Objectives of the screen: probability of the target windows, Pareto fronts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from heteroforge.io import InputError
from heteroforge.models.windows import window_probability

__all__ = ["joint_probability", "pareto_ranks"]


def joint_probability(
    predictions: pd.DataFrame, targets: Mapping[str, Sequence[float | None]]
) -> np.ndarray:
    """Probability (n) that all properties are inside their windows.

    Properties are taken as independent normal variables with the calibrated standard deviations;
    errors that go together (a gap and its edges) make the product an underestimate.

    Args:
        predictions: columns `<property>` and `<property>_std`.
        targets: windows [low, high], null for an open end.

    Raises:
        InputError: a target that is not predicted.
    """
    result = np.ones(len(predictions))
    for name, window in targets.items():
        if name not in predictions:
            raise InputError(f"targets.{name}: not among the predicted properties")
        result = result * window_probability(
            predictions[name].to_numpy(), predictions[f"{name}_std"].to_numpy(), window
        )
    return result


def pareto_ranks(objectives: np.ndarray, most_fronts: int = 20) -> np.ndarray:
    """Front of each point, 1 for those that no other point beats; all objectives to be large.

    A point beats another if it is nowhere worse and somewhere better; equal points share a front.

    Args:
        objectives: (n, m).
        most_fronts: points behind this many fronts all get the next number.
    """
    objectives = np.asarray(objectives, dtype=float)
    n = len(objectives)
    ranks = np.zeros(n, dtype=int)
    unique, inverse = np.unique(objectives, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    # Ordered by the first objective, then the others: nothing later can beat what comes before.
    order = np.lexsort(unique.T[::-1])[::-1]
    remaining = unique[order]
    place = np.zeros(len(unique), dtype=int)
    index = order
    for front in range(1, most_fronts + 1):
        if len(remaining) == 0:
            break
        members: list[int] = []
        values = np.zeros((0, objectives.shape[1]))
        for i, point in enumerate(remaining):
            if len(values) and np.all(values >= point, axis=1).any():
                continue
            members.append(i)
            values = remaining[members]
        place[index[members]] = front
        keep = np.ones(len(remaining), dtype=bool)
        keep[members] = False
        remaining, index = remaining[keep], index[keep]
    place[index] = most_fronts + 1
    ranks[:] = place[inverse]
    return ranks
