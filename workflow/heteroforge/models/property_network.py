"""Properties of stacks at DFT fidelity: a network that learns the difference from a baseline.

Physics baselines are known for every stack, DFT for few. An encoder of atoms is trained to give
the baselines from the structure alone, which thousands of stacks teach it; a small head then
learns, on the encoding and the descriptors, what DFT adds to the baseline. The encoder never
sees a DFT value, so leaving a pair out of the head's training leaves it out of everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from heteroforge.graphs import GraphBatch, GraphStore
from heteroforge.models.encoder import AtomEncoder, multilayer_perceptron
from heteroforge.models.training import History, fit, seed_everything

__all__ = [
    "PropertyNetwork",
    "PropertySettings",
    "Standard",
    "correct_baseline",
    "embed",
    "fit_difference",
    "group_folds",
    "pretrain",
]

BLOCK = 256  # graphs that are embedded at a time
PRIOR_LABELS = 3.0  # what "DFT is the baseline" counts for


@dataclass(frozen=True)
class PropertySettings:
    """Hyper-parameters that make the network what it is.

    Attributes:
        properties: names, in the order of all arrays.
        descriptors: names of the descriptor columns.
        width: channels per atom.
        depth: rounds of message passing.
        hidden: width of the head.
    """

    properties: tuple[str, ...]
    descriptors: tuple[str, ...]
    width: int = 48
    depth: int = 2
    hidden: int = 48

    def to_dict(self) -> dict:
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, data: dict) -> PropertySettings:
        names = {key: tuple(data[key]) for key in ("properties", "descriptors")}
        return cls(**(data | names))


class Standard(nn.Module):
    """Standardises columns; unknown values (NaN) become 0, the mean."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(columns))
        self.register_buffer("scale", torch.ones(columns))

    def fit(self, values: np.ndarray) -> Standard:
        """Take mean and standard deviation of the known values (n, columns)."""
        values = np.asarray(values, dtype=float)
        known = np.isfinite(values)
        count = np.maximum(known.sum(0), 1)
        middle = np.where(known, values, 0.0).sum(0) / count
        spread = np.sqrt((np.where(known, values - middle, 0.0) ** 2).sum(0) / count)
        self.middle.copy_(torch.from_numpy(middle))
        self.scale.copy_(torch.from_numpy(np.where(spread > 1e-9, spread, 1.0)))
        return self

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        # Clamped: a descriptor far outside the training range must not carry a prediction away.
        return ((values - self.middle) / self.scale).nan_to_num(0.0).clamp(-5.0, 5.0)

    def inverse(self, values: torch.Tensor) -> torch.Tensor:
        return values * self.scale + self.middle


class PropertyNetwork(nn.Module):
    """Encoder of stacks, head of the baselines, head of the difference DFT − baseline.

    Invariant to the order of atoms, the cell, rotations in the plane, the vacuum, and to turning
    the stack upside down.
    """

    def __init__(self, settings: PropertySettings) -> None:
        super().__init__()
        self.settings = settings
        width, properties = settings.width, len(settings.properties)
        self.atoms = AtomEncoder(width, settings.depth, signed=False)
        self.contact = nn.Linear(width, width)
        self.baseline_scale = Standard(properties)
        self.baseline_head = multilayer_perceptron(2 * width, settings.hidden, properties)
        inputs = 2 * width + properties + len(settings.descriptors)
        self.input_scale = Standard(inputs)
        self.register_buffer("slope", torch.ones(properties))
        self.register_buffer("offset", torch.zeros(properties))
        self.difference_scale = Standard(properties)
        self.difference_head = multilayer_perceptron(
            inputs, settings.hidden, settings.hidden, properties, dropout=0.1
        )

    def encode(self, batch: GraphBatch) -> torch.Tensor:
        """Embedding (graphs, 2 width): all atoms, and their contacts across interfaces."""
        atoms = self.atoms(batch)
        crossing = batch.crossing.float()[:, None].expand(-1, atoms.shape[1])
        reach = torch.exp(-batch.distances / 1.5)[:, None] * 10.0
        contacts = batch.pass_messages(torch.tanh(self.contact(atoms)), crossing * reach)
        return torch.cat([batch.pool_graphs(atoms), batch.pool_graphs(contacts)], dim=1)

    def forward(self, inputs: torch.Tensor, baselines: torch.Tensor) -> torch.Tensor:
        """DFT values (n, properties): corrected baseline and what the head adds to it.

        Args:
            inputs: embedding, baselines and descriptors (n, inputs), NaN where unknown.
            baselines: (n, properties), NaN where unknown: the mean of all stacks then stands in.
        """
        baselines = torch.where(torch.isfinite(baselines), baselines, self.baseline_scale.middle)
        difference = self.difference_scale.inverse(self.difference_head(self.input_scale(inputs)))
        return self.slope * baselines + self.offset + difference


