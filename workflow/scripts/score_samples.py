"""Hard limits and properties by the fast predictor: one shard of samples."""

from heteroforge.io import log_to, read_table, write_table
from heteroforge.models.monolayer_prediction import load_monolayer_predictor
from heteroforge.models.property_prediction import load_predictor
from heteroforge.models.property_surrogate import FastPredictor
from heteroforge.screening import HardLimits, LayersAlone, score_samples
from heteroforge.sources import read_library

log_to(snakemake.log[0])
limits = HardLimits(**snakemake.params.limits)
library = read_library(snakemake.input.structures, snakemake.input.table)
of_layers = load_monolayer_predictor(snakemake.input.layer_model)
scored = score_samples(
    read_table(snakemake.input.samples),
    library.monolayers,
    library.table,
    FastPredictor.load(snakemake.input.predictor),
    limits=limits,
    alone=LayersAlone(library.table, of_layers, load_predictor(snakemake.input.published)),
)
write_table(snakemake.output.scored, scored)
print(f"{len(scored)} stacks, {int((scored['reason'] == '').sum())} of them within the limits")
