"""A fast ensemble of networks on descriptors: what screens millions and predicts from a file.

All members are one batch of matrices. Each member leaves some groups (layers, or pairs) out of its
training, so the ensemble brings predictions of everything by members that have not seen it: errors
and calibration come from these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from heteroforge.labels import STACK_PROPERTIES
from heteroforge.models.property_network import Standard, group_folds
from heteroforge.models.stack_inputs import (
    describe_stacks,
    fast_baselines,
    number_of_interfaces,
)
from heteroforge.models.training import (
    load_model,
    of_this_kind,
    round_to_half,
    save_model,
    seed_everything,
)
from heteroforge.models.windows import UNCLIPPED
from heteroforge.structures import Stack

__all__ = [
    "Differences",
    "FastPredictor",
    "Surrogate",
    "SurrogateSettings",
    "clip_gaps",
    "difference_loss",
    "folds_of_stacks",
    "held_out",
    "informative_residuals",
    "train_surrogate",
    "upper_bounds",
]


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


class Differences(nn.Module):
    """Scales of networks that give the difference between properties and their baselines.

    Columns that never vary in training count for nothing, unknown inputs for the mean.

    Args:
        inputs, outputs: numbers of columns.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.input_scale = Standard(inputs)
        self.register_buffer("varies", torch.ones(inputs))
        self.baseline_middle = Standard(outputs)
        self.difference_scale = Standard(outputs)
        # Lowest and highest differences seen: no prediction goes further than a little beyond.
        self.register_buffer("bounds", torch.zeros(2, outputs))

    def fit_scales(
        self, inputs: np.ndarray, baselines: np.ndarray, values: np.ndarray
    ) -> np.ndarray:
        """Take the scales of training data; returns the differences (n, outputs) to learn."""
        self.input_scale.fit(inputs)
        lowest, highest = _ends(inputs)
        self.varies.copy_(torch.from_numpy((highest - lowest > 1e-9).astype(np.float32)))
        self.baseline_middle.fit(baselines)
        differences = values - self.fill(baselines)
        self.difference_scale.fit(differences)
        low, high = (np.where(np.isfinite(x), x, 0.0) for x in _ends(differences))
        margin = 0.2 * (high - low)
        self.bounds.copy_(torch.from_numpy(np.stack([low - margin, high + margin])))
        return differences

    def standardise(self, inputs: np.ndarray) -> torch.Tensor:
        values = torch.from_numpy(np.asarray(inputs, dtype=np.float32))
        return self.input_scale(values) * self.varies

    def fill(self, baselines: np.ndarray) -> np.ndarray:
        """Baselines (n, properties) with the mean in place of unknown ones."""
        middle = self.baseline_middle.middle.numpy()
        return np.where(np.isfinite(baselines), baselines, middle)

    def restore(self, outputs: torch.Tensor) -> np.ndarray:
        """Differences in the properties' units from standardised ones (..., properties)."""
        found = self.difference_scale.inverse(outputs)
        return torch.clamp(found, self.bounds[0], self.bounds[1]).numpy()


