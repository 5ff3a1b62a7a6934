# Rules of the stage screening: which samples are worth a DFT job?
SCREENING = f"{RESULTS}/screening"


localrules:
    screening,


rule score_samples:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
        samples=rules.sample_stacks.output.samples,
        predictor=rules.train_fast_predictor.output.model,
    output:
        scored=f"{SCREENING}/scored_{{shard}}.parquet",
    log:
        f"{LOGS}/score_samples/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/score_samples/{{shard}}.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        screening=config["screening"],
        elements_excluded=config["library"]["elements_excluded"],
    message:
        "Scoring the samples of shard {wildcards.shard}."
    script:
        "../scripts/score_samples.py"


rule screen_stacks:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
        stacks=rules.enumerate_stacks.output.stacks,
        labels=rules.collect_labels.output.labels,
        scored=expand(rules.score_samples.output.scored, shard=SHARDS),
        members=expand(rules.train_gnn_member.output.model, member=MEMBERS),
        calibration=rules.evaluate_gnn.output.calibration,
    output:
        ranked=f"{SCREENING}/ranked.parquet",
        selected=f"{SCREENING}/selected.csv",
        rejected=f"{SCREENING}/rejected.csv",
        funnel=f"{SCREENING}/funnel.json",
        picture=report(
            f"{SCREENING}/pareto.png",
            caption="../report/caption.rst",
            category="8. screening",
        ),
        chances=report(
            f"{SCREENING}/chances.png",
            caption="../report/caption.rst",
            category="8. screening",
        ),
    log:
        f"{LOGS}/screen_stacks.log",
    benchmark:
        f"{BENCHMARKS}/screen_stacks.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        screening=config["screening"],
        targets=config["targets"],
        slots=config["dft"]["slots"],
        seed=config["seed"],
    message:
        "Screening the samples, selecting candidates for DFT."
    script:
        "../scripts/screen_stacks.py"


rule screening:
    input:
        rules.screen_stacks.output,
        f"{SCREENING}/README.md",
