"""What a campaign's files hold at least, by their place in it; docs/results.md has all of it.

A file of one stage that another cannot use is told by its name where it is read, and not by a
missing key somewhere later.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["columns_expected", "type_expected"]

_COLUMNS = {
    "library/monolayers.parquet": ("monolayer_id", "formula", "a_a", "gap_ev"),
    "clustering/descriptors.parquet": ("monolayer_id",),
    "clustering/targets.parquet": ("monolayer_id",),
    "clustering/clusters.csv": ("monolayer_id", "cluster"),
    "clustering/drivers.csv": ("target", "descriptor", "importance"),
    "stacks/matches.parquet": ("match_id", "bottom", "top", "supercell_bottom", "supercell_top"),
    "stacks/proposed_matches.parquet": ("bottom", "top", "supercell_bottom", "supercell_top"),
    "stacks/training_stacks.parquet": (
        "stack_id",
        "specification",
        "layers",
        "number_of_layers",
        "split",
    ),
    "labels/labels.parquet": ("stack_id", "specification", "property", "value", "fidelity"),
    "samples/shard_*.parquet": ("stack_id", "specification", "layers", "number_of_atoms"),
    "screening/ranked.parquet": ("stack_id", "specification"),
    "screening/control.parquet": ("stack_id", "specification"),
    "screening/selected.csv": ("slot", "stack_id", "specification"),
}
_TYPES = {"gnn/calibration.json": dict, "dft/slots_*.json": list}


def columns_expected(path: str | Path) -> list[str]:
    """Columns that a table of a campaign must have; [] for one that is none of a campaign's."""
    return next((list(names) for place, names in _COLUMNS.items() if Path(path).match(place)), [])


def type_expected(path: str | Path) -> type:
    """Whether a JSON file of a campaign holds an object or a list; `object` for any other file."""
    return next((kind for place, kind in _TYPES.items() if Path(path).match(place)), object)
