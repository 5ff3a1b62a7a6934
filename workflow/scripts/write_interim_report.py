"""The report of a campaign that is not finished, from the files it has so far."""

from pathlib import Path

from heteroforge.io import log_to
from heteroforge.report.page import write_report
from heteroforge.report.status import read_status

log_to(snakemake.log[0])
folder = Path(snakemake.params.page).parents[1]
write_report(
    folder,
    snakemake.params.page,
    targets=snakemake.params.targets,
    configuration=snakemake.params.configuration,
    stages=read_status(folder, snakemake.params.jobs),
)
print(f"report: {snakemake.params.page}")
