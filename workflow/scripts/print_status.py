"""Where the campaign stands: stages, jobs, candidates, best so far, what is left."""

from pathlib import Path

from heteroforge.io import log_to
from heteroforge.report.campaign import Campaign
from heteroforge.report.status import read_status, status_text

log_to(snakemake.log[0])
configuration, folder = snakemake.params.configuration, Path(snakemake.params.folder)
campaign = Campaign(folder, snakemake.params.targets, configuration)
stages = read_status(folder, snakemake.params.jobs)
others = [path for path in sorted(folder.parent.glob("*/")) if path != folder]
print(status_text(campaign, stages, others))
