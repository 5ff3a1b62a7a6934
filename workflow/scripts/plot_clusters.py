"""Map of the monolayers by their descriptors, coloured by cluster."""

from heteroforge.clustering import map_monolayers
from heteroforge.io import log_to, read_table
from heteroforge.report.figures import save
from heteroforge.report.stages import map_figure

log_to(snakemake.log[0])
descriptors = read_table(snakemake.input.descriptors).set_index("monolayer_id")
clusters = read_table(snakemake.input.clusters).set_index("monolayer_id").loc[descriptors.index]
places, method = map_monolayers(descriptors, snakemake.params.seed)
places[["cluster", "works"]] = clusters[["cluster", "works"]]
places["works"] = places["works"].astype("boolean")
save(map_figure(places.reset_index(), method), snakemake.output.png)
