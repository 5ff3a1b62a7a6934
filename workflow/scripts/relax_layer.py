"""One layer of a candidate alone: in the stack's cell and free."""

from pathlib import Path

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
    in_stack, free = (
        calculator_for(
            Path(snakemake.params.folder) / name,
            snakemake.params.settings,
            snakemake.threads,
            snakemake.resources.get("runtime"),
        )
        for name in ("in_stack", "free")
    )
    numbers = relax_layer(in_stack, free, read_frames(snakemake.input.structure)[0], layer, stack)
    in_stack.clean()
    free.clean()
    return {**numbers, "attempts": in_stack.attempts + free.attempts}


needs = {"candidate": snakemake.input.candidate, "relaxation": snakemake.input.relaxation}
run_step(snakemake.output.result, needs, relax)
