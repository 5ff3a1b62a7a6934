# Beside the stages: models of bilayers and monolayers trained on published tables, and their errors
# beside simple predictors; docs/prediction_accuracy.md, docs/monolayer_accuracy.md.
#   snakemake --cores 2 --config property_benchmark='{data: FOLDER}' -- property_benchmark
PROPERTY_BENCHMARK = f"{RESULTS}/property_benchmark"
PUBLISHED = {
    source: [
        f"{config['property_benchmark']['data']}/{source}/{name}" for name in names
    ]
    for source, names in {
        "c2db": ["monolayers.extxyz.gz", "properties_2021.csv"],
        "hetml": ["monolayers.csv", "monolayers.extxyz", "bilayers.csv"],
        "bidb": ["bilayers.csv", "bilayers.extxyz.gz"],
    }.items()
}
# Of HetML; predictors see the layers as published in all but the last.
PROPERTY_SPLITS = ["pairs", "layers", "entries", "layers_from_structure"]


wildcard_constraints:
    split="|".join(PROPERTY_SPLITS),


localrules:
    property_benchmark,


rule train_bilayer_predictor:
    input:
        **PUBLISHED,
    output:
        model=f"{PROPERTY_BENCHMARK}/models/bilayers.pt",
        predictions=f"{PROPERTY_BENCHMARK}/bilayers.parquet",
    log:
        f"{LOGS}/train_bilayer_predictor.log",
    benchmark:
        f"{BENCHMARKS}/train_bilayer_predictor.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        steps=config["property_benchmark"]["steps"],
        epochs=config["property_benchmark"]["epochs"],
    message:
        "Training the model of published bilayers."
    script:
        "../scripts/train_bilayer_predictor.py"


rule train_monolayer_predictor:
    input:
        c2db=PUBLISHED["c2db"],
        hetml=PUBLISHED["hetml"],
    output:
        model=f"{PROPERTY_BENCHMARK}/models/monolayers.pt",
        errors=f"{PROPERTY_BENCHMARK}/monolayers.csv",
    log:
        f"{LOGS}/train_monolayer_predictor.log",
    benchmark:
        f"{BENCHMARKS}/train_monolayer_predictor.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        steps=config["property_benchmark"]["steps"],
        epochs=config["property_benchmark"]["layer_epochs"],
    message:
        "Training the model of published monolayers."
    script:
        "../scripts/train_monolayer_predictor.py"


rule compare_property_predictors:
    input:
        c2db=PUBLISHED["c2db"],
        hetml=PUBLISHED["hetml"],
        # Its networks of layers say what is not looked up.
        model=lambda wildcards: (
            rules.train_bilayer_predictor.output.model
            if wildcards.split == "layers_from_structure"
            else []
        ),
    output:
        predictions=f"{PROPERTY_BENCHMARK}/splits/{{split}}.parquet",
        kinds=f"{PROPERTY_BENCHMARK}/splits/{{split}}_kinds.csv",
    log:
        f"{LOGS}/compare_property_predictors_{{split}}.log",
    benchmark:
        f"{BENCHMARKS}/compare_property_predictors_{{split}}.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
    message:
        "Comparing predictors on heterobilayers, split {wildcards.split}."
    script:
        "../scripts/compare_property_predictors.py"


rule train_crystal_network:
    input:
        hetml=PUBLISHED["hetml"],
    output:
        predictions=f"{PROPERTY_BENCHMARK}/crystal_network/{{split}}.parquet",
        history=f"{PROPERTY_BENCHMARK}/crystal_network/{{split}}_history.csv",
    log:
        f"{LOGS}/train_crystal_network_{{split}}.log",
    benchmark:
        f"{BENCHMARKS}/train_crystal_network_{{split}}.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        settings=config["property_benchmark"]["crystal_network"],
    message:
        "Training CHGNet on heterobilayers, split {wildcards.split}."
    script:
        "../scripts/train_crystal_network.py"


rule measure_learning_curve:
    input:
        c2db=PUBLISHED["c2db"],
        hetml=PUBLISHED["hetml"],
    output:
        curve=f"{PROPERTY_BENCHMARK}/learning_curve.csv",
        inputs=f"{PROPERTY_BENCHMARK}/inputs_left_out.csv",
    log:
        f"{LOGS}/measure_learning_curve.log",
    benchmark:
        f"{BENCHMARKS}/measure_learning_curve.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
    message:
        "Errors by the number of stacks learned from, and without single inputs."
    script:
        "../scripts/measure_learning_curve.py"


rule measure_unseen_layers:
    input:
        **PUBLISHED,
        model=rules.train_bilayer_predictor.output.model,
    output:
        errors=f"{PROPERTY_BENCHMARK}/unseen_layers.parquet",
        intervals=f"{PROPERTY_BENCHMARK}/unseen_layers.csv",
    log:
        f"{LOGS}/measure_unseen_layers.log",
    benchmark:
        f"{BENCHMARKS}/measure_unseen_layers.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        draws=config["property_benchmark"]["draws"],
        elements=config["property_benchmark"]["elements"],
    message:
        "How often intervals hold where layers or elements are new."
    script:
        "../scripts/measure_unseen_layers.py"


rule describe_prediction_accuracy:
    input:
        model=rules.train_bilayer_predictor.output.model,
        shipped=rules.train_bilayer_predictor.output.predictions,
        monolayers=rules.train_monolayer_predictor.output.errors,
        splits=expand(
            rules.compare_property_predictors.output.predictions, split=PROPERTY_SPLITS
        ),
        kinds=f"{PROPERTY_BENCHMARK}/splits/pairs_kinds.csv",
        # It asks for no values of layers, so that the last split is the first one for it.
        crystal=expand(
            rules.train_crystal_network.output.predictions, split=PROPERTY_SPLITS[:-1]
        ),
        histories=expand(
            rules.train_crystal_network.output.history, split=PROPERTY_SPLITS[:-1]
        ),
        curve=rules.measure_learning_curve.output.curve,
        inputs=rules.measure_learning_curve.output.inputs,
        intervals=rules.measure_unseen_layers.output.intervals,
        goals="resources/sources/published_property_errors.csv",
        templates=["docs/prediction_accuracy.md.j2", "docs/monolayer_accuracy.md.j2"],
    output:
        pages=[
            f"{PROPERTY_BENCHMARK}/prediction_accuracy.md",
            f"{PROPERTY_BENCHMARK}/monolayer_accuracy.md",
        ],
        errors=f"{PROPERTY_BENCHMARK}/errors.csv",
        picture=f"{PROPERTY_BENCHMARK}/images/property_errors.png",
    log:
        f"{LOGS}/describe_prediction_accuracy.log",
    benchmark:
        f"{BENCHMARKS}/describe_prediction_accuracy.tsv"
    conda:
        "../../envs/ml.yaml"
    params:
        settings=config["property_benchmark"],
    message:
        "Writing {output.pages}."
    script:
        "../scripts/describe_prediction_accuracy.py"


rule property_benchmark:
    input:
        rules.describe_prediction_accuracy.output,
        rules.train_monolayer_predictor.output.model,
