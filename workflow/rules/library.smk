# Rules of the stage library: monolayers of one source, checked, in one form.
LIBRARY = f"{RESULTS}/library"
BUNDLED = "resources/library"

# What the source's monolayers depend on; the Materials Project is no file.
LIBRARY_FILES = {
    "bundled": [f"{BUNDLED}/monolayers.extxyz", f"{BUNDLED}/monolayers.csv"],
    "folder": [config["library"]["path"]],
    "ase_db": [config["library"]["path"]],
    "materials_project": [],
}[config["library"]["source"]]


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
        mem_mb=4000,
        runtime=60,
    params:
        library=config["library"],
        pseudopotentials=config["dft"]["pseudopotentials"],
    message:
        "Building the library of monolayers."
    script:
        "../scripts/build_library.py"


rule plot_library:
    input:
        table=rules.build_library.output.table,
    output:
        png=f"{LIBRARY}/monolayers.png",
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
