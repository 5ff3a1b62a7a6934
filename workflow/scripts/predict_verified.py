"""What the property models say of the stacks that DFT verified, in the registry that it found."""

import pandas as pd

from heteroforge.dft.collection import read_results, verified_stacks
from heteroforge.io import log_to, read_json, write_table
from heteroforge.models.property_training import PropertyData, load_member, predict
from heteroforge.models.published import PublishedModel
from heteroforge.sources import read_library

log_to(snakemake.log[0])
library = read_library(snakemake.input.structures, snakemake.input.table)
results = [result for path in snakemake.input.results for result in read_results(path)]
stacks = verified_stacks(results, library.monolayers)
seed = snakemake.params.seed
data = PropertyData.read(snakemake.input.stacks, snakemake.input.labels, library, seed)
predicted = predict(
    list(stacks.values()),
    library.table,
    [load_member(path)[0] for path in snakemake.input.members],
    read_json(snakemake.input.calibration),
    data,
    PublishedModel.load(snakemake.input.published, library),
    seed,
)
names = {"slot": list(stacks), "stack_id": [stack.key() for stack in stacks.values()]}
write_table(snakemake.output.table, pd.concat([pd.DataFrame(names), predicted], axis=1))
print(f"{len(stacks)} verified stacks predicted")
