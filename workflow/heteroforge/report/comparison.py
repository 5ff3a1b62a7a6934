"""The candidates side by side: one table, quantities in rows."""

from __future__ import annotations

from collections.abc import Sequence

from heteroforge.report.campaign import Candidate
from heteroforge.report.cards import SHOWN_VALUES
from heteroforge.report.materials import stacking_text
from heteroforge.report.tables import Table, make_cell
from heteroforge.report.words import formula_text, number_text, quantity

__all__ = ["comparison_table"]


def comparison_table(candidates: Sequence[Candidate], targets: Sequence[str]) -> Table | None:
    """What DFT found of each candidate, and what was predicted, in a column per candidate.

    Args:
        candidates: verified ones, in the order of the columns.
        targets: properties that come first.
    """
    if len(candidates) < 2:
        return None
    columns = [("quantity", "quantity", False), ("from", "from", False)]
    columns += [(f"slot_{c.slot}", _heading(c), True) for c in candidates]
    rows = [
        _row("stacking", "structure", [_stacking(c) for c in candidates]),
        _row(
            "mismatch (%)",
            "structure",
            [make_cell("mismatch_percent", c.mismatch_percent) for c in candidates],
        ),
        _row(
            "atoms in the cell", "structure", [_computed(c, "number_of_atoms") for c in candidates]
        ),
        _row(
            "meets all targets", "DFT", [make_cell("", c.meets_targets, True) for c in candidates]
        ),
    ]
    for name in dict.fromkeys([*targets, *SHOWN_VALUES]):
        if any(name in c.computed for c in candidates):
            rows.append(_row(quantity(name).label, "DFT", [_computed(c, name) for c in candidates]))
        if any(isinstance(c.predicted.get(name), (int, float)) for c in candidates):
            cells = [_predicted(c, name) for c in candidates]
            rows.append(_row(quantity(name).label, "predicted", cells))
        if name == "alignment" and any("anderson_alignment" in c.computed for c in candidates):
            cells = [make_cell("", c.computed.get("anderson_alignment")) for c in candidates]
            rows.append(_row(quantity(name).label, "Anderson's rule", cells))
    return Table("candidates-compared", "Side by side", columns, rows, whole=True)


def _heading(candidate: Candidate) -> str:
    return f"{formula_text(candidate.title)} (slot {candidate.slot})"


def _row(label: str, source: str, cells: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(label, label), (source, source), *cells]


def _stacking(candidate: Candidate) -> tuple[str, str]:
    text = stacking_text(candidate.stack).replace("stacking ", "")
    return (text or "–", text)


def _computed(candidate: Candidate, name: str) -> tuple[str, str]:
    value = candidate.computed.get(name)
    return make_cell(name, value, isinstance(value, bool))


def _predicted(candidate: Candidate, name: str) -> tuple[str, str]:
    """Value and standard deviation; both are in the exported cell."""
    value, std = candidate.predicted.get(name), candidate.predicted.get(f"{name}_std")
    if not isinstance(value, (int, float)):
        return make_cell(name, None)
    if not isinstance(std, (int, float)):
        return make_cell(name, value)
    decimals = quantity(name).decimals
    text = f"{number_text(value, decimals)} ± {number_text(std, decimals)}"
    return text, f"{value:.6g} ± {std:.3g}"
