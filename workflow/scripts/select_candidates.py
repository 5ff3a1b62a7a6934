"""The best ranked stacks that hold together when relaxed, into the DFT slots."""

from functools import cache

from heteroforge.dft.cost import expected_core_min
from heteroforge.io import log_to, read_table, write_table
from heteroforge.report.figures import save
from heteroforge.report.models import pareto_figure
from heteroforge.report.stacks import chances_figure
from heteroforge.screening import describe_candidate
from heteroforge.screening.control import add_control
from heteroforge.screening.force_field import ForceField, Limits, fill_slots, judge_drawn
from heteroforge.sources import read_library
from heteroforge.structures import Stack

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table)
ranked = read_table(snakemake.input.ranked)
settings, targets = snakemake.params.settings, snakemake.params.targets
limits = dict(settings["force_field"])
uses_force_field, most_per_slot = limits.pop("use"), limits.pop("maximum_tries_per_slot")
force_field = cache(ForceField) if uses_force_field else None
slides, cost = snakemake.params.slides, snakemake.params.cost


def cost_of(table):
    stacks = [Stack.from_json(text, library.monolayers) for text in table["specification"]]
    return [expected_core_min(stack, **cost, relaxed=library.relaxed) for stack in stacks]


selected, relaxed = fill_slots(
    ranked[ranked["is_refined"]],
    snakemake.params.slots,
    library.monolayers,
    force_field,
    Limits(**limits),
    most_per_slot,
    slides=slides,
    labelled=set(ranked.loc[ranked["is_labelled"], "stack_id"]),
    trained=set(ranked.loc[ranked["is_trained"], "stack_id"]),
    diversity=settings["diversity"],
    exploration=settings["exploration"],
    minimum_probability=settings["minimum_probability"],
)
selected["expected_core_min"] = cost_of(selected)
selected["reason"] = [
    describe_candidate(row, targets, len(ranked), settings["alignment"], snakemake.params.slides)
    for row in selected.to_dict("records")
]
drawn = read_table(snakemake.input.control)
drawn["expected_core_min"] = cost_of(drawn)
given, relaxed = judge_drawn(
    add_control(selected, drawn, slides),
    relaxed,
    library.monolayers,
    force_field,
    Limits(**limits),
    slides=slides,
)
write_table(snakemake.output.selected, given)
write_table(snakemake.output.relaxed, relaxed)
save(pareto_figure(ranked, selected, targets), snakemake.output.picture)
names = list(library.monolayers)
save(chances_figure(ranked, selected, names), snakemake.output.chances)
for row in relaxed.itertuples():
    print(f"{row.formula}: {row.outcome} {row.reason}")
for reason in selected["reason"]:
    print(reason)
if len(selected) < snakemake.params.slots:
    print(
        f"{len(selected)} of {snakemake.params.slots} slots are filled: too few stacks within "
        "the limits (screening/rejected.csv has what others break) and not verified yet meet the "
        f"targets with probability {settings['minimum_probability']:g} or more, were refined and "
        "hold together when relaxed; the report says what lets more through"
    )
