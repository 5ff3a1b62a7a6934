"""A fast predictor that learns from stacks predicted by the property networks."""

import torch

from heteroforge.io import log_to, read_json
from heteroforge.labels import STACK_PROPERTIES
from heteroforge.models.property_surrogate import FastPredictor
from heteroforge.models.property_training import PropertyData, load_member, pair_of, predict
from heteroforge.models.published import PublishedModel
from heteroforge.sources import read_library

log_to(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
seed = snakemake.params.seed
library = read_library(snakemake.input.structures, snakemake.input.table)
data = PropertyData.read(snakemake.input.stacks, snakemake.input.labels, library, seed)
models = [load_member(path)[0] for path in snakemake.input.members]
calibration = read_json(snakemake.input.calibration)
published = PublishedModel.load(snakemake.input.published, library)
predicted = predict(data.stacks, library.table, models, calibration, data, published, seed)
predictor = FastPredictor.of(
    data.stacks,
    library.table,
    predicted,
    [pair_of(stack) for stack in data.stacks],
    seed,
)
predictor.save(snakemake.output.model)
print(f"root-mean-square difference to the networks on {len(data)} stacks, pairs left out:")
for name, *errors in zip(STACK_PROPERTIES, predictor.error, predictor.error_unknown, strict=True):
    print("  {}: {:.3f}, layers not known: {:.3f}".format(name, *errors))
