"""One layer of a candidate alone: in the stack's cell and free."""

from pathlib import Path

from heteroforge.dft.calculations import Calculator
from heteroforge.dft.steps import calculator_for, run_step
from heteroforge.dft.verification import relax_layer
from heteroforge.io import log_to, read_frames
from heteroforge.structures import Stack

log_to(snakemake.log[0])
layer = int(snakemake.wildcards.layer)


def relax(candidate: dict, relaxation: dict) -> dict:
    stack = Stack.from_dict(candidate["specification"])
    if layer >= stack.number_of_layers:
        return {"status": "empty"}

    def calculator(name: str) -> Calculator:
        return calculator_for(
            Path(snakemake.params.folder) / name,
            snakemake.params.settings,
            snakemake.threads,
            snakemake.resources.get("runtime"),
        )

    atoms = read_frames(snakemake.input.structure)[0]
    return relax_layer(calculator, atoms, layer, stack, Path(snakemake.params.shared))


needs = {"candidate": snakemake.input.candidate, "relaxation": snakemake.input.relaxation}
run_step(snakemake.output.result, needs, relax)
