"""Layers beyond the library, and the cells that they share with others."""

from heteroforge.generation import match_proposed, propose_defects, propose_monolayers
from heteroforge.io import log_to, write_table
from heteroforge.sources import read_library

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table).monolayers
asked, elements = snakemake.params.samples, snakemake.params.elements
new = propose_monolayers(library, asked["new_monolayers"], **elements)
defective = propose_defects(library, **asked["defects"], **elements)
limits = ("maximum_area_a2", "maximum_mismatch_percent", "maximum_atoms")
matches = match_proposed(
    library,
    new,
    defective,
    fewest_layers=snakemake.params.stacks["number_of_layers"][0],
    **{key: snakemake.params.stacks[key] for key in limits},
)
write_table(snakemake.output.matches, matches)
used = {*matches["bottom"], *matches["top"]}
for kind, layers in (("new monolayers", new), ("layers with defects", defective)):
    print(f"{len(used & layers.keys())} of {len(layers)} {kind} share a cell with another layer")
