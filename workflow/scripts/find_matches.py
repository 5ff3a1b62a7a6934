"""Commensurate cells of all pairs of layers."""

import json
from dataclasses import asdict

import pandas as pd
from tqdm import tqdm

from heteroforge.io import log_to, write_table
from heteroforge.sources import read_library
from heteroforge.structures.enumeration import enumerate_matches

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table)
limits = snakemake.params.stacks
rows = []
found = enumerate_matches(
    library.monolayers,
    maximum_area_a2=limits["maximum_area_a2"],
    maximum_mismatch_percent=limits["maximum_mismatch_percent"],
    maximum_atoms=limits["maximum_atoms"],
)
for bottom, top, match in tqdm(found, unit=" matches", mininterval=5):
    row = asdict(match)
    for end in ("supercell_bottom", "supercell_top"):
        row[end] = json.dumps(row[end])
    rows.append({"match_id": len(rows), "bottom": bottom, "top": top, **row})
columns = ["match_id", "bottom", "top", "supercell_bottom", "supercell_top", "twist_deg"]
columns += ["mismatch_percent", "area_a2", "number_of_atoms"]
write_table(snakemake.output.matches, pd.DataFrame(rows, columns=columns))
pairs = len({(r["bottom"], r["top"]) for r in rows})
print(f"{len(rows)} matches of {pairs} pairs of {len(library)} monolayers")
