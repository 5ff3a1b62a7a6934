"""What is asked of a semiconductor, per monolayer: gap, mobility, binding energy, stability."""

import pandas as pd

from heteroforge.clustering import add_targets
from heteroforge.io import log_to, write_table
from heteroforge.labels import campaign_labels, user_labels
from heteroforge.sources import read_library

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table)
labels = [
    read(path, library.monolayers)[0]
    for paths, read in (
        (snakemake.input.bundled, user_labels),
        (snakemake.input.campaigns, campaign_labels),
        (snakemake.input.own, user_labels),
    )
    for path in ([paths] if isinstance(paths, str) else paths)
]
targets = add_targets(library.table, pd.concat(labels) if labels else None)
print(f"known of {len(targets)} monolayers:\n{targets.notna().sum().to_string()}")
write_table(snakemake.output.targets, targets.reset_index())
