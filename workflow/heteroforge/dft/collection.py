"""Tables of a campaign's verified and failed candidates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from heteroforge.dft.verification import UNITS
from heteroforge.io import REMAKE, InputError, read_json
from heteroforge.labels import LABELLED
from heteroforge.structures import Stack

__all__ = ["failed_table", "read_results", "results_table"]

_KEYS = {
    "verified": ("slot", "stack_id", "specification", "properties", "meets_target", "protocol"),
    "failed": ("slot", "reason"),
    "empty": ("slot",),
}
_LEAD = [
    "slot",
    "stack_id",
    "verified_stack_id",
    "specification",
    "formula",
    "number_of_layers",
    "number_of_atoms",
]
_FAILED = ["slot", "stack_id", "step", "reason", "folder", "core_seconds"]
_COST = ["core_seconds", "wasted_core_seconds"]
# What the campaign had said of what was verified.
_PREDICTED = {f"predicted_{name}{end}": f"{name}{end}" for name in LABELLED for end in ("", "_std")}


def read_results(path: str | Path) -> list[dict]:
    """Results of the slots of one job, as `verify_candidates` wrote them.

    Raises:
        InputError: the file is damaged or holds something else.
    """
    results = read_json(path)
    for result in results:
        lacking = [key for key in _KEYS.get(result.get("status"), ("status",)) if key not in result]
        if lacking:
            raise InputError(f"{path}: a result without {', '.join(lacking)}{REMAKE}")
    return results


def results_table(results: Sequence[dict]) -> pd.DataFrame:
    """One row per verified candidate; units as in verification.UNITS.

    Args:
        results: contents of the slots' `result.json`.

    Returns:
        Beside the properties `predicted_<property>` and `predicted_<property>_std` of what was
        verified, NaN where nothing was predicted; `core_seconds`, processor time of pw.x in all its
        runs, and `wasted_core_seconds`, the part of runs that ended with a symptom and needed a
        remedy, or were cut short with the job they ran in.
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
                "verified_stack_id": stack.key(),
                "specification": json.dumps(result["specification"]),
                "formula": stack.formula,
                "number_of_layers": stack.number_of_layers,
                "number_of_atoms": stack.number_of_atoms,
                **values,
                "meets_target": result["meets_target"],
                "protocol": result["protocol"]["name"],
                **{key: result.get("predicted", {}).get(of) for key, of in _PREDICTED.items()},
                **_cost(result.get("attempts", [])),
            }
        )
    columns = [*_LEAD, *UNITS, "meets_target", "protocol", *_PREDICTED, *_COST]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(_PREDICTED, float))


def _cost(attempts: Sequence[dict]) -> dict[str, float]:
    all_runs = sum(run.get("core_seconds", 0.0) for run in attempts)
    wasted = sum(run.get("core_seconds", 0.0) for run in attempts if "symptom" in run)
    return dict(zip(_COST, (round(all_runs, 1), round(wasted, 1)), strict=True))


def failed_table(results: Sequence[dict]) -> pd.DataFrame:
    """Slots whose verification ended without numbers, with the step and the reason."""
    rows = [
        {
            "slot": result.get("slot"),
            "stack_id": result.get("stack_id"),
            "step": result.get("step", "collect"),
            "reason": result.get("reason", ""),
            "folder": f"slot_{result.get('slot')}",
            "core_seconds": _cost(result.get("attempts", []))["core_seconds"],
        }
        for result in results
        if result["status"] == "failed"
    ]
    return pd.DataFrame(rows, columns=_FAILED)
