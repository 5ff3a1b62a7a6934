"""README of a stage's folder, from what the stage left there."""

from pathlib import Path

from heteroforge.io import log_to, write_text
from heteroforge.report.campaign import Campaign
from heteroforge.report.readmes import stage_readme

log_to(snakemake.log[0])
path, configuration = Path(snakemake.output.readme), snakemake.params.configuration
campaign = Campaign(path.parents[1], snakemake.params.targets, configuration)
write_text(path, stage_readme(campaign, snakemake.wildcards.stage))
for file, fault in campaign.faults.items():
    print(f"{file}: {fault}")
