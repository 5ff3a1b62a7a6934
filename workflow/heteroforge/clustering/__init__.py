"""Which monolayers are alike, which work, and which descriptors drive what makes them work."""

from heteroforge.clustering.clusters import Clustering, cluster_monolayers, map_monolayers
from heteroforge.clustering.drivers import find_drivers
from heteroforge.clustering.works import (
    add_targets,
    check_known,
    cluster_cards,
    works_label,
    works_where_all_known,
)

__all__ = [
    "Clustering",
    "add_targets",
    "check_known",
    "cluster_cards",
    "cluster_monolayers",
    "find_drivers",
    "map_monolayers",
    "works_label",
    "works_where_all_known",
]
