"""What each part of aiming buys: share of distinct samples whose baselines lie in the window.

Run from the project's folder, on the first stages of a campaign (`snakemake --cores all labels`):

    python tests/benchmarks/aimed_generation.py --campaign results/demo --output aimed.csv

The judge is not the property head that aims: it is the physics baseline of the sampled stack
(Anderson's rule, pairwise dispersion), and its layers for elements and strain. Alignment,
elements and strain are told to the conditional generator by the same rules that judge here. Every
way decodes the same number of latents; how many were drawn for these, and the processor seconds of
drawing, picking, decoding and building, stand beside what came of it.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.generation.latents import Latents
from heteroforge.generation.sampling import snap_registry
from heteroforge.io import read_table
from heteroforge.labels import stack_baselines
from heteroforge.models.catalogue import Catalogue
from heteroforge.models.gvae import LibraryBatch
from heteroforge.models.gvae_training import best_labels, prepare_stacks, train_gvae
from heteroforge.models.stack_inputs import at_contact_gaps
from heteroforge.models.windows import window_probability
from heteroforge.screening.objectives import expected_alignment
from heteroforge.sources import read_library
from heteroforge.structures import StructureError

PROPERTIES = ("gap_ev", "binding_energy_mev_a2", "cbm_ev")
TARGETS = (
    {"gap_ev": [1.0, 1.8]},
    {"gap_ev": [2.2, 3.0]},
    {"binding_energy_mev_a2": [20.0, None]},
    {"gap_ev": [1.0, 2.5], "binding_energy_mev_a2": [15.0, None]},
    {"gap_ev": [0.8, 2.5], "cbm_ev": [None, -4.0]},
    {"mismatch_percent": [None, 1.0]},
    {"alignment": "II"},
    {"elements": ["Ga"]},
    {"gap_ev": [1.0, 2.5], "alignment": "II", "elements": ["Si"]},
)
# Name: source of the latents, and how many are drawn per one that the property head picks.
# Property heads know nothing of traits: for a target without a window they have no say.
WAYS = {
    "prior": ("prior", 1),
    "prior, 10 to 1": ("prior", 10),
    "prior, 100 to 1": ("prior", 100),
    "conditional": ("conditional", 1),
    "conditional, 10 to 1": ("conditional", 10),
    "conditional, 100 to 1": ("conditional", 100),
    "aimed mixture, 10 to 1": ("aimed", 10),
}
# Targets that the property heads know all of, and that not many stacks meet: their mean is given.
IN_MEAN = TARGETS[:5]


def parted(targets) -> tuple[dict, dict]:
    """Windows and traits of a target."""
    traits = {name: targets[name] for name in ("alignment", "elements") if name in targets}
    return {name: w for name, w in targets.items() if name not in traits}, traits


def inside(stack, targets, table) -> bool:
    """Whether the baselines of all target properties are known and in their windows."""
    values = stack_baselines(stack, table, "binding_energy_mev_a2" in targets)
    values["mismatch_percent"] = stack.mismatch_percent
    windows, traits = parted(targets)
    if not set(traits.get("elements", ())) <= set(stack.species):
        return False
    if traits.get("alignment") not in (None, expected_alignment(stack, table)):
        return False
    for name, (low, high) in windows.items():
        value = values[name]
        if value is None or (low is not None and value < low):
            return False
        if high is not None and value > high:
            return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--campaign", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="CSV")
    parser.add_argument("--samples", type=int, default=200, help="latents decoded per way")
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--conditional-steps", type=int, default=900)
    parser.add_argument("--concatenated", action="store_true", help="in place of fused targets")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    folder = options.campaign
    library = read_library(
        folder / "library" / "monolayers.extxyz", folder / "library" / "monolayers.parquet"
    )
    matches = read_table(folder / "stacks" / "matches.parquet")
    catalogue = Catalogue(library.monolayers, matches, library.table)
    table = read_table(folder / "stacks" / "training_stacks.parquet")
    table = table[table["split"] != "test"].reset_index(drop=True)
    stacks, kept, _ = prepare_stacks(list(table["specification"]), catalogue)
    split = table["split"].to_numpy()[kept]
    order = np.argsort(split != "train", kind="stable")
    training = int((split == "train").sum())
    stacks = [stacks[i] for i in order]
    values = best_labels(
        read_table(folder / "labels" / "labels.parquet"),
        table["stack_id"].to_numpy()[kept][order].tolist(),
        PROPERTIES,
    )
    start = time.process_time()
    trained = train_gvae(
        stacks[:training],
        stacks[training:],
        catalogue,
        {
            **dict(zip(PROPERTIES, values.T, strict=True)),
            "mismatch_percent": np.array([stack.mismatch_percent for stack in stacks]),
        },
        latent_dimensions=12,
        number_of_layers=(2, 2),
        epochs=options.epochs,
        batch_size=32,
        learning_rate=0.005,
        kl_weight=0.05,
        conditional_steps=options.conditional_steps,
        fused=not options.concatenated,
        alignments=[expected_alignment(stack, library.table) for stack in stacks[:training]],
        seed=options.seed,
    )
    print(f"training: {time.process_time() - start:.0f} s of processor time", flush=True)
    with torch.no_grad():
        encoded = trained.model.encode_library(LibraryBatch.of(catalogue))
    rows = []
    for targets in TARGETS:
        windows, traits = parted(targets)
        for name, (mode, excess) in WAYS.items():
            if excess > 1 and not windows:
                continue
            generator = np.random.default_rng(options.seed)
            start = time.process_time()
            drawn = Latents(
                trained, windows, mode=mode, traits=trained.traits.wanted(2, **traits)
            ).draw(generator, excess * options.samples)
            if excess > 1:
                expected, chance = trained.expect(drawn), np.ones(len(drawn))
                for i, prop in enumerate(trained.properties):
                    if prop in windows:
                        std = 0.3 * trained.property_scale[i]
                        chance = chance * window_probability(expected[prop], std, windows[prop])
                drawn = drawn[np.argsort(-chance, kind="stable")[: options.samples]]
            decoded = trained.model.decode(
                torch.from_numpy(drawn.astype(np.float32)), encoded, catalogue
            )
            found = {}
            for code in decoded.codes:
                try:
                    if code is not None:
                        stack = at_contact_gaps(catalogue.decode(snap_registry(code, catalogue)))
                        found.setdefault(stack.key(), stack)
                except StructureError:
                    continue
            seconds = time.process_time() - start
            hits = sum(inside(stack, targets, library.table) for stack in found.values())
            share = 100 * hits / max(len(found), 1)
            latents = excess * options.samples
            rows.append((str(targets), name, latents, seconds, len(found), hits, share))
            print(rows[-1], flush=True)
    columns = ["target", "way", "latents", "seconds", "distinct", "hits", "inside_percent"]
    result = pd.DataFrame(rows, columns=columns)
    result.to_csv(options.output, index=False)
    of_mean = result[result["target"].isin([str(targets) for targets in IN_MEAN])]
    print(f"mean of {len(IN_MEAN)} targets")
    print(of_mean.groupby("way", sort=False)[columns[2:]].mean().round(2).to_string())


if __name__ == "__main__":
    main()
