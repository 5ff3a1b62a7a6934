# Rules of the stage gnn: what will this stack's properties be, and how sure are we?
GNN = f"{RESULTS}/gnn"
MEMBERS = range(config["gnn"]["members"])
# Earlier campaigns whose labels are learned from and whose predictors are there to compare with.
LEARNED_FROM = [
    name
    for name in config["labels"]["from_campaigns"]
    if Path(f"results/{name}/gnn/test_predictions.parquet").is_file()
]


wildcard_constraints:
    member=r"\d+",


localrules:
    gnn,


rule train_gnn_member:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
        stacks=rules.enumerate_stacks.output.stacks,
        labels=rules.collect_labels.output.labels,
    output:
        model=f"{GNN}/member_{{member}}.pt",
    log:
        f"{LOGS}/train_gnn_member/{{member}}.log",
    benchmark:
        f"{BENCHMARKS}/train_gnn_member/{{member}}.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        gnn=config["gnn"],
        seed=config["seed"],
        device=config["device"],
        # Not an output: Snakemake would remove it when the job is killed.
        checkpoint=f"{GNN}/checkpoint_{{member}}.pt",
    message:
        "Training property network {wildcards.member}."
    script:
        "../scripts/train_gnn_member.py"


rule evaluate_gnn:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
        stacks=rules.enumerate_stacks.output.stacks,
        labels=rules.collect_labels.output.labels,
        members=expand(rules.train_gnn_member.output.model, member=MEMBERS),
        published=PUBLISHED_MODEL,
    output:
        metrics=f"{GNN}/metrics.json",
        calibration=f"{GNN}/calibration.json",
        predictions=f"{GNN}/test_predictions.parquet",
        picture=report(
            f"{GNN}/parity.png",
            caption="../report/caption.rst",
            category="6. gnn",
        ),
    log:
        f"{LOGS}/evaluate_gnn.log",
    benchmark:
        f"{BENCHMARKS}/evaluate_gnn.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        seed=config["seed"],
    message:
        "Comparing the property networks with baselines, calibrating their uncertainty."
    script:
        "../scripts/evaluate_gnn.py"


rule compare_with_earlier:
    input:
        predictions=rules.evaluate_gnn.output.predictions,
        earlier=expand("results/{name}/gnn/test_predictions.parquet", name=LEARNED_FROM),
        verified=expand("results/{name}/dft/results.parquet", name=LEARNED_FROM),
    output:
        table=f"{GNN}/learned_since.csv",
        picture=report(
            f"{GNN}/learned_since.png",
            caption="../report/caption.rst",
            category="6. gnn",
        ),
    log:
        f"{LOGS}/compare_with_earlier.log",
    benchmark:
        f"{BENCHMARKS}/compare_with_earlier.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        campaigns=LEARNED_FROM,
        seed=config["seed"],
    message:
        "Comparing errors before and after learning from earlier campaigns."
    script:
        "../scripts/compare_with_earlier.py"


rule train_fast_predictor:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
        stacks=rules.enumerate_stacks.output.stacks,
        labels=rules.collect_labels.output.labels,
        members=expand(rules.train_gnn_member.output.model, member=MEMBERS),
        calibration=rules.evaluate_gnn.output.calibration,
        published=PUBLISHED_MODEL,
    output:
        model=f"{GNN}/fast_predictor.pt",
    log:
        f"{LOGS}/train_fast_predictor.log",
    benchmark:
        f"{BENCHMARKS}/train_fast_predictor.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        seed=config["seed"],
    message:
        "Training a fast predictor on what the property networks say."
    script:
        "../scripts/train_fast_predictor.py"


rule predict:
    input:
        # Files, not the folder: whose time does not change with what is in them.
        structures=lambda wildcards: configuration.structures_to_predict(config),
        tables=configuration.published_tables(config)[1],
        model=PUBLISHED_MODEL,
        layer_model=LAYER_MODEL,
        library=rules.build_library.output,
    output:
        table=f"{RESULTS}/prediction/predictions.csv",
    log:
        f"{LOGS}/predict.log",
    benchmark:
        f"{BENCHMARKS}/predict.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        folder=config["prediction"]["structures"],
        tables=configuration.published_tables(config)[0],
    message:
        "Predicting the structures in {params.folder}."
    script:
        "../scripts/predict.py"


rule gnn:
    input:
        expand(rules.train_gnn_member.output.model, member=MEMBERS),
        rules.evaluate_gnn.output,
        rules.compare_with_earlier.output if LEARNED_FROM else [],
        f"{GNN}/README.md",
