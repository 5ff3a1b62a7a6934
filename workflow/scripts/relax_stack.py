"""Interlayer scan and relaxation of a candidate."""

from heteroforge.dft.steps import calculator_for, run_step
from heteroforge.dft.verification import relax_stack
from heteroforge.io import log_to, read_frames, write_frames

log_to(snakemake.log[0])
frames = []


def relax(candidate: dict) -> dict:
    calculator = calculator_for(
        snakemake.params.folder,
        snakemake.params.settings,
        snakemake.threads,
        snakemake.resources.get("runtime"),
    )
    found = relax_stack(calculator, read_frames(snakemake.input.structure)[0])
    calculator.clean()
    frames.append(found.pop("atoms"))
    return {
        **found,
        "attempts": calculator.attempts,
        "provenance": calculator.provenance(frames[0].get_chemical_symbols()),
    }


run_step(snakemake.output.result, {"candidate": snakemake.input.candidate}, relax)
write_frames(snakemake.output.structure, frames)
