"""Clusters of alike monolayers, and which of them are known to work."""

from heteroforge.clustering import add_targets, cluster_monolayers, works_label
from heteroforge.io import log_to, read_table, write_table

log_to(snakemake.log[0])
descriptors = read_table(snakemake.input.descriptors).set_index("monolayer_id")
table = read_table(snakemake.input.table).set_index("monolayer_id").loc[descriptors.index]
targets = add_targets(table, read_table(snakemake.input.labels))
clusters = cluster_monolayers(descriptors, snakemake.params.minimum_cluster_size)
clusters["works"] = works_label(targets, snakemake.params.works)
print(clusters["cluster"].value_counts().to_string())
print(clusters["works"].value_counts(dropna=False).to_string())
write_table(snakemake.output.clusters, clusters.reset_index())
