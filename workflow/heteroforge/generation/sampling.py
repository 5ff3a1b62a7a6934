"""Sampling in blocks of fixed size: the result does not depend on how blocks share out.

A block draws latents from the prior and around promising training stacks, keeps those from which
the property head expects the target, decodes them in one pass, and keeps what is valid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from heteroforge.models.catalogue import Catalogue, StackCode
from heteroforge.models.gvae import LibraryBatch
from heteroforge.models.gvae_training import TrainedGVAE
from heteroforge.models.stack_inputs import at_contact_gaps
from heteroforge.models.windows import window_probability
from heteroforge.structures import Stack, StructureError, build
from heteroforge.structures.matching import enumerate_registries
from heteroforge.structures.plane import minimum_image_distances

__all__ = [
    "BLOCK_SIZE",
    "Limits",
    "block_range",
    "is_high_symmetry",
    "sample_block",
    "sample_shard",
    "snap_registry",
    "validity",
]

BLOCK_SIZE = 250
# Latents drawn per stack wanted: what the property head chooses from.
OVERSAMPLING = 4
MOST_ROUNDS = 12
SHARE_FROM_PRIOR = 0.5
# Uncertainty of the property head, as a share of a property's spread over the training stacks.
HEAD_UNCERTAINTY = 0.3
# A decoded registry nearer than this (fraction of the lower cell) to one of high symmetry is that
# one: about three times the decoder's error, and the key's resolution is 1/24.
SNAP = 0.06
SHORTEST_DISTANCE_A = 0.5


@dataclass(frozen=True)
class Limits:
    """What a sample must keep to."""

    number_of_layers: tuple[int, int] = (2, 2)
    maximum_atoms: int = 8
    maximum_area_a2: float = np.inf
    maximum_mismatch_percent: float = 3.0
    gap_a: tuple[float, float] = (1.5, 6.0)


def block_range(number: int, shard: int, shards: int) -> list[tuple[int, int]]:
    """Blocks (index, size) of one shard; all shards together make `number` samples.

    Raises:
        ValueError: the shard does not exist.
    """
    if not 0 <= shard < shards:
        raise ValueError(f"shard {shard}: expected 0 to {shards - 1}")
    blocks = [
        (index, min(BLOCK_SIZE, number - start))
        for index, start in enumerate(range(0, number, BLOCK_SIZE))
    ]
    edges = np.round(np.linspace(0, len(blocks), shards + 1)).astype(int)
    return blocks[edges[shard] : edges[shard + 1]]


def sample_block(
    trained: TrainedGVAE,
    catalogue: Catalogue,
    library: LibraryBatch,
    targets: Mapping[str, Sequence[float | None]],
    limits: Limits,
    *,
    seed: int,
    block: int,
    size: int,
) -> tuple[list[Stack], Counter]:
    """Distinct valid stacks of one block.

    Args:
        trained: the generative model.
        catalogue: the library to pick from; may hold monolayers that training never saw.
        library: the catalogue as tensors.
        targets: windows of properties; those the head does not know are left to the screen.
        limits: hard limits.
        seed, block: together the seed of this block.
        size: how many stacks to make; fewer where the space is exhausted.

    Returns:
        The stacks, and how many decoded latents went for each reason (`decoded` in all).
    """
    generator = np.random.default_rng(np.random.SeedSequence([seed, block]))
    with torch.no_grad():
        encoded = trained.model.encode_library(library)
    parents = _probability(trained, trained.latents, targets) + 1e-3
    parents = parents / parents.sum()
    stacks: dict[str, Stack] = {}
    counts: Counter = Counter()
    for _ in range(MOST_ROUNDS):
        wanted = size - len(stacks)
        if wanted <= 0:
            break
        latents = _draw(trained, generator, parents, OVERSAMPLING * max(wanted, 32))
        chance = _probability(trained, latents, targets)
        # Rejection: a latent is kept as often as it is expected to hit, so that the samples
        # spread over all that hits and do not crowd at the surest.
        kept = generator.random(len(latents)) < chance / max(chance.max(), 1e-12)
        latents = latents[kept]
        counts["aimed elsewhere"] += int((~kept).sum())
        decoded = trained.model.decode(
            torch.from_numpy(latents.astype(np.float32)),
            encoded,
            catalogue,
            number_of_layers=limits.number_of_layers,
        )
        for code in decoded.codes:
            if len(stacks) == size:
                break
            counts["decoded"] += 1
            if code is None:
                counts["no common cell"] += 1
                continue
            try:
                # Relaxation decides the gap; what the latent says of it far from the training
                # stacks is no better start than the contact of the spheres.
                stack = at_contact_gaps(catalogue.decode(snap_registry(code, catalogue)))
            except StructureError:
                counts["no common cell"] += 1
                continue
            fault = validity(stack, limits)
            if fault:
                counts[fault] += 1
                continue
            key = stack.key()
            if key in stacks:
                counts["repeated"] += 1
                continue
            stacks[key] = stack
    counts["kept"] = len(stacks)
    return list(stacks.values()), counts


def sample_shard(
    trained: TrainedGVAE,
    catalogue: Catalogue,
    targets: Mapping[str, Sequence[float | None]],
    limits: Limits,
    known: Mapping[str, str],
    *,
    seed: int,
    number: int,
    shard: int,
    shards: int,
    progress: bool = True,
) -> tuple[pd.DataFrame, Counter]:
    """The samples of one shard of `number`, each key once.

    Args:
        known: key to split (`train`, …) of the enumerated stacks.

    Returns:
        The table `samples/shard_{k}.parquet`, with `is_novel` (not among the enumerated stacks)
        and `split` (of an enumerated one; empty for a novel one); and the counts of all blocks.
    """
    library = LibraryBatch.of(catalogue)
    found: dict[str, Stack] = {}
    counts: Counter = Counter()
    blocks = block_range(number, shard, shards)
    for block, size in tqdm(blocks, unit=" blocks", mininterval=5, disable=not progress):
        stacks, block_counts = sample_block(
            trained, catalogue, library, targets, limits, seed=seed, block=block, size=size
        )
        counts += block_counts
        for stack in stacks:
            found.setdefault(stack.key(), stack)
    rows = [
        {
            "stack_id": key,
            "specification": stack.to_json(),
            "layers": "/".join(layer.monolayer.name for layer in stack.layers),
            "number_of_layers": stack.number_of_layers,
            "number_of_atoms": stack.number_of_atoms,
            "mismatch_percent": stack.mismatch_percent,
            "twist_deg": stack.twist_deg(0) if stack.number_of_layers > 1 else 0.0,
            "is_high_symmetry": is_high_symmetry(stack),
            "is_novel": key not in known,
            "split": known.get(key, ""),
        }
        for key, stack in found.items()
    ]
    columns = [
        "stack_id", "specification", "layers", "number_of_layers", "number_of_atoms",
        "mismatch_percent", "twist_deg", "is_high_symmetry", "is_novel", "split",
    ]  # fmt: skip
    # A shard may be left without a sample: its columns have types all the same.
    numbers = {"number_of_layers": int, "number_of_atoms": int, "is_novel": bool}
    numbers |= {"mismatch_percent": float, "twist_deg": float}
    return pd.DataFrame(rows, columns=columns).astype(numbers), counts


def snap_registry(code: StackCode, catalogue: Catalogue) -> StackCode:
    """The code with registries that are almost of high symmetry made exactly that."""
    registries = []
    for registry, lower, upper in zip(
        code.registries, code.entries[:-1], code.entries[1:], strict=True
    ):
        named = np.array(
            enumerate_registries(
                catalogue.monolayers[catalogue.entries[lower][0]],
                catalogue.monolayers[catalogue.entries[upper][0]],
            )
        )
        difference = np.array(registry) - named
        distance = np.abs(difference - np.round(difference)).max(axis=1)
        nearest = int(distance.argmin())
        registries.append(
            tuple(float(x) for x in named[nearest]) if distance[nearest] < SNAP else registry
        )
    return StackCode(code.entries, code.matches, tuple(registries), code.gap_excess_a)


def is_high_symmetry(stack: Stack) -> bool:
    """Whether every registry is one of high symmetry: extrema and saddles of the energy."""
    for i in range(stack.number_of_layers - 1):
        named = np.array(
            enumerate_registries(stack.layers[i].monolayer, stack.layers[i + 1].monolayer)
        )
        difference = np.array(stack.registry(i)) - named
        if np.abs(difference - np.round(difference)).max(axis=1).min() > 0.01:
            return False
    return True


def validity(stack: Stack, limits: Limits) -> str:
    """Why a stack is not valid; empty for a valid one."""
    fewest, most = limits.number_of_layers
    if not fewest <= stack.number_of_layers <= most:
        return "number of layers"
    if stack.number_of_atoms > limits.maximum_atoms:
        return "too many atoms"
    if stack.area_a2 > limits.maximum_area_a2:
        return "cell too large"
    if stack.mismatch_percent > limits.maximum_mismatch_percent + 1e-6:
        return "mismatch"
    low, high = limits.gap_a
    if any(not low <= interface.gap_a <= high for interface in stack.interfaces):
        return "interlayer gap"
    atoms = build(stack)
    fractional = atoms.get_scaled_positions(wrap=False)[:, :2]
    lateral = minimum_image_distances(fractional, fractional, stack.cell)
    vertical = atoms.positions[:, 2][:, None] - atoms.positions[:, 2][None, :]
    distance = np.sqrt(lateral**2 + vertical**2)
    np.fill_diagonal(distance, np.inf)
    if distance.min() < SHORTEST_DISTANCE_A:
        return "atoms too near"
    return ""


def _draw(
    trained: TrainedGVAE, generator: np.random.Generator, parents: np.ndarray, number: int
) -> np.ndarray:
    """Latents (number, latent): from the prior, and children of two promising training stacks.

    A child takes the place of every layer and interface from one parent or the other, blurred,
    which is how pairs arise that no training stack has.
    """
    settings = trained.model.settings
    from_prior = int(round(SHARE_FROM_PRIOR * number))
    prior = generator.standard_normal((from_prior, settings.latent_dimensions))
    children = number - from_prior
    places = np.concatenate(
        [
            np.repeat(np.arange(settings.maximum_layers), settings.layer_dimensions),
            settings.maximum_layers
            + np.repeat(np.arange(settings.maximum_layers - 1), settings.interface_dimensions),
            np.full(settings.global_dimensions, 2 * settings.maximum_layers - 1),
        ]
    )
    mother = trained.latents[generator.choice(len(parents), children, p=parents)]
    father = trained.latents[generator.choice(len(parents), children, p=parents)]
    from_mother = generator.random((children, 2 * settings.maximum_layers))[:, places] < 0.5
    blurred = np.where(from_mother, mother, father)
    blurred = blurred + 0.25 * generator.standard_normal(blurred.shape)
    latents = np.concatenate([prior, blurred])
    return latents[generator.permutation(number)]


def _probability(
    trained: TrainedGVAE, latents: np.ndarray, targets: Mapping[str, Sequence[float | None]]
) -> np.ndarray:
    """Probability (n) of all windows, by the property head."""
    expected = trained.expect(latents)
    result = np.ones(len(latents))
    for i, name in enumerate(trained.properties):
        if name in targets:
            std = HEAD_UNCERTAINTY * trained.property_scale[i]
            result = result * window_probability(expected[name], std, targets[name])
    return result
