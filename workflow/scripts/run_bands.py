"""Bands along the two-dimensional path, layer weights and effective masses of a candidate."""

import shutil
from pathlib import Path

from heteroforge.dft.steps import calculator_for, run_step
from heteroforge.dft.verification import compute_bands
from heteroforge.io import log_to, read_frames, write_json

log_to(snakemake.log[0])
found = {}


def bands(density: dict) -> dict:
    folder = Path(snakemake.params.folder)
    calculator = calculator_for(
        folder,
        snakemake.params.settings,
        snakemake.threads,
        snakemake.resources.get("runtime"),
    )
    # A copy: the density stays as the step before left it, should this one be repeated.
    shutil.copytree(snakemake.input.save, folder / "save", dirs_exist_ok=True)
    structure, masses = compute_bands(
        calculator, read_frames(snakemake.input.structure)[0], density
    )
    calculator.clean()
    found.update(structure.to_dict(), masses=masses)
    return {"masses": masses, "attempts": calculator.attempts}


run_step(snakemake.output.result, {"density": snakemake.input.density}, bands)
write_json(snakemake.output.bands, found)
