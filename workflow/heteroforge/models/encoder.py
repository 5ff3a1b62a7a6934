"""Message passing over atoms, shared by the generative model and the property network."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import torch
from ase.data import chemical_symbols, covalent_radii
from ase.data.vdw_alvarez import vdw_radii
from torch import nn

from heteroforge.graphs import GraphBatch
from heteroforge.graphs.atom_graph import CUTOFF_A, INTERFACE_CUTOFF_A

__all__ = ["AtomEncoder", "Filter", "element_features", "multilayer_perceptron"]

NUMBER_OF_ELEMENTS = 119
RADIAL_FUNCTIONS = 16
# Typical number of neighbours within the cut-offs: keeps sums over edges of order one.
NEIGHBOURS = 12.0


@lru_cache(maxsize=1)
def element_features() -> np.ndarray:
    """Standardised period-table features (119, 8) of the elements, row 0 empty.

    Period, group (lanthanides and actinides in 3), Pauling electronegativity, covalent and van der
    Waals radius, valence electrons in s/p and in d, atomic mass on a logarithmic scale: enough for
    an element that no training stack holds to be near its neighbours in the table.
    """
    from pymatgen.core import Element

    table = np.full((NUMBER_OF_ELEMENTS, 8), np.nan)
    for number in range(1, NUMBER_OF_ELEMENTS):
        symbol = chemical_symbols[number]
        with warnings.catch_warnings():
            # Pymatgen warns of every noble gas that it has no electronegativity.
            warnings.simplefilter("ignore")
            element = Element(symbol)
            electronegativity = element.X if np.isfinite(element.X) else np.nan
        radius = vdw_radii[number] if number < len(vdw_radii) else np.nan
        group = element.group
        table[number] = (
            element.row,
            group,
            electronegativity,
            covalent_radii[number],
            radius,
            group if group <= 2 else max(group - 10, 2) if group > 12 else 2,
            min(max(group - 2, 0), 10),
            np.log(float(element.atomic_mass)),
        )
    known = table[1:]
    mean, spread = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
    table = (table - mean) / spread
    table[np.isnan(table)] = 0.0
    return table.astype(np.float32)


def multilayer_perceptron(*widths: int, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with SiLU between them."""
    parts: list[nn.Module] = []
    for i, (one, other) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        if i > 0:
            parts.append(nn.SiLU())
            if dropout > 0:
                parts.append(nn.Dropout(dropout))
        parts.append(nn.Linear(one, other))
    return nn.Sequential(*parts)


class Filter(nn.Module):
    """Weights of the edges from their lengths and slopes: one linear map of radial functions.

    Args:
        width: channels.
        signed: whether up and down along z differ.
    """

    def __init__(self, width: int, signed: bool) -> None:
        super().__init__()
        self.signed = signed
        self.linear = nn.Linear(2 * (RADIAL_FUNCTIONS + 2), width, bias=False)
        reach = max(CUTOFF_A, INTERFACE_CUTOFF_A)
        self.register_buffer("centres", torch.linspace(1.0, reach, RADIAL_FUNCTIONS))
        self.spacing = (reach - 1.0) / (RADIAL_FUNCTIONS - 1)

    @staticmethod
    def edge_features(batch: GraphBatch, centres: torch.Tensor, spacing: float, signed: bool):
        """Features (e, 2 (radial + 2)): apart for edges within a layer and across an interface.

        All go smoothly to zero at the cut-off, so that no edge appears with a jump.
        """
        crossing = batch.crossing.float()
        reach = CUTOFF_A + (INTERFACE_CUTOFF_A - CUTOFF_A) * crossing
        envelope = 0.5 * (torch.cos(torch.pi * (batch.distances / reach).clamp(max=1.0)) + 1.0)
        radial = torch.exp(-(((batch.distances[:, None] - centres) / spacing) ** 2))
        slope = batch.rises / batch.distances
        odd = slope if signed else torch.zeros_like(slope)
        features = torch.cat([radial, (slope**2)[:, None], odd[:, None]], dim=1)
        features = features * envelope[:, None]
        return torch.cat([features * (1 - crossing)[:, None], features * crossing[:, None]], dim=1)

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        cache = batch.__dict__.setdefault("_edge_features", {})
        if self.signed not in cache:
            cache[self.signed] = self.edge_features(batch, self.centres, self.spacing, self.signed)
        return self.linear(cache[self.signed])


class AtomEncoder(nn.Module):
    """Continuous-filter message passing: state of an atom from its surroundings.

    Does not depend on the cell, the order of atoms, or rotations in the plane. Without `signed`
    it is also equal for a stack and its mirror image in z.

    Args:
        width: channels per atom.
        depth: rounds of message passing.
        signed: whether up and down along z differ.
    """

    def __init__(self, width: int, depth: int, signed: bool) -> None:
        super().__init__()
        self.signed = signed
        features = torch.from_numpy(element_features())
        self.register_buffer("elements", features)
        self.element = nn.Linear(features.shape[1] + 2, width)
        # Starts at zero: an element that training never meets is described by its features alone.
        self.correction = nn.Embedding(NUMBER_OF_ELEMENTS, width)
        nn.init.zeros_(self.correction.weight)
        self.filters = nn.ModuleList(Filter(width, signed) for _ in range(depth))
        self.senders = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.updates = nn.ModuleList(
            multilayer_perceptron(2 * width, width, width) for _ in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Atom states (n, width)."""
        height = batch.heights[:, None] / 2.0
        places = torch.cat([height.abs(), height if self.signed else height * 0], dim=1)
        inputs = torch.cat([self.elements[batch.numbers], places], dim=1)
        state = self.element(inputs) + self.correction(batch.numbers)
        for weigh, send, update, norm in zip(
            self.filters, self.senders, self.updates, self.norms, strict=True
        ):
            message = batch.pass_messages(send(state), weigh(batch)) / NEIGHBOURS
            state = norm(state + update(torch.cat([state, message], dim=1)))
        return state
