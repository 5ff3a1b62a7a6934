"""One property network of the ensemble."""

from pathlib import Path

import torch

from heteroforge.io import log_to
from heteroforge.models.property_training import PropertyData, save_member, train_member
from heteroforge.models.training import pick_device
from heteroforge.sources import read_library

log_to(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
settings = snakemake.params.gnn
library = read_library(snakemake.input.structures, snakemake.input.table)
data = PropertyData.read(
    snakemake.input.stacks, snakemake.input.labels, library, snakemake.params.seed
)
model, content = train_member(
    data,
    member=int(snakemake.wildcards.member),
    seed=snakemake.params.seed,
    epochs=settings["epochs"],
    batch_size=settings["batch_size"],
    learning_rate=settings["learning_rate"],
    checkpoint=snakemake.params.checkpoint,
    device=pick_device(snakemake.params.device),
)
save_member(snakemake.output.model, model, content)
Path(snakemake.params.checkpoint).unlink(missing_ok=True)
