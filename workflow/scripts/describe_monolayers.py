"""Descriptors of every monolayer of the library."""

from heteroforge.features import descriptor_table
from heteroforge.io import log_to, write_table
from heteroforge.sources import read_library

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table)
descriptors = descriptor_table(library.monolayers, library.table)
print(f"{descriptors.shape[1]} descriptors of {len(descriptors)} monolayers")
write_table(snakemake.output.descriptors, descriptors.reset_index())
