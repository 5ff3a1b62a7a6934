"""Held-out errors of the property networks beside baselines, choice of predictor, calibration."""

from heteroforge.io import log_to, provenance, write_json, write_table
from heteroforge.models.property_training import (
    PropertyData,
    describe_choice,
    evaluate,
    load_member,
)
from heteroforge.models.published import PublishedModel
from heteroforge.report.figures import save
from heteroforge.report.models import parity_panels
from heteroforge.sources import read_library

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table)
data = PropertyData.read(
    snakemake.input.stacks, snakemake.input.labels, library, snakemake.params.seed
)
contents = [load_member(path)[1] for path in snakemake.input.members]
published = PublishedModel.load(snakemake.input.published, library)
metrics, calibration, table = evaluate(data, contents, snakemake.params.seed, published)
metrics["provenance"] = provenance()
write_json(snakemake.output.metrics, metrics)
write_json(snakemake.output.calibration, calibration)
write_table(snakemake.output.predictions, table)
save(parity_panels(table), snakemake.output.picture)
print(f"predictors: {describe_choice(calibration)}")
