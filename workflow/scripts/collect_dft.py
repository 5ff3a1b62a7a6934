"""Table of verified candidates, list of failed ones, and predictions beside DFT."""

from heteroforge.dft.collection import failed_table, read_results, results_table
from heteroforge.evaluation.hit_rates import advantage, hit_rates
from heteroforge.io import log_to, read_table, write_table
from heteroforge.report.figures import save
from heteroforge.report.verification import comparison_figure

log_to(snakemake.log[0])
results = [result for path in snakemake.input.results for result in read_results(path)]
verified = results_table(results)
failed = failed_table(results)
write_table(snakemake.output.table, verified)
write_table(snakemake.output.failed, failed)
rates = hit_rates(read_table(snakemake.input.selected), results)
write_table(snakemake.output.hit_rates, rates)
save(comparison_figure(results), snakemake.output.picture)
print(f"{len(verified)} candidates verified, {len(failed)} failed")
for row in rates.itertuples():
    print(f"  {row.draw}: {row.inside} of {row.candidates} inside all targets")
if gain := advantage(rates):
    print(f"  selection beats chance {gain.ratio:.1f} times (p = {gain.p_value:.2g})")
for row in failed.itertuples():
    print(f"  slot {row.slot}: {row.reason}; its files are in {row.folder}")
