"""What is asked of a good semiconductor, and which monolayers are known to meet it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pandas as pd
from ase.formula import Formula

from heteroforge.clustering.clusters import structural

__all__ = [
    "add_targets",
    "binding_energies_mev_a2",
    "check_known",
    "cluster_cards",
    "works_label",
    "works_where_all_known",
]


def add_targets(library_table: pd.DataFrame, labels: pd.DataFrame | None = None) -> pd.DataFrame:
    """What is asked of a semiconductor, indexed by `monolayer_id`.

    Args:
        library_table: of the library, indexed by `monolayer_id`.
        labels: DFT labels of stacks, columns as `labels/labels.parquet`; None where there is none.

    Returns:
        `is_semiconductor` (nullable boolean); `gap_ev`; `mobility_cm2_vs`, the larger one of
        electrons and holes (deformation-potential theory, an upper estimate);
        `binding_energy_mev_a2`, of the library, or where it knows none of the labelled stacks: the
        two are never mixed; `hull_distance_ev_atom`.
    """
    mobilities = library_table[["electron_mobility_cm2_vs", "hole_mobility_cm2_vs"]]
    gap = library_table["gap_ev"].astype(float)
    targets = pd.DataFrame(
        {
            "is_semiconductor": (gap > 0).astype("boolean").mask(gap.isna()),
            "gap_ev": gap,
            # Of one that is known and one that is not, the larger is not known, but it is at
            # least the known one: enough to tell that a lower bound is met.
            "mobility_cm2_vs": mobilities.astype(float).max(axis=1),
            "binding_energy_mev_a2": library_table["binding_energy_mev_a2"].astype(float),
            "hull_distance_ev_atom": library_table["hull_distance_ev_atom"].astype(float),
        }
    )
    if labels is not None and targets["binding_energy_mev_a2"].isna().all():
        found = pd.Series(binding_energies_mev_a2(labels), dtype=float)
        targets["binding_energy_mev_a2"] = found.reindex(targets.index)
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


def works_where_all_known(
    targets: pd.DataFrame, works: pd.Series, windows: Mapping[str, Sequence[float | None]]
) -> pd.Series:
    """The label of those for which everything asked for is known, null for the rest.

    One known failure decides against a monolayer, but nothing less than all decides for it. So the
    ones that work are among the well-studied, and set beside all failures they would differ in
    what has been studied.
    """
    return works.astype("boolean").where(targets[list(windows)].notna().all(axis=1))


def check_known(
    known: pd.DataFrame, library_table: pd.DataFrame, targets: pd.DataFrame, works: pd.Series
) -> pd.DataFrame:
    """What the definition says of materials that the field has judged.

    Args:
        known: columns `name, formula, layer_group, verdict` (good or poor), `because`.
        library_table: of the library, indexed by `monolayer_id`.
        targets: of `add_targets`.
        works: of `works_label`.

    Returns:
        The table, with `monolayer_id` (of several in the library the one nearest to the hull, or
        the first), the targets, `works` and `agrees` (null where too little is known).
    """
    formulas = library_table["formula"].map(_hill)
    rows = []
    for entry in known.to_dict("records"):
        match = (formulas == _hill(entry["formula"])) & (
            library_table["layer_group"] == int(entry["layer_group"])
        )
        found = targets[match.to_numpy()].sort_values("hull_distance_ev_atom")
        if len(found) == 0:
            rows.append(entry)
            continue
        name = found.index[0]
        verdict = works[name]
        agrees = pd.NA if pd.isna(verdict) else bool(verdict) == (entry["verdict"] == "good")
        rows.append(
            entry
            | {"monolayer_id": name}
            | found.loc[name].to_dict()
            | {"works": verdict, "agrees": agrees}
        )
    columns = [*known.columns, "monolayer_id", *targets.columns, "works", "agrees"]
    frame = pd.DataFrame(rows).reindex(columns=columns)
    return frame.astype({"works": "boolean", "agrees": "boolean"})


def cluster_cards(
    clusters: pd.DataFrame,
    descriptors: pd.DataFrame,
    targets: pd.DataFrame,
    library_table: pd.DataFrame,
    most: int = 8,
) -> pd.DataFrame:
    """One row per cluster: what its members share, who they are, and the share that works.

    Args:
        clusters: indexed by `monolayer_id`: `cluster`, `probability`, `works`.
        descriptors: same index.
        targets: of `add_targets`.
        library_table: of the library.
        most: examples, the most typical members first, each formula once.

    Returns:
        `cluster, monolayers, share_that_works, known_to_work_or_not`, the median and the number
        known of each target, `shared` (the structural descriptors that set the cluster apart, in
        standard deviations from the mean of all), `layer_groups, examples`.
    """
    descriptors = structural(descriptors)
    spread = descriptors.std()
    varied = spread[spread > 0].index
    scaled = (descriptors[varied] - descriptors[varied].mean()) / spread[varied]
    rows = []
    for cluster, members in clusters.groupby("cluster"):
        inside = scaled.loc[members.index]
        # Far from the mean, and narrow: what the members share and the others do not.
        height = inside.mean() / (0.2 + inside.std().fillna(0.0))
        shared = height.abs().sort_values(ascending=False).index[:3]
        formulas = library_table.loc[members.index, "formula"]
        typical = members["probability"].sort_values(ascending=False, kind="stable").index
        known = members["works"].astype("boolean").dropna()
        row = {
            "cluster": int(cluster),
            "monolayers": len(members),
            "share_that_works": float(known.mean()) if len(known) else None,
            "known_to_work_or_not": len(known),
        }
        for name in targets:
            values = targets.loc[members.index, name].dropna().astype(float)
            middle = values.mean() if name.startswith("is_") else values.median()
            row[f"{name}_{'share' if name.startswith('is_') else 'median'}"] = middle
            row[f"{name}_known"] = len(values)
        row["shared"] = "; ".join(f"{name} {inside[name].mean():+.1f} σ" for name in shared)
        counts = library_table.loc[members.index, "layer_group"].value_counts().head(3)
        row["layer_groups"] = ", ".join(f"{group} ({count})" for group, count in counts.items())
        row["examples"] = ", ".join(formulas.loc[typical].drop_duplicates().head(most))
        rows.append(row)
    return pd.DataFrame(rows)


def _hill(formula: str) -> str:
    return str(Formula(formula).reduce()[0].format("hill"))


def _layer_names(specification: str) -> list[str]:
    layers = json.loads(specification)["layers"]
    entries = [layer["monolayer"] for layer in layers]
    return [entry if isinstance(entry, str) else entry.get("name", "") for entry in entries]
