"""Which monolayers are alike, which work, and which descriptors drive what makes them work."""

from heteroforge.clustering.clusters import cluster_monolayers, map_monolayers
from heteroforge.clustering.drivers import find_drivers
from heteroforge.clustering.works import add_targets, works_label

__all__ = ["add_targets", "cluster_monolayers", "find_drivers", "map_monolayers", "works_label"]
