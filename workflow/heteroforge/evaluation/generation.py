"""How well the generative model reconstructs and invents stacks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from heteroforge.generation.sampling import Limits, snap_registry, validity
from heteroforge.models.catalogue import Catalogue, StackCode
from heteroforge.models.gvae import LibraryBatch, StackData
from heteroforge.models.gvae_training import TrainedGVAE, encode_stacks
from heteroforge.models.stack_inputs import at_contact_gaps
from heteroforge.structures import Stack, StructureError
from heteroforge.structures.matching import enumerate_registries, turn_between

__all__ = [
    "Reconstruction",
    "evaluate_gvae",
    "generation_metrics",
    "reconstruct",
    "reconstruction_metrics",
    "reconstruction_table",
]

# A registry is met when it lies within this of the true one, as a fraction of the lower cell.
REGISTRY_TOLERANCE = 1 / 24


@dataclass(frozen=True)
class Reconstruction:
    """A stack's code, the code decoded from its latent, and the stack of that (None: not built)."""

    true: StackCode
    code: StackCode | None
    stack: Stack | None


@torch.no_grad()
def reconstruct(
    trained: TrainedGVAE, stacks: Sequence[Stack], catalogue: Catalogue
) -> list[Reconstruction]:
    """What the decoder makes of the encoder's mean, one per stack."""
    data = StackData(stacks, catalogue, maximum_layers=trained.model.settings.maximum_layers)
    library = LibraryBatch.of(catalogue)
    latents = encode_stacks(trained.model, data, library)
    decoded = trained.model.decode(
        torch.from_numpy(latents), trained.model.encode_library(library), catalogue
    )
    made = []
    for true, found in zip(data.codes, decoded.codes, strict=True):
        stack = None
        if found is not None:
            try:
                stack = catalogue.decode(found)
            except StructureError:
                pass
        made.append(Reconstruction(true, found, stack))
    return made


