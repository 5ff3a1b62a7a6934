# Rules beside the stages: the generative model on sets that others have published on.
# config/campaigns/j2dh8.yaml and bidb.yaml choose the set: snakemake … generation_benchmark
GENERATION_BENCHMARK = f"{RESULTS}/generation_benchmark"
FINGERPRINTS = "resources/downloads/fingerprints"


localrules:
    install_fingerprints,
    generation_benchmark,
    sampling_speed,


rule build_benchmark_set:
    input:
        published=(
            expand(
                f"{config['generation_benchmark']['data']}/bidb/bilayers.{{kind}}",
                kind=["csv", "extxyz.gz"],
            )
            if config["generation_benchmark"]["set"] == "bidb"
            else []
        ),
    output:
        monolayers=f"{GENERATION_BENCHMARK}/monolayers.json",
        matches=f"{GENERATION_BENCHMARK}/matches.parquet",
        stacks=f"{GENERATION_BENCHMARK}/stacks.parquet",
    log:
        f"{LOGS}/build_benchmark_set.log",
    benchmark:
        f"{BENCHMARKS}/build_benchmark_set.tsv"
    conda:
        "../../envs/ml.yaml"
    params:
        settings={
            key: config["generation_benchmark"][key]
            for key in ("set", "data", "bilayers")
        },
        seed=config["seed"],
    message:
        "Building the set {params.settings[set]}."
    script:
        "../scripts/build_benchmark_set.py"


rule train_benchmark_gvae:
    input:
        rules.build_benchmark_set.output,
    output:
        model=f"{GENERATION_BENCHMARK}/model.pt",
        history=f"{GENERATION_BENCHMARK}/history.csv",
        picture=f"{GENERATION_BENCHMARK}/training.png",
    log:
        f"{LOGS}/train_benchmark_gvae.log",
    benchmark:
        f"{BENCHMARKS}/train_benchmark_gvae.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        gvae=config["gvae"],
        seed=config["seed"],
        device=config["device"],
        # Not an output: Snakemake would remove it when the job is killed.
        checkpoint=f"{GENERATION_BENCHMARK}/checkpoint.pt",
    message:
        "Training the generative model on the benchmark's set."
    script:
        "../scripts/train_benchmark_gvae.py"


rule generate_benchmark_stacks:
    input:
        benchmark_set=rules.build_benchmark_set.output,
        model=rules.train_benchmark_gvae.output.model,
    output:
        stacks=f"{GENERATION_BENCHMARK}/generated.parquet",
        picture=f"{GENERATION_BENCHMARK}/samples.png",
    log:
        f"{LOGS}/generate_benchmark_stacks.log",
    benchmark:
        f"{BENCHMARKS}/generate_benchmark_stacks.tsv"
    conda:
        "../../envs/ml.yaml"
    params:
        samples=config["samples"],
        seed=config["seed"],
    message:
        "Generating {params.samples[number]} stacks for the benchmark."
    script:
        "../scripts/generate_benchmark_stacks.py"


rule install_fingerprints:
    input:
        "envs/fingerprints.txt",
    output:
        directory(FINGERPRINTS),
    log:
        f"{LOGS}/install_fingerprints.log",
    conda:
        "../../envs/ml.yaml"
    message:
        "Fetching the packages of the published metrics into {output}."
    shell:
        "python -m pip install --no-deps --require-hashes --target {output} -r {input} > {log} 2>&1"


rule measure_benchmark_gvae:
    input:
        benchmark_set=rules.build_benchmark_set.output,
        model=rules.train_benchmark_gvae.output.model,
        generated=rules.generate_benchmark_stacks.output.stacks,
        published=(
            ["resources/sources/published_generators.csv"]
            if config["generation_benchmark"]["set"] == "j2dh8"
            else []
        ),
        packages=(
            [FINGERPRINTS] if config["generation_benchmark"]["fingerprints"] else []
        ),
    output:
        metrics=f"{GENERATION_BENCHMARK}/metrics.json",
        table=f"{GENERATION_BENCHMARK}/comparison.csv",
    log:
        f"{LOGS}/measure_benchmark_gvae.log",
    benchmark:
        f"{BENCHMARKS}/measure_benchmark_gvae.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 2
    resources:
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        settings=config["generation_benchmark"],
        mode=config["samples"]["mode"],
    message:
        "Measuring reconstruction and generation on the benchmark's set."
    script:
        "../scripts/measure_benchmark_gvae.py"


rule generation_benchmark:
    input:
        rules.train_benchmark_gvae.output,
        rules.generate_benchmark_stacks.output,
        rules.measure_benchmark_gvae.output,


rule measure_sampling_speed:
    input:
        benchmark_set=rules.build_benchmark_set.output,
        model=rules.train_benchmark_gvae.output.model,
    output:
        speed=f"{GENERATION_BENCHMARK}/sampling_speed.json",
    log:
        f"{LOGS}/measure_sampling_speed.log",
    benchmark:
        f"{BENCHMARKS}/measure_sampling_speed.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 2
    params:
        timed=config["generation_benchmark"]["timed"],
        shards=config["samples"]["shards"],
        mode=config["samples"]["mode"],
        seed=config["seed"],
    message:
        "Timing {params.timed} samples of the benchmark's model."
    script:
        "../scripts/measure_sampling_speed.py"


rule sampling_speed:
    input:
        rules.measure_sampling_speed.output,
