"""The benchmark of the generative model, as its rules run it, on a small part of its set."""

import numpy as np
import pandas as pd
import pytest
from projects import copy_project, run

from heteroforge.io import read_json

OVERLAY = {
    "campaign": "small",
    "generation_benchmark": {"set": "j2dh8", "bilayers": 60, "matched": 5, "fingerprints": 0},
    "gvae": {"latent_dimensions": 18, "epochs": 2, "batch_size": 16, "conditional_steps": 0},
    "samples": {"number": 30, "mode": "density"},
}


@pytest.mark.slow
def test_the_benchmark_writes_its_table_from_any_part_of_its_set(tmp_path):
    project = copy_project(tmp_path / "project", OVERLAY)
    done = run(
        project,
        *("--cores", "1", "--configfile", "config/campaigns/test.yaml"),
        *("--", "generation_benchmark"),
    )
    assert done.returncode == 0, done.stdout[-3000:]
    folder = project / "results" / "small" / "generation_benchmark"
    stacks = pd.read_parquet(folder / "stacks.parquet")
    assert stacks["split"].value_counts().to_dict() == {"train": 36, "validation": 12, "test": 12}
    assert stacks["stack_id"].is_unique
    assert len(pd.read_parquet(folder / "generated.parquet")) == 30
    numbers = read_json(folder / "metrics.json")
    assert numbers["compared"] == 5 and numbers["strict"]["stacks"] == 12
    table = pd.read_csv(folder / "comparison.csv").set_index("model")
    assert list(table.index[-3:]) == ["copies of training stacks", "heteroforge, density", "goal"]
    # What needs packages of its own is left empty, not guessed.
    assert np.isnan(table.loc["heteroforge, density", "cov_recall_percent"])
    assert table.loc["ConditionCDVAE+", "match_percent"] == 25.35
    assert (folder / "samples.png").stat().st_size > 10_000
