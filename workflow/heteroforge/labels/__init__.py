"""What is known of stacks: DFT results and physics baselines, in one long table."""

from heteroforge.labels.baseline import (
    dispersion_binding_mev_a2,
    dispersion_stress_n_m,
    layer_edges,
    stack_baselines,
)
from heteroforge.labels.collection import (
    BONDED,
    COLUMNS,
    LABELLED,
    OTHER,
    STACK_PROPERTIES,
    baseline_labels,
    campaign_labels,
    dft_labels,
    mark_bonded,
    user_labels,
    verified_stacks,
)

__all__ = [
    "BONDED",
    "OTHER",
    "COLUMNS",
    "LABELLED",
    "STACK_PROPERTIES",
    "baseline_labels",
    "campaign_labels",
    "dft_labels",
    "dispersion_binding_mev_a2",
    "dispersion_stress_n_m",
    "layer_edges",
    "mark_bonded",
    "stack_baselines",
    "user_labels",
    "verified_stacks",
]
