"""The model of bilayers that ships, and its held-out predictions beside simple predictors."""

from pathlib import Path

import torch

from heteroforge.evaluation.property_benchmark import read_bilayers, read_layers, train_shipped
from heteroforge.io import log_to, write_table
from heteroforge.models.property_prediction import save_predictor

log_to(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
folder = Path(snakemake.input.hetml[0]).parents[1]
layers, entries = read_layers(folder), read_bilayers(folder)
print(f"{len(layers.monolayers)} monolayers, {len(entries)} bilayers")
predictor, predictions = train_shipped(
    entries,
    layers,
    steps=snakemake.params.steps,
    layer_steps=snakemake.params.steps,
    epochs=snakemake.params.epochs,
    progress=True,
)
save_predictor(snakemake.output.model, predictor)
write_table(snakemake.output.predictions, predictions)
