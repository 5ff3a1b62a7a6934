"""What is known of stacks: DFT results and physics baselines, in one long table."""

from heteroforge.labels.baseline import dispersion_binding_mev_a2, stack_baselines
from heteroforge.labels.collection import (
    COLUMNS,
    LABELLED,
    baseline_labels,
    campaign_labels,
    user_labels,
)

__all__ = [
    "COLUMNS",
    "LABELLED",
    "baseline_labels",
    "campaign_labels",
    "dispersion_binding_mev_a2",
    "stack_baselines",
    "user_labels",
]
