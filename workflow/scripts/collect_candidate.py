"""All numbers of a candidate, whether they meet the targets, and its band structure."""

from heteroforge.dft.steps import inside_targets, run_step
from heteroforge.dft.verification import UNITS, assemble
from heteroforge.io import (
    atomic_path,
    log_to,
    provenance,
    read_frames,
    read_json,
    write_json,
    write_text,
)
from heteroforge.report.figures import save
from heteroforge.report.verification import candidate_figure
from heteroforge.structures import Stack

log_to(snakemake.log[0])
candidate = read_json(snakemake.input.candidate)
frames = read_frames(snakemake.input.structure)


def collect(relaxation: dict, density: dict, bands_result: dict) -> dict:
    stack = Stack.from_dict(candidate["specification"])
    outcomes = [read_json(path) for path in snakemake.input.layers][: stack.number_of_layers]
    broken = [o for o in outcomes if o["status"] != "done"]
    if broken:
        raise ValueError(f"a layer alone: {broken[0]['reason']}")
    bands = read_json(snakemake.input.bands)
    numbers = assemble(stack, frames[0], relaxation, density, bands, outcomes)
    target = inside_targets(numbers, snakemake.params.targets)
    steps = [relaxation, density, bands_result, *outcomes]
    return {
        "status": "verified",
        "properties": {k: {"value": v, "unit": UNITS[k]} for k, v in numbers.items()},
        "target": target,
        "meets_target": all(t["inside"] for t in target.values()),
        "layers": outcomes,
        "attempts": [a for step in steps for a in step.get("attempts", [])],
        **relaxation["provenance"],
        "versions": provenance(),
    }


needs = {
    "relaxation": snakemake.input.relaxation,
    "density": snakemake.input.density,
    "bands_result": snakemake.input.bands_result,
}
outcome = run_step(snakemake.output.result, needs, collect)
result = {**candidate, **outcome}
if result["status"] == "skipped":  # an earlier step failed: so did the candidate
    result["status"] = "failed"
write_json(snakemake.output.result, result)
if frames:
    with atomic_path(snakemake.output.cif) as partial:
        frames[0].write(partial, format="cif")
else:
    write_text(snakemake.output.cif, "")
save(candidate_figure(read_json(snakemake.input.bands), result), snakemake.output.picture)
