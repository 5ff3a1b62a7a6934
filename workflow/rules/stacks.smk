# Rules of the stage stacks: which layers fit on which, and stacks to learn from.
STACKS = f"{RESULTS}/stacks"
# Layers beyond the library, which the generator learns and samples.
PROPOSED = {key: config["samples"][key] for key in ("new_monolayers", "defects")}


localrules:
    stacks,


rule find_matches:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
    output:
        matches=f"{STACKS}/matches.parquet",
    log:
        f"{LOGS}/find_matches.log",
    benchmark:
        f"{BENCHMARKS}/find_matches.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        stacks=config["stacks"],
    message:
        "Finding cells that pairs of layers share."
    script:
        "../scripts/find_matches.py"


# Before anything is trained, so that what has no room in a cell is told early.
rule match_proposed_layers:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
    output:
        matches=f"{STACKS}/proposed_matches.parquet",
    log:
        f"{LOGS}/match_proposed_layers.log",
    benchmark:
        f"{BENCHMARKS}/match_proposed_layers.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        stacks=config["stacks"],
        samples=PROPOSED,
        elements=ELEMENTS,
    message:
        "Finding cells of layers beyond the library."
    script:
        "../scripts/match_proposed_layers.py"


rule enumerate_stacks:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
        matches=rules.find_matches.output.matches,
    output:
        stacks=f"{STACKS}/training_stacks.parquet",
        picture=report(
            f"{STACKS}/matches.png",
            caption="../report/caption.rst",
            category="3. stacks",
        ),
    log:
        f"{LOGS}/enumerate_stacks.log",
    benchmark:
        f"{BENCHMARKS}/enumerate_stacks.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        stacks=config["stacks"],
        seed=config["seed"],
        samples={
            key: config["samples"][key]
            for key in ("substrate", "new_monolayers", "defects")
        },
    message:
        "Enumerating stacks to learn from."
    script:
        "../scripts/enumerate_stacks.py"


rule stacks:
    input:
        rules.find_matches.output,
        rules.match_proposed_layers.output,
        rules.enumerate_stacks.output,
        f"{STACKS}/README.md",