def _ends(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest known value per column; infinite where none is known."""
    known = np.isfinite(values)
    low = np.where(known, values, np.inf).min(0, initial=np.inf)
    return low, np.where(known, values, -np.inf).max(0, initial=-np.inf)


class Surrogate(Differences):
    """Networks on descriptors that give the difference between properties and their baselines."""

    def __init__(self, settings: SurrogateSettings) -> None:
        inputs, outputs = len(settings.inputs), len(settings.properties)
        super().__init__(inputs, outputs)
        self.settings = settings
        members, width = settings.members, settings.width
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
            self.restore(self(self.standardise(inputs[i : i + batch_size])))
            for i in range(0, max(len(inputs), 1), batch_size)
        ]
        return np.concatenate(parts, axis=1) + self.fill(baselines)[None]

    def predict(self, inputs: np.ndarray, baselines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the members (n, properties)."""
        members = self.predict_members(inputs, baselines)
        return members.mean(0), members.std(0, ddof=1)


def _is_gap(properties: Sequence[str]) -> np.ndarray:
    return np.array([p.startswith("gap_") and not p.endswith("_std") for p in properties])


def upper_bounds(values: np.ndarray, properties: Sequence[str]) -> np.ndarray:
    """Which values (n, properties) bound what is learned from above: gaps of exactly zero.

    By how much the bands of a metal overlap its gap does not tell. Networks that had to give zero
    for every metal would draw semiconductors like them towards zero, too.
    """
    return _is_gap(properties) & (np.asarray(values) == 0.0)


def clip_gaps(values: np.ndarray, properties: Sequence[str]) -> np.ndarray:
    """Values (..., properties) with no gap below zero, as they are shown."""
    return np.where(_is_gap(properties) & (values < 0.0), 0.0, values)


def informative_residuals(
    predicted: np.ndarray, values: np.ndarray, properties: Sequence[str]
) -> np.ndarray:
    """Predicted − known values (n, properties), from which intervals are calibrated.

    NaN where a value is unknown, and where it is an upper bound that the prediction keeps: that a
    metal is taken for one says nothing of how far off the gap of a semiconductor is.
    """
    residuals = predicted - values
    return np.where(upper_bounds(values, properties) & (residuals <= 0.0), np.nan, residuals)


def difference_loss(
    outputs: torch.Tensor, targets: torch.Tensor, is_bound: torch.Tensor
) -> torch.Tensor:
    """Smooth absolute error of standardised differences, zero where an upper bound is kept.

    Args:
        outputs: of networks (..., n, properties).
        targets, is_bound: differences, and which are `upper_bounds` (n, properties).
    """
    error = nn.functional.smooth_l1_loss(
        outputs, targets.expand_as(outputs), reduction="none", beta=0.3
    )
    return error.masked_fill(is_bound & (outputs < targets), 0.0)


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


def held_out(members: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread (n, properties) over the members that left a row out.

    Args:
        members: predictions (folds · repeats, n, properties), members of a fold together.
        outside: which folds leave a row out (n, folds).
    """
    repeats = len(members) // outside.shape[1]
    hidden = np.repeat(outside, repeats, axis=1).T[:, :, None]
    count = np.maximum(hidden.sum(0), 1)
    mean = np.where(hidden, members, 0.0).sum(0) / count
    squares = np.where(hidden, (members - mean) ** 2, 0.0).sum(0)
    return mean, np.sqrt(squares / np.maximum(count - 1, 1))


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
    differences = model.fit_scales(inputs, baselines, values)
    known = np.isfinite(differences)
    outside = folds_of_stacks(groups, settings.folds, seed)
    sees = torch.from_numpy(~np.repeat(outside, settings.repeats, axis=1).T)  # (members, n)
    x = model.standardise(inputs)
    y = model.difference_scale(torch.from_numpy(differences.astype(np.float32)))
    mask = torch.from_numpy(known)
    is_bound = torch.from_numpy(upper_bounds(values, settings.properties))
    chance = None if weights is None else np.asarray(weights) / np.sum(weights)
    optimiser = torch.optim.AdamW(
        model.layers.parameters(), lr=learning_rate, weight_decay=weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    model.train()
    for _ in range(steps):
        chosen = torch.from_numpy(generator.choice(len(x), min(batch_size, len(x)), p=chance))
        counts = mask[chosen] & sees[:, chosen, None]
        error = difference_loss(model(x[chosen]), y[chosen], is_bound[chosen])
        loss = (error * counts).sum() / counts.sum().clamp(min=1) * settings.members
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    round_to_half(model)  # so that what is told of the held-out is told of the file
    mean, spread = held_out(model.predict_members(inputs, baselines), outside)
    return model, mean, spread


# --- in place of a slower predictor ---------------------------------------------------------------


@dataclass
class FastPredictor:
    """A surrogate of a slower predictor, for stacks of the same library.

    Attributes:
        surrogate: of what the slower predictor gives: properties, and their standard deviations.
            Binding energies are per interface.
        error: root-mean-square difference to it on pairs that were left out (properties).
        error_unknown: the same, were nothing known of the layers but their structure.
    """

    surrogate: Surrogate
    error: np.ndarray
    error_unknown: np.ndarray

    @classmethod
    def of(
        cls,
        stacks: Sequence[Stack],
        table: pd.DataFrame,
        predicted: pd.DataFrame,
        pairs: Sequence[str],
        seed: int,
        steps: int = 1500,
    ) -> FastPredictor:
        """Learn the slower predictor from stacks that it has predicted.

        Args:
            stacks: what it has predicted (n).
            table: of the library, indexed by `monolayer_id`.
            predicted: `<property>` and `<property>_std` of all `STACK_PROPERTIES`, with those of
                `UNCLIPPED` where there are any.
            pairs: the layers of each stack, which are left out together.
        """
        names = list(STACK_PROPERTIES)
        columns = [own if (own := UNCLIPPED.get(name)) in predicted else name for name in names]
        columns += [f"{name}_std" for name in names]
        values = predicted[columns].to_numpy(dtype=float).copy()
        values[:, _of_binding(columns)] /= number_of_interfaces(stacks)[:, None]
        descriptors = describe_stacks(stacks, table)
        settings = SurrogateSettings(
            tuple(descriptors.columns),
            (*names, *columns[len(names) :]),
            repeats=1,
        )
        groups = [(pair,) for pair in pairs]
        model, left_out, _ = train_surrogate(
            settings, descriptors.to_numpy(), _baselines(descriptors), values, groups,
            seed=seed, steps=steps,
        )  # fmt: skip
        unknown = describe_stacks(stacks, table.head(0))
        members = model.predict_members(unknown.to_numpy(), _baselines(unknown))
        blind, _ = held_out(members, folds_of_stacks(groups, settings.folds, seed))
        known = _knows_edges(descriptors)
        rows = known if known.any() else ~known
        error, error_unknown = (
            np.sqrt(np.nanmean((found - values)[some, : len(names)] ** 2, axis=0))
            for found, some in ((left_out, rows), (blind, slice(None)))
        )
        return cls(model, error, np.maximum(error, error_unknown))

    def predict(self, stacks: Sequence[Stack], table: pd.DataFrame) -> pd.DataFrame:
        """`<property>`, `<property>_std` and those of `UNCLIPPED`, in the order given.

        Where an edge of a layer is not known, as of layers beyond the library, the error is that of
        knowing nothing but the layers' structure.

        Args:
            table: of the library, indexed by `monolayer_id`.
        """
        settings = self.surrogate.settings
        descriptors = describe_stacks(stacks, table).reindex(columns=list(settings.inputs))
        found, spread = self.surrogate.predict(descriptors.to_numpy(), _baselines(descriptors))
        number = len(settings.properties) // 2
        known = _knows_edges(descriptors)[:, None]
        error = np.where(known, self.error, self.error_unknown)
        own = np.clip(found[:, number:], 0.0, None)
        found[:, number:] = np.sqrt(spread[:, :number] ** 2 + error**2 + own**2)
        found[:, _of_binding(settings.properties)] *= number_of_interfaces(stacks)[:, None]
        frame = pd.DataFrame(found, columns=list(settings.properties))
        frame = frame.assign(**{own: frame[name] for name, own in UNCLIPPED.items()})
        frame["gap_ev"] = frame["gap_ev"].clip(lower=0.0)
        return frame

    def save(self, path: str | Path) -> None:
        save_model(
            path,
            self.surrogate,
            settings=self.surrogate.settings.to_dict(),
            error=self.error.tolist(),
            error_unknown=self.error_unknown.tolist(),
        )

    @classmethod
    def load(cls, path: str | Path) -> FastPredictor:
        return _load(path)


@of_this_kind
def _load(path: str | Path) -> FastPredictor:
    content = load_model(path)
    surrogate = Surrogate(SurrogateSettings.from_dict(content["settings"]))
    surrogate.load_state_dict(content["state"])
    errors = (np.array(content[name]) for name in ("error", "error_unknown"))
    return FastPredictor(surrogate.eval(), *errors)


def _of_binding(columns: Sequence[str]) -> np.ndarray:
    return np.array([name.startswith("binding_energy") for name in columns])


def _knows_edges(descriptors: pd.DataFrame) -> np.ndarray:
    """Whether the edges of all layers of each stack are known."""
    return descriptors["anderson_gap_ev"].notna().to_numpy()


def _baselines(descriptors: pd.DataFrame) -> np.ndarray:
    """Baselines of the properties, and zeros for their standard deviations."""
    baselines = fast_baselines(descriptors)
    return np.concatenate([baselines, np.zeros_like(baselines)], axis=1)
