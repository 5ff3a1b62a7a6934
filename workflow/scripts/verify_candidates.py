"""DFT of the candidates in some slots, one after another."""

from pathlib import Path

from heteroforge.dft.candidates import Submission, verify_slot
from heteroforge.dft.running import Launcher, OutOfMemory
from heteroforge.dft.submissions import scheduler_job, seconds_left, unfinished
from heteroforge.io import InputError, log_to, read_json, read_table, write_json
from heteroforge.report.figures import save
from heteroforge.report.verification import candidate_figure
from heteroforge.sources import read_library

log_to(snakemake.log[0])
settings, resources = snakemake.params.settings, snakemake.resources
selected = read_table(snakemake.input.selected, columns=["slot", "stack_id", "specification"])
library = read_library(snakemake.input.monolayers, snakemake.input.table)
runtime_min = resources.get("runtime") if scheduler_job() else None
launcher = Launcher(settings["launcher"], snakemake.threads, seconds_left(runtime_min))
submission = Submission(resources.submission, runtime_min, resources.get("mem_mb"))
first, last = int(snakemake.wildcards.first), int(snakemake.wildcards.last)
folders = {
    slot: Path(snakemake.output.results).parent / f"slot_{slot}" for slot in range(first, last + 1)
}
results, unanswered = {}, None
# What ended earlier jobs comes last: the others need not wait for it.
for slot, folder in sorted(folders.items(), key=lambda entry: unfinished(entry[1])):
    try:
        result = verify_slot(
            slot,
            selected,
            library,
            folder,
            settings=settings,
            targets=snakemake.params.targets,
            launcher=launcher,
            submission=submission,
        )
    except (OutOfMemory, MemoryError, OSError) as error:
        print(f"slot {slot}: {error!r}", flush=True)
        unanswered = error  # for the next job, which has more memory; the other slots go on
        continue
    print(f"slot {slot}: {result['status']} {result.get('reason', '')}", flush=True)
    results[slot] = result
    try:
        verified = result["status"] == "verified"
        bands = read_json(folder / "bands.json") if verified else {}
        states = read_table(folder / "density_of_states.csv").to_numpy() if verified else None
    except InputError:
        bands, states = {}, None
    save(candidate_figure(bands, result, states), folder / "bands.png")
if unanswered is not None:
    raise unanswered
write_json(snakemake.output.results, [results[slot] for slot in folders])
