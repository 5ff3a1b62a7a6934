# Rules of the stage dft: one folder per candidate, one job per candidate or per few of them.
# The number of slots is fixed by the config, so that target files exist before anything is
# selected. What a job has finished stays in the folders of the slots, which no rule declares:
# Snakemake removes declared files of a job that is killed.
from heteroforge.demand import (
    core_min_of_slots,
    largest_stack,
    memory_mb,
    walltime_min,
)

DFT = f"{RESULTS}/dft"
PER_JOB = config["dft"]["candidates_per_job"]
SLOTS = config["dft"]["slots"] + config["dft"]["control_slots"]
FIRST = range(0, SLOTS, PER_JOB)
LAST = [min(first + PER_JOB, SLOTS) - 1 for first in FIRST]


wildcard_constraints:
    first=r"\d+",
    last=r"\d+",


localrules:
    collect_dft,
    dft,


rule verify_candidates:
    input:
        selected=f"{RESULTS}/screening/selected.csv",
        monolayers=f"{RESULTS}/library/monolayers.extxyz",
        table=f"{RESULTS}/library/monolayers.parquet",
    output:
        results=f"{DFT}/slots_{{first}}-{{last}}.json",
    log:
        f"{LOGS}/verify_candidates/{{first}}-{{last}}.log",
    benchmark:
        f"{BENCHMARKS}/verify_candidates/{{first}}-{{last}}.tsv"
    conda:
        "../../envs/dft.yaml"
    envmodules:
        *config["dft"]["modules"],
    threads: config["dft"]["ranks"]
    resources:
        runtime=lambda wildcards, input, attempt: walltime_min(
            core_min_of_slots(
                input.selected,
                wildcards.first,
                wildcards.last,
                config["screening"],
                config["dft"],
            ),
            attempt,
            config["dft"]["ranks"],
            config["dft"]["maximum_walltime_min"],
        ),
        # Before the screen has chosen: for the most atoms that it lets through.
        mem_mb=lambda wildcards, input, attempt: memory_mb(
            largest_stack(input.selected, wildcards.first, wildcards.last)
            or config["screening"]["maximum_atoms"],
            attempt,
            config["dft"]["ranks"],
        ),
        submission=lambda wildcards, attempt: attempt,
    params:
        # Without what only says how jobs are cut: it changes no result.
        settings={
            key: value
            for key, value in config["dft"].items()
            if key
            not in (
                "slots",
                "control_slots",
                "ranks",
                "candidates_per_job",
                "maximum_walltime_min",
            )
        }
        | {"maximum_mismatch_percent": config["screening"]["maximum_mismatch_percent"]},
        targets=configuration.asked_for(config),
    message:
        "Slots {wildcards.first} to {wildcards.last}: verification by DFT."
    script:
        "../scripts/verify_candidates.py"


rule collect_dft:
    input:
        selected=f"{RESULTS}/screening/selected.csv",
        results=expand(
            rules.verify_candidates.output.results, zip, first=FIRST, last=LAST
        ),
    output:
        table=f"{DFT}/results.parquet",
        failed=f"{DFT}/failed.csv",
        hit_rates=f"{DFT}/hit_rates.csv",
        picture=report(
            f"{DFT}/predicted_and_verified.png",
            caption="../report/caption.rst",
            category="9. dft",
        ),
    log:
        f"{LOGS}/collect_dft.log",
    benchmark:
        f"{BENCHMARKS}/collect_dft.tsv"
    conda:
        "../../envs/ml.yaml"
    message:
        "Collecting what DFT found."
    script:
        "../scripts/collect_dft.py"


rule dft:
    input:
        rules.collect_dft.output,
        f"{DFT}/README.md",
