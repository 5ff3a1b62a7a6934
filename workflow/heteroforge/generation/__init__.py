"""New stacks from the generative model, aimed at target windows."""

from heteroforge.generation.sampling import (
    BLOCK_SIZE,
    Limits,
    block_range,
    sample_block,
    sample_shard,
)

__all__ = ["BLOCK_SIZE", "Limits", "block_range", "sample_block", "sample_shard"]
