"""A fast ensemble of networks on descriptors: what screens millions and predicts from a file.

All members are one batch of matrices. Each member leaves some groups (layers, or pairs) out of its
training, so the ensemble brings predictions of everything by members that have not seen it: errors
and calibration come from these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from heteroforge.models.property_network import Standard, group_folds
from heteroforge.models.training import seed_everything

__all__ = ["Surrogate", "SurrogateSettings", "folds_of_stacks", "train_surrogate"]


@dataclass(frozen=True)
class SurrogateSettings:
    """Hyper-parameters of a surrogate.

    Attributes:
        inputs, properties: names of the columns.
        folds: parts the groups are divided into; a member leaves out one.
        repeats: members per fold.
        width: of both hidden layers.
        dropout: share of hidden channels dropped in training.
    """

    inputs: tuple[str, ...]
    properties: tuple[str, ...]
    folds: int = 5
    repeats: int = 3
    width: int = 64
    dropout: float = 0.1

    @property
    def members(self) -> int:
        return self.folds * self.repeats

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping) -> SurrogateSettings:
        names = {key: tuple(data[key]) for key in ("inputs", "properties")}
        return cls(**(dict(data) | names))


class MemberLinear(nn.Module):
    """One linear map per member: (members, n, inputs) to (members, n, outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class Surrogate(nn.Module):
    """Networks that give the difference between properties and their baselines.

    Columns that never vary in training count for nothing, unknown inputs for the mean.
    """

    def __init__(self, settings: SurrogateSettings) -> None:
        super().__init__()
        self.settings = settings
        members, width = settings.members, settings.width
        inputs, outputs = len(settings.inputs), len(settings.properties)
        self.input_scale = Standard(inputs)
        self.register_buffer("varies", torch.ones(inputs))
        self.baseline_middle = Standard(outputs)
        self.difference_scale = Standard(outputs)
        # Lowest and highest differences seen: no prediction goes further than a little beyond.
        self.register_buffer("bounds", torch.zeros(2, outputs))
        self.layers = nn.Sequential(
            MemberLinear(members, inputs, width),
            nn.SiLU(),
            nn.Dropout(settings.dropout),
            MemberLinear(members, width, width),
            nn.SiLU(),
            nn.Dropout(settings.dropout),
            MemberLinear(members, width, outputs),
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Standardised differences (members, n, properties) from standardised inputs."""
        return self.layers(inputs.expand(self.settings.members, -1, -1))

    def standardise(self, inputs: np.ndarray) -> torch.Tensor:
        values = torch.from_numpy(np.asarray(inputs, dtype=np.float32))
        return self.input_scale(values) * self.varies

    def fill(self, baselines: np.ndarray) -> np.ndarray:
        """Baselines (n, properties) with the mean in place of unknown ones."""
        middle = self.baseline_middle.middle.numpy()
        return np.where(np.isfinite(baselines), baselines, middle)

    @torch.no_grad()
    def predict_members(
        self, inputs: np.ndarray, baselines: np.ndarray, batch_size: int = 8192
    ) -> np.ndarray:
        """Predictions (members, n, properties).

        Args:
            inputs: (n, inputs), NaN where unknown.
            baselines: (n, properties), NaN where unknown.
        """
        self.eval()
        parts = [
            torch.clamp(
                self.difference_scale.inverse(self(self.standardise(inputs[i : i + batch_size]))),
                self.bounds[0],
                self.bounds[1],
            ).numpy()
            for i in range(0, max(len(inputs), 1), batch_size)
        ]
        return np.concatenate(parts, axis=1) + self.fill(baselines)[None]

    def predict(self, inputs: np.ndarray, baselines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the members (n, properties)."""
        members = self.predict_members(inputs, baselines)
        return members.mean(0), members.std(0, ddof=1)


def folds_of_stacks(groups: Sequence[Sequence[str]], folds: int, seed: int) -> np.ndarray:
    """Which folds (n, folds) leave a stack out: those that hold one of its groups.

    Args:
        groups: per stack its layers, for a split by layer; or one name, for a split by that.
    """
    names = [name for group in groups for name in set(group)]
    fold_of = dict(zip(names, group_folds(names, folds, seed), strict=True))
    outside = np.zeros((len(groups), folds), dtype=bool)
    for i, group in enumerate(groups):
        outside[i, [fold_of[name] for name in group]] = True
    return outside


def train_surrogate(
    settings: SurrogateSettings,
    inputs: np.ndarray,
    baselines: np.ndarray,
    values: np.ndarray,
    groups: Sequence[Sequence[str]],
    *,
    seed: int,
    steps: int = 1500,
    batch_size: int = 256,
    learning_rate: float = 4e-3,
    weight_decay: float = 0.02,
    weights: np.ndarray | None = None,
) -> tuple[Surrogate, np.ndarray, np.ndarray]:
    """An ensemble, and its predictions of stacks by the members that have not seen their groups.

    Args:
        inputs: (n, inputs), NaN where unknown.
        baselines, values: (n, properties), NaN where unknown.
        groups: see `folds_of_stacks`.
        weights: chance of a row to be drawn, equal by default (n).

    Returns:
        The surrogate, and mean and spread (n, properties) over the members that left a row out.
    """
    generator = seed_everything(seed, 4 * 10**6)
    model = Surrogate(settings)
    values = np.asarray(values, dtype=float)
    model.input_scale.fit(inputs)
    known_inputs = np.isfinite(inputs)
    highest = np.where(known_inputs, inputs, -np.inf).max(0, initial=-np.inf)
    lowest = np.where(known_inputs, inputs, np.inf).min(0, initial=np.inf)
    spread = highest - lowest
    model.varies.copy_(torch.from_numpy((spread > 1e-9).astype(np.float32)))
    model.baseline_middle.fit(baselines)
    differences = values - model.fill(baselines)
    model.difference_scale.fit(differences)
    known = np.isfinite(differences)
    low = np.where(known, differences, np.inf).min(0, initial=np.inf)
    high = np.where(known, differences, -np.inf).max(0, initial=-np.inf)
    low, high = (np.where(np.isfinite(x), x, 0.0) for x in (low, high))
    margin = 0.2 * (high - low)
    model.bounds.copy_(torch.from_numpy(np.stack([low - margin, high + margin])))

    outside = folds_of_stacks(groups, settings.folds, seed)
    sees = torch.from_numpy(~np.repeat(outside, settings.repeats, axis=1).T)  # (members, n)
    x = model.standardise(inputs)
    y = model.difference_scale(torch.from_numpy(differences.astype(np.float32)))
    mask = torch.from_numpy(known)
    chance = None if weights is None else np.asarray(weights) / np.sum(weights)
    optimiser = torch.optim.AdamW(
        model.layers.parameters(), lr=learning_rate, weight_decay=weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    model.train()
    for _ in range(steps):
        chosen = torch.from_numpy(generator.choice(len(x), min(batch_size, len(x)), p=chance))
        counts = mask[chosen] & sees[:, chosen, None]
        error = nn.functional.smooth_l1_loss(
            model(x[chosen]), y[chosen].expand(settings.members, -1, -1), reduction="none", beta=0.3
        )
        loss = (error * counts).sum() / counts.sum().clamp(min=1) * settings.members
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    members = model.predict_members(inputs, baselines)
    hidden = np.repeat(outside, settings.repeats, axis=1).T[:, :, None]
    count = np.maximum(hidden.sum(0), 1)
    mean = np.where(hidden, members, 0.0).sum(0) / count
    spread = np.sqrt(np.where(hidden, (members - mean) ** 2, 0.0).sum(0) / np.maximum(count - 1, 1))
    return model, mean, spread
