from __future__ import annotations

import math

from heteroforge.io.conventions import inside_window


def test_inside_is_unknown_without_a_value():
    assert inside_window(1.0, [1.0, None]) is True  # ends belong to the window
    assert inside_window(0.99, [1.0, None]) is False
    assert inside_window(None, [1.0, None]) is None
    assert inside_window(math.nan, [1.0, None]) is None
    assert inside_window("II", "II") is True and inside_window("I", "II") is False
