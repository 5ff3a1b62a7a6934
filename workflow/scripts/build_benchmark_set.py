"""A set of bilayers to measure the generative model on."""

from heteroforge.evaluation.benchmark_sets import write_set
from heteroforge.evaluation.homobilayers import published_homobilayers
from heteroforge.evaluation.janus_bilayers import janus_bilayers
from heteroforge.io import log_to

log_to(snakemake.log[0])
settings, seed = snakemake.params.settings, snakemake.params.seed
if settings["set"] == "j2dh8":
    made = janus_bilayers(seed, settings["bilayers"])
else:
    made, left_out = published_homobilayers(settings["data"], seed, settings["bilayers"])
    for reason, number in left_out.items():
        print(f"{number} bilayers left out: {reason}")
write_set(made, *snakemake.output)
print(f"{len(made.stacks)} bilayers of {len(made.monolayers)} monolayers")
