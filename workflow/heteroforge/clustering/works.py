"""What is asked of a good semiconductor, and which monolayers are known to meet it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pandas as pd

__all__ = ["add_targets", "binding_energies_mev_a2", "works_label"]


def add_targets(library_table: pd.DataFrame, labels: pd.DataFrame | None = None) -> pd.DataFrame:
    """The quantities that drivers are looked for, indexed by `monolayer_id`.

    Args:
        library_table: of the library, indexed by `monolayer_id`.
        labels: `labels/labels.parquet`; None where there is none.

    Returns:
        `gap_ev`; `mobility_cm2_vs`, the larger one of electrons and holes (deformation-potential
        theory, an upper estimate); `binding_energy_mev_a2`, see `binding_energies_mev_a2`.
    """
    mobilities = library_table[["electron_mobility_cm2_vs", "hole_mobility_cm2_vs"]]
    targets = pd.DataFrame(
        {
            "gap_ev": library_table["gap_ev"].astype(float),
            # Of one that is known and one that is not, the larger is not known, but it is at
            # least the known one: enough to tell that a lower bound is met.
            "mobility_cm2_vs": mobilities.astype(float).max(axis=1),
        }
    )
    binding = binding_energies_mev_a2(labels) if labels is not None else {}
    targets["binding_energy_mev_a2"] = pd.Series(
        [binding.get(name, float("nan")) for name in targets.index],
        index=targets.index,
        dtype=float,
    )
    return targets


def binding_energies_mev_a2(labels: pd.DataFrame) -> dict[str, float]:
    """Mean DFT binding energy (meV/Å²) of the stacks that a monolayer is part of, by its name."""
    chosen = labels[(labels["property"] == "binding_energy_mev_a2") & (labels["fidelity"] == "dft")]
    found: dict[str, list[float]] = {}
    for text, value in zip(chosen["specification"], chosen["value"], strict=True):
        for name in set(_layer_names(text)):
            found.setdefault(name, []).append(float(value))
    return {name: sum(values) / len(values) for name, values in found.items()}


def works_label(targets: pd.DataFrame, windows: Mapping[str, Sequence[float | None]]) -> pd.Series:
    """Whether each monolayer meets every window, as a nullable boolean.

    False as soon as one known value is outside its window, True where all asked for are known and
    inside, and null otherwise: an unknown value decides nothing.

    Args:
        targets: of `add_targets`.
        windows: [low, high] per column, None for an open end; no windows tell nothing.
    """
    verdict = pd.Series(True, index=targets.index, dtype="boolean")
    if not windows:
        return pd.Series(pd.NA, index=targets.index, dtype="boolean")
    for name, (low, high) in windows.items():
        values = targets[name]
        inside = pd.Series(True, index=targets.index, dtype="boolean")
        if low is not None:
            inside &= values >= low
        if high is not None:
            inside &= values <= high
        # Kleene logic of nullable booleans: False & NA is False, True & NA is NA.
        verdict &= inside.mask(values.isna())
    return verdict


def _layer_names(specification: str) -> list[str]:
    layers = json.loads(specification)["layers"]
    entries = [layer["monolayer"] for layer in layers]
    return [entry if isinstance(entry, str) else entry.get("name", "") for entry in entries]
