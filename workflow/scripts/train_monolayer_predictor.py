"""The model of layers that ships, and its held-out errors beside simple predictors."""

from pathlib import Path

import torch

from heteroforge.evaluation.monolayer_benchmark import read_monolayers, train_shipped_layers
from heteroforge.io import log_to, write_table
from heteroforge.models.monolayer_prediction import save_monolayer_predictor

log_to(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
folder = Path(snakemake.input.hetml[0]).parents[1]
layers, rows = read_monolayers(folder)
print(f"{len(layers)} monolayers")
predictor, errors = train_shipped_layers(
    layers,
    rows,
    steps=snakemake.params.steps,
    epochs=snakemake.params.epochs,
    progress=True,
)
save_monolayer_predictor(snakemake.output.model, predictor)
write_table(snakemake.output.errors, errors)
