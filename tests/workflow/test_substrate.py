"""A substrate that the library lacks is told before anything is trained."""

from projects import SMALLEST, copy_project, run


def test_substrate_that_the_library_lacks(tmp_path):
    project = copy_project(tmp_path / "project", {**SMALLEST, "samples": {"substrate": "BN"}})
    done = run(
        project,
        *("--cores", "1", "--configfile", "config/campaigns/test.yaml"),
        *("--", "results/small/stacks/training_stacks.parquet"),
    )
    assert done.returncode != 0
    told = "samples.substrate = BN: expected a monolayer_id of the library, such as BN-honeycomb"
    assert told in done.stdout
