"""What the campaign's results follow from, and their checksums."""

from heteroforge.io import campaign_provenance, log_to, write_json

log_to(snakemake.log[0])
write_json(
    snakemake.output.provenance,
    campaign_provenance(
        snakemake.params.configuration, snakemake.input.inputs, snakemake.input.results
    ),
)
