"""How often intervals hold where one layer, both layers, or an element was never seen."""

from pathlib import Path

import torch

from heteroforge.evaluation.property_benchmark import read_bilayers, read_layers
from heteroforge.evaluation.unseen_layers import errors_of_unseen, interval_table
from heteroforge.io import log_to, write_table
from heteroforge.models.property_prediction import load_predictor

log_to(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
folder = Path(snakemake.input.hetml[0]).parents[1]
errors = errors_of_unseen(
    read_bilayers(folder),
    read_layers(folder),
    load_predictor(snakemake.input.model),
    draws=snakemake.params.draws,
    elements=snakemake.params.elements,
)
write_table(snakemake.output.errors, errors)
write_table(snakemake.output.intervals, interval_table(errors))
