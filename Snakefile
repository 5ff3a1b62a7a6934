# heteroforge: design of two-dimensional van der Waals heterostructures, verified by DFT.
#   snakemake --cores all                          the default campaign (config/config.yaml)
#   snakemake --cores all --configfile FILE        with an overlay that changes single keys
#   snakemake --cores all clustering               one stage with all it needs
#   snakemake --profile slurm                      on a cluster
import os
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

ROOT = Path(workflow.basedir)
# Scripts run in processes of their own, on a cluster in another environment: both find the
# library this way. DGL without a backend named would ask the user for one.
sys.path.insert(0, str(ROOT / "workflow"))
os.environ.update(PYTHONPATH=str(ROOT / "workflow"), DGLBACKEND="pytorch")

import heteroforge.configuration as configuration


configfile: "config/config.yaml"


schema = configuration.read_schema(ROOT / "config" / "schema.json")
config.update(configuration.interpret_configuration(config, schema))
try:
    configuration.check_configuration(config, schema)
except configuration.ConfigurationError as fault:
    # An exception would come with the lines of this file, which are not at fault.
    sys.exit(f"configuration: {fault}")

RESULTS = f"results/{config['campaign']}"
LOGS = f"{RESULTS}/logs"
BENCHMARKS = f"{RESULTS}/benchmarks"


include: "workflow/rules/library.smk"
include: "workflow/rules/clustering.smk"
include: "workflow/rules/stacks.smk"
include: "workflow/rules/labels.smk"
include: "workflow/rules/gvae.smk"
include: "workflow/rules/gnn.smk"
include: "workflow/rules/samples.smk"
include: "workflow/rules/screening.smk"
include: "workflow/rules/dft.smk"
include: "workflow/rules/provenance.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/generation_benchmark.smk"
include: "workflow/rules/dft_accuracy.smk"
include: "workflow/rules/property_benchmark.smk"


localrules:
    all,
    explain_config,


rule all:
    default_target: True
    input:
        rules.report.input,
        rules.write_provenance.output,
        rules.library.input,
        rules.clustering.input,


rule explain_config:
    input:
        schema="config/schema.json",
        config="config/config.yaml",
    log:
        f"{LOGS}/explain_config.log",
    conda:
        "envs/ml.yaml"
    message:
        "Every key of the configuration, with its unit, default and effect."
    script:
        "workflow/scripts/explain_config.py"
