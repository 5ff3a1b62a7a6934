"""New stacks from the generative model: one shard."""

import pandas as pd
import torch

from heteroforge.generation import Limits, sample_shard
from heteroforge.io import log_to, read_table, write_table
from heteroforge.models.catalogue import Catalogue
from heteroforge.models.gvae_training import load_gvae
from heteroforge.sources import read_library

log_to(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
number, stacks = snakemake.params.samples, snakemake.params.stacks
library = read_library(snakemake.input.structures, snakemake.input.table)
catalogue = Catalogue(library.monolayers, read_table(snakemake.input.matches), library.table)
known = read_table(snakemake.input.stacks).set_index("stack_id")["split"]
samples, counts = sample_shard(
    load_gvae(snakemake.input.model),
    catalogue,
    snakemake.params.targets,
    Limits(
        number_of_layers=tuple(stacks["number_of_layers"]),
        maximum_atoms=stacks["maximum_atoms"],
        maximum_area_a2=stacks["maximum_area_a2"],
        maximum_mismatch_percent=stacks["maximum_mismatch_percent"],
    ),
    known.to_dict(),
    seed=snakemake.params.seed,
    number=number["number"],
    shard=int(snakemake.wildcards.shard),
    shards=number["shards"],
)
write_table(snakemake.output.samples, samples)
print(f"{len(samples)} stacks, {int(samples['is_novel'].sum())} of them novel")
print(pd.Series(counts, name="latents").to_string())
