"""Reconstruction and generation on a benchmark set: published metrics and strict ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    trained: TrainedGVAE,
    data: BenchmarkSet,
    number: int,
    *,
    mode: str,
    temperature: float,
    seed: int,
) -> list[Stack | None]:
    """Stacks of `number` latents, one network pass each; None where nothing can be built.

    Args:
        trained: the model.
        data: what it was trained on.
        mode, temperature: of `generation.Latents`, a mode that needs no target and no seeds.
        seed: of the latents.
    """
    catalogue = data.catalogue
    generator = np.random.default_rng(seed)
    source = Latents(trained, {}, mode=mode, temperature=temperature)
    drawn = source.draw(generator, number).astype(np.float32)
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
        fingerprints: structures of either side for the coverage; 0: neither that nor charge
            neutrality, which need packages of their own, is computed.
        workers: processes.
    """
    training, test = data.part("train"), data.part("test")
    known = {stack.key() for stack in training}
    pairs = {tuple(sorted(layer.monolayer.key() for layer in s.layers)) for s in training}
    sound = [stack if stack is not None and structure_is_valid(stack) else None for stack in made]
    found = generation_metrics(made, known, pairs)
    found["structure_valid_percent"] = _percent(stack is not None for stack in sound)
    found["test_keys_also_in_training_percent"] = _percent(stack.key() in known for stack in test)
    if fingerprints:
        for states, suffix in (("smact14", ""), (None, "_by_present_default")):
            for stacks, of in ((made, ""), (test, "_of_test")):
                found[f"composition_valid_percent{of}{suffix}"] = _percent(
                    stack is not None and composition_is_valid(stack.species, states)
                    for stack in stacks
                )
        sound = [
            stack if stack is not None and composition_is_valid(stack.species, "smact14") else None
            for stack in sound
        ]
        found |= coverage(test, sound, fingerprints, workers)
    valid = [stack for stack in sound if stack is not None]
    found |= wasserstein_distances(test, valid[:PUBLISHED_SAMPLES])
    found["of_all_valid"] = wasserstein_distances(test, valid)
    # What copies of the training part would reach, and how large the distances are by chance.
    found["of_training_stacks"] = wasserstein_distances(test, training[:PUBLISHED_SAMPLES])
    return found


def _percent(verdicts: Iterable[bool]) -> float:
    verdicts = list(verdicts)
    return 100 * sum(verdicts) / max(len(verdicts), 1)


def comparison_table(numbers: Mapping, mode: str, published: str | Path | None) -> pd.DataFrame:
    """One row per model: published ones, copies of training stacks, this one, the goal.

    Args:
        numbers: `measure_reconstruction` and `measure_generation` together.
        mode: that was sampled in.
        published: table of the published rows; None where none were published for the set.
    """
    copies = {
        STRUCTURE_COLUMNS[name]: value for name, value in numbers["of_training_stacks"].items()
    }
    own = {column: numbers.get(name) for name, column in STRUCTURE_COLUMNS.items()}
    rows = pd.DataFrame(
        [
            {"model": "copies of training stacks", **copies, "novelty_percent": 0.0},
            {
                "model": f"heteroforge, {mode}",
                **own,
                "novelty_percent": 100 * numbers["novelty"],
            },
        ]
    ).assign(source="this campaign, on the set as rebuilt here")
    if published is None:
        return rows[["model", *STRUCTURE_COLUMNS.values(), "novelty_percent", "source"]]
    table = read_table(published)
    goal = table["model"] == "goal"
    columns = [*table.columns[:-1], "novelty_percent", "source"]
    return pd.concat([table[~goal], rows, table[goal]], ignore_index=True)[columns]
