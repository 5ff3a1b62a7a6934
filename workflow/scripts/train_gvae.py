"""Generative model of stacks, with its history and metrics on pairs it has not seen."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from heteroforge.evaluation.generation import evaluate_gvae
from heteroforge.generation import propose_defects, propose_monolayers
from heteroforge.io import log_to, provenance, read_table, write_json, write_table
from heteroforge.models.catalogue import Catalogue
from heteroforge.models.gvae_training import best_labels, prepare_stacks, save_gvae, train_gvae
from heteroforge.models.training import pick_device
from heteroforge.report.figures import gvae_history_figure, save
from heteroforge.screening.objectives import expected_alignment
from heteroforge.sources import read_library

log_to(snakemake.log[0])
torch.set_num_threads(snakemake.threads)
settings, limits = snakemake.params.gvae, snakemake.params.stacks
library = read_library(snakemake.input.structures, snakemake.input.table)
# Layers that the library lacks find their place among the others here, without stacks of theirs.
asked, elements = snakemake.params.samples, snakemake.params.elements
new = propose_monolayers(library.monolayers, asked["new_monolayers"], **elements)
defective = propose_defects(library.monolayers, **asked["defects"], **elements)
matches = read_table(snakemake.input.matches)
catalogue = Catalogue(library.monolayers | new, matches, library.table, defective)
table = read_table(snakemake.input.stacks)
parts, keys = {}, {}
for split in ("train", "validation", "test"):
    chosen = table[table["split"] == split]
    parts[split], kept, reasons = prepare_stacks(list(chosen["specification"]), catalogue)
    keys[split] = chosen["stack_id"].to_numpy()[kept].tolist()
    for reason in sorted(set(reasons)):
        print(f"{split}: {reasons.count(reason)} stacks set aside: {reason}")
properties = list(snakemake.params.targets)
values = best_labels(
    read_table(snakemake.input.labels), keys["train"] + keys["validation"], properties
)
known = {name: values[:, i] for i, name in enumerate(properties)}
# So that samples can be asked for little strain.
known["mismatch_percent"] = np.array(
    [stack.mismatch_percent for stack in parts["train"] + parts["validation"]]
)
trained = train_gvae(
    parts["train"],
    parts["validation"],
    catalogue,
    known,
    number_of_layers=tuple(limits["number_of_layers"]),
    alignments=[expected_alignment(stack, library.table) for stack in parts["train"]],
    seed=snakemake.params.seed,
    checkpoint=snakemake.params.checkpoint,
    device=pick_device(snakemake.params.device),
    **settings,
)
save_gvae(snakemake.output.model, trained)
history = pd.DataFrame(trained.history.rows)
write_table(snakemake.output.history, history)
metrics = evaluate_gvae(trained, catalogue, parts, set(table["stack_id"]), snakemake.params.seed)
metrics["training"] = {
    "stacks": len(parts["train"]),
    "epochs": len(history),
    "best_epoch": trained.history.best_epoch,
    "stopped_early": trained.history.stopped_early,
    "active_units": int(history["active_units"].iloc[trained.history.best_epoch]),
}
metrics["provenance"] = provenance()
write_json(snakemake.output.metrics, metrics)
save(gvae_history_figure(history), snakemake.output.picture)
Path(snakemake.params.checkpoint).unlink(missing_ok=True)
print({part: metrics[part] for part in ("reconstruction", "generation")})
