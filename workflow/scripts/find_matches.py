"""Commensurate cells of all pairs of layers."""

from tqdm import tqdm

from heteroforge.io import log_to, write_table
from heteroforge.sources import read_library
from heteroforge.structures.enumeration import enumerate_matches, match_table

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table)
limits = snakemake.params.stacks
found = enumerate_matches(
    library.monolayers,
    maximum_area_a2=limits["maximum_area_a2"],
    maximum_mismatch_percent=limits["maximum_mismatch_percent"],
    maximum_atoms=limits["maximum_atoms"],
)
matches = match_table(tqdm(found, unit=" matches", mininterval=5))
write_table(snakemake.output.matches, matches)
pairs = len(matches[["bottom", "top"]].drop_duplicates())
print(f"{len(matches)} matches of {pairs} pairs of {len(library)} monolayers")
