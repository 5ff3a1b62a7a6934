"""Number of samples by pair of layers."""

import pandas as pd

from heteroforge.io import log_to, read_table
from heteroforge.report.figures import save
from heteroforge.report.stacks import samples_figure

log_to(snakemake.log[0])
# Specifications, by far the largest column, stay on disk.
layers = pd.concat([pd.read_parquet(path, columns=["layers"]) for path in snakemake.input.samples])
names = list(read_table(snakemake.input.table)["monolayer_id"])
save(samples_figure(layers["layers"], names), snakemake.output.png)