def pretrain(
    model: PropertyNetwork,
    store: GraphStore,
    baselines: np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    device: torch.device | str = "cpu",
    **options: object,
) -> History:
    """Teach the encoder the baselines (n, properties; NaN unknown) of all stacks.

    A tenth of the stacks is held out to stop early. `options` go to `training.fit`.
    """
    model.to(device)
    model.baseline_scale.fit(baselines)
    targets = torch.from_numpy(np.asarray(baselines, dtype=np.float32)).to(device)
    generator = seed_everything(seed, 10**6)
    order = generator.permutation(len(store))
    held_out = order[: max(1, len(order) // 10)]
    training = order[len(held_out) :] if len(order) > 1 else order

    def batches(epoch: int, generator: np.random.Generator):
        shuffled = generator.permutation(training)
        for start in range(0, len(shuffled), batch_size):
            yield shuffled[start : start + batch_size]

    def miss(indices: np.ndarray) -> torch.Tensor:
        predicted = model.baseline_head(model.encode(store.batch(indices, device=device)))
        wanted = targets[torch.from_numpy(indices).to(device)]
        known = torch.isfinite(wanted)
        error = nn.functional.smooth_l1_loss(
            predicted, model.baseline_scale(wanted), reduction="none"
        )
        return (error * known).sum() / known.sum().clamp(min=1)

    def loss(indices: np.ndarray, epoch: int):
        value = miss(indices)
        return value, {"loss": float(value.detach())}

    return fit(
        model,
        batches,
        loss,
        lambda epoch: {"validation_loss": float(miss(held_out))},
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        **options,
    )


@torch.no_grad()
def embed(model: PropertyNetwork, store: GraphStore) -> np.ndarray:
    """Embeddings (n, 2 width) of all graphs of a store, by a model on the CPU."""
    model.eval()
    parts = []
    for start in range(0, len(store), BLOCK):
        indices = np.arange(start, min(start + BLOCK, len(store)))
        parts.append(model.encode(store.batch(indices)).numpy())
    return np.concatenate(parts)


def correct_baseline(baselines: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and offset per property that take a baseline to DFT, shrunk to 1 and 0.

    Least squares with a prior worth `PRIOR_LABELS` labels that say "DFT is the baseline"; a
    property without labels keeps its baseline.

    Args:
        baselines, values: (n, properties), values NaN where there is no DFT value.

    Returns:
        slope and offset (properties).
    """
    slopes, offsets = [], []
    for baseline, value in zip(np.asarray(baselines).T, np.asarray(values).T, strict=True):
        known = np.isfinite(baseline) & np.isfinite(value)
        if not known.any():
            slopes.append(1.0)
            offsets.append(0.0)
            continue
        x, y = baseline[known], value[known] - baseline[known]
        middle = x.mean()
        spread = max(float(((x - middle) ** 2).mean()), 1e-6)
        # Centred, so that slope and offset are fitted one by one.
        slope = ((x - middle) * (y - y.mean())).sum() / (
            ((x - middle) ** 2).sum() + PRIOR_LABELS * spread
        )
        level = y.sum() / (len(y) + PRIOR_LABELS)
        slopes.append(1.0 + slope)
        offsets.append(level - slope * middle)
    return np.array(slopes), np.array(offsets)


def fit_difference(
    model: PropertyNetwork,
    inputs: np.ndarray,
    baselines: np.ndarray,
    values: np.ndarray,
    *,
    seed: int,
    steps: int = 400,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.3,
) -> None:
    """Fit the correction of the baseline and the difference head, from new weights, to DFT.

    The head's last layer starts at zero and weights decay strongly: with few labels it adds
    little to the corrected baseline.

    Args:
        inputs: embedding, baselines and descriptors (n, inputs), NaN where unknown.
        baselines: (n, properties), NaN where unknown.
        values: DFT (n, properties), NaN where unknown.
    """
    generator = seed_everything(seed, 2 * 10**6)
    for part in model.difference_head:
        if isinstance(part, nn.Linear):
            part.reset_parameters()
    last = model.difference_head[-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    middle = model.baseline_scale.middle.cpu().numpy()
    filled = np.where(np.isfinite(baselines), baselines, middle)
    slope, offset = correct_baseline(filled, values)
    model.slope.copy_(torch.from_numpy(slope))
    model.offset.copy_(torch.from_numpy(offset))
    model.input_scale.fit(inputs)
    differences = values - (slope * filled + offset)
    model.difference_scale.fit(differences)
    model.difference_scale.middle.zero_()
    x = model.input_scale(torch.from_numpy(np.asarray(inputs, dtype=np.float32)))
    wanted = torch.from_numpy(np.asarray(differences, dtype=np.float32))
    known = torch.isfinite(wanted)
    y = (wanted / model.difference_scale.scale).nan_to_num(0.0)
    optimiser = torch.optim.AdamW(
        model.difference_head.parameters(), lr=learning_rate, weight_decay=weight_decay
    )
    model.difference_head.train()
    order = np.zeros(0, dtype=int)
    for step in range(steps):
        if len(order) < min(batch_size, len(x)):
            order = generator.permutation(len(x))
        chosen, order = order[:batch_size], order[batch_size:]
        index = torch.from_numpy(chosen)
        rate = learning_rate * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * step / steps)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        error = nn.functional.smooth_l1_loss(
            model.difference_head(x[index]), y[index], reduction="none"
        )
        value = (error * known[index]).sum() / known[index].sum().clamp(min=1)
        value.backward()
        optimiser.step()
    model.eval()


def group_folds(groups: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """Fold (n) of each label, all labels of a group in one; sizes as even as groups allow."""
    names = np.array(sorted(set(groups)))
    generator = np.random.default_rng([seed, 3])
    generator.shuffle(names)
    number = max(1, min(folds, len(names)))
    sizes = dict.fromkeys(names, 0)
    for group in groups:
        sizes[group] += 1
    filled = np.zeros(number, dtype=int)
    fold_of = {}
    for name in sorted(names, key=lambda name: -sizes[name]):
        fold_of[name] = int(filled.argmin())
        filled[fold_of[name]] += sizes[name]
    return np.array([fold_of[group] for group in groups])
