"""Which descriptors drive gap, mobility, binding energy, and whether a monolayer works."""

from functools import partial

from tqdm import tqdm

from heteroforge.clustering import find_drivers, works_where_all_known
from heteroforge.io import log_to, read_table, write_table

log_to(snakemake.log[0])
descriptors = read_table(snakemake.input.descriptors).set_index("monolayer_id")
table = read_table(snakemake.input.table).set_index("monolayer_id").loc[descriptors.index]
clusters = read_table(snakemake.input.clusters).set_index("monolayer_id").loc[descriptors.index]
targets = read_table(snakemake.input.targets).set_index("monolayer_id").loc[descriptors.index]
targets["works"] = works_where_all_known(targets, clusters["works"], snakemake.params.works)
# Of metals the gap has no size; whether there is one is a question of its own.
targets["gap_ev"] = targets["gap_ev"].where(targets["gap_ev"] > 0)
drivers = find_drivers(
    descriptors,
    targets.drop(columns="hull_distance_ev_atom"),
    groups=table["formula"],
    seed=snakemake.params.seed,
    clusters=clusters["cluster"],
    jobs=snakemake.threads,
    progress=partial(tqdm, unit="round", mininterval=5),
)
print(drivers.groupby("target", sort=False).head(5).to_string())
write_table(snakemake.output.drivers, drivers)
