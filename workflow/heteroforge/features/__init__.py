"""Descriptors of monolayers and stacks: numbers that can be read, for models and for people."""

from heteroforge.features.monolayers import (
    ELECTRONIC,
    descriptor_table,
    structural_descriptors,
)
from heteroforge.features.stacks import (
    facing_levels,
    ionic_binding_mev_a2,
    stack_descriptor_table,
    stack_descriptors,
)

__all__ = [
    "ELECTRONIC",
    "descriptor_table",
    "facing_levels",
    "ionic_binding_mev_a2",
    "stack_descriptor_table",
    "stack_descriptors",
    "structural_descriptors",
]
