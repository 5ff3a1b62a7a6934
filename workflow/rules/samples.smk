# Rules of the stage samples: new stacks, many, aimed at the target.
SAMPLES = f"{RESULTS}/samples"
SHARDS = range(config["samples"]["shards"])


wildcard_constraints:
    shard=r"\d+",


localrules:
    plot_samples,
    samples,


rule sample_stacks:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
        matches=rules.find_matches.output.matches,
        proposed=rules.match_proposed_layers.output.matches,
        stacks=rules.enumerate_stacks.output.stacks,
        model=rules.train_gvae.output.model,
    output:
        samples=f"{SAMPLES}/shard_{{shard}}.parquet",
    log:
        f"{LOGS}/sample_stacks/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/sample_stacks/{{shard}}.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        samples=config["samples"],
        elements=ELEMENTS,
        stacks=config["stacks"],
        targets=config["targets"],
        alignment=config["screening"]["alignment"],
        mismatch_percent=config["screening"]["maximum_mismatch_percent"],
        seed=config["seed"],
        device=config["device"],
    message:
        "Sampling stacks, shard {wildcards.shard}."
    script:
        "../scripts/sample_stacks.py"


rule plot_samples:
    input:
        table=rules.build_library.output.table,
        samples=expand(rules.sample_stacks.output.samples, shard=SHARDS),
    output:
        png=report(
            f"{SAMPLES}/pairs.png",
            caption="../report/caption.rst",
            category="7. samples",
        ),
        svg=f"{SAMPLES}/pairs.svg",
    log:
        f"{LOGS}/plot_samples.log",
    benchmark:
        f"{BENCHMARKS}/plot_samples.tsv"
    conda:
        "../../envs/ml.yaml"
    message:
        "Drawing where the samples went."
    script:
        "../scripts/plot_samples.py"


rule samples:
    input:
        expand(rules.sample_stacks.output.samples, shard=SHARDS),
        rules.plot_samples.output,
        f"{SAMPLES}/README.md",