def reconstruction_table(
    stacks: Sequence[Stack], made: Sequence[Reconstruction], catalogue: Catalogue
) -> pd.DataFrame:
    """One row per stack of what `reconstruct` made of it.

    Columns: `layers` (all monolayers and flips met), `face_order` (which faces look at each
    other), `cell` (commensurate cell met), `registry` (nearest high-symmetry registry met),
    `registry_error` (fraction of the lower cell), `gap_error_a`, `lattice_error_a`, `built`.
    """
    rows = []
    for stack, rebuilt in zip(stacks, made, strict=True):
        code, found = rebuilt.true, rebuilt.code
        row: dict = dict.fromkeys(("layers", "face_order", "cell", "registry"), False)
        row |= {"registry_error": np.nan, "gap_error_a": np.nan, "lattice_error_a": np.nan}
        row["built"] = False
        rows.append(row)
        if rebuilt.stack is None:
            continue
        row["built"] = True
        if len(found.entries) != len(code.entries):
            continue
        row["layers"] = found.entries == code.entries
        row["face_order"] = all(
            catalogue.entries[one][1] == catalogue.entries[other][1]
            for one, other in zip(code.entries, found.entries, strict=True)
        )
        row["cell"] = row["layers"] and found.matches == code.matches
        row["lattice_error_a"] = max(abs(rebuilt.stack.a - stack.a), abs(rebuilt.stack.b - stack.b))
        row["gap_error_a"] = max(
            (
                abs(one.gap_a - other.gap_a)
                for one, other in zip(rebuilt.stack.interfaces, stack.interfaces, strict=True)
            ),
            default=0.0,
        )
        if not row["layers"]:
            continue
        errors, met = [0.0], True
        for i, (one, other) in enumerate(zip(code.registries, found.registries, strict=True)):
            errors.append(float(_apart(np.array(one), np.array(other))))
            below, above = stack.layers[i : i + 2]
            turn = turn_between(below.supercell, above.supercell)
            named = np.array(enumerate_registries(below.monolayer, above.monolayer, turn))
            true = _apart(named, np.array(one))
            if true.min() < REGISTRY_TOLERANCE:
                met &= int(true.argmin()) == int(_apart(named, np.array(other)).argmin())
            else:
                met &= errors[-1] < REGISTRY_TOLERANCE
        row["registry_error"], row["registry"] = max(errors), met
    return pd.DataFrame(rows)


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distance (largest component) of registries on the torus."""
    difference = one - other
    return np.abs(difference - np.round(difference)).max(axis=-1)


def reconstruction_metrics(table: pd.DataFrame) -> dict:
    """Shares and mean errors of `reconstruction_table`; registry and cell among met layers."""
    if len(table) == 0:
        return {"stacks": 0}
    met = table[table["layers"]]
    return {
        "stacks": len(table),
        "built": float(table["built"].mean()),
        "layers": float(table["layers"].mean()),
        "face_order": float(table["face_order"].mean()),
        "cell": float(met["cell"].mean()) if len(met) else None,
        "registry": float(met["registry"].mean()) if len(met) else None,
        "all": float((table["layers"] & table["cell"] & table["registry"]).mean()),
        "registry_error": float(met["registry_error"].mean()) if len(met) else None,
        "gap_mae_a": float(met["gap_error_a"].mean()) if len(met) else None,
        "lattice_mae_a": float(met["lattice_error_a"].mean()) if len(met) else None,
    }


def generation_metrics(
    stacks: Sequence[Stack | None],
    known: Collection[str],
    known_pairs: Collection[tuple[str, ...]],
) -> dict:
    """Validity, uniqueness and novelty of generated stacks.

    Args:
        stacks: what was generated, None for what could not be built or is not valid.
        known: keys of the stacks that novelty is judged against.
        known_pairs: sorted layer names of the stacks that training saw.

    Returns:
        `validity` (of all), `uniqueness` (distinct keys, of the valid), `novelty` (keys that are
        not known, of the distinct), `new_pairs` (layers never seen together, of the distinct).
    """
    valid = [stack for stack in stacks if stack is not None]
    distinct = {stack.key(): stack for stack in valid}
    new = [key for key in distinct if key not in set(known)]
    pairs = [
        tuple(sorted(layer.monolayer.key() for layer in stack.layers))
        for stack in distinct.values()
    ]
    return {
        "generated": len(stacks),
        "validity": len(valid) / max(len(stacks), 1),
        "uniqueness": len(distinct) / max(len(valid), 1),
        "novelty": len(new) / max(len(distinct), 1),
        "new_pairs": sum(pair not in set(known_pairs) for pair in pairs) / max(len(pairs), 1),
    }


def evaluate_gvae(
    trained: TrainedGVAE,
    catalogue: Catalogue,
    parts: Mapping[str, Sequence[Stack]],
    known: Collection[str],
    seed: int,
    samples: int = 1000,
) -> dict:
    """Reconstruction of each split and generation from the prior, without a target.

    Args:
        parts: stacks by split; `train` is what the model saw.
        known: keys that novelty is judged against.
        seed: of the latents.
        samples: latents to decode.
    """
    reconstruction = {
        f"{split}_pairs" if split != "train" else "train": reconstruction_metrics(
            reconstruction_table(stacks, reconstruct(trained, stacks, catalogue), catalogue)
            if len(stacks)
            else pd.DataFrame()
        )
        for split, stacks in parts.items()
    }
    settings = trained.model.settings
    generator = np.random.default_rng(np.random.SeedSequence([seed, 5]))
    latents = generator.standard_normal((samples, settings.latent_dimensions))
    layers = (settings.fewest_layers, settings.maximum_layers)
    # No limit but what makes a structure: the limits of a campaign are the screen's business.
    limits = Limits(number_of_layers=layers, maximum_atoms=10**6, maximum_mismatch_percent=np.inf)
    with torch.no_grad():
        encoded = trained.model.encode_library(LibraryBatch.of(catalogue))
    decoded = trained.model.decode(
        torch.from_numpy(latents.astype(np.float32)), encoded, catalogue, number_of_layers=layers
    )
    made: list[Stack | None] = []
    for code in decoded.codes:
        try:
            stack = None
            if code is not None:
                stack = at_contact_gaps(catalogue.decode(snap_registry(code, catalogue)))
        except StructureError:
            stack = None
        made.append(stack if stack is not None and not validity(stack, limits) else None)
    seen = {
        tuple(sorted(layer.monolayer.key() for layer in stack.layers)) for stack in parts["train"]
    }
    return {
        "reconstruction": reconstruction,
        "generation": generation_metrics(made, known, seen),
    }
