"""Monolayers of the configured sources, checked: structures, table, and what was set aside."""

from tqdm import tqdm

from heteroforge.configuration import ANSWERS, elements_covered
from heteroforge.io import InputError, log_to, write_table
from heteroforge.sources import collect, read_candidates, write_library

log_to(snakemake.log[0])
settings = snakemake.params.library
candidates = read_candidates(
    [source for source, _ in snakemake.params.sources],
    [path for _, path in snakemake.params.sources],
    settings["materials_project"],
    ANSWERS,
)
library, rejected = collect(
    tqdm(candidates, unit="material", mininterval=5),
    maximum_atoms=settings["maximum_atoms"],
    elements_allowed=settings["elements_allowed"],
    elements_excluded=settings["elements_excluded"],
    elements_available=(
        elements_covered(snakemake.params.pseudopotentials)
        if settings["need_pseudopotentials"]
        else None
    ),
)
print(f"{len(library)} monolayers, {len(rejected)} materials set aside")
if len(library) == 0:
    first = f"; the first: {rejected.iloc[0]['material']}: {rejected.iloc[0]['reason']}"
    raise InputError(f"no material is left in the library{first if len(rejected) else ''}")
write_library(snakemake.output.structures, snakemake.output.table, library)
write_table(snakemake.output.rejected, rejected)
