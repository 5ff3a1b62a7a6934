# Rules of the stage report.


STAGES = [
    "library",
    "clustering",
    "stacks",
    "labels",
    "gvae",
    "gnn",
    "samples",
    "screening",
    "dft",
]
# Jobs of the rules that have more than one.
NUMBERS = {
    "train_gnn_member": len(MEMBERS),
    "compare_with_earlier": 1 if LEARNED_FROM else 0,
    "sample_stacks": len(SHARDS),
    "score_samples": len(SHARDS),
    "verify_candidates": len(FIRST),
    "describe_stage": len(STAGES),
}
# Run when they are asked for: a campaign is finished without them.
ASIDE = ["predict"]


wildcard_constraints:
    stage="|".join(STAGES),


localrules:
    describe_stage,
    write_report,
    write_interim_report,
    status,
    report,


rule describe_stage:
    input:
        # What the target of the stage asks for, without the README that is made from it.
        files=lambda wildcards: [
            file
            for file in getattr(rules, wildcards.stage).input
            if not str(file).endswith("README.md")
        ],
    output:
        readme=f"{RESULTS}/{{stage}}/README.md",
    log:
        f"{LOGS}/describe_stage/{{stage}}.log",
    benchmark:
        f"{BENCHMARKS}/describe_stage/{{stage}}.tsv"
    conda:
        "../../envs/ml.yaml"
    params:
        configuration=dict(config),
        targets=configuration.asked_for(config),
    message:
        "Describing what the stage {wildcards.stage} found."
    script:
        "../scripts/describe_stage.py"


# The page reads more than this (pictures, structures, metrics), and does without what is not
# there. Named here is what has to be finished first.
rule write_report:
    input:
        templates=[
            str(ROOT / "workflow" / "report" / name)
            for name in (
                "page.html.j2",
                "card.html.j2",
                "table.html.j2",
                "page.css",
                "page.js",
            )
        ],
        monolayers=f"{RESULTS}/library/monolayers.parquet",
        rejected_monolayers=f"{RESULTS}/library/rejected.csv",
        clusters=f"{RESULTS}/clustering/clusters.csv",
        drivers=f"{RESULTS}/clustering/drivers.csv",
        matches=f"{RESULTS}/stacks/matches.parquet",
        training_stacks=f"{RESULTS}/stacks/training_stacks.parquet",
        labels=f"{RESULTS}/labels/labels.parquet",
        gvae_history=f"{RESULTS}/gvae/history.csv",
        gvae_metrics=f"{RESULTS}/gvae/metrics.json",
        gnn_metrics=f"{RESULTS}/gnn/metrics.json",
        gnn_calibration=f"{RESULTS}/gnn/calibration.json",
        gnn_predictions=f"{RESULTS}/gnn/test_predictions.parquet",
        samples=[
            f"{RESULTS}/samples/shard_{shard}.parquet"
            for shard in range(config["samples"]["shards"])
        ],
        ranked=f"{RESULTS}/screening/ranked.parquet",
        selected=f"{RESULTS}/screening/selected.csv",
        rejected_samples=f"{RESULTS}/screening/rejected.csv",
        relaxed=f"{RESULTS}/screening/force_field.csv",
        # Pictures that rules of their own draw; all others come with the tables.
        pictures=[
            f"{RESULTS}/library/monolayers.png",
            f"{RESULTS}/clustering/map.png",
            f"{RESULTS}/clustering/drivers.png",
            f"{RESULTS}/samples/pairs.png",
        ],
        verified=f"{RESULTS}/dft/results.parquet",
        failed=f"{RESULTS}/dft/failed.csv",
        provenance=f"{RESULTS}/provenance.json",
    output:
        page=report(
            f"{RESULTS}/report/index.html",
            caption="../report/caption.rst",
            category="0. report",
        ),
    log:
        f"{LOGS}/write_report.log",
    benchmark:
        f"{BENCHMARKS}/write_report.tsv"
    conda:
        "../../envs/ml.yaml"
    params:
        configuration=dict(config),
        targets=configuration.asked_for(config),
    message:
        "Writing the report: {output.page}."
    script:
        "../scripts/write_report.py"


# Without outputs (a benchmark is one) they run whenever they are asked for, also beside a running
# campaign, whose files they leave alone.
rule status:
    log:
        f"{LOGS}/status.log",
    conda:
        "../../envs/ml.yaml"
    params:
        folder=RESULTS,
        configuration=dict(config),
        targets=configuration.asked_for(config),
        # Rules of each stage with the number of their jobs; those not timed do no work.
        jobs=lambda wildcards: {
            stage: {
                each.name: NUMBERS.get(each.name, 1)
                for each in workflow.rules
                if os.path.basename(each.snakefile) == f"{stage}.smk"
                and each.benchmark
                and each.name not in ASIDE
            }
            for stage in [*STAGES, "report"]
        },
    message:
        "Looking where the campaign stands."
    script:
        "../scripts/print_status.py"


rule write_interim_report:
    log:
        f"{LOGS}/write_interim_report.log",
    conda:
        "../../envs/ml.yaml"
    params:
        page=f"{RESULTS}/report/interim.html",
        configuration=dict(config),
        targets=configuration.asked_for(config),
        jobs=rules.status.params.jobs,
    message:
        "Writing the report of what is there so far: {params.page}."
    script:
        "../scripts/write_interim_report.py"


rule report:
    input:
        rules.write_report.output,
        expand(rules.describe_stage.output, stage=STAGES),
