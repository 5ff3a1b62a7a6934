# Rules of the stage clustering: which monolayers are alike, and what makes the good ones good.
CLUSTERING = f"{RESULTS}/clustering"


localrules:
    describe_monolayers,
    collect_targets,
    cluster_monolayers,
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


# The binding energy of a monolayer can be that of its stacks. Their labels are read here once more,
# because the stage labels waits for all pairs of the library, and this one need not.
rule collect_targets:
    input:
        **DFT_LABELS,
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
    output:
        targets=f"{CLUSTERING}/targets.parquet",
    log:
        f"{LOGS}/collect_targets.log",
    benchmark:
        f"{BENCHMARKS}/collect_targets.tsv"
    conda:
        "../../envs/ml.yaml"
    params:
        minimum_contact_ratio=BONDED_BELOW,
        comparable_protocols=config["labels"]["comparable_protocols"],
        protocol=config["dft"]["protocol"],
    message:
        "Collecting what is asked of a semiconductor."
    script:
        "../scripts/collect_targets.py"


rule cluster_monolayers:
    input:
        descriptors=rules.describe_monolayers.output.descriptors,
        table=rules.build_library.output.table,
        targets=rules.collect_targets.output.targets,
        known="resources/sources/known_semiconductors.csv",
    output:
        clusters=f"{CLUSTERING}/clusters.csv",
        validity=f"{CLUSTERING}/validity.csv",
        cards=f"{CLUSTERING}/cards.csv",
        known=f"{CLUSTERING}/known.csv",
    log:
        f"{LOGS}/cluster_monolayers.log",
    benchmark:
        f"{BENCHMARKS}/cluster_monolayers.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        works=config["clustering"]["works"],
        minimum_cluster_size=config["clustering"]["minimum_cluster_size"],
        seed=config["seed"],
    message:
        "Grouping monolayers that are alike."
    script:
        "../scripts/cluster_monolayers.py"


rule find_drivers:
    input:
        descriptors=rules.describe_monolayers.output.descriptors,
        table=rules.build_library.output.table,
        targets=rules.collect_targets.output.targets,
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
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        works=config["clustering"]["works"],
        seed=config["seed"],
    message:
        "Asking which descriptors drive gap, mobility and binding energy."
    script:
        "../scripts/find_drivers.py"


rule plot_clusters:
    input:
        descriptors=rules.describe_monolayers.output.descriptors,
        clusters=rules.cluster_monolayers.output.clusters,
        targets=rules.collect_targets.output.targets,
        known=rules.cluster_monolayers.output.known,
    output:
        map=report(
            f"{CLUSTERING}/map.png",
            caption="../report/caption.rst",
            category="2. clustering",
        ),
        map_svg=f"{CLUSTERING}/map.svg",
        places=f"{CLUSTERING}/map.csv",
        works=report(
            f"{CLUSTERING}/works.png",
            caption="../report/caption.rst",
            category="2. clustering",
        ),
        works_svg=f"{CLUSTERING}/works.svg",
    log:
        f"{LOGS}/plot_clusters.log",
    benchmark:
        f"{BENCHMARKS}/plot_clusters.tsv"
    conda:
        "../../envs/ml.yaml"
    params:
        works=config["clustering"]["works"],
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
