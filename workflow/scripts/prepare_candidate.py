"""Atoms of the candidate in a slot, from its specification."""

import pandas as pd

from heteroforge.dft.steps import run_step
from heteroforge.dft.verification import start_structure
from heteroforge.io import log_to, read_table, write_frames
from heteroforge.sources import read_library
from heteroforge.structures import Stack

log_to(snakemake.log[0])
slot = int(snakemake.wildcards.slot)
selected = read_table(snakemake.input.selected)
chosen = selected[selected["slot"] == slot]
frames = []


def prepare() -> dict:
    library = read_library(snakemake.input.monolayers, snakemake.input.table)
    row = chosen.iloc[0]
    stack = Stack.from_json(row["specification"], library.monolayers)
    frames.append(start_structure(stack))
    predicted = {
        name: None if pd.isna(value) else value
        for name, value in row.items()
        if name not in ("slot", "stack_id", "specification")
    }
    return {
        "slot": slot,
        "stack_id": row["stack_id"],
        "specification": stack.to_dict(),
        "predicted": predicted,
    }


if chosen.empty:
    run_step(snakemake.output.result, {}, lambda: {"status": "empty", "slot": slot})
    print(f"slot {slot} is empty: the screen selected {len(selected)} candidates")
else:
    run_step(snakemake.output.result, {}, prepare)
write_frames(snakemake.output.structure, frames)
