"""A published crystal graph network as a baseline: CHGNet, trained on properties of bilayers.

CHGNet (B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023)) as its package has it, with as many
outputs as there are properties in place of its energy: means over atoms, so intensive. It learns
the properties themselves from the atoms alone, as such networks are used: no physics baseline, no
descriptors. Atoms are at the gap at which the layers touch, as other predictors see them.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from heteroforge.models.property_network import Standard
from heteroforge.models.property_surrogate import (
    SurrogateSettings,
    folds_of_stacks,
    train_surrogate,
)
from heteroforge.models.stack_inputs import at_contact_gaps
from heteroforge.models.training import seed_everything
from heteroforge.structures import Stack, build

__all__ = [
    "CrystalSettings",
    "crystal_graphs",
    "predict_from_pretrained",
    "predict_with_crystal_network",
]

ATOM_CUTOFF_A, BOND_CUTOFF_A = 6.0, 3.0  # of the published network
VACUUM_A = 15.0  # further than it sees
WEIGHT_DECAY = 0.02


@dataclass(frozen=True)
class CrystalSettings:
    """What the network is, and how it is trained.

    Attributes:
        channels: per atom, bond and angle (published: 64).
        blocks: interaction blocks (published: 4).
        basis: radial and angular functions (published: 31).
        epochs: over the training part.
        batch_size: stacks per step.
        learning_rates: of which the best on a part of the training part is taken.
    """

    channels: int = 32
    blocks: int = 3
    basis: int = 15
    epochs: int = 20
    batch_size: int = 32
    learning_rates: tuple[float, ...] = (3e-3, 1e-2)


def crystal_graphs(stacks: Sequence[Stack]) -> list:
    """CHGNet's graphs of stacks at the gaps at which their layers touch, in the order given."""
    from chgnet.graph import CrystalGraphConverter
    from pymatgen.core import Structure

    convert = CrystalGraphConverter(
        atom_graph_cutoff=ATOM_CUTOFF_A,
        bond_graph_cutoff=BOND_CUTOFF_A,
        on_isolated_atoms="ignore",
    )
    graphs = []
    for stack in stacks:
        atoms = build(at_contact_gaps(stack), vacuum_a=VACUUM_A)
        cell = atoms.cell.array
        graphs.append(
            convert(Structure(cell, atoms.numbers, atoms.positions, coords_are_cartesian=True))
        )
    return graphs


class CrystalNetwork(nn.Module):
    """CHGNet with random weights and several outputs per atom, averaged over the atoms.

    Args:
        settings: of the network.
        outputs: number of properties.
    """

    def __init__(self, settings: CrystalSettings, outputs: int) -> None:
        super().__init__()
        from chgnet.model import CHGNet
        from chgnet.model.functions import MLP

        width, basis = settings.channels, settings.basis
        with contextlib.redirect_stdout(io.StringIO()):  # it tells its size
            self.network = CHGNet(
                atom_fea_dim=width,
                bond_fea_dim=width,
                angle_fea_dim=width,
                atom_conv_hidden_dim=width,
                bond_conv_hidden_dim=width,
                num_radial=basis,
                num_angular=basis,
                n_conv=settings.blocks,
                atom_graph_cutoff=ATOM_CUTOFF_A,
                bond_graph_cutoff=BOND_CUTOFF_A,
                composition_model=None,
                is_intensive=False,  # the mean over atoms is taken below, of all outputs
            )
        self.network.mlp = MLP(width, hidden_dim=(width, width), output_dim=outputs)
        self.outputs = outputs

    def forward(self, graphs: Sequence) -> torch.Tensor:
        """Standardised properties (graphs, outputs)."""
        with warnings.catch_warnings():
            # Of CHGNet's own code, and nothing that a user could mend.
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")
            found = self.network(graphs)["e"].view(len(graphs), self.outputs)
        number = torch.tensor([len(graph.atomic_number) for graph in graphs])
        return found / number[:, None]


