"""Labels of stacks whose layers bond teach nothing, whether or not a force field is used."""

import pandas as pd
import pytest
from projects import SMALLEST, copy_project, run


@pytest.mark.slow
def test_bonded_labels_are_left_out_without_a_force_field(tmp_path):
    library = {"maximum_atoms": 4, "elements_allowed": ["Al", "C", "N", "Si"]}
    project = copy_project(tmp_path / "project", {**SMALLEST, "library": library})
    found = {}
    for name, ratio, use in (("with", 1.2, True), ("without", 1.2, False), ("all", 0, False)):
        field = f"{{force_field: {{use: {str(use).lower()}, minimum_contact_ratio: {ratio}}}}}"
        done = run(
            project,
            *("--cores", "1", "--configfile", "config/campaigns/test.yaml"),
            *("--config", f"campaign={name}", f"screening={field}"),
            *("--", f"results/{name}/clustering/targets.parquet"),
        )
        assert done.returncode == 0, done.stdout[-3000:]
        targets = pd.read_parquet(project / "results" / name / "clustering" / "targets.parquet")
        found[name] = targets.set_index("monolayer_id")["binding_energy_mev_a2"]
    assert found["without"].equals(found["with"])
    # AlN on SiC binds by 80 meV/Å² and more in some registries.
    assert found["all"].max() > found["with"].max() + 10
