"""The bundled library beside published DFT: tables, a picture, and the page of the docs."""

from pathlib import Path

from jinja2 import Environment, StrictUndefined

from heteroforge.evaluation.dft_accuracy import (
    MONOLAYERS,
    STACKS,
    compare_monolayers,
    compare_stacks,
    library_size,
    markdown,
    outside,
    summary,
)
from heteroforge.io import log_to, read_table, write_table, write_text
from heteroforge.report.figures import deviations_figure, save
from heteroforge.sources import read_library

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table)
numbers = read_table(snakemake.input.stacks).set_index("stack_id").to_dict("index")
folder = Path(snakemake.input.published[0]).parents[1]
monolayers = compare_monolayers(library, folder)
labels = read_table(snakemake.input.labels)
stacks = compare_stacks(labels, numbers, library, folder)
write_table(snakemake.output.monolayers, monolayers)
write_table(snakemake.output.stacks, stacks)
both = {"monolayers": monolayers, "stacks": stacks}
tolerances = {
    name: {quantity.title: quantity.tolerance for quantity in quantities if quantity.tolerance}
    for name, quantities in (("monolayers", MONOLAYERS), ("stacks", STACKS))
}
save(deviations_figure(both, tolerances), snakemake.output.picture)
with open(snakemake.input.template, encoding="utf-8") as file:
    template = Environment(undefined=StrictUndefined).from_string(file.read())
tables = {name: markdown(table) for name, table in both.items()}
tables |= {f"{name}_outside": markdown(outside(table)) for name, table in both.items()}
tables["summary"] = summary([*both.values()])
write_text(snakemake.output.page, template.render(tables | library_size(labels, library)) + "\n")
for name, table in both.items():
    judged = table["inside"].dropna()
    print(f"{name}: {int(judged.sum())} of {len(judged)} values inside their tolerances")
