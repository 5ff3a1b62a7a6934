"""Stacks to learn from: every match with its registries and faces, split by pair."""

import difflib
import json

import pandas as pd
from tqdm import tqdm

from heteroforge.io import InputError, log_to, read_table, write_table
from heteroforge.report.figures import save
from heteroforge.report.stacks import matches_figure
from heteroforge.sources import read_library
from heteroforge.structures.enumeration import (
    enumerate_bilayers,
    enumerate_multilayers,
    split_pairs,
)
from heteroforge.structures.matching import Match

RANDOM_MULTILAYERS = 2000

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table)
limits = snakemake.params.stacks
asked = snakemake.params.samples
substrate = asked["substrate"] or ""
proposes = asked["new_monolayers"] or asked["defects"]["number"]
if substrate and not proposes and substrate not in library.monolayers:
    # Told here, as the sampler comes after all training; proposed layers are named there.
    near = difflib.get_close_matches(substrate, list(library.monolayers), n=3, cutoff=0.2)
    raise InputError(
        f"samples.substrate = {substrate}: expected a monolayer_id of the library"
        + (f", such as {', '.join(near)}" if near else "")
    )
matches = read_table(snakemake.input.matches)
known = library.table["stiffness_n_m"]
stiffness = {name: None if pd.isna(value) else float(value) for name, value in known.items()}
fewest, most = limits["number_of_layers"]
stacks = {}
if fewest <= 2 <= most:
    for row in tqdm(matches.to_dict("records"), unit=" matches", mininterval=5):
        ends = row["bottom"], row["top"]
        cells = (json.loads(row[f"supercell_{end}"]) for end in ("bottom", "top"))
        match = Match(
            *cells,
            **{k: row[k] for k in ("twist_deg", "mismatch_percent", "area_a2", "number_of_atoms")},
        )
        layers = (library.monolayers[name] for name in ends)
        for stack in enumerate_bilayers(*layers, match, tuple(stiffness[n] for n in ends)):
            stacks.setdefault(stack.key(), stack)
for number in set(range(fewest, most + 1)) - {2}:
    for stack in enumerate_multilayers(
        list(library.monolayers.values()),
        number,
        RANDOM_MULTILAYERS,
        limits["maximum_mismatch_percent"],
        limits["maximum_atoms"],
        snakemake.params.seed,
        stiffness,
    ):
        stacks.setdefault(stack.key(), stack)
if not stacks:
    raise InputError(
        "no stack of the library's layers is within the limits: raise "
        "stacks.maximum_mismatch_percent, maximum_area_a2 or maximum_atoms"
    )
table = pd.DataFrame(
    {
        "stack_id": key,
        "specification": stack.to_json(),
        "layers": "/".join(layer.monolayer.name for layer in stack.layers),
        "number_of_layers": stack.number_of_layers,
        "number_of_atoms": stack.number_of_atoms,
        "mismatch_percent": stack.mismatch_percent,
        "twist_deg": stack.twist_deg(0) if stack.number_of_layers > 1 else 0.0,
    }
    for key, stack in stacks.items()
)
table["split"] = split_pairs(list(stacks.values()), snakemake.params.seed)
write_table(snakemake.output.stacks, table)
save(matches_figure(matches, list(library.monolayers)), snakemake.output.picture)
print(f"{len(table)} stacks: {table['split'].value_counts().to_dict()}")
