"""The pages of the docs about errors of predictions, and a picture, from what was measured."""

from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined

from heteroforge.evaluation.property_benchmark import SPLITS, mean_errors, stacking_choice
from heteroforge.evaluation.property_pages import monolayer_markdown, prediction_page
from heteroforge.io import log_to, read_table, write_table, write_text
from heteroforge.models.property_prediction import load_predictor
from heteroforge.report.figures import save
from heteroforge.report.models import property_errors_figure

log_to(snakemake.log[0])
crystal = {Path(path).stem: read_table(path) for path in snakemake.input.crystal}
of_splits = {
    (name := Path(path).stem): mean_errors(
        pd.concat([read_table(path), *([crystal[name]] if name in crystal else [])])
    )
    for path in snakemake.input.splits
}
held_out = read_table(snakemake.input.shipped)
predictor = load_predictor(snakemake.input.model)
monolayers = read_table(snakemake.input.monolayers)
tables = prediction_page(
    goals=read_table(snakemake.input.goals),
    of_splits=of_splits,
    kinds=read_table(snakemake.input.kinds),
    inputs=read_table(snakemake.input.inputs),
    curve=read_table(snakemake.input.curve),
    held_out=held_out,
    choice=stacking_choice(held_out[held_out["source"] == "BiDB"]),
    unseen=read_table(snakemake.input.intervals),
    histories={
        Path(path).stem.removesuffix("_history"): read_table(path)
        for path in snakemake.input.histories
    },
    calibration=predictor.calibration,
    metrics=predictor.metrics,
)
tables |= {"monolayers": monolayer_markdown(monolayers), "settings": snakemake.params.settings}
for source, page in zip(snakemake.input.templates, snakemake.output.pages, strict=True):
    text = Path(source).read_text(encoding="utf-8")
    template = Environment(undefined=StrictUndefined, trim_blocks=True).from_string(text)
    write_text(page, template.render(tables) + "\n")
errors = pd.concat([table.assign(split=name) for name, table in of_splits.items()])
write_table(snakemake.output.errors, errors.rename_axis("predictor").reset_index())
titles = {SPLITS[name].title: table for name, table in of_splits.items()}
save(property_errors_figure(titles), snakemake.output.picture)
print(f"{tables['beaten']} of {tables['number_of_goals']} published errors are higher than ours")
