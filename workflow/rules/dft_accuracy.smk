# Beside the stages: the DFT of the bundled library against published tables, docs/dft_accuracy.md.
#   snakemake --cores 1 --config dft_accuracy='{data: FOLDER}' -- dft_accuracy
DFT_ACCURACY = f"{RESULTS}/dft_accuracy"


localrules:
    dft_accuracy,


rule compare_with_published:
    input:
        structures=f"{BUNDLED}/monolayers.extxyz",
        table=f"{BUNDLED}/monolayers.csv",
        labels=f"{BUNDLED}/bilayers.csv",
        stacks=f"{BUNDLED}/stacks.csv",
        template="docs/dft_accuracy.md.j2",
        published=expand(
            f"{config['dft_accuracy']['data']}/{{table}}",
            table=[
                "hetml/monolayers.csv",
                "hetml/monolayers.extxyz",
                "hetml/bilayers.csv",
                "bidb/bilayers.csv",
                "bidb/bilayers.extxyz.gz",
            ],
        ),
    output:
        monolayers=f"{DFT_ACCURACY}/monolayers.csv",
        stacks=f"{DFT_ACCURACY}/stacks.csv",
        picture=f"{DFT_ACCURACY}/deviations.png",
        page=f"{DFT_ACCURACY}/dft_accuracy.md",
    log:
        f"{LOGS}/compare_with_published.log",
    benchmark:
        f"{BENCHMARKS}/compare_with_published.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
    message:
        "Comparing the bundled library with published DFT: {output.page}."
    script:
        "../scripts/compare_with_published.py"


rule dft_accuracy:
    input:
        rules.compare_with_published.output,
