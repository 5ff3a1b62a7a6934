"""An ensemble of graph networks: bilayers as their atoms, beside what is known of their layers.

Members leave groups (layers, or pairs) out of their training as those of `property_surrogate` do,
so that errors and calibration come from members that have not seen what they predict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from heteroforge.graphs import GraphBatch, GraphStore
from heteroforge.models.encoder import AtomEncoder, multilayer_perceptron
from heteroforge.models.property_surrogate import (
    Differences,
    SurrogateSettings,
    clip_gaps,
    difference_loss,
    folds_of_stacks,
    held_out,
    upper_bounds,
)
from heteroforge.models.training import round_to_half, seed_everything

__all__ = ["GraphSettings", "GraphSurrogate", "best_shares", "pooled", "train_graph_surrogate"]

# How fast a contact across an interface counts for less: some van der Waals contacts decide.
CONTACT_DECAY_A = 1.5
CONTACT_SCALE = 10.0
# Shares of the graph networks among which the one with the least held-out error is taken.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class GraphSettings(SurrogateSettings):
    """Hyper-parameters of an ensemble of graph networks.

    Attributes:
        width: channels per atom.
        depth: rounds of message passing.
    """

    repeats: int = 2
    depth: int = 2


class GraphMember(nn.Module):
    """Message passing over atoms, pooled over the stack and its contacts, and descriptors.

    Does not depend on the order of atoms, the cell, rotations in the plane, the vacuum, or on which
    side of the stack is up.
    """

    def __init__(self, settings: GraphSettings) -> None:
        super().__init__()
        width, dropout = settings.width, settings.dropout
        self.atoms = AtomEncoder(width, settings.depth, signed=False)
        self.contact = nn.Linear(width, width)
        self.describe = nn.Sequential(
            nn.Linear(len(settings.inputs), width), nn.SiLU(), nn.Dropout(dropout)
        )
        outputs = len(settings.properties)
        self.head = multilayer_perceptron(3 * width, width, width, outputs, dropout=dropout)

    def forward(self, batch: GraphBatch, inputs: torch.Tensor) -> torch.Tensor:
        """Standardised differences (graphs, properties) from standardised inputs."""
        atoms = self.atoms(batch)
        reach = torch.exp(-batch.distances / CONTACT_DECAY_A) * batch.crossing * CONTACT_SCALE
        weights = reach[:, None].expand(-1, atoms.shape[1])
        contacts = batch.pass_messages(torch.tanh(self.contact(atoms)), weights)
        pooled = [batch.pool_graphs(atoms), batch.pool_graphs(contacts), self.describe(inputs)]
        return self.head(torch.cat(pooled, dim=1))


class GraphSurrogate(Differences):
    """Graph networks that give the difference between properties and their baselines."""

    def __init__(self, settings: GraphSettings) -> None:
        super().__init__(len(settings.inputs), len(settings.properties))
        self.settings = settings
        self.members = nn.ModuleList(GraphMember(settings) for _ in range(settings.members))

    @torch.no_grad()
    def predict_members(
        self,
        store: GraphStore,
        inputs: np.ndarray,
        baselines: np.ndarray,
        graph_of: np.ndarray | None = None,
        batch_size: int = 128,
    ) -> np.ndarray:
        """Predictions (members, n, properties).

        Args:
            store: of the stacks' graphs.
            inputs: (n, inputs), NaN where unknown.
            baselines: (n, properties), NaN where unknown.
            graph_of: place of each row's graph in the store (n); by default in the same order.
        """
        self.eval()
        graph_of = np.arange(len(inputs)) if graph_of is None else graph_of
        x, parts = self.standardise(inputs), []
        for i in range(0, len(x), batch_size):
            batch = store.batch(graph_of[i : i + batch_size])
            outputs = [member(batch, x[i : i + batch_size]) for member in self.members]
            parts.append(self.restore(torch.stack(outputs)))
        return np.concatenate(parts, axis=1) + self.fill(baselines)[None]

    def predict(
        self, store: GraphStore, inputs: np.ndarray, baselines: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the members (n, properties)."""
        members = self.predict_members(store, inputs, baselines)
        return members.mean(0), members.std(0, ddof=1)


