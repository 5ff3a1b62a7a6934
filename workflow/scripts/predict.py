"""Properties of the structures in a folder, by the model that ships."""

from pathlib import Path

from heteroforge.io import InputError, log_to
from heteroforge.predict import main

log_to(snakemake.log[0])
if not snakemake.params.folder:
    raise InputError("prediction.structures: name a folder of structure files, or one file")
layers = [Path(snakemake.input.library[0]).parent]
if snakemake.params.tables:
    layers.append(snakemake.params.tables)
arguments = [snakemake.params.folder, "--output", snakemake.output.table]
arguments += ["--model", snakemake.input.model]
arguments += ["--layer-model", snakemake.input.layer_model]
for folder in layers:
    arguments += ["--layers", folder]
if main([str(argument) for argument in arguments]):
    raise SystemExit(1)
