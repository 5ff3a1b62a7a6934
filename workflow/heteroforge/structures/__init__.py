"""Monolayers and stacks of them: the object everything else speaks."""

from heteroforge.structures.build import build
from heteroforge.structures.monolayer import Monolayer, StructureError
from heteroforge.structures.parse import parse, split_layers
from heteroforge.structures.stack import Defect, Interface, Layer, Stack

__all__ = [
    "Defect",
    "Interface",
    "Layer",
    "Monolayer",
    "Stack",
    "StructureError",
    "build",
    "parse",
    "split_layers",
]
