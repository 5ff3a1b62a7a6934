# Rules of the stage library: monolayers of one or several sources, checked, in one form.
LIBRARY = f"{RESULTS}/library"
BUNDLED = config["library"]["bundled"]
# Of which elements layers may be, those of the library and those proposed beyond it.
ELEMENTS = {
    key: config["library"][key] for key in ("elements_allowed", "elements_excluded")
}
# DFT results that are known of stacks, which several stages read.
DFT_LABELS = {
    "bundled": [f"{BUNDLED}/bilayers.csv"] if config["labels"]["bundled"] else [],
    "campaigns": [
        f"results/{name}/dft/results.parquet"
        for name in config["labels"]["from_campaigns"]
    ],
    "own": [config["labels"]["table"]] if config["labels"]["table"] else [],
}
# Van der Waals stacks are learned from, whether or not a force field looks for bonded ones.
BONDED_BELOW = config["screening"]["force_field"]["minimum_contact_ratio"]

LIBRARY_SOURCES = configuration.library_sources(config["library"])
# What the monolayers depend on; the Materials Project is no file.
LIBRARY_FILES = configuration.library_files(LIBRARY_SOURCES)


localrules:
    plot_library,
    library,


rule build_library:
    input:
        files=LIBRARY_FILES,
    output:
        structures=f"{LIBRARY}/monolayers.extxyz",
        table=f"{LIBRARY}/monolayers.parquet",
        rejected=f"{LIBRARY}/rejected.csv",
    log:
        f"{LOGS}/build_library.log",
    benchmark:
        f"{BENCHMARKS}/build_library.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        library=config["library"],
        sources=LIBRARY_SOURCES,
        pseudopotentials=config["dft"]["pseudopotentials"],
    message:
        "Building the library of monolayers."
    script:
        "../scripts/build_library.py"


rule plot_library:
    input:
        table=rules.build_library.output.table,
    output:
        png=report(
            f"{LIBRARY}/monolayers.png",
            caption="../report/caption.rst",
            category="1. library",
        ),
        svg=f"{LIBRARY}/monolayers.svg",
    log:
        f"{LOGS}/plot_library.log",
    benchmark:
        f"{BENCHMARKS}/plot_library.tsv"
    conda:
        "../../envs/ml.yaml"
    message:
        "Drawing the library of monolayers."
    script:
        "../scripts/plot_library.py"


rule library:
    input:
        rules.build_library.output,
        rules.plot_library.output,
        f"{LIBRARY}/README.md",
