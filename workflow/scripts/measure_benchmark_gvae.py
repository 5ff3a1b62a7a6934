"""Published metrics of generators beside the strict ones, on the benchmark's set."""

import os
import sys

import pandas as pd

from heteroforge.evaluation.benchmark_sets import read_set
from heteroforge.evaluation.generation_benchmark import (
    comparison_table,
    measure_generation,
    measure_reconstruction,
)
from heteroforge.io import log_to, provenance, read_table, write_json, write_table
from heteroforge.models.gvae_training import load_gvae
from heteroforge.structures import Stack

log_to(snakemake.log[0])
if snakemake.input.packages:
    folder = os.path.abspath(str(snakemake.input.packages))
    sys.path.append(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join([os.environ.get("PYTHONPATH", ""), folder])
settings = snakemake.params.settings
data = read_set(*snakemake.input.benchmark_set)
texts = read_table(snakemake.input.generated)["specification"]
made = [Stack.from_json(t, data.monolayers) if pd.notna(t) else None for t in texts]
trained = load_gvae(snakemake.input.model)
numbers = {
    "set": settings["set"],
    "mode": snakemake.params.mode,
    "bilayers": len(data.stacks),
    "monolayers": len(data.monolayers),
    "test_bilayers": len(data.part("test")),
    **measure_reconstruction(trained, data, settings["matched"]),
    **measure_generation(made, data, settings["fingerprints"], snakemake.threads),
    "provenance": provenance(),
}
write_json(snakemake.output.metrics, numbers)
published = snakemake.input.published
table = comparison_table(numbers, snakemake.params.mode, str(published) if published else None)
write_table(snakemake.output.table, table)
print(table.drop(columns="source").to_string(index=False))