def pooled(
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    weight: float | np.ndarray = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of two ensembles taken as one.

    Args:
        first, second: mean and standard deviation of each (n, properties).
        weight: of the second, the first has the rest (properties).
    """
    (one, one_std), (other, other_std) = first, second
    rest = 1.0 - weight
    variance = rest * one_std**2 + weight * other_std**2 + rest * weight * (one - other) ** 2
    return rest * one + weight * other, np.sqrt(variance)


def best_shares(
    descriptors: np.ndarray,
    atoms: np.ndarray,
    values: np.ndarray,
    properties: Sequence[str],
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """The one of `SHARES` per property (properties) with the least mean absolute error.

    Args:
        descriptors, atoms: held-out predictions of both ensembles (n, properties).
        values: (n, properties), NaN where unknown; every property is known of one row at least.
        properties: their names.
        weights: of the rows (n), equal by default.
    """
    of_rows = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float)
    known = np.where(np.isfinite(values), of_rows[:, None], 0.0)
    errors = []
    for share in SHARES:
        both = clip_gaps((1 - share) * descriptors + share * atoms, properties)
        off = np.nan_to_num(np.abs(both - values))
        errors.append((known * off).sum(0) / known.sum(0))
    return np.array(SHARES)[np.argmin(errors, axis=0)]


def train_graph_surrogate(
    settings: GraphSettings,
    store: GraphStore,
    inputs: np.ndarray,
    baselines: np.ndarray,
    values: np.ndarray,
    groups: Sequence[Sequence[str]],
    *,
    seed: int,
    epochs: int = 25,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.02,
    graph_of: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    progress: bool = False,
) -> tuple[GraphSurrogate, np.ndarray, np.ndarray]:
    """An ensemble, and its predictions of stacks by the members that have not seen their groups.

    Args:
        store: graphs of the stacks.
        inputs: (n, inputs), NaN where unknown.
        baselines, values: (n, properties), NaN where unknown.
        groups: see `folds_of_stacks` (n).
        epochs: how often as many rows are drawn as there are graphs.
        graph_of: place of each row's graph in the store (n); by default in the same order.
        weights: chance of a row to be drawn, equal by default (n).

    Returns:
        The ensemble, and mean and spread (n, properties) over the members that left a row out.
    """
    generator = seed_everything(seed, 5 * 10**6)
    model = GraphSurrogate(settings)
    differences = model.fit_scales(inputs, baselines, np.asarray(values, dtype=float))
    x = model.standardise(inputs)
    y = model.difference_scale(torch.from_numpy(differences.astype(np.float32)))
    known = torch.from_numpy(np.isfinite(differences))
    is_bound = torch.from_numpy(upper_bounds(values, settings.properties))
    graph_of = np.arange(len(x)) if graph_of is None else np.asarray(graph_of)
    chance = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=float)
    outside = folds_of_stacks(groups, settings.folds, seed)
    steps = max(1, epochs * len(store) // batch_size)
    bar = tqdm(
        total=len(model.members) * steps, unit=" steps", mininterval=10, disable=not progress
    )
    for number, member in enumerate(model.members):
        seen = np.flatnonzero(~outside[:, number // settings.repeats])
        if len(seen) == 0:
            continue
        share = chance[seen] / chance[seen].sum()
        optimiser = torch.optim.AdamW(
            member.parameters(), lr=learning_rate, weight_decay=weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
        member.train()
        for _ in range(steps):
            rows = generator.choice(seen, min(batch_size, len(seen)), p=share)
            outputs = member(store.batch(graph_of[rows]), x[rows])
            error = difference_loss(outputs, y[rows], is_bound[rows])
            loss = (error * known[rows]).sum() / known[rows].sum().clamp(min=1)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(member.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            bar.update()
    bar.close()
    round_to_half(model)  # so that what is told of the held-out is told of the file
    members = model.predict_members(store, inputs, baselines, graph_of)
    return model, *held_out(members, outside)
