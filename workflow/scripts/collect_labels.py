"""DFT labels of all sources, and what physics and published DFT say of the stacks."""

import pandas as pd
from tqdm import tqdm

from heteroforge.io import log_to, read_table, write_table
from heteroforge.labels import baseline_labels, dft_labels
from heteroforge.models.published import PublishedModel, published_labels
from heteroforge.report.figures import save
from heteroforge.report.labels import labels_figure
from heteroforge.sources import read_library
from heteroforge.structures import Stack

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table)
dft = dft_labels(
    [*snakemake.input.bundled, *snakemake.input.own],
    snakemake.input.campaigns,
    library.monolayers,
    snakemake.params.minimum_contact_ratio,
    snakemake.params.protocol,
    snakemake.params.comparable_protocols,
)
specifications = [
    *dft["specification"].unique(),
    *read_table(snakemake.input.stacks)["specification"],
]
stacks = [
    Stack.from_json(text, library.monolayers)
    for text in tqdm(specifications, unit=" stacks", mininterval=5)
]
published = PublishedModel.load(snakemake.input.published, library)
tables = [dft, baseline_labels(stacks, library.table), published_labels(stacks, published)]
labels = pd.concat(tables, ignore_index=True)
write_table(snakemake.output.labels, labels)
save(labels_figure(labels), snakemake.output.picture)
counts = labels.groupby("fidelity")["stack_id"].nunique().to_dict()
print(f"stacks with labels: {counts}")
