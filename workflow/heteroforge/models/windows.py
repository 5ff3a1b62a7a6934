"""Windows [low, high] of properties, null for an open end."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

__all__ = ["UNCLIPPED", "property_window", "window_probability"]

# A gap is shown cut off at zero; how probable a window is follows from the number before that,
# which says how surely a metal is one.
UNCLIPPED = {"gap_ev": "gap_unclipped_ev"}
# Properties that are never negative.
NOT_NEGATIVE = ("gap_ev", "interlayer_gap_a")


def property_window(name: str, window: Sequence[float | None]) -> tuple[float | None, float | None]:
    """The window of a property for `window_probability`, open below where nothing can lie.

    A metal that is predicted with a gap of 0.0 ± 0.3 eV is not to half outside [0, 0.1].
    """
    low, high = window
    return (None if name in NOT_NEGATIVE and low is not None and low <= 0 else low), high


def window_probability(
    values: np.ndarray, std: np.ndarray | float, window: Sequence[float | None]
) -> np.ndarray:
    """Probability (n) that a normal variable lies in [low, high]; null: open end.

    A standard deviation of zero asks whether the value itself is inside.
    """
    low, high = window
    values = np.asarray(values, dtype=float)
    std = np.broadcast_to(np.asarray(std, dtype=float), values.shape)
    sure = std <= 0
    width = np.where(sure, 1.0, std)
    above = np.ones_like(values) if high is None else norm.cdf((high - values) / width)
    below = np.zeros_like(values) if low is None else norm.cdf((low - values) / width)
    inside = np.ones(values.shape, dtype=bool)
    if low is not None:
        inside &= values >= low
    if high is not None:
        inside &= values <= high
    return np.where(sure, inside.astype(float), np.clip(above - below, 0.0, 1.0))
