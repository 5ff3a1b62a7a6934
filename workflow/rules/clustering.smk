# Rules of the stage clustering: which monolayers are alike, and what makes the good ones good.
CLUSTERING = f"{RESULTS}/clustering"


localrules:
    plot_clusters,
    plot_drivers,
    clustering,


rule describe_monolayers:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
    output:
        descriptors=f"{CLUSTERING}/descriptors.parquet",
    log:
        f"{LOGS}/describe_monolayers.log",
    benchmark:
        f"{BENCHMARKS}/describe_monolayers.tsv"
    conda:
        "../../envs/ml.yaml"
    message:
        "Describing monolayers by numbers."
    script:
        "../scripts/describe_monolayers.py"


# The binding energy of a monolayer is that of its stacks, so the labels come first.
rule cluster_monolayers:
    input:
        descriptors=rules.describe_monolayers.output.descriptors,
        table=rules.build_library.output.table,
        labels=f"{RESULTS}/labels/labels.parquet",
    output:
        clusters=f"{CLUSTERING}/clusters.csv",
    log:
        f"{LOGS}/cluster_monolayers.log",
    benchmark:
        f"{BENCHMARKS}/cluster_monolayers.tsv"
    conda:
        "../../envs/ml.yaml"
    params:
        works=config["clustering"]["works"],
        minimum_cluster_size=config["clustering"]["minimum_cluster_size"],
    message:
        "Grouping monolayers that are alike."
    script:
        "../scripts/cluster_monolayers.py"


rule find_drivers:
    input:
        descriptors=rules.describe_monolayers.output.descriptors,
        table=rules.build_library.output.table,
        labels=f"{RESULTS}/labels/labels.parquet",
        clusters=rules.cluster_monolayers.output.clusters,
    output:
        drivers=f"{CLUSTERING}/drivers.csv",
    log:
        f"{LOGS}/find_drivers.log",
    benchmark:
        f"{BENCHMARKS}/find_drivers.tsv"
    conda:
        "../../envs/ml.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        seed=config["seed"],
    message:
        "Asking which descriptors drive gap, mobility and binding energy."
    script:
        "../scripts/find_drivers.py"


rule plot_clusters:
    input:
        descriptors=rules.describe_monolayers.output.descriptors,
        clusters=rules.cluster_monolayers.output.clusters,
    output:
        png=report(
            f"{CLUSTERING}/map.png",
            caption="../report/caption.rst",
            category="2. clustering",
        ),
        svg=f"{CLUSTERING}/map.svg",
    log:
        f"{LOGS}/plot_clusters.log",
    benchmark:
        f"{BENCHMARKS}/plot_clusters.tsv"
    conda:
        "../../envs/ml.yaml"
    params:
        seed=config["seed"],
    message:
        "Drawing the map of monolayers."
    script:
        "../scripts/plot_clusters.py"


rule plot_drivers:
    input:
        drivers=rules.find_drivers.output.drivers,
    output:
        png=report(
            f"{CLUSTERING}/drivers.png",
            caption="../report/caption.rst",
            category="2. clustering",
        ),
        svg=f"{CLUSTERING}/drivers.svg",
    log:
        f"{LOGS}/plot_drivers.log",
    benchmark:
        f"{BENCHMARKS}/plot_drivers.tsv"
    conda:
        "../../envs/ml.yaml"
    message:
        "Drawing the drivers."
    script:
        "../scripts/plot_drivers.py"


rule clustering:
    input:
        rules.describe_monolayers.output,
        rules.cluster_monolayers.output,
        rules.find_drivers.output,
        rules.plot_clusters.output,
        rules.plot_drivers.output,
        f"{CLUSTERING}/README.md",
