"""Distinct stacks a second from the benchmark's model."""

from heteroforge.evaluation.sampling_speed import measure_sampling_speed
from heteroforge.io import log_to, provenance, write_json

log_to(snakemake.log[0])
numbers = measure_sampling_speed(
    list(snakemake.input.benchmark_set),
    snakemake.input.model,
    number=snakemake.params.timed,
    shards=snakemake.params.shards,
    workers=snakemake.threads,
    mode=snakemake.params.mode,
    seed=snakemake.params.seed,
)
write_json(snakemake.output.speed, numbers | {"provenance": provenance()})
print({key: value for key, value in numbers.items() if key != "shards"})
