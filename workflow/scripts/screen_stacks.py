"""Scored samples through the property networks to a ranking."""

import pandas as pd

from heteroforge.io import log_to, read_json, read_table, write_json, write_table
from heteroforge.models.property_training import PropertyData, load_member
from heteroforge.screening import screen
from heteroforge.sources import read_library

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table)
training_stacks = read_table(snakemake.input.stacks)
labels = read_table(snakemake.input.labels)
scored = pd.concat([read_table(path) for path in snakemake.input.scored], ignore_index=True)
seed = snakemake.params.seed
screened = screen(
    scored,
    library.monolayers,
    library.table,
    models=[load_member(path)[0] for path in snakemake.input.members],
    calibration=read_json(snakemake.input.calibration),
    data=PropertyData.from_tables(training_stacks, labels, library.monolayers, library.table, seed),
    targets=snakemake.params.targets,
    labelled=set(labels.loc[labels["fidelity"] == "dft", "stack_id"]),
    trained=set(training_stacks.loc[training_stacks["split"] == "train", "stack_id"]),
    refined=snakemake.params.refined,
    seed=seed,
    alignment=snakemake.params.alignment,
)
write_table(snakemake.output.ranked, screened.ranked)
write_table(snakemake.output.rejected, screened.rejected)
write_json(snakemake.output.funnel, screened.funnel)
print(screened.funnel)
