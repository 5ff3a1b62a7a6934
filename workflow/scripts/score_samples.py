"""Hard limits and properties by the fast predictor: one shard of samples."""

from heteroforge.io import log_to, read_table, write_table
from heteroforge.models.property_surrogate import FastPredictor
from heteroforge.screening import score_samples
from heteroforge.sources import read_library

log_to(snakemake.log[0])
settings = snakemake.params.screening
library = read_library(snakemake.input.structures, snakemake.input.table)
scored = score_samples(
    read_table(snakemake.input.samples),
    library.monolayers,
    library.table,
    FastPredictor.load(snakemake.input.predictor),
    elements_excluded=snakemake.params.elements_excluded,
    **{
        key: settings[key]
        for key in ("maximum_atoms", "maximum_mismatch_percent", "minimum_materials")
    },
)
write_table(snakemake.output.scored, scored)
print(f"{len(scored)} stacks, {int((scored['reason'] == '').sum())} of them within the limits")
