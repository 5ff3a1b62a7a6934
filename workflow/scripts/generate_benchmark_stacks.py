"""Stacks of the benchmark's model, and a picture of twenty of them."""

import numpy as np
import pandas as pd

from heteroforge.evaluation.benchmark_sets import read_set
from heteroforge.evaluation.generation_benchmark import generate
from heteroforge.io import log_to, write_table
from heteroforge.models.gvae_training import load_gvae
from heteroforge.report.figures import gallery_figure, save

SHOWN = 20

log_to(snakemake.log[0])
data = read_set(*snakemake.input.benchmark_set)
samples, seed = snakemake.params.samples, snakemake.params.seed
made = generate(
    load_gvae(snakemake.input.model),
    data,
    samples["number"],
    mode=samples["mode"],
    temperature=samples["temperature"],
    seed=seed + 1,
)
rows = [
    {"stack_id": s.key(), "specification": s.to_json(), "formula": s.formula} if s else {}
    for s in made
]
write_table(
    snakemake.output.stacks, pd.DataFrame(rows, columns=["stack_id", "specification", "formula"])
)
built = [stack for stack in made if stack is not None]
chosen = np.random.default_rng(seed).permutation(len(built))[:SHOWN]
save(gallery_figure([built[i] for i in chosen]), snakemake.output.picture)
print(f"{len(built)} of {len(made)} built")
