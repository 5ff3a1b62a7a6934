"""What every stage takes for granted: where a gap begins, and which protocols are the project's."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

__all__ = ["METAL_BELOW_EV", "PROTOCOLS", "protocol_names", "protocol_table"]

METAL_BELOW_EV = 0.05  # less is not told from zero by meshes and smearing of this project's DFT
PROTOCOLS = Path(__file__).parents[1] / "dft" / "protocols.yaml"


@cache
def protocol_table() -> dict[str, dict]:
    """Settings of DFT by the name of their protocol, as protocols.yaml explains them."""
    return yaml.safe_load(PROTOCOLS.read_text(encoding="utf-8"))


def protocol_names() -> list[str]:
    """The project's own protocols, the roughest first."""
    return list(protocol_table())
