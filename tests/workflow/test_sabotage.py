"""Twenty candidates of which three cannot be computed: seventeen results, three honest failures."""

import itertools
import json
import shutil

import pandas as pd
import projects
import pytest

from heteroforge.structures.enumeration import enumerate_bilayers, enumerate_matches

LAYERS = ("C-graphene", "BN-honeycomb", "CH-graphane")
BROKEN, NO_PSEUDOPOTENTIAL, TOO_CLOSE = 3, 8, 15
SLOTS = 20


def sabotage(table: pd.DataFrame) -> None:
    """Spoil the specifications of three slots, each in another way."""
    table.loc[BROKEN, "specification"] = table.loc[BROKEN, "specification"][:-40]
    for slot, change in (
        (NO_PSEUDOPOTENTIAL, {"species": ["Pu", "N"]}),
        (TOO_CLOSE, {"positions": [[0.0, 0.0], [0.0, 0.0]]}),
    ):
        specification = json.loads(table.loc[slot, "specification"])
        layer = specification["layers"][0]
        whole = projects.bundled_library().monolayers[layer["monolayer"]].to_dict()
        layer["monolayer"] = {**whole, **change}
        table.loc[slot, "specification"] = json.dumps(specification)


@pytest.mark.pw
@pytest.mark.long
@pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not on PATH")
def test_three_of_twenty_candidates_are_sabotaged(tmp_path):
    overlay = {**projects.SMALLEST, "dft": {"slots": SLOTS, "protocol": "rough"}}
    project = projects.copy_project(tmp_path / "project", overlay)
    library = projects.bundled_library().monolayers
    chosen = {name: library[name] for name in LAYERS}
    stacks = itertools.chain.from_iterable(
        enumerate_bilayers(chosen[bottom], chosen[top], match)
        for bottom, top, match in enumerate_matches(chosen, 7.0, 3.0, 8)
    )
    selected = projects.select(project, list(itertools.islice(stacks, SLOTS)))
    table = pd.read_csv(selected)
    sabotage(table)
    table.to_csv(selected, index=False)

    run = projects.run(
        project, "--cores", "2", "--rerun-triggers", "mtime", "--configfile",
        "config/campaigns/test.yaml", "--allowed-rules", "verify_candidates", "collect_dft", "--",
        "results/small/dft/results.parquet",
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:]
    results = project / "results" / "small" / "dft"
    assert len(pd.read_parquet(results / "results.parquet")) == SLOTS - 3
    failed = pd.read_csv(results / "failed.csv").set_index("slot")
    assert set(failed.index) == {BROKEN, NO_PSEUDOPOTENTIAL, TOO_CLOSE}
    for slot, reason in (
        (BROKEN, "is no JSON"),
        (NO_PSEUDOPOTENTIAL, "no pseudopotential for Pu"),
        (TOO_CLOSE, "overlap"),
    ):
        assert reason in failed.loc[slot, "reason"]
        assert (results / f"slot_{slot}" / "result.json").exists()
