# Rules of the stage gvae: what do stable stacks look like?
GVAE = f"{RESULTS}/gvae"


localrules:
    gvae,


rule train_gvae:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
        matches=rules.find_matches.output.matches,
        proposed=rules.match_proposed_layers.output.matches,
        stacks=rules.enumerate_stacks.output.stacks,
        labels=rules.collect_labels.output.labels,
    output:
        model=f"{GVAE}/model.pt",
        history=f"{GVAE}/history.csv",
        metrics=f"{GVAE}/metrics.json",
        picture=report(
            f"{GVAE}/training.png",
            caption="../report/caption.rst",
            category="5. gvae",
        ),
    log:
        f"{LOGS}/train_gvae.log",
    benchmark:
        f"{BENCHMARKS}/train_gvae.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        gvae=config["gvae"],
        stacks=config["stacks"],
        targets=config["targets"],
        samples=PROPOSED,
        elements=ELEMENTS,
        seed=config["seed"],
        device=config["device"],
        # Not an output: Snakemake would remove it when the job is killed.
        checkpoint=f"{GVAE}/checkpoint.pt",
    message:
        "Training the generative model."
    script:
        "../scripts/train_gvae.py"


rule gvae:
    input:
        rules.train_gvae.output,
        f"{GVAE}/README.md",
