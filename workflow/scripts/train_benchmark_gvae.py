"""The generative model of the benchmark; without properties, so without aim."""

from pathlib import Path

import pandas as pd
import torch

from heteroforge.evaluation.benchmark_sets import read_set
from heteroforge.io import log_to, write_table
from heteroforge.models.gvae_training import save_gvae, train_gvae
from heteroforge.models.training import pick_device
from heteroforge.report.figures import gvae_history_figure, save

MOST_VALIDATED = 1000  # as one batch, each epoch

log_to(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
data = read_set(*snakemake.input)
trained = train_gvae(
    data.part("train"),
    data.part("validation")[:MOST_VALIDATED],
    data.seen_catalogue,
    {},
    number_of_layers=(2, 2),
    seed=snakemake.params.seed,
    checkpoint=snakemake.params.checkpoint,
    device=pick_device(snakemake.params.device),
    **snakemake.params.gvae,
)
save_gvae(snakemake.output.model, trained)
history = pd.DataFrame(trained.history.rows)
write_table(snakemake.output.history, history)
save(gvae_history_figure(history), snakemake.output.picture)
Path(snakemake.params.checkpoint).unlink(missing_ok=True)
