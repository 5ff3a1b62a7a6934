"""What is asked of a semiconductor, per monolayer: gap, mobility, binding energy, stability."""

from heteroforge.clustering import add_targets
from heteroforge.io import log_to, write_table
from heteroforge.labels import dft_labels
from heteroforge.sources import read_library

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table)
labels = dft_labels(
    [*snakemake.input.bundled, *snakemake.input.own],
    snakemake.input.campaigns,
    library.monolayers,
    snakemake.params.minimum_contact_ratio,
    snakemake.params.protocol,
    snakemake.params.comparable_protocols,
)
targets = add_targets(library.table, labels)
print(f"known of {len(targets)} monolayers:\n{targets.notna().sum().to_string()}")
write_table(snakemake.output.targets, targets.reset_index())
