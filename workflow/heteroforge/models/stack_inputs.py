"""What the property models are told of a stack.

All of it is taken at one reference: one side up, and the gap at which the layers' van der Waals
spheres touch in their registry. The gap is a result of a relaxation, so a prediction must not
depend on the one that a description carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from heteroforge.features import stack_descriptors
from heteroforge.labels import STACK_PROPERTIES, stack_baselines
from heteroforge.structures import Stack
from heteroforge.structures.matching import contact_gap_a

__all__ = [
    "at_contact_gaps",
    "baseline_table",
    "describe_stacks",
    "fast_baselines",
    "number_of_interfaces",
    "reference_stack",
]


def number_of_interfaces(stacks: Sequence[Stack]) -> np.ndarray:
    """Interfaces (n) of stacks, one for a layer alone: what binding energies add up over."""
    return np.array([max(1, stack.number_of_layers - 1) for stack in stacks], dtype=float)


def at_contact_gaps(stack: Stack) -> Stack:
    """The stack with every gap set to where the layers' spheres touch at their registry."""
    interfaces = tuple(
        replace(interface, gap_a=contact_gap_a(stack, i))
        for i, interface in enumerate(stack.interfaces)
    )
    return replace(stack, interfaces=interfaces)


def reference_stack(stack: Stack) -> Stack:
    """The stack at its contact gaps, seen from a side that is always the same.

    Equal for a stack and the same stack described upside down, to the last digit: trees split
    between values that differ by less.
    """
    stack = at_contact_gaps(stack)
    return min(stack, stack.reversed(), key=Stack.to_json)


def describe_stacks(stacks: Sequence[Stack], table: pd.DataFrame) -> pd.DataFrame:
    """Descriptors (stacks, columns), in the order given; NaN where something is not known.

    Args:
        stacks: any stacks.
        table: of the library, indexed by monolayer_id.
    """
    known = table.to_dict("index")
    return pd.DataFrame([stack_descriptors(stack, known) for stack in stacks]).astype(float)


def fast_baselines(descriptors: pd.DataFrame) -> np.ndarray:
    """Baselines (stacks, properties) that descriptors hold already, without a dispersion energy.

    In the order of `STACK_PROPERTIES`: Anderson's rule for gap and edges, zero for the binding
    energy, and the gap at which the spheres touch.
    """
    by_name = {
        "gap_ev": descriptors["anderson_gap_ev"].clip(lower=0.0),
        "vbm_ev": descriptors["donor_aligned_vbm_ev"],
        "cbm_ev": descriptors["acceptor_aligned_cbm_ev"],
        "binding_energy_mev_a2": np.zeros(len(descriptors)),
        "interlayer_gap_a": descriptors["touching_gap_a"],
    }
    columns = [np.asarray(by_name[name], dtype=float) for name in STACK_PROPERTIES]
    return np.column_stack(columns)


def baseline_table(
    stacks: Sequence[Stack], table: pd.DataFrame, properties: Sequence[str]
) -> np.ndarray:
    """Physics baselines (stacks, properties) of stacks as they are, NaN where unknown."""
    rows = []
    for stack in stacks:
        baselines = stack_baselines(stack, table)
        values = [baselines.get(name) for name in properties]
        rows.append([np.nan if value is None else value for value in values])
    return np.array(rows, dtype=float).reshape(len(stacks), len(properties))
