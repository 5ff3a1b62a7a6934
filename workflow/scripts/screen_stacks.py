"""Scored samples through the property networks to a ranking."""

from heteroforge.io import log_to, read_json, read_table, write_json, write_table
from heteroforge.labels import verified_stacks
from heteroforge.models.monolayer_prediction import load_monolayer_predictor
from heteroforge.models.property_training import PropertyData, load_member
from heteroforge.models.published import PublishedModel
from heteroforge.screening import HardLimits, LayersAlone, screen
from heteroforge.screening.control import draw_control
from heteroforge.screening.scored import ScoredSamples
from heteroforge.sources import read_library

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table)
training_stacks = read_table(snakemake.input.stacks)
labels = read_table(snakemake.input.labels)
seed = snakemake.params.seed
labelled = verified_stacks(labels, library.monolayers, snakemake.params.protocol)
of_layers = load_monolayer_predictor(snakemake.input.layer_model)
published = PublishedModel.load(snakemake.input.published, library)
control = draw_control(
    training_stacks,
    library.monolayers,
    snakemake.params.control_slots,
    labelled=labelled,
    seed=seed,
    elements=snakemake.params.samples["elements"],
    substrate=snakemake.params.samples["substrate"] or "",
    slides=snakemake.params.slides,
    formula=snakemake.params.samples["formula"],
    limits=HardLimits(**snakemake.params.limits),
    alone=LayersAlone(library.table, of_layers, published.predictor),
)
screened = screen(
    ScoredSamples.read(snakemake.input.scored),
    library.monolayers,
    library.table,
    control=control,
    models=[load_member(path)[0] for path in snakemake.input.members],
    calibration=read_json(snakemake.input.calibration),
    published=published,
    of_layers=of_layers,
    data=PropertyData.from_tables(training_stacks, labels, library.monolayers, library.table, seed),
    targets=snakemake.params.targets,
    labelled=labelled,
    trained=set(training_stacks.loc[training_stacks["split"] == "train", "stack_id"]),
    refined=snakemake.params.refined,
    seed=seed,
    objectives=snakemake.params.objectives,
    alignment=snakemake.params.alignment,
    slides=snakemake.params.slides,
)
write_table(snakemake.output.ranked, screened.ranked)
write_table(snakemake.output.rejected, screened.rejected)
write_table(snakemake.output.control, screened.control)
write_json(snakemake.output.funnel, screened.funnel)
print(screened.funnel)
