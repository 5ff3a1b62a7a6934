"""Training of the generative model, and what is kept of it for sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from heteroforge.models.catalogue import Catalogue
from heteroforge.models.gvae import GVAE, GVAESettings, LibraryBatch, StackData
from heteroforge.models.gvae_conditioning import (
    ConditionalGenerator,
    standard_windows,
    train_conditional,
)
from heteroforge.models.training import (
    History,
    fingerprint,
    fit,
    load_model,
    of_this_kind,
    save_model,
)
from heteroforge.models.traits import Traits
from heteroforge.structures import Stack, StructureError

__all__ = [
    "ANNEALED_SHARE",
    "TrainedGVAE",
    "best_labels",
    "load_gvae",
    "prepare_stacks",
    "save_gvae",
    "train_gvae",
]

# The weight of the Kullback–Leibler term rises over this share of the epochs.
ANNEALED_SHARE = 0.4
FREE_BITS = 0.02
# Fewest stacks with both fidelities for which the others are shifted to DFT.
FEWEST_COMMON = 5


@dataclass
class TrainedGVAE:
    """A trained model with what sampling needs.

    Attributes:
        model: the network, in evaluation mode.
        property_middle, property_scale: of the property head's outputs (p).
        latents: posterior means of the training stacks (n, latent).
        history: one row per epoch.
        conditional: draws latents for a target; None where none was trained.
        conditional_history: one row per fifty steps of its training.
        traits: what it can be asked for beside windows.
    """

    model: GVAE
    property_middle: np.ndarray
    property_scale: np.ndarray
    latents: np.ndarray
    history: History
    conditional: ConditionalGenerator | None = None
    conditional_history: list[dict[str, float]] = field(default_factory=list)
    traits: Traits = Traits(())

    @property
    def properties(self) -> tuple[str, ...]:
        return self.model.settings.properties

    @property
    def device(self) -> torch.device:
        """Where the network is, and so works."""
        return next(self.model.parameters()).device

    def to(self, device: torch.device | str) -> TrainedGVAE:
        """Move the networks to a device; what goes in and comes out of them stays in numpy."""
        self.model.to(device)
        if self.conditional is not None:
            self.conditional.to(device)
        return self

    @torch.no_grad()
    def expect(self, latents: np.ndarray) -> dict[str, np.ndarray]:
        """What the property head expects of latents (n, latent), per property (n)."""
        inputs = torch.from_numpy(np.asarray(latents, dtype=np.float32)).to(self.device)
        values = self.model.property_head(inputs).cpu().numpy()[:, : len(self.properties)]
        values = values * self.property_scale + self.property_middle
        return dict(zip(self.properties, values.T, strict=True))

    def windows(self, targets: Mapping[str, Sequence[float | None]]) -> np.ndarray:
        """Windows (p, 2) of targets as the conditional generator reads them."""
        return standard_windows(targets, self.properties, self.property_middle, self.property_scale)


def best_labels(
    labels: pd.DataFrame, stack_ids: Sequence[str], properties: Sequence[str]
) -> np.ndarray:
    """The best known value of each property (stacks, p): DFT, or else what published DFT says.

    That is shifted by the mean difference over stacks that have both, where a few have. Of a layer
    alone nothing is published as of a stack: its baseline is what the library knows of it.
    """
    tables = {}
    for fidelity in ("baseline", "published", "dft"):
        part = labels[labels["fidelity"] == fidelity]
        table = part.pivot_table(
            index="stack_id", columns="property", values="value", aggfunc="mean"
        )
        tables[fidelity] = table.reindex(columns=list(properties))
    common = tables["published"].index.intersection(tables["dft"].index)
    difference = tables["dft"].loc[common] - tables["published"].loc[common]
    shift = difference.mean().where(difference.count() >= FEWEST_COMMON, 0.0).fillna(0.0)
    best = tables["dft"].reindex(stack_ids)
    for other in (tables["published"] + shift, tables["baseline"]):
        best = best.combine_first(other.reindex(stack_ids))
    return best[list(properties)].to_numpy(dtype=float)


def prepare_stacks(
    specifications: Sequence[str], catalogue: Catalogue
) -> tuple[list[Stack], np.ndarray, list[str]]:
    """Stacks that the catalogue can express.

    Returns:
        The stacks, their positions in `specifications`, and one reason per stack left out.
    """
    stacks, kept, reasons = [], [], []
    for i, text in enumerate(specifications):
        try:
            stack = Stack.from_json(text, catalogue.monolayers)
            catalogue.encode(stack)
        except StructureError as error:
            reasons.append(str(error))
            continue
        stacks.append(stack)
        kept.append(i)
    return stacks, np.array(kept, dtype=int), reasons


def train_gvae(
    training: Sequence[Stack],
    validation: Sequence[Stack],
    catalogue: Catalogue,
    properties: Mapping[str, np.ndarray],
    *,
    latent_dimensions: int,
    number_of_layers: tuple[int, int],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    kl_weight: float,
    seed: int,
    conditional_steps: int = 0,
    alignments: Sequence[str | None] = (),
    fused: bool = True,
    width: int = 64,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> TrainedGVAE:
    """Train on `training`, stop by how well stacks of `validation` are rebuilt (unseen pairs).

    Every stack is shown from below as often as from above, where the catalogue can express that.

    Args:
        properties: per name, values of training and then validation stacks, NaN where unknown. The
            head learns those that are known of a training stack: layers alone do not bind.
        number_of_layers: [fewest, most] layers of the stacks.
        conditional_steps: of the generator that draws latents for a target; 0: none is trained.
        alignments: band alignment of the training stacks, None where unknown; all by default.
        fused: of `train_conditional`; False is what fusion is compared with.
        patience: epochs without improvement before stopping; a quarter of all by default.

    Raises:
        StructureError: no training stacks.
    """
    if len(training) == 0:
        raise StructureError("no training stacks: nothing to learn from")
    names = tuple(n for n in properties if np.isfinite(properties[n][: len(training)]).any())
    values = np.array([properties[name] for name in names], dtype=float).T
    values = values.reshape(len(training) + len(validation), len(names))
    middle, scale = _standard(values[: len(training)])
    standard = (values - middle) / scale
    settings = GVAESettings(
        latent_dimensions=latent_dimensions,
        width=width,
        entry_features=catalogue.entry_features.shape[1],
        properties=names,
        fewest_layers=number_of_layers[0],
        maximum_layers=number_of_layers[1],
    )
    torch.manual_seed(seed)
    model = GVAE(settings).to(device)
    library = LibraryBatch.of(catalogue, device)
    upside_down = [_reversed(stack, catalogue) for stack in training]
    data = StackData(
        [*training, *upside_down],
        catalogue,
        np.concatenate([standard[: len(training)]] * 2),
        maximum_layers=settings.maximum_layers,
    )
    faces = np.arange(data.gap_excess_a.shape[1])[None, :] < data.count[:, None] - 1
    if faces.any():
        excess = data.gap_excess_a[faces]
        model.gap_range.copy_(torch.tensor([float(excess.min()), float(excess.max())]))
    held_out = None
    if len(validation):
        held_out = StackData(
            validation,
            catalogue,
            standard[len(training) :],
            maximum_layers=settings.maximum_layers,
        ).batch(np.arange(len(validation)), device)
    annealing = max(1.0, ANNEALED_SHARE * epochs)

    def weight(epoch: int) -> float:
        return kl_weight * min(1.0, (epoch + 1) / annealing)

    def batches(epoch: int, generator: np.random.Generator):
        order = generator.permutation(len(training))
        order = order + len(training) * (generator.random(len(order)) < 0.5)
        for start in range(0, len(order), batch_size):
            yield data.batch(order[start : start + batch_size], device)

    def loss(batch, epoch: int):
        total, terms, _ = model.loss(batch, library, weight(epoch), FREE_BITS)
        return total, terms

    def validate(epoch: int) -> dict[str, float]:
        batch = held_out if held_out is not None else data.batch(np.arange(len(training)), device)
        _, terms, tensors = model.loss(batch, library, weight(epoch), FREE_BITS, noise=False)
        row = {f"validation_{key}": value for key, value in terms.items()}
        # What the head says of unseen pairs gets worse while stacks are still learned better,
        # so it does not decide when to stop.
        row["validation_loss"] -= row["validation_property"]
        row["kl_weight"] = weight(epoch)
        for i, value in enumerate(tensors["kl_dimension"].tolist()):
            row[f"kl_{i}"] = value
        # A unit is active where its mean varies over the data (Burda et al., ICLR 2016).
        row["active_units"] = float((tensors["mean"].var(0) > 0.01).sum())
        return row

    history = fit(
        model,
        batches,
        loss,
        validate,
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        patience=max(8, epochs // 4) if patience is None else patience,
        first_stop=int(np.ceil(annealing)),
        checkpoint=checkpoint,
        identity=fingerprint(
            settings.to_dict(),
            epochs,
            batch_size,
            learning_rate,
            kl_weight,
            seed,
            [stack.key() for stack in [*training, *validation]],
            values.tolist(),
            catalogue.entry_features.tolist(),
        ),  # fmt: skip
        name="gvae",
        progress=progress,
    )
    model.to("cpu")
    latents = encode_stacks(model, data, LibraryBatch.of(catalogue))
    trained = TrainedGVAE(model, middle, scale, latents[: len(training)], history)
    if conditional_steps:
        trained.traits = Traits.among(training)
        # Upside down all these stay as they are.
        traits = trained.traits.of(training, alignments or [None] * len(training))
        trained.conditional, trained.conditional_history = train_conditional(
            latents,
            data.properties,
            np.concatenate([traits, traits]),
            trained.traits,
            steps=conditional_steps,
            fused=fused,
            seed=seed,
            expect=lambda latent: model.property_head(latent)[:, : len(names)],
            progress=progress,
        )
    return trained


@torch.no_grad()
def encode_stacks(
    model: GVAE, data: StackData, library: LibraryBatch, batch_size: int = 512
) -> np.ndarray:
    """Posterior means (n, latent); the library is on the model's device."""
    model.eval()
    device = next(model.parameters()).device
    encoded = model.encode_library(library)
    parts = []
    for start in range(0, len(data), batch_size):
        rows = np.arange(start, min(start + batch_size, len(data)))
        parts.append(model.encode(data.batch(rows, device), encoded)[0].cpu().numpy())
    return np.concatenate(parts)


