"""Held-out predictions of heterobilayers by all predictors, on one split, and errors by kind."""

from pathlib import Path

import pandas as pd
import torch

from heteroforge.evaluation.property_benchmark import (
    SPLITS,
    describe_known,
    describe_unknown,
    errors_by_kind,
    long_table,
    predict_held_out,
    read_bilayers,
    read_layers,
    values_of,
)
from heteroforge.io import log_to, write_table
from heteroforge.models.property_prediction import load_predictor

log_to(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
folder = Path(snakemake.input.hetml[0]).parents[1]
split = SPLITS[snakemake.wildcards.split]
layers = read_layers(folder)
entries = read_bilayers(folder, homobilayers=False)
if split.knows_layers:
    descriptors = describe_known(entries, layers)
else:
    descriptors = describe_unknown(entries, load_predictor(snakemake.input.model))
values = values_of(entries)
predictions = predict_held_out(
    descriptors,
    [entry.stack for entry in entries],
    values,
    [split.groups(entry) for entry in entries],
    split.folds,
)
about = pd.DataFrame({"entry": [entry.name for entry in entries]})
table = long_table(about, values, predictions)
write_table(snakemake.output.predictions, table)
write_table(snakemake.output.kinds, errors_by_kind(table, entries, descriptors, layers))
