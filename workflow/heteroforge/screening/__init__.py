"""Which samples are worth a DFT calculation."""

from heteroforge.screening.layers_alone import LayersAlone
from heteroforge.screening.limits import HardLimits
from heteroforge.screening.objectives import (
    alignment_probabilities,
    anderson_probabilities,
    joint_probability,
    pareto_ranks,
)
from heteroforge.screening.scored import ScoredSamples
from heteroforge.screening.screen import Screened, score_samples, screen
from heteroforge.screening.selection import (
    describe_candidate,
    rank_candidates,
    select_candidates,
)

__all__ = [
    "HardLimits",
    "LayersAlone",
    "ScoredSamples",
    "Screened",
    "alignment_probabilities",
    "anderson_probabilities",
    "describe_candidate",
    "joint_probability",
    "pareto_ranks",
    "rank_candidates",
    "score_samples",
    "screen",
    "select_candidates",
]
