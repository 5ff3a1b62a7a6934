"""New stacks from the generative model, aimed at target windows."""

from heteroforge.generation.defects import propose_defects
from heteroforge.generation.latents import MODES
from heteroforge.generation.new_monolayers import match_proposed, propose_monolayers
from heteroforge.generation.sampling import (
    BLOCK_SIZE,
    Limits,
    Plan,
    block_range,
    sample_block,
    sample_shard,
    seed_stacks,
)

__all__ = [
    "BLOCK_SIZE",
    "MODES",
    "Limits",
    "Plan",
    "block_range",
    "match_proposed",
    "propose_defects",
    "propose_monolayers",
    "sample_block",
    "sample_shard",
    "seed_stacks",
]
