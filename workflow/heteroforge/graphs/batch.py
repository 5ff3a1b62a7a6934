"""Many graphs as one, and the sums over edges that message passing is made of.

DGL's fused kernels do the sums on the CPU. Without DGL, or on a GPU (PyPI's DGL is a CPU build),
the same sums are gather and scatter in torch.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import torch

from heteroforge.graphs.atom_graph import AtomGraph

__all__ = ["GraphBatch", "GraphStore", "available_backends"]


@lru_cache(maxsize=1)
def _dgl():
    """DGL, or None where it is not installed or cannot be loaded."""
    os.environ.setdefault("DGLBACKEND", "pytorch")
    try:
        import dgl
        import dgl.ops
    except (ImportError, OSError):
        return None
    return dgl


def available_backends() -> tuple[str, ...]:
    """Message-passing backends that work here, best first."""
    return ("torch",) if _dgl() is None else ("dgl", "torch")


class GraphBatch:
    """A batch of graphs as one graph without edges between them.

    Attributes (torch tensors on one device):
        numbers, layers, heights: per atom (n).
        graph: graph of each atom (n).
        source, target, distances, rises, crossing: per edge (e).
        number_of_graphs: how many graphs the batch holds.
        backend: `dgl` or `torch`.
    """

    def __init__(
        self,
        numbers: torch.Tensor,
        layers: torch.Tensor,
        heights: torch.Tensor,
        graph: torch.Tensor,
        source: torch.Tensor,
        target: torch.Tensor,
        distances: torch.Tensor,
        rises: torch.Tensor,
        crossing: torch.Tensor,
        number_of_graphs: int,
        backend: str | None = None,
    ) -> None:
        self.numbers, self.layers, self.heights, self.graph = numbers, layers, heights, graph
        self.source, self.target = source, target
        self.distances, self.rises, self.crossing = distances, rises, crossing
        self.number_of_graphs = number_of_graphs
        if backend is None:
            backend = available_backends()[0] if numbers.device.type == "cpu" else "torch"
        if backend not in ("dgl", "torch"):
            raise ValueError(f"message-passing backend {backend!r}: expected dgl or torch")
        if backend == "dgl" and _dgl() is None:
            raise ValueError("backend dgl asked for, but DGL cannot be imported")
        self.backend = backend

    @property
    def number_of_atoms(self) -> int:
        return len(self.numbers)

    def to(self, device: torch.device | str) -> GraphBatch:
        """The batch on another device; DGL gives way to torch off the CPU."""
        moved = {
            name: getattr(self, name).to(device)
            for name in (
                "numbers layers heights graph source target distances rises crossing"
            ).split()
        }
        backend = self.backend if torch.device(device).type == "cpu" else "torch"
        return GraphBatch(**moved, number_of_graphs=self.number_of_graphs, backend=backend)

    @cached_property
    def _dgl_graph(self):
        return _dgl().graph((self.source, self.target), num_nodes=self.number_of_atoms)

    # --- sums ---------------------------------------------------------------------------------

    def pass_messages(self, atoms: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Σ over edges j → i of atoms[j] · weights[edge]: (n, d), (e, d) → (n, d)."""
        if self.backend == "dgl":
            return _dgl().ops.u_mul_e_sum(self._dgl_graph, atoms, weights)
        result = atoms.new_zeros(self.number_of_atoms, weights.shape[1])
        return result.index_add(0, self.target, atoms[self.source] * weights)

    def pool(self, atoms: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
        """Mean of atoms (n, d) over those of equal `index` (n): (size, d); 0 where there are none.

        A mean, so that a supercell of a stack has the embedding of the stack.
        """
        total = atoms.new_zeros(size, atoms.shape[1]).index_add(0, index, atoms)
        count = atoms.new_zeros(size).index_add(0, index, atoms.new_ones(len(index)))
        return total / count.clamp(min=1.0)[:, None]

    def pool_graphs(self, atoms: torch.Tensor) -> torch.Tensor:
        """Mean over the atoms of each graph: (n, d) → (graphs, d)."""
        return self.pool(atoms, self.graph, self.number_of_graphs)

    def pool_layers(self, atoms: torch.Tensor, maximum_layers: int) -> torch.Tensor:
        """Mean over the atoms of each layer: (n, d) → (graphs, maximum_layers, d)."""
        index = self.graph * maximum_layers + self.layers
        pooled = self.pool(atoms, index, self.number_of_graphs * maximum_layers)
        return pooled.reshape(self.number_of_graphs, maximum_layers, -1)


class GraphStore:
    """Graphs in flat arrays, from which batches are cut without touching single graphs again."""

    def __init__(self, graphs: Sequence[AtomGraph]) -> None:
        if len(graphs) == 0:
            raise ValueError("a graph store needs at least one graph")
        self.atom_start = np.cumsum([0] + [g.number_of_atoms for g in graphs])
        self.edge_start = np.cumsum([0] + [g.number_of_edges for g in graphs])

        def joined(name: str, dtype: type) -> np.ndarray:
            return np.concatenate([getattr(g, name) for g in graphs]).astype(dtype)

        self.atom_arrays = {
            "numbers": joined("numbers", np.int64),
            "layers": joined("layers", np.int64),
            "heights": joined("heights", np.float32),
        }
        self.edge_arrays = {
            "source": joined("source", np.int64),
            "target": joined("target", np.int64),
            "distances": joined("distances", np.float32),
            "rises": joined("rises", np.float32),
            "crossing": joined("crossing", bool),
        }

    def __len__(self) -> int:
        return len(self.atom_start) - 1

    def batch(
        self,
        indices: Sequence[int] | np.ndarray | None = None,
        device: torch.device | str = "cpu",
        backend: str | None = None,
    ) -> GraphBatch:
        """Batch of the graphs at `indices` (all by default), in that order."""
        chosen = np.arange(len(self)) if indices is None else np.asarray(indices, dtype=int)
        atoms, graph = _ranges(self.atom_start, chosen)
        edges, edge_graph = _ranges(self.edge_start, chosen)
        sizes = self.atom_start[chosen + 1] - self.atom_start[chosen]
        first_atom = (np.cumsum(sizes) - sizes)[edge_graph]
        tensors = {name: values[atoms] for name, values in self.atom_arrays.items()}
        tensors |= {name: values[edges] for name, values in self.edge_arrays.items()}
        tensors["source"] = tensors["source"] + first_atom
        tensors["target"] = tensors["target"] + first_atom
        tensors["graph"] = graph
        return GraphBatch(
            **{name: torch.from_numpy(values).to(device) for name, values in tensors.items()},
            number_of_graphs=len(chosen),
            backend=backend,
        )


def _ranges(start: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions start[i] … start[i+1] for each chosen i in turn, and which i each belongs to."""
    lengths = start[chosen + 1] - start[chosen]
    owner = np.repeat(np.arange(len(chosen)), lengths)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return start[chosen][owner] + within, owner
