"""Gap against lattice constant of the library's monolayers."""

from heteroforge.io import log_to, read_table
from heteroforge.report.figures import save
from heteroforge.report.library import library_figure

log_to(snakemake.log[0])
save(library_figure(read_table(snakemake.input.table)), snakemake.output.png)
