"""What every stage takes for granted: gaps, windows of targets, the project's protocols."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import yaml

__all__ = ["METAL_BELOW_EV", "PROTOCOLS", "inside_window", "protocol_names", "protocol_table"]

METAL_BELOW_EV = 0.05  # less is not told from zero by meshes and smearing of this project's DFT
PROTOCOLS = Path(__file__).parents[1] / "dft" / "protocols.yaml"


def inside_window(value: object, window: str | Sequence[float | None]) -> bool | None:
    """Whether a value lies in a window [low, high], or is the word asked for; None: unknown.

    The ends belong to the window; a null end is open.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(window, str):
        return value == window
    low, high = window
    return (low is None or value >= low) and (high is None or value <= high)


@cache
def protocol_table() -> dict[str, dict]:
    """Settings of DFT by the name of their protocol, as protocols.yaml explains them."""
    return yaml.safe_load(PROTOCOLS.read_text(encoding="utf-8"))


def protocol_names() -> list[str]:
    """The project's own protocols, the roughest first."""
    return list(protocol_table())
