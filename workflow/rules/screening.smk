# Rules of the stage screening: which samples are worth a DFT job?
SCREENING = f"{RESULTS}/screening"
LIMITS = {
    "maximum_atoms": config["screening"]["maximum_atoms"],
    "maximum_mismatch_percent": config["screening"]["maximum_mismatch_percent"],
    "minimum_materials": config["screening"]["minimum_materials"],
    "maximum_hull_distance_ev_atom": config["screening"][
        "maximum_hull_distance_ev_atom"
    ],
    "minimum_mobility_cm2_vs": config["screening"]["minimum_mobility_cm2_vs"],
    # Of no importance without that limit.
    "mobility_of": (
        config["screening"]["mobility_of"]
        if config["screening"]["minimum_mobility_cm2_vs"]
        else "either"
    ),
    "elements_excluded": config["library"]["elements_excluded"],
    "maximum_dft_core_min": config["screening"]["maximum_dft_core_min"],
    "pseudopotentials": config["dft"]["pseudopotentials"],
}


localrules:
    screening,


rule score_samples:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
        samples=rules.sample_stacks.output.samples,
        predictor=rules.train_fast_predictor.output.model,
        published=PUBLISHED_MODEL,
        layer_model=LAYER_MODEL,
    output:
        scored=f"{SCREENING}/scored_{{shard}}.parquet",
    log:
        f"{LOGS}/score_samples/{{shard}}.log",
    benchmark:
        f"{BENCHMARKS}/score_samples/{{shard}}.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        limits=LIMITS,
    message:
        "Scoring the samples of shard {wildcards.shard}."
    script:
        "../scripts/score_samples.py"


rule screen_stacks:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
        stacks=rules.enumerate_stacks.output.stacks,
        labels=rules.collect_labels.output.labels,
        scored=expand(rules.score_samples.output.scored, shard=SHARDS),
        members=expand(rules.train_gnn_member.output.model, member=MEMBERS),
        calibration=rules.evaluate_gnn.output.calibration,
        published=PUBLISHED_MODEL,
        layer_model=LAYER_MODEL,
    output:
        ranked=f"{SCREENING}/ranked.parquet",
        rejected=f"{SCREENING}/rejected.csv",
        funnel=f"{SCREENING}/funnel.json",
        control=f"{SCREENING}/control.parquet",
    log:
        f"{LOGS}/screen_stacks.log",
    benchmark:
        f"{BENCHMARKS}/screen_stacks.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        limits=LIMITS,
        protocol=config["dft"]["protocol"],
        control_slots=config["dft"]["control_slots"],
        slides=config["dft"]["registries"],
        samples={
            key: config["samples"][key] for key in ("elements", "substrate", "formula")
        },
        refined=config["screening"]["refined"],
        objectives=config["screening"]["objectives"],
        alignment=config["screening"]["alignment"],
        targets=config["targets"],
        seed=config["seed"],
    message:
        "Screening the samples."
    script:
        "../scripts/screen_stacks.py"


rule select_candidates:
    input:
        structures=rules.build_library.output.structures,
        table=rules.build_library.output.table,
        ranked=rules.screen_stacks.output.ranked,
        control=rules.screen_stacks.output.control,
    output:
        selected=f"{SCREENING}/selected.csv",
        relaxed=f"{SCREENING}/force_field.csv",
        picture=report(
            f"{SCREENING}/pareto.png",
            caption="../report/caption.rst",
            category="8. screening",
        ),
        chances=report(
            f"{SCREENING}/chances.png",
            caption="../report/caption.rst",
            category="8. screening",
        ),
    log:
        f"{LOGS}/select_candidates.log",
    benchmark:
        f"{BENCHMARKS}/select_candidates.tsv"
    conda:
        "../../envs/ml.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        settings={
            key: config["screening"][key]
            for key in (
                "minimum_probability",
                "exploration",
                "diversity",
                "alignment",
                "force_field",
            )
        },
        targets=config["targets"],
        slots=config["dft"]["slots"],
        cost={
            key: config["dft"][key]
            for key in ("protocol", "pseudopotentials", "registries", "mobility")
        },
        slides=config["dft"]["registries"],
    message:
        "Selecting candidates for DFT that hold together."
    script:
        "../scripts/select_candidates.py"


rule screening:
    input:
        rules.screen_stacks.output,
        rules.select_candidates.output,
        f"{SCREENING}/README.md",
