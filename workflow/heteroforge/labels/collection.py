"""Labels of stacks from different sources, one row per stack, property and fidelity."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from heteroforge.io import InputError, read_table
from heteroforge.io.conventions import protocol_names
from heteroforge.labels.baseline import stack_baselines
from heteroforge.structures import Monolayer, Stack, StructureError, build
from heteroforge.structures.compare import SLID_A, closest_contact

__all__ = [
    "BONDED",
    "COLUMNS",
    "LABELLED",
    "OTHER",
    "STACK_PROPERTIES",
    "baseline_labels",
    "campaign_labels",
    "dft_labels",
    "mark_bonded",
    "user_labels",
    "verified_stacks",
]

COLUMNS = [
    "stack_id",
    "specification",
    "property",
    "value",
    "unit",
    "fidelity",
    "source",
    "protocol",
]

# Fidelity of DFT labels of stacks whose layers bond to each other.
BONDED = "dft_bonded"
# That of DFT labels whose protocol is not known to be comparable: nothing is learned from them.
OTHER = "dft_other"

# Properties of a stack that carry labels, with their units. Arrays of all properties have them in
# this order.
LABELLED = {
    "gap_ev": "eV",
    "vbm_ev": "eV",
    "cbm_ev": "eV",
    "binding_energy_mev_a2": "meV/Å²",
    "interlayer_gap_a": "Å",
}
STACK_PROPERTIES = tuple(LABELLED)


def baseline_labels(stacks: Sequence[Stack], table: pd.DataFrame) -> pd.DataFrame:
    """Physics baselines of stacks; what is unknown has no row.

    Args:
        stacks: any stacks, each counted once.
        table: of the library, indexed by monolayer_id.
    """
    rows = []
    for stack in {s.key(): s for s in stacks}.values():
        key, specification = stack.key(), stack.to_json()
        for name, value in stack_baselines(stack, table).items():
            if value is not None:
                rows.append(
                    [key, specification, name, value, LABELLED[name], "baseline", "physics", ""]
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def user_labels(path: str | Path, monolayers: Mapping[str, Monolayer]) -> tuple[pd.DataFrame, int]:
    """DFT labels from a table with the columns specification, property and value.

    Args:
        path: CSV or parquet; `source` (else the path) and `protocol` are kept where present, `unit`
            and `fidelity` must be the property's own and "dft".
        monolayers: the library: rows about other layers cannot be used.

    Returns:
        The labels, and how many rows name a layer that the library does not hold.

    Raises:
        InputError: a missing file or column, an unknown property, another unit or fidelity, a
            value that is no number, a specification that cannot be read.
    """
    given = read_table(path)
    missing = {"specification", "property", "value"} - set(given.columns)
    if missing:
        raise InputError(f"{path}: no column {', '.join(sorted(missing))}")
    rows, foreign = [], 0
    for line, row in enumerate(given.to_dict("records"), 2):
        name = row["property"]
        if name not in LABELLED:
            raise InputError(
                f"{path}, line {line}: property {name!r} is not one of {', '.join(LABELLED)}"
            )
        for column, expected in (("unit", LABELLED[name]), ("fidelity", "dft")):
            given = row.get(column)
            if isinstance(given, str) and given and given != expected:
                raise InputError(
                    f"{path}, line {line}: {column} of {name} is {given!r}, expected {expected!r}"
                )
        value = pd.to_numeric(row["value"], errors="coerce")
        if pd.isna(value):
            raise InputError(f"{path}, line {line}: {name} is {row['value']!r}, not a number")
        try:
            stack = _stack(row["specification"], monolayers)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}, line {line}: no readable specification: {error}") from error
        if stack is None:
            foreign += 1
            continue
        # An empty cell is no word, but a number that is none.
        told = {key: str(row[key]) for key in ("source", "protocol") if pd.notna(row.get(key))}
        origin = told.get("source") or str(path)
        protocol = told.get("protocol", "")
        rows.append(
            [stack.key(), stack.to_json(), name, float(value), LABELLED[name], "dft", origin,
             protocol]
        )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS), foreign


def campaign_labels(
    path: str | Path, monolayers: Mapping[str, Monolayer]
) -> tuple[pd.DataFrame, int]:
    """DFT labels from `dft/results.parquet` of an earlier campaign.

    A stack whose layers slid on relaxation by more than `SLID_A` is not the one that was specified,
    and gives no labels. Layers that the campaign had proposed itself have no name: they stand in
    full in the specification, as DFT relaxed them, and are taken from there.

    Returns:
        The labels, with the `closest_contact_ratio` of the relaxed atoms as a further column, and
        how many stacks were left out: slid, or of a library's layer that this library lacks.
    """
    results = read_table(path)
    rows, foreign = [], 0
    for row in results.to_dict("records"):
        stack = _stack(row["specification"], monolayers, proposed=True)
        if stack is None or row["registry_shift_a"] > SLID_A:
            foreign += 1
            continue
        for name, unit in LABELLED.items():
            if pd.notna(row[name]):
                rows.append(
                    [stack.key(), stack.to_json(), name, float(row[name]), unit, "dft", str(path),
                     row["protocol"], row.get("closest_contact_ratio")]
                )  # fmt: skip
    return pd.DataFrame(rows, columns=[*COLUMNS, "closest_contact_ratio"]), foreign


def dft_labels(
    tables: Sequence[str | Path],
    campaigns: Sequence[str | Path],
    monolayers: Mapping[str, Monolayer],
    minimum_contact_ratio: float,
    protocol: str,
    comparable_protocols: Sequence[str] = (),
) -> pd.DataFrame:
    """All that DFT says of stacks of a library, columns `COLUMNS`; says what is left out.

    Labels of a protocol that is neither this project's nor among the comparable ones have the
    fidelity `OTHER`: a gap of HSE06 is no gap of PBE. Those without a protocol are the user's word.

    Args:
        tables: as `user_labels` reads them.
        campaigns: as `campaign_labels` reads them.
        monolayers: the library.
        minimum_contact_ratio: of `mark_bonded`.
        protocol: of this campaign, which decides where a stack has labels of several.
        comparable_protocols: further ones that are as good as this project's own.
    """
    found = [pd.DataFrame(columns=COLUMNS)]
    for paths, read in ((tables, user_labels), (campaigns, campaign_labels)):
        for path in paths:
            labels, foreign = read(path, monolayers)
            found.append(labels)
            print(
                f"{path}: {len(labels)} labels, {foreign} left out: layers the library lacks, "
                "or slid"
            )
    known = [labels for labels in found if len(labels)] or found[:1]
    labels = pd.concat(known, ignore_index=True)
    as_ours = labels["protocol"].isin(["", protocol, *protocol_names(), *comparable_protocols])
    others = labels.loc[~as_ours, COLUMNS].assign(fidelity=OTHER)
    if len(others):
        print(
            f"not learned from: {len(others)} labels of protocols that are not comparable: "
            f"{others['protocol'].value_counts().to_dict()} (labels.comparable_protocols)"
        )
    ours = _one_protocol(labels[as_ours], protocol)
    return pd.concat(
        [mark_bonded(ours, monolayers, minimum_contact_ratio), others], ignore_index=True
    )


def _one_protocol(labels: pd.DataFrame, preferred: str) -> pd.DataFrame:
    """Labels of one protocol per stack and property, as means over several are of none.

    Of the one preferred, else of one that is not rougher, by number of labels.
    """
    counts = labels["protocol"].value_counts()
    rougher = _rougher(preferred)

    def worth(name: str) -> tuple:
        # The finest of the rougher ones last: a list has those before it.
        place = -rougher.index(name) if name in rougher else 0
        return (name != preferred, name in rougher, place, -counts[name], name)

    order = sorted(counts.index, key=worth)
    place = labels["protocol"].map({name: i for i, name in enumerate(order)})
    best = place.groupby([labels["stack_id"], labels["property"]]).transform("min")
    if len(order) > 1:
        print(f"protocols of the labels: {counts.to_dict()}")
        print(f"{int((place > best).sum())} set aside: a better one is there for the same stack")
    return labels[place == best].reset_index(drop=True)


def mark_bonded(
    labels: pd.DataFrame, monolayers: Mapping[str, Monolayer], minimum_contact_ratio: float
) -> pd.DataFrame:
    """DFT labels with the fidelity `BONDED` where the layers of the stack are bonded in DFT.

    The screen lets no such stack pass, and nothing that is learned of van der Waals stacks holds
    for them: among the labels they would widen every interval. What is learned without them holds
    for a stack that turns out not to bond.

    Args:
        labels: `COLUMNS`, at DFT fidelity, and `closest_contact_ratio` where that is known; where
            it is not, the layers are put at the labelled distance as they are when free.
        monolayers: the library.
        minimum_contact_ratio: the ratio below which the screen takes layers for bonded; 0: never.
    """
    labels = labels.reindex(columns=[*COLUMNS, "closest_contact_ratio"])
    for _, rows in labels.groupby("stack_id"):
        measured = rows["closest_contact_ratio"].astype(float).min()
        if measured < minimum_contact_ratio:
            labels.loc[rows.index, "fidelity"] = BONDED
        if not np.isnan(measured):
            continue
        stack = Stack.from_json(rows["specification"].iloc[0], monolayers)
        gaps = rows.loc[rows["property"] == "interlayer_gap_a", "value"]
        if len(stack.interfaces) == 1 and len(gaps):
            # What was specified may be the gap that DFT began with.
            relaxed = replace(stack.interfaces[0], gap_a=float(gaps.mean()))
            stack = replace(stack, interfaces=(relaxed,))
        ratio, _ = closest_contact(build(stack))
        if ratio is not None and ratio < minimum_contact_ratio:
            labels.loc[rows.index, "fidelity"] = BONDED
    return labels[COLUMNS]


def _rougher(protocol: str) -> list[str]:
    """Protocols of the project that are rougher than this one, the roughest first."""
    names = protocol_names()
    return names[: names.index(protocol)] if protocol in names else []


def verified_stacks(
    labels: pd.DataFrame, monolayers: Mapping[str, Monolayer], protocol: str
) -> set[str]:
    """Keys of the stacks that need no DFT slot.

    Those that have a label of DFT by the same protocol or by any but a rougher one of the
    project's, which come before it in protocols.yaml; and those whose layers bond by any.

    Args:
        labels: `specification`, `fidelity`, `protocol`.
        monolayers: the library.
        protocol: that the campaign verifies by.

    Returns:
        `Stack.prototype_key` of each.
    """
    known = labels["fidelity"].eq("dft") & ~labels["protocol"].isin(_rougher(protocol))
    known |= labels["fidelity"].eq(BONDED)
    texts = labels.loc[known, "specification"].unique()
    return {Stack.from_json(text, monolayers).prototype_key() for text in texts}


def _stack(
    specification: str, monolayers: Mapping[str, Monolayer], proposed: bool = False
) -> Stack | None:
    """The stack, its layers taken from the library; None where the library lacks one.

    Args:
        proposed: whether a layer without a name is taken as it is described.
    """
    data = json.loads(specification)
    for layer in data["layers"]:
        name = layer["monolayer"]
        if isinstance(name, dict):
            name = name.get("name", "")
            if proposed and not name:
                continue
            layer["monolayer"] = name
        if name not in monolayers:
            return None
    try:
        return Stack.from_dict(data, monolayers)
    except StructureError as error:
        raise ValueError(str(error)) from error
