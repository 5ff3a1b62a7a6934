"""Errors by the number of heterobilayers learned from, and without single inputs."""

from pathlib import Path

import torch

from heteroforge.evaluation.property_benchmark import (
    describe_known,
    errors_without_inputs,
    learning_curve,
    read_bilayers,
    read_layers,
    values_of,
)
from heteroforge.io import log_to, write_table

log_to(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
folder = Path(snakemake.input.hetml[0]).parents[1]
layers = read_layers(folder)
entries = read_bilayers(folder, homobilayers=False)
curve = learning_curve(
    describe_known(entries, layers), values_of(entries), [entry.layers for entry in entries]
)
write_table(snakemake.output.curve, curve)
write_table(snakemake.output.inputs, errors_without_inputs(entries, layers))
