"""Density, total energy and vacuum levels of a relaxed candidate."""

from pathlib import Path

import pandas as pd

from heteroforge.dft.steps import calculator_for, run_step
from heteroforge.dft.verification import compute_density
from heteroforge.io import log_to, read_frames, write_table

log_to(snakemake.log[0])
potential = []


def density(relaxation: dict) -> dict:
    calculator = calculator_for(
        snakemake.params.folder,
        snakemake.params.settings,
        snakemake.threads,
        snakemake.resources.get("runtime"),
    )
    numbers, profile = compute_density(calculator, read_frames(snakemake.input.structure)[0])
    potential.extend(profile.tolist())
    return {**numbers, "attempts": calculator.attempts}


run_step(snakemake.output.result, {"relaxation": snakemake.input.relaxation}, density)
write_table(snakemake.output.potential, pd.DataFrame(potential, columns=["z_a", "potential_ev"]))
Path(snakemake.output.save).mkdir(exist_ok=True)
