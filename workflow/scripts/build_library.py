"""Monolayers of the configured source, checked: structures, table, and what was set aside."""

from pathlib import Path

from tqdm import tqdm

from heteroforge.configuration import elements_covered
from heteroforge.io import InputError, log_to, write_table
from heteroforge.sources import collect, read_candidates, write_library

log_to(snakemake.log[0])
settings = snakemake.params.library
source = settings["source"]
path = settings["path"] if source != "bundled" else Path(snakemake.input.files[0]).parent
candidates = read_candidates(source, path, settings["materials_project"])
library, rejected = collect(
    tqdm(candidates, unit="material", mininterval=5),
    maximum_atoms=settings["maximum_atoms"],
    elements_allowed=settings["elements_allowed"],
    elements_excluded=settings["elements_excluded"],
    elements_available=elements_covered(snakemake.params.pseudopotentials),
)
print(f"{len(library)} monolayers, {len(rejected)} materials set aside")
if len(library) == 0:
    first = f"; the first: {rejected.iloc[0]['material']}: {rejected.iloc[0]['reason']}"
    raise InputError(f"no material is left in the library{first if len(rejected) else ''}")
write_library(snakemake.output.structures, snakemake.output.table, library)
write_table(snakemake.output.rejected, rejected)
