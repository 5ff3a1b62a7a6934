"""Held-out predictions of heterobilayers by a published crystal graph network, on one split."""

from pathlib import Path

import pandas as pd
import torch

from heteroforge.evaluation.crystal_network import (
    CrystalSettings,
    crystal_graphs,
    predict_from_pretrained,
    predict_with_crystal_network,
)
from heteroforge.evaluation.property_benchmark import (
    SEED,
    SMALL,
    SPLITS,
    long_table,
    read_bilayers,
    values_of,
)
from heteroforge.io import log_to, write_table

log_to(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
folder = Path(snakemake.input.hetml[0]).parents[1]
split = SPLITS[snakemake.wildcards.split]
entries = read_bilayers(folder, homobilayers=False)
graphs = crystal_graphs([entry.stack for entry in entries])
values = values_of(entries)
groups = [split.groups(entry) for entry in entries]
of_features = predict_from_pretrained(graphs, values, groups, split.folds, seed=SEED, **SMALL)
found, history = predict_with_crystal_network(
    graphs, values, groups, split.folds, CrystalSettings(**snakemake.params.settings), seed=SEED
)
predictions = {"CHGNet": found, "CHGNet, pretrained features": of_features}
about = pd.DataFrame({"entry": [entry.name for entry in entries]})
write_table(snakemake.output.predictions, long_table(about, values, predictions))
write_table(snakemake.output.history, history)
