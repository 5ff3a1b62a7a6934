"""Clusters of alike monolayers, how valid they are, what they share, and which of them work."""

from heteroforge.clustering import check_known, cluster_cards, cluster_monolayers, works_label
from heteroforge.io import log_to, read_table, write_table

log_to(snakemake.log[0])
descriptors = read_table(snakemake.input.descriptors).set_index("monolayer_id")
table = read_table(snakemake.input.table).set_index("monolayer_id").loc[descriptors.index]
targets = read_table(snakemake.input.targets).set_index("monolayer_id").loc[descriptors.index]
found = cluster_monolayers(
    descriptors,
    snakemake.params.minimum_cluster_size,
    formulas=table["formula"],
    targets=targets.astype("float64"),
    seed=snakemake.params.seed,
)
clusters = found.clusters
clusters["works"] = works_label(targets, snakemake.params.works)
cards = cluster_cards(clusters, descriptors, targets, table)
known = check_known(read_table(snakemake.input.known), table, targets, clusters["works"])
print(found.validity.round(3).to_string())
print(clusters["works"].value_counts(dropna=False).to_string())
print(known[["name", "monolayer_id", "works", "agrees"]].to_string())
write_table(snakemake.output.clusters, clusters.reset_index())
write_table(snakemake.output.validity, found.validity)
write_table(snakemake.output.cards, cards)
write_table(snakemake.output.known, known)
