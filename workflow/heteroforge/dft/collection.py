"""Tables of a campaign's verified and failed candidates."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pandas as pd

from heteroforge.dft.verification import UNITS
from heteroforge.structures import Stack

__all__ = ["failed_table", "results_table"]

_LEAD = ["slot", "stack_id", "specification", "formula", "number_of_layers", "number_of_atoms"]


def results_table(results: Sequence[dict]) -> pd.DataFrame:
    """One row per verified candidate; units as in verification.UNITS.

    Args:
        results: contents of the slots' `result.json`.
    """
    rows = []
    for result in results:
        if result["status"] != "verified":
            continue
        stack = Stack.from_dict(result["specification"])
        values = {name: entry["value"] for name, entry in result["properties"].items()}
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = json.dumps(value)
        rows.append(
            {
                "slot": result["slot"],
                "stack_id": result["stack_id"],
                "specification": json.dumps(result["specification"]),
                "formula": stack.formula,
                "number_of_layers": stack.number_of_layers,
                "number_of_atoms": stack.number_of_atoms,
                **values,
                "meets_target": result["meets_target"],
                "protocol": result["protocol"]["name"],
            }
        )
    return pd.DataFrame(rows, columns=[*_LEAD, *UNITS, "meets_target", "protocol"])


def failed_table(results: Sequence[dict]) -> pd.DataFrame:
    """Slots whose verification ended without numbers, with the step and the reason."""
    rows = [
        {
            "slot": result.get("slot"),
            "stack_id": result.get("stack_id"),
            "step": result.get("step", "collect"),
            "reason": result.get("reason", ""),
            "folder": f"slot_{result.get('slot')}",
        }
        for result in results
        if result["status"] == "failed"
    ]
    return pd.DataFrame(rows, columns=["slot", "stack_id", "step", "reason", "folder"])
