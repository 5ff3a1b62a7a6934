"""The report of a finished campaign as one HTML page."""

from pathlib import Path

from heteroforge.io import log_to
from heteroforge.report.page import write_report

log_to(snakemake.log[0])
write_report(
    Path(snakemake.output.page).parents[1],
    snakemake.output.page,
    targets=snakemake.params.targets,
    configuration=snakemake.params.configuration,
    templates=Path(snakemake.input.templates[0]).parent,
)
print(f"report: {snakemake.output.page}")
