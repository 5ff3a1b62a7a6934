"""New stacks from the generative model: one shard."""

import pandas as pd
import torch

from heteroforge.generation import (
    Limits,
    Plan,
    propose_defects,
    propose_monolayers,
    sample_shard,
    seed_stacks,
)
from heteroforge.io import log_to, read_table, write_table
from heteroforge.models.catalogue import Catalogue
from heteroforge.models.gvae_training import load_gvae
from heteroforge.models.training import pick_device
from heteroforge.sources import read_library
from heteroforge.structures.formula import StackFormula

log_to(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
number, stacks = snakemake.params.samples, snakemake.params.stacks
library = read_library(snakemake.input.structures, snakemake.input.table)
limits = {key: stacks[f"maximum_{key}"] for key in ("area_a2", "mismatch_percent", "atoms")}
new = propose_monolayers(library.monolayers, number["new_monolayers"], **snakemake.params.elements)
defective = propose_defects(library.monolayers, **number["defects"], **snakemake.params.elements)
matches = [read_table(path) for path in (snakemake.input.matches, snakemake.input.proposed)]
matches = pd.concat(matches, ignore_index=True)
catalogue = Catalogue(library.monolayers | new, matches, library.table, defective)
enumerated = read_table(snakemake.input.stacks).set_index("stack_id")
plan = Plan(
    mode=number["mode"],
    seeds=tuple(seed_stacks(number["seeds"], enumerated["specification"], catalogue.monolayers)),
    radius=number["radius"],
    temperature=number["temperature"],
    substrate=number["substrate"] or "",
    elements=frozenset(number["elements"]),
    formula=StackFormula.parse(number["formula"]) if number["formula"] else None,
    oversampling=number["oversampling"],
    block_size=number["block_size"],
    alignment=snakemake.params.alignment,
    mismatch_percent=snakemake.params.mismatch_percent,
    new=frozenset(new),
)
samples, counts = sample_shard(
    load_gvae(snakemake.input.model).to(pick_device(snakemake.params.device)),
    catalogue,
    snakemake.params.targets,
    Limits(
        number_of_layers=tuple(stacks["number_of_layers"]),
        **{f"maximum_{key}": value for key, value in limits.items()},
    ),
    enumerated["split"].to_dict(),
    seed=snakemake.params.seed,
    number=number["number"],
    shard=int(snakemake.wildcards.shard),
    shards=number["shards"],
    plan=plan,
)
write_table(snakemake.output.samples, samples)
print(f"{len(samples)} stacks, {int(samples['is_novel'].sum())} of them novel")
print(f"{int((samples['new_monolayers'] > 0).sum())} with monolayers that the library lacks")
print(f"{int((samples['number_of_defects'] > 0).sum())} with defects")
print(pd.Series(counts, name="latents").to_string())
