"""Print every key of the configuration with its type, unit, default and effect."""

from pathlib import Path

import yaml

from heteroforge.configuration import describe_configuration, read_schema
from heteroforge.io import log_to

log_to(snakemake.log[0])
defaults = yaml.safe_load(Path(snakemake.input.config).read_text(encoding="utf-8"))
print(describe_configuration(read_schema(snakemake.input.schema), defaults))
