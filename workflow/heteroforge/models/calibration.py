"""Intervals that hold as often as they say: conformal scaling of an ensemble's spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import norm

from heteroforge.models.property_network import group_folds

__all__ = ["LEVELS", "calibrate", "calibrated_std"]

LEVELS = (0.68, 0.90)
# Coverage is counted with this many parts left out, or each group where there are fewer.
PARTS = 50


def calibrate(
    residuals: np.ndarray, spread: np.ndarray, groups: Sequence[str], prior_labels: int = 0
) -> dict:
    """Scales that give predicted intervals their nominal coverage, as far as labels tell.

    An interval at a level is ± factor · u with u² = spread² + floor²: the ensemble says where
    errors are larger, the floor (half the median error) what it cannot know. The factors are
    conformal quantiles of |residual| / u (V. Vovk et al., Algorithmic Learning in a Random World
    (2005)); the coverage is counted with the group of each residual left out of its factors.

    Args:
        residuals: held-out prediction − truth (n).
        spread: standard deviation over the ensemble (n).
        groups: what must be left out together (n).
        prior_labels: where the spread is a standard deviation that was calibrated before, how many
            residuals that was worth. With a dozen of one's own, the largest alone would decide the
            interval at 90 %.

    Returns:
        floor, factors and coverage at `LEVELS`.
    """
    residuals, spread = np.abs(np.asarray(residuals)), np.asarray(spread)
    # Residuals over a standard deviation that is right, were the errors normal.
    expected = norm.ppf((1 + (np.arange(prior_labels) + 0.5) / max(prior_labels, 1)) / 2)

    def scales(rows: np.ndarray) -> tuple[float, list[float]]:
        floor = max(0.5 * float(np.median(residuals[rows])), 1e-9)
        ratio = residuals[rows] / np.sqrt(spread[rows] ** 2 + floor**2)
        ratio = np.sort(np.concatenate([ratio, expected]))
        n = len(ratio)
        ranks = [min(n, int(np.ceil(level * (n + 1)))) for level in LEVELS]
        return floor, [float(ratio[rank - 1]) for rank in ranks]

    parts = group_folds(list(groups), PARTS, 0)
    inside = np.zeros((len(residuals), len(LEVELS)), dtype=bool)
    for part in np.unique(parts):
        test = parts == part
        if test.all():
            continue
        floor, factors = scales(~test)
        width = np.sqrt(spread[test] ** 2 + floor**2)
        for k, factor in enumerate(factors):
            inside[test, k] = residuals[test] <= factor * width + 1e-12
    floor, factors = scales(np.ones(len(residuals), dtype=bool))
    return {"floor": floor, "factors": factors, "coverage": inside.mean(0).tolist()}


def calibrated_std(scale: Mapping, spread: np.ndarray) -> np.ndarray:
    """Calibrated standard deviation: the wider one of those the two levels ask for."""
    width = np.sqrt(spread**2 + scale["floor"] ** 2)
    return width * max(scale["factors"][0], scale["factors"][1] / 1.645)
