"""Errors before and after learning from earlier campaigns."""

import pandas as pd

from heteroforge.evaluation.learned_since import errors_before_and_after
from heteroforge.io import log_to, read_table, write_table
from heteroforge.report.figures import save
from heteroforge.report.models import learned_figure

log_to(snakemake.log[0])
now = read_table(snakemake.input.predictions)
campaigns = zip(
    snakemake.params.campaigns, snakemake.input.earlier, snakemake.input.verified, strict=True
)
found = pd.concat(
    [
        errors_before_and_after(
            now, read_table(earlier), read_table(verified), name, snakemake.params.seed
        )
        for name, earlier, verified in campaigns
    ],
    ignore_index=True,
)
write_table(snakemake.output.table, found)
save(learned_figure(found), snakemake.output.picture)
for row in found.itertuples():
    print(
        f"{row.campaign}, {row.stacks}, {row.predictor}: {row.property} "
        f"{row.before:.3g} -> {row.after:.3g} {row.unit} ({row.values} values)"
    )
