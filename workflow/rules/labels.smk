# Rules of the stage labels: what DFT, published DFT and physics say of stacks.
LABELS = f"{RESULTS}/labels"
# What published bilayers teach: trained by the target property_benchmark
PUBLISHED_MODEL = "resources/models/bilayers.pt"
# And what published monolayers teach: the same.
LAYER_MODEL = "resources/models/monolayers.pt"


localrules:
    labels,


rule collect_labels:
    input:
        **DFT_LABELS,
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
        stacks=rules.enumerate_stacks.output.stacks,
        published=PUBLISHED_MODEL,
    output:
        labels=f"{LABELS}/labels.parquet",
        picture=report(
            f"{LABELS}/predicted_and_dft.png",
            caption="../report/caption.rst",
            category="4. labels",
        ),
    log:
        f"{LOGS}/collect_labels.log",
    benchmark:
        f"{BENCHMARKS}/collect_labels.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        minimum_contact_ratio=BONDED_BELOW,
        comparable_protocols=config["labels"]["comparable_protocols"],
        protocol=config["dft"]["protocol"],
    message:
        "Collecting labels of stacks."
    script:
        "../scripts/collect_labels.py"


rule labels:
    input:
        rules.collect_labels.output,
        f"{LABELS}/README.md",
