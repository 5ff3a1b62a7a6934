"""Atom graphs of layers and stacks, and message passing over them (the room that touches DGL)."""

from heteroforge.graphs.atom_graph import AtomGraph, atom_graph, stack_graph
from heteroforge.graphs.batch import GraphBatch, GraphStore, available_backends

__all__ = [
    "AtomGraph",
    "GraphBatch",
    "GraphStore",
    "atom_graph",
    "available_backends",
    "stack_graph",
]
