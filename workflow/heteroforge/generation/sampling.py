"""Sampling in blocks of fixed size: the result does not depend on how blocks share out.

A block draws latents as its `Plan` says, keeps those from which the property head expects the
target, decodes them in one pass, and keeps what is valid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from heteroforge.generation.latents import Latents
from heteroforge.models.catalogue import Catalogue, StackCode
from heteroforge.models.gvae import LibraryBatch, StackData
from heteroforge.models.gvae_training import TrainedGVAE, encode_stacks
from heteroforge.models.windows import property_window, window_probability
from heteroforge.structures import Layer, Monolayer, Stack, StructureError
from heteroforge.structures.build import layer_sites
from heteroforge.structures.formula import StackFormula
from heteroforge.structures.matching import nearest_registry, turn_between
from heteroforge.structures.plane import cell_from_parameters, minimum_image_distances

__all__ = [
    "BLOCK_SIZE",
    "Limits",
    "Plan",
    "block_range",
    "is_high_symmetry",
    "sample_block",
    "sample_shard",
    "seed_stacks",
    "snap_registry",
    "validity",
]

BLOCK_SIZE = 250
# Latents drawn per stack wanted, of which the property head keeps some, and decoded at most.
OVERSAMPLING = 4
LEAST_DRAWN = 128
MOST_ROUNDS = 12
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


@dataclass(frozen=True)
class Plan:
    """How latents are drawn and decoded; see `docs/generation.md`.

    Attributes:
        mode: one of `generation.MODES`.
        seeds: stacks that `around` stays near, or the two that `interpolate` goes between.
        radius: standard deviation of the latents from the seeds or the path.
        temperature: factor on the standard deviation of the prior; below 1 samples are nearer to
            the most common stacks.
        substrate: monolayer that is the lowest layer of every sample; empty: any.
        elements: that every sample holds.
        alignment: `I`, `II` or `any`, of the bands, that the conditional generator is asked for.
        mismatch_percent: largest strain that it is asked for; whatever comes, `Limits` decide.
        new: monolayers of the catalogue that the library lacks.
        formula: that every sample has; None: any.
        oversampling: latents drawn per stack wanted, from which the property head picks, in modes
            that aim.
        block_size: samples per block. A block has the seed (campaign seed, block), so another size
            gives other samples.
    """

    mode: str = "aimed"
    seeds: tuple[Stack, ...] = ()
    radius: float = 0.5
    temperature: float = 1.0
    substrate: str = ""
    elements: frozenset[str] = frozenset()
    alignment: str = "any"
    mismatch_percent: float | None = None
    new: frozenset[str] = frozenset()
    formula: StackFormula | None = None
    oversampling: int = OVERSAMPLING
    block_size: int = BLOCK_SIZE

    @property
    def all_elements(self) -> frozenset[str]:
        """Elements that every sample holds, those of its formula among them."""
        return self.elements | (self.formula.elements if self.formula else frozenset())

    def number_of_layers(self, limits: Limits) -> tuple[int, int]:
        """Fewest and most layers of a sample."""
        most = limits.number_of_layers
        return self.formula.number_of_layers(*most) if self.formula else most


def block_range(
    number: int, shard: int, shards: int, block_size: int = BLOCK_SIZE
) -> list[tuple[int, int]]:
    """Blocks (index, size) of one shard; all shards together make `number` samples.

    Raises:
        ValueError: the shard does not exist.
    """
    if not 0 <= shard < shards:
        raise ValueError(f"shard {shard}: expected 0 to {shards - 1}")
    blocks = [
        (index, min(block_size, number - start))
        for index, start in enumerate(range(0, number, block_size))
    ]
    edges = np.round(np.linspace(0, len(blocks), shards + 1)).astype(int)
    return blocks[edges[shard] : edges[shard + 1]]


def seed_stacks(
    given: Sequence[str],
    specifications: Mapping[str, str],
    monolayers: Mapping[str, Monolayer],
) -> list[Stack]:
    """Stacks to start from, given as the `stack_id` of a known stack or as a specification.

    Args:
        given: identifiers or JSON texts.
        specifications: of the known stacks by `stack_id`.
        monolayers: by name.

    Raises:
        StructureError: an identifier that is not known.
    """
    stacks = []
    for text in given:
        if not text.lstrip().startswith("{"):
            if text not in specifications:
                raise StructureError(
                    f"seed {text!r}: expected the stack_id of a training stack "
                    "(stacks/training_stacks.parquet) or a specification"
                )
            text = specifications[text]
        stacks.append(Stack.from_json(text, monolayers))
    return stacks


def latents_of(
    trained: TrainedGVAE,
    catalogue: Catalogue,
    library: LibraryBatch,
    targets: Mapping[str, Sequence[float | None]],
    limits: Limits,
    plan: Plan,
) -> Latents:
    """The source of latents that a plan asks for.

    Raises:
        StructureError: a seed is not made of the library, or has more layers than the model; no
            monolayer holds an element that every sample shall hold; no stack of the library has the
            formula; a substrate leaves no place for a layer with defects.
        ValueError: the plan asks for what the model has not.
    """
    known = {symbol for layer in catalogue.monolayers.values() for symbol in layer.species}
    if plan.formula:
        _check_formula(catalogue, plan, limits)
    if not plan.elements <= known:
        raise StructureError(
            f"samples.elements: no monolayer of the library holds "
            f"{', '.join(sorted(plan.elements - known))}; there are {', '.join(sorted(known))}"
        )
    seeds = None
    if plan.seeds:
        layers = trained.model.settings.maximum_layers
        for stack in plan.seeds:
            if stack.number_of_layers > layers:
                raise StructureError(
                    f"seed {stack.formula}: expected at most {layers} layers, as in training"
                )
        data = StackData(plan.seeds, catalogue, maximum_layers=layers)
        seeds = encode_stacks(trained.model, data, library)
    fewest, most = plan.number_of_layers(limits)
    asked = dict(targets)
    if plan.mismatch_percent is not None:
        asked["mismatch_percent"] = (None, plan.mismatch_percent)
    return Latents(
        trained,
        asked,
        mode=plan.mode,
        weights=_probability(trained, trained.latents, targets) + 1e-3,
        traits=trained.traits.wanted(
            fewest if fewest == most else 0, plan.alignment, plan.all_elements
        ),
        seeds=seeds,
        radius=plan.radius,
        temperature=plan.temperature,
    )


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
    plan: Plan | None = None,
    latents: Latents | None = None,
) -> tuple[list[Stack], Counter]:
    """Distinct valid stacks of one block.

    Args:
        trained: the generative model, on the device that it works on.
        catalogue: the library to pick from; may hold monolayers that training never saw.
        library: the catalogue as tensors, on the same device.
        targets: windows of properties; those the head does not know are left to the screen.
        limits: hard limits.
        seed, block: together the seed of this block.
        size: how many stacks to make; fewer where the space is exhausted.
        plan: how latents are drawn; `Plan()` by default.
        latents: the source that `latents_of` made of the plan, where it is at hand.

    Returns:
        The stacks, and how many decoded latents went for each reason (`decoded` in all).
    """
    plan = plan or Plan()
    generator = np.random.default_rng(np.random.SeedSequence([seed, block]))
    device = trained.device
    with torch.no_grad():
        encoded = trained.model.encode_library(library)
    if latents is None:
        latents = latents_of(trained, catalogue, library, targets, limits, plan)
    allowed = _allowed_entries(catalogue, plan, limits)
    number_of_layers = plan.number_of_layers(limits)
    stacks: dict[str, Stack] = {}
    counts: Counter = Counter()
    aimed = plan.mode not in ("prior", "density")
    for _ in range(MOST_ROUNDS if aimed else MOST_ROUNDS + 1):
        wanted = size - len(stacks)
        if wanted <= 0:
            break
        decoded_at_most = OVERSAMPLING * max(wanted, 32)
        if aimed:
            most = plan.oversampling * max(wanted, 32)
        else:
            # No more than it takes as far as is known: what is decoded in excess is thrown away.
            needed = wanted * counts["decoded"] / max(len(stacks), 1) if stacks else wanted
            most = min(decoded_at_most, max(int(needed), LEAST_DRAWN))
        drawn = latents.draw(generator, most)
        if aimed:
            chance = _probability(trained, drawn, targets)
            # Rejection: a latent is kept as often as it is expected to hit, so that the samples
            # spread over all that hits and do not crowd at the surest.
            kept = np.flatnonzero(generator.random(len(drawn)) < chance / max(chance.max(), 1e-12))
            if len(kept) > decoded_at_most:
                # More than it takes: the likeliest of them, and these first.
                kept = kept[np.argsort(-chance[kept], kind="stable")[:decoded_at_most]]
            counts["aimed elsewhere"] += len(drawn) - len(kept)
            drawn = drawn[kept]
        decoded = trained.model.decode(
            torch.from_numpy(drawn.astype(np.float32)).to(device),
            encoded,
            catalogue,
            number_of_layers=number_of_layers,
            allowed=allowed,
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
                stack = catalogue.decode(snap_registry(code, catalogue), at_contact=True)
            except StructureError:
                counts["no common cell"] += 1
                continue
            fault = validity(stack, limits)
            if not fault and plan.elements and not plan.elements <= set(stack.species):
                fault = "without the elements asked for"
            if not fault and plan.formula and not plan.formula.is_of(stack):
                fault = "of another formula"
            if fault:
                counts[fault] += 1
                continue
            stack = _unnamed(stack, plan.new)
            key = stack.key()
            if key in stacks:
                counts["repeated"] += 1
                continue
            stacks[key] = stack
    counts["kept"] = len(stacks)
    return list(stacks.values()), counts


def _allowed_entries(catalogue: Catalogue, plan: Plan, limits: Limits) -> dict[int, list[int]]:
    """By layer the entries that it is picked from: a substrate, defects, layers of a formula.

    Raises:
        StructureError: the substrate is not in the library, or leaves no place for a layer with
            defects.
    """
    fewest, most = plan.number_of_layers(limits)

    def entries_of(names: Collection[str]) -> list[int]:
        return [i for i, (name, _) in enumerate(catalogue.entries) if name in names]

    allowed = {}
    if plan.substrate:
        allowed[0] = entries_of({plan.substrate})
        if not allowed[0]:
            raise StructureError(f"substrate {plan.substrate!r} is not in the library")
    # Left to itself the decoder picks a layer that no training stack held too seldom.
    if catalogue.defective and plan.substrate not in catalogue.defective:
        if len(allowed) >= fewest:
            raise StructureError(
                f"samples.defects on the substrate {plan.substrate!r}: expected two layers at "
                f"least, not stacks.number_of_layers = [{fewest}, {most}]"
            )
        allowed[len(allowed)] = entries_of(catalogue.defective)
    if plan.formula:
        of_formula = {
            i
            for i, (name, _) in enumerate(catalogue.entries)
            if plan.formula.allows(catalogue.perfect(i)[0], catalogue.monolayers[name])
        }
        for layer in range(most):
            among = allowed.get(layer, range(len(catalogue)))
            allowed[layer] = [i for i in among if i in of_formula]
    return allowed


def _check_formula(catalogue: Catalogue, plan: Plan, limits: Limits) -> None:
    """Raise a StructureError where no stack of the library has the formula asked for."""
    layers = dict(catalogue.monolayers)
    if plan.formula.layers:  # which are told without their defects
        layers = {n: m for n, m in layers.items() if n not in catalogue.defective}
    lowest = None
    if plan.substrate:
        lowest = [layers[plan.substrate]] if plan.substrate in layers else []
    fault = plan.formula.fault(
        layers.values(), limits.number_of_layers, limits.maximum_atoms, lowest
    )
    if not fault and not plan.elements <= plan.formula.elements:
        fault = "it has not all of samples.elements"
    if fault:
        raise StructureError(
            f"samples.formula = {plan.formula.text!r}: expected one that stacks of the library "
            f"can have: {fault}"
        )


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
    plan: Plan | None = None,
    progress: bool = True,
) -> tuple[pd.DataFrame, Counter]:
    """The samples of one shard of `number`, each key once.

    Args:
        known: key to split (`train`, …) of the enumerated stacks.
        plan: how latents are drawn; `Plan()` by default.

    Returns:
        The table `samples/shard_{k}.parquet`, with `is_novel` (not among the enumerated stacks),
        `split` (of an enumerated one; empty for a novel one), `new_monolayers` (how many
        layers the library lacks; these have no name and stand in full in the specification) and
        `number_of_defects` (in the cell); and the counts of all blocks.
    """
    plan = plan or Plan()
    library = LibraryBatch.of(catalogue, trained.device)
    latents = latents_of(trained, catalogue, library, targets, limits, plan)
    found: dict[str, Stack] = {}
    counts: Counter = Counter()
    blocks = block_range(number, shard, shards, plan.block_size)
    for block, size in tqdm(blocks, unit=" blocks", mininterval=5, disable=not progress):
        stacks, block_counts = sample_block(
            trained, catalogue, library, targets, limits, seed=seed, block=block, size=size,
            plan=plan, latents=latents,
        )  # fmt: skip
        counts += block_counts
        for stack in stacks:
            # Equal stacks may be written differently: as among shards, the smallest text stays.
            other = found.setdefault(stack.key(), stack)
            if other is not stack:
                found[stack.key()] = min(other, stack, key=Stack.to_json)
    rows = [
        {
            "stack_id": key,
            "specification": stack.to_json(),
            "layers": "/".join(
                layer.monolayer.name or layer.monolayer.formula for layer in stack.layers
            ),
            "number_of_layers": stack.number_of_layers,
            "number_of_atoms": stack.number_of_atoms,
            "mismatch_percent": stack.mismatch_percent,
            "twist_deg": stack.twist_deg(0) if stack.number_of_layers > 1 else 0.0,
            "is_high_symmetry": is_high_symmetry(stack),
            "is_novel": key not in known,
            "split": known.get(key, ""),
            "new_monolayers": sum(not layer.monolayer.name for layer in stack.layers),
            "number_of_defects": sum(len(layer.defects) for layer in stack.layers),
        }
        for key, stack in found.items()
    ]
    columns = [
        "stack_id", "specification", "layers", "number_of_layers", "number_of_atoms",
        "mismatch_percent", "twist_deg", "is_high_symmetry", "is_novel", "split",
        "new_monolayers", "number_of_defects",
    ]  # fmt: skip
    # A shard may be left without a sample: its columns have types all the same.
    numbers = {
        "number_of_layers": int,
        "number_of_atoms": int,
        "is_novel": bool,
        "new_monolayers": int,
        "number_of_defects": int,
    }
    numbers |= {"mismatch_percent": float, "twist_deg": float}
    return pd.DataFrame(rows, columns=columns).astype(numbers), counts


def snap_registry(code: StackCode, catalogue: Catalogue) -> StackCode:
    """The code with registries that are almost of high symmetry made exactly that.

    Of layers with defects the perfect ones count.
    """
    registries = []
    for registry, lower, upper, chosen in zip(
        code.registries, code.entries[:-1], code.entries[1:], code.matches, strict=True
    ):
        match = catalogue.candidates(lower, upper)[chosen]
        (below, cells), (above, cells_above) = catalogue.perfect(lower), catalogue.perfect(upper)
        bottom, top, place = match.supercell_bottom, match.supercell_top, registry
        if catalogue.defective:
            bottom, top, place = bottom @ cells, top @ cells_above, registry @ cells
        nearest, distance = nearest_registry(below, above, turn_between(bottom, top), place)
        if distance < SNAP:
            x, y = nearest @ np.linalg.inv(cells) if catalogue.defective else nearest
            registry = (float(x % 1.0), float(y % 1.0))
        registries.append(registry)
    return StackCode(code.entries, code.matches, tuple(registries), code.gap_excess_a)


def is_high_symmetry(stack: Stack) -> bool:
    """Whether every registry is one of high symmetry: extrema and saddles of the energy."""
    for i in range(stack.number_of_layers - 1):
        below, above = stack.layers[i : i + 2]
        turn = turn_between(below.supercell, above.supercell)
        _, distance = nearest_registry(below.monolayer, above.monolayer, turn, stack.registry(i))
        if distance > 0.01:
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
    # Atoms of different layers are apart by the gap at least.
    nearest = min(_shortest_a(layer, stack.a, stack.b, stack.gamma_deg) for layer in stack.layers)
    return "atoms too near" if min(nearest, low) < SHORTEST_DISTANCE_A else ""


@lru_cache(maxsize=20000)
def _shortest_a(layer: Layer, a: float, b: float, gamma_deg: float) -> float:
    """Shortest distance (Å) of two atoms of a perfect layer in a stack's cell."""
    _, fractional, heights = layer_sites(layer)
    lateral = minimum_image_distances(fractional, fractional, cell_from_parameters(a, b, gamma_deg))
    distance = np.hypot(lateral, heights[:, None] - heights[None, :])
    # An atom and its own image are a lattice vector apart.
    np.fill_diagonal(distance, min(a, b))
    return float(distance.min())


def _unnamed(stack: Stack, new: Collection[str]) -> Stack:
    """The stack with its new monolayers nameless, so that descriptions hold them in full."""
    if not new or not any(layer.monolayer.name in new for layer in stack.layers):
        return stack
    layers = tuple(
        replace(layer, monolayer=replace(layer.monolayer, name=""))
        if layer.monolayer.name in new
        else layer
        for layer in stack.layers
    )
    return replace(stack, layers=layers)


def _probability(
    trained: TrainedGVAE, latents: np.ndarray, targets: Mapping[str, Sequence[float | None]]
) -> np.ndarray:
    """Probability (n) of all windows, by the property head."""
    expected = trained.expect(latents)
    result = np.ones(len(latents))
    for i, name in enumerate(trained.properties):
        if name in targets:
            std = HEAD_UNCERTAINTY * trained.property_scale[i]
            window = property_window(name, targets[name])
            result = result * window_probability(expected[name], std, window)
    return result
