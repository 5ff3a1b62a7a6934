"""The strongest drivers of each target, with the level of chance."""

from heteroforge.io import log_to, read_table
from heteroforge.report.clustering_figures import drivers_figure
from heteroforge.report.figures import save

log_to(snakemake.log[0])
save(drivers_figure(read_table(snakemake.input.drivers)), snakemake.output.png)