def predict_with_crystal_network(
    graphs: Sequence,
    values: np.ndarray,
    groups: Sequence[Sequence[str]],
    folds: int,
    settings: CrystalSettings,
    *,
    seed: int,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Predictions of each stack by the networks of the folds that leave its groups out.

    The learning rate is chosen once, on a fifth of the groups of the first fold's training part.

    Args:
        graphs: of `crystal_graphs` (n).
        values: (n, properties), NaN where unknown.
        groups, folds, seed: see `folds_of_stacks`.

    Returns:
        Predictions (n, properties), and the training: per `fold` and `epoch` the `learning_rate`,
        the `training_loss` and the `error` of what was left out (mean absolute, in standard
        deviations of the training part, over properties); rows of the choice have fold −1.
    """
    outside = folds_of_stacks(groups, folds, seed)
    first = np.flatnonzero(~outside[:, 0])
    left_out = folds_of_stacks([groups[i] for i in first], 5, seed)[:, 0]
    inner, validation = first[~left_out], first[left_out]
    histories, errors = [], {}
    for rate in settings.learning_rates if len(settings.learning_rates) > 1 else ():
        _, history = _train(graphs, values, inner, validation, settings, rate, seed)
        histories.append(history.assign(fold=-1))
        errors[rate] = history["error"].iloc[-1]
    rate = min(errors, key=errors.get) if errors else settings.learning_rates[0]
    total, count = np.zeros_like(values), np.zeros(len(values))
    for fold in range(outside.shape[1]):
        test = np.flatnonzero(outside[:, fold])
        training = np.flatnonzero(~outside[:, fold])
        found, history = _train(graphs, values, training, test, settings, rate, seed + fold)
        histories.append(history.assign(fold=fold))
        total[test] += found
        count[test] += 1
    return total / count[:, None], pd.concat(histories, ignore_index=True)


def _train(
    graphs: Sequence,
    values: np.ndarray,
    training: np.ndarray,
    test: np.ndarray,
    settings: CrystalSettings,
    learning_rate: float,
    seed: int,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Predictions (test, properties) of a network trained on some stacks, and its history."""
    generator = seed_everything(seed, 6 * 10**6)
    scale = Standard(values.shape[1]).fit(values[training])
    targets = scale(torch.from_numpy(values.astype(np.float32)))
    known = torch.from_numpy(np.isfinite(values))
    model = CrystalNetwork(settings, values.shape[1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY)
    batches = int(np.ceil(len(training) / settings.batch_size))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, total_steps=settings.epochs * batches
    )
    rows = []
    for epoch in range(settings.epochs):
        model.train()
        losses = []
        for chosen in np.array_split(generator.permutation(training), batches):
            error = nn.functional.smooth_l1_loss(
                model([graphs[i] for i in chosen]), targets[chosen], reduction="none", beta=0.3
            )
            loss = (error * known[chosen]).sum() / known[chosen].sum().clamp(min=1)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        found = _outputs(model, graphs, test, settings.batch_size)
        off = (found - targets[test]).abs()[known[test]].mean()
        rows.append([epoch, learning_rate, float(np.mean(losses)), float(off)])
    columns = ["epoch", "learning_rate", "training_loss", "error"]
    return scale.inverse(found).numpy(), pd.DataFrame(rows, columns=columns)


@torch.no_grad()
def _outputs(model: nn.Module, graphs: Sequence, rows: np.ndarray, size: int) -> torch.Tensor:
    model.eval()
    parts = [model([graphs[i] for i in rows[k : k + size]]) for k in range(0, len(rows), size)]
    return torch.cat(parts)


def predict_from_pretrained(
    graphs: Sequence,
    values: np.ndarray,
    groups: Sequence[Sequence[str]],
    folds: int,
    *,
    seed: int,
    **options: int,
) -> np.ndarray:
    """Held-out predictions of small networks on what the published weights make of a stack.

    Pretrained CHGNet (0.3.0, learned from energies, forces, stresses and magnetic moments of bulk
    crystals) stays as it is; networks as those on descriptors learn from the mean of its atom
    features.

    Args:
        graphs, values, groups, folds, seed: as of `predict_with_crystal_network`.
        options: of `train_surrogate`.
    """
    from chgnet.model import CHGNet

    model = CHGNet.load(use_device="cpu", verbose=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")
        found = model.predict_graph(list(graphs), task="e", return_crystal_feas=True)
    # Sums over atoms in this version of the network, which reads the energy out atom by atom.
    features = np.array(
        [
            row["crystal_fea"] / len(graph.atomic_number)
            for row, graph in zip(found, graphs, strict=True)
        ]
    )
    names = tuple(f"feature_{i}" for i in range(features.shape[1]))
    properties = tuple(f"property_{j}" for j in range(values.shape[1]))
    settings = SurrogateSettings(names, properties, folds=folds, repeats=4)
    zeros = np.zeros_like(values)
    _, held_out, _ = train_surrogate(
        settings, features, zeros, values, groups, seed=seed, **options
    )
    return held_out
