"""Probability of windows, open ends included."""

import numpy as np
import pytest

from heteroforge.models.windows import window_probability


@pytest.mark.parametrize("window", [[1.0, 3.0], [None, 3.0], [1.0, None]])
def test_agrees_with_counting(window):
    generator = np.random.default_rng(0)
    draws = 1.4 + 0.7 * generator.standard_normal(200_000)
    low, high = (
        (-np.inf if window[0] is None else window[0]),
        (np.inf if window[1] is None else window[1]),
    )
    counted = ((draws >= low) & (draws <= high)).mean()
    assert window_probability([1.4], 0.7, window)[0] == pytest.approx(counted, abs=0.005)


def test_limits():
    assert window_probability([2.0], 1e-9, [1, 3])[0] == pytest.approx(1.0)
    assert window_probability([5.0], 1e-9, [1, 3])[0] == pytest.approx(0.0)
    assert window_probability([2.0, 4.0], 0.0, [1, 3]).tolist() == [1.0, 0.0]
    assert window_probability([7.0], 0.3, [None, None])[0] == 1.0
    assert window_probability([2.0], 1e6, [1, 3])[0] == pytest.approx(0.0, abs=1e-5)