def save_gvae(path: str | Path, trained: TrainedGVAE) -> None:
    save_model(
        path,
        trained.model,
        settings=trained.model.settings.to_dict(),
        property_middle=trained.property_middle.tolist(),
        property_scale=trained.property_scale.tolist(),
        latents=torch.from_numpy(np.asarray(trained.latents, dtype=np.float32)),
        history=trained.history.rows,
        best_epoch=trained.history.best_epoch,
        stopped_early=trained.history.stopped_early,
        conditional=None if trained.conditional is None else trained.conditional.state_dict(),
        trait_elements=list(trained.traits.elements),
        conditional_history=trained.conditional_history,
    )


@of_this_kind
def load_gvae(path: str | Path) -> TrainedGVAE:
    content = load_model(path)
    model = GVAE(GVAESettings.from_dict(content["settings"]))
    model.load_state_dict(content["state"])
    model.eval()
    conditional, traits = None, Traits(tuple(content["trait_elements"]))
    if content["conditional"] is not None:
        settings = model.settings
        conditional = ConditionalGenerator(
            settings.latent_dimensions, len(settings.properties), traits.sizes
        )
        conditional.load_state_dict(content["conditional"])
        conditional.eval()
    return TrainedGVAE(
        model,
        np.array(content["property_middle"]),
        np.array(content["property_scale"]),
        content["latents"].numpy(),
        History(content["history"], content["best_epoch"], content["stopped_early"]),
        conditional,
        content["conditional_history"],
        traits,
    )


def _standard(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = np.isfinite(values)
    count = np.maximum(known.sum(0), 1)
    middle = np.where(known, values, 0.0).sum(0) / count
    spread = np.sqrt((np.where(known, values - middle, 0.0) ** 2).sum(0) / count)
    return middle, np.where(spread > 1e-9, spread, 1.0)


def _reversed(stack: Stack, catalogue: Catalogue) -> Stack:
    """The stack upside down, or as it is where the catalogue has no words for that."""
    turned = stack.reversed()
    try:
        catalogue.encode(turned)
    except StructureError:
        return stack
    return turned
