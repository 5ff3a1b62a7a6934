"""Which descriptors drive gap, mobility, binding energy, and whether a monolayer works."""

from functools import partial

from tqdm import tqdm

from heteroforge.clustering import add_targets, find_drivers
from heteroforge.io import log_to, read_table, write_table

log_to(snakemake.log[0])
descriptors = read_table(snakemake.input.descriptors).set_index("monolayer_id")
table = read_table(snakemake.input.table).set_index("monolayer_id").loc[descriptors.index]
clusters = read_table(snakemake.input.clusters).set_index("monolayer_id").loc[descriptors.index]
targets = add_targets(table, read_table(snakemake.input.labels))
targets["works"] = clusters["works"].astype("boolean")
drivers = find_drivers(
    descriptors,
    targets,
    groups=table["formula"],
    seed=snakemake.params.seed,
    jobs=snakemake.threads,
    progress=partial(tqdm, unit="round", mininterval=5),
)
print(drivers.groupby("target", sort=False).head(5).to_string())
write_table(snakemake.output.drivers, drivers)
