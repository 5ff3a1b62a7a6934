"""Which samples are worth a DFT calculation."""

from heteroforge.screening.objectives import (
    joint_probability,
    pareto_ranks,
    type_ii_probability,
)
from heteroforge.screening.screen import Screened, score_samples, screen
from heteroforge.screening.selection import (
    constraint_faults,
    describe_candidate,
    rank_candidates,
    select_candidates,
)

__all__ = [
    "Screened",
    "constraint_faults",
    "describe_candidate",
    "joint_probability",
    "pareto_ranks",
    "rank_candidates",
    "score_samples",
    "screen",
    "select_candidates",
    "type_ii_probability",
]
