"""Map of the monolayers by their descriptors, and what separates the ones that work."""

from heteroforge.clustering import map_monolayers
from heteroforge.io import log_to, read_table, write_table
from heteroforge.report.clustering_figures import map_figure, works_figure
from heteroforge.report.figures import save

log_to(snakemake.log[0])
descriptors = read_table(snakemake.input.descriptors).set_index("monolayer_id")
clusters = read_table(snakemake.input.clusters).set_index("monolayer_id").loc[descriptors.index]
targets = read_table(snakemake.input.targets).set_index("monolayer_id").loc[descriptors.index]
places, method = map_monolayers(descriptors, snakemake.params.seed)
write_table(snakemake.output.places, places.reset_index())
places[["cluster", "works"]] = clusters[["cluster", "works"]]
places["works"] = places["works"].astype("boolean")
places["gap_ev"] = targets["gap_ev"]
known = read_table(snakemake.input.known).dropna(subset="monolayer_id")
names = dict(zip(known["monolayer_id"], known["name"], strict=True))
save(map_figure(places.reset_index(), method, names), snakemake.output.map)
targets["works"] = clusters["works"].astype("boolean")
save(works_figure(targets.reset_index(), snakemake.params.works, names), snakemake.output.works)
