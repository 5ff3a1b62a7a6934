"""Reconstruction and generation on a benchmark set: published metrics and strict ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from heteroforge.evaluation.benchmark_sets import BenchmarkSet
from heteroforge.evaluation.crystal_metrics import (
    composition_is_valid,
    coverage,
    match_metrics,
    structure_is_valid,
    wasserstein_distances,
)
from heteroforge.evaluation.generation import (
    generation_metrics,
    reconstruct,
    reconstruction_metrics,
    reconstruction_table,
)
from heteroforge.generation.latents import Latents
from heteroforge.generation.sampling import snap_registry
from heteroforge.io import read_table
from heteroforge.models.gvae import LibraryBatch
from heteroforge.models.gvae_training import TrainedGVAE
from heteroforge.structures import Stack, StructureError

__all__ = ["comparison_table", "generate", "measure_generation", "measure_reconstruction"]

BLOCK = 1000
# The number of samples that densities and numbers of elements were published for.
PUBLISHED_SAMPLES = 1000
STRUCTURE_COLUMNS = {
    "match_percent": "match_percent",
    "rmse": "rmse",
    "structure_valid_percent": "valid_structure_percent",
    "composition_valid_percent": "valid_composition_percent",
    "cov_recall_percent": "cov_recall_percent",
    "cov_precision_percent": "cov_precision_percent",
    "density_wasserstein": "density_wasserstein_g_cm3",
    "elements_wasserstein": "elements_wasserstein",
}


@torch.no_grad()
def generate(
    trained: TrainedGVAE, data: BenchmarkSet, number: int, mode: str, seed: int
) -> list[Stack | None]:
    """Stacks of `number` latents, one network pass each; None where nothing can be built.

    Args:
        trained: the model.
        data: what it was trained on.
        mode: of `generation.Latents`, one that needs no target and no seeds.
        seed: of the latents.
    """
    catalogue = data.catalogue
    generator = np.random.default_rng(seed)
    drawn = Latents(trained, {}, mode=mode).draw(generator, number).astype(np.float32)
    encoded = trained.model.encode_library(LibraryBatch.of(catalogue))
    made: list[Stack | None] = []
    for start in range(0, number, BLOCK):
        latents = torch.from_numpy(drawn[start : start + BLOCK])
        for code in trained.model.decode(latents, encoded, catalogue).codes:
            try:
                made.append(code and catalogue.decode(snap_registry(code, catalogue)))
            except StructureError:
                made.append(None)
    return made


def measure_reconstruction(trained: TrainedGVAE, data: BenchmarkSet, matched: int) -> dict:
    """Test stacks through encoder and decoder.

    Args:
        matched: how many of them StructureMatcher compares, which takes longest.

    Returns:
        Its `match_percent` and `rmse`, and `strict`: `reconstruction_metrics` of all, before
        registries are rounded.
    """
    test = data.part("test")
    made = reconstruct(trained, test, data.catalogue)
    strict = reconstruction_metrics(reconstruction_table(test, made, data.catalogue))
    compared = match_metrics(test[:matched], [m.stack for m in made[:matched]])
    return {**compared, "strict": strict}


def measure_generation(
    made: Sequence[Stack | None], data: BenchmarkSet, fingerprints: int, workers: int
) -> dict:
    """Validity, coverage and distributions of generated stacks beside those of the test part.

    Args:
        made: of `generate`.
        fingerprints: stacks of either side for the coverage; 0: neither that nor charge
            neutrality, which need packages of their own, is computed.
        workers: processes.
    """
    training, test = data.part("train"), data.part("test")
    known = {stack.key() for stack in training}
    pairs = {tuple(sorted(layer.monolayer.key() for layer in s.layers)) for s in training}
    built = [stack for stack in made if stack is not None]
    valid = [stack for stack in built if structure_is_valid(stack)]
    found = generation_metrics(made, known, pairs)
    found["structure_valid_percent"] = 100 * len(valid) / max(len(made), 1)
    found["test_keys_also_in_training_percent"] = 100 * float(
        np.mean([stack.key() in known for stack in test])
    )
    found |= wasserstein_distances(test, valid[:PUBLISHED_SAMPLES])
    found["of_all_valid"] = wasserstein_distances(test, valid)
    # How large these distances are by chance: as many stacks of the training part itself.
    found["of_training_stacks"] = wasserstein_distances(test, training[:PUBLISHED_SAMPLES])
    if fingerprints:
        for states, suffix in (("smact14", ""), (None, "_by_present_default")):
            for stacks, of in ((made, ""), (test, "_of_test")):
                neutral = [
                    s is not None and composition_is_valid(s.species, states) for s in stacks
                ]
                name = f"composition_valid_percent{of}{suffix}"
                found[name] = 100 * float(np.mean(neutral))
        found |= coverage(test[:fingerprints], valid[:fingerprints], workers)
    return found


def comparison_table(numbers: Mapping, published: str | Path | None) -> pd.DataFrame:
    """One row per model: published ones, this one, the goal.

    Args:
        numbers: `measure_reconstruction` and `measure_generation` together.
        published: table of the published rows; None where none were published for the set.
    """
    own = {column: numbers.get(name) for name, column in STRUCTURE_COLUMNS.items()}
    row = pd.DataFrame([{"model": "heteroforge", **own, "source": "this campaign"}])
    if published is None:
        return row
    table = read_table(published)
    goal = table["model"] == "goal"
    return pd.concat([table[~goal], row, table[goal]], ignore_index=True)[table.columns]
