# Rules of the stage dft: one folder per candidate, one job per step.
# The number of slots is fixed by the config, so that target files exist before anything is
# selected; a slot without a candidate is marked empty by each of its steps.
DFT = f"{RESULTS}/dft"
SLOT = f"{DFT}/slot_{{slot}}"
SLOTS = range(config["dft"]["slots"])
LAYERS = range(config["stacks"]["number_of_layers"][1])


wildcard_constraints:
    slot=r"\d+",
    layer=r"\d+",


localrules:
    prepare_candidate,
    collect_candidate,
    collect_dft,
    dft,


rule prepare_candidate:
    input:
        selected=f"{RESULTS}/screening/selected.csv",
        monolayers=f"{RESULTS}/library/monolayers.extxyz",
        table=f"{RESULTS}/library/monolayers.parquet",
    output:
        structure=f"{SLOT}/structure.extxyz",
        result=f"{SLOT}/candidate.json",
    log:
        f"{LOGS}/prepare_candidate/{{slot}}.log",
    benchmark:
        f"{BENCHMARKS}/prepare_candidate/{{slot}}.tsv"
    conda:
        "../../envs/dft.yaml"
    message:
        "Slot {wildcards.slot}: building the structure of the candidate."
    script:
        "../scripts/prepare_candidate.py"


rule relax_stack:
    input:
        structure=rules.prepare_candidate.output.structure,
        candidate=rules.prepare_candidate.output.result,
    output:
        structure=f"{SLOT}/relaxed.extxyz",
        result=f"{SLOT}/relax/result.json",
    log:
        f"{LOGS}/relax_stack/{{slot}}.log",
    benchmark:
        f"{BENCHMARKS}/relax_stack/{{slot}}.tsv"
    conda:
        "../../envs/dft.yaml"
    threads: config["dft"]["ranks"]
    resources:
        runtime=lambda wildcards, attempt: 120 * attempt,
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
    params:
        settings=config["dft"],
        folder=lambda wildcards, output: os.path.dirname(output.result),
    message:
        "Slot {wildcards.slot}: interlayer scan and relaxation."
    script:
        "../scripts/relax_stack.py"


rule run_scf:
    input:
        structure=rules.relax_stack.output.structure,
        relaxation=rules.relax_stack.output.result,
    output:
        result=f"{SLOT}/scf/result.json",
        potential=f"{SLOT}/potential.csv",
        save=temp(directory(f"{SLOT}/scf/save")),
    log:
        f"{LOGS}/run_scf/{{slot}}.log",
    benchmark:
        f"{BENCHMARKS}/run_scf/{{slot}}.tsv"
    conda:
        "../../envs/dft.yaml"
    threads: config["dft"]["ranks"]
    resources:
        runtime=lambda wildcards, attempt: 120 * attempt,
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
    params:
        settings=config["dft"],
        folder=lambda wildcards, output: os.path.dirname(output.result),
    message:
        "Slot {wildcards.slot}: density, total energy and vacuum levels."
    script:
        "../scripts/run_scf.py"


rule run_bands:
    input:
        structure=rules.relax_stack.output.structure,
        density=rules.run_scf.output.result,
        save=rules.run_scf.output.save,
    output:
        result=f"{SLOT}/bands/result.json",
        bands=f"{SLOT}/bands.json",
    log:
        f"{LOGS}/run_bands/{{slot}}.log",
    benchmark:
        f"{BENCHMARKS}/run_bands/{{slot}}.tsv"
    conda:
        "../../envs/dft.yaml"
    threads: config["dft"]["ranks"]
    resources:
        runtime=lambda wildcards, attempt: 120 * attempt,
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
    params:
        settings=config["dft"],
        folder=lambda wildcards, output: os.path.dirname(output.result),
    message:
        "Slot {wildcards.slot}: bands, weights of the layers, effective masses."
    script:
        "../scripts/run_bands.py"


rule relax_layer:
    input:
        structure=rules.relax_stack.output.structure,
        relaxation=rules.relax_stack.output.result,
        candidate=rules.prepare_candidate.output.result,
    output:
        result=f"{SLOT}/layer_{{layer}}/result.json",
    log:
        f"{LOGS}/relax_layer/{{slot}}_{{layer}}.log",
    benchmark:
        f"{BENCHMARKS}/relax_layer/{{slot}}_{{layer}}.tsv"
    conda:
        "../../envs/dft.yaml"
    threads: config["dft"]["ranks"]
    resources:
        runtime=lambda wildcards, attempt: 120 * attempt,
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
    params:
        settings=config["dft"],
        folder=lambda wildcards, output: os.path.dirname(output.result),
        shared=f"{DFT}/layers",
    message:
        "Slot {wildcards.slot}: layer {wildcards.layer} alone, in the stack's cell and free."
    script:
        "../scripts/relax_layer.py"


rule collect_candidate:
    input:
        structure=rules.relax_stack.output.structure,
        candidate=rules.prepare_candidate.output.result,
        relaxation=rules.relax_stack.output.result,
        density=rules.run_scf.output.result,
        bands_result=rules.run_bands.output.result,
        bands=rules.run_bands.output.bands,
        layers=[f"{SLOT}/layer_{layer}/result.json" for layer in LAYERS],
    output:
        result=f"{SLOT}/result.json",
        cif=f"{SLOT}/relaxed.cif",
        picture=f"{SLOT}/bands.png",
    log:
        f"{LOGS}/collect_candidate/{{slot}}.log",
    benchmark:
        f"{BENCHMARKS}/collect_candidate/{{slot}}.tsv"
    conda:
        "../../envs/ml.yaml"
    params:
        targets=config["targets"],
    message:
        "Slot {wildcards.slot}: putting the numbers together."
    script:
        "../scripts/collect_candidate.py"


rule collect_dft:
    input:
        results=[f"{DFT}/slot_{slot}/result.json" for slot in SLOTS],
    output:
        table=f"{DFT}/results.parquet",
        failed=f"{DFT}/failed.csv",
        picture=f"{DFT}/predicted_and_verified.png",
    log:
        f"{LOGS}/collect_dft.log",
    benchmark:
        f"{BENCHMARKS}/collect_dft.tsv"
    conda:
        "../../envs/ml.yaml"
    message:
        "Collecting what DFT found."
    script:
        "../scripts/collect_dft.py"


rule dft:
    input:
        rules.collect_dft.output,
