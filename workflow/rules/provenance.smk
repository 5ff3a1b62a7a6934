# What the results follow from: configuration, seed, versions, inputs; and their checksums.


localrules:
    write_provenance,


rule write_provenance:
    input:
        inputs=[
            "config/config.yaml",
            "resources/pseudopotentials/checksums.csv",
            *LIBRARY_FILES,
            *rules.collect_labels.input.bundled,
            *rules.collect_labels.input.campaigns,
            *rules.collect_labels.input.own,
        ],
        results=[
            *rules.build_library.output,
            rules.collect_labels.output.labels,
            *expand(rules.sample_stacks.output.samples, shard=SHARDS),
            rules.screen_stacks.output.ranked,
            rules.screen_stacks.output.rejected,
            rules.select_candidates.output.selected,
            rules.select_candidates.output.relaxed,
            rules.collect_dft.output.table,
            rules.collect_dft.output.failed,
        ],
    output:
        provenance=f"{RESULTS}/provenance.json",
    log:
        f"{LOGS}/write_provenance.log",
    benchmark:
        f"{BENCHMARKS}/write_provenance.tsv"
    conda:
        "../../envs/ml.yaml"
    params:
        configuration=dict(config),
    message:
        "Recording what the results follow from: {output.provenance}."
    script:
        "../scripts/write_provenance.py"
