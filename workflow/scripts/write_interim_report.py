"""The report of a campaign that is not finished, from the files it has so far."""

from pathlib import Path

from heteroforge.io import log_to
from heteroforge.report import write_report

log_to(snakemake.log[0])
write_report(
    Path(snakemake.params.page).parents[1],
    snakemake.params.page,
    targets=snakemake.params.configuration["targets"],
    configuration=snakemake.params.configuration,
)
print(f"report: {snakemake.params.page}")
