"""The rule that gives DFT slots to stacks that hold together, on the bundled stacks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from projects import SMALLEST, copy_project, run

from heteroforge.screening import rank_candidates
from heteroforge.sources import read_library
from heteroforge.structures import Stack

BUNDLED = Path(__file__).resolve().parents[2] / "resources" / "library"


def bundled_stacks() -> pd.DataFrame:
    """A ranking of the bundled stacks of boron, carbon, hydrogen and nitrogen."""
    library = read_library(BUNDLED / "monolayers.extxyz", BUNDLED / "monolayers.csv")
    texts = pd.read_csv(BUNDLED / "bilayers.csv")["specification"].unique()
    stacks = [Stack.from_json(text, library.monolayers) for text in texts]
    stacks = [stack for stack in stacks if set(stack.species) <= set("BCHN")]
    n = len(stacks)
    scored = pd.DataFrame(
        {
            "stack_id": [stack.key() for stack in stacks],
            "specification": [stack.to_json() for stack in stacks],
            "formula": [stack.formula for stack in stacks],
            "layers": [
                "/".join(layer.monolayer.name for layer in stack.layers) for stack in stacks
            ],
            "pair": [f"pair {i}" for i in range(n)],
            "number_of_atoms": [stack.number_of_atoms for stack in stacks],
            "probability": np.linspace(0.9, 0.8, n),
            "gap_ev": 2.0,
            "gap_ev_std": 0.1,
            "binding_energy_mev_a2": 15.0,
            "binding_energy_mev_a2_std": 1.0,
            "mismatch_percent": 0.5,
            "binding_below_best_registry_mev_a2": 0.0,
            "sliding_family": [stack.key() for stack in stacks],
        }
    )
    flags = dict.fromkeys(("is_labelled", "is_trained", "is_novel"), False)
    return rank_candidates(scored.assign(is_high_symmetry=True, is_refined=True, **flags))


@pytest.mark.slow
def test_candidates_that_do_not_hold_together_are_replaced(tmp_path):
    # A ratio that honeycombs on honeycombs do not reach (2.1 to 2.2), and those with graphane do.
    screening = {"force_field": {"minimum_contact_ratio": 2.3}}
    project = copy_project(tmp_path / "project", {**SMALLEST, "screening": screening})
    folder = project / "results" / "small" / "screening"
    folder.mkdir(parents=True)
    bundled_stacks().to_parquet(folder / "ranked.parquet")
    # Drawn at random: honeycombs on honeycombs, which are rejected and keep their slots.
    flat = bundled_stacks().query("not formula.str.contains('CH')").tail(1)
    flat.assign(stack_id="drawn", sliding_family="drawn", drawn_from=9).to_parquet(
        folder / "control.parquet"
    )
    done = run(
        project,
        *("--cores", "1", "--configfile", "config/campaigns/test.yaml"),
        *("--allowed-rules", "build_library", "select_candidates"),
        *("--", "results/small/screening/selected.csv"),
    )
    assert done.returncode == 0, done.stdout[-3000:]
    relaxed = pd.read_csv(folder / "force_field.csv").set_index("stack_id")
    given = pd.read_csv(folder / "selected.csv")
    selected = given[given["role"] != "control"]
    assert set(relaxed["outcome"]) == {"kept", "rejected"}
    assert relaxed["reason"].dropna().str.contains("bonds across a gap: ").all()
    assert selected["slot"].tolist() == [0, 1]
    assert (relaxed.loc[selected["stack_id"], "outcome"] == "kept").all()
    assert selected["formula"].str.contains("CH").all()
    assert given["slot"].tolist() == [0, 1, 2]
    drawn = given.iloc[2]
    assert (drawn["stack_id"], drawn["role"], drawn["force_field"]) == (
        "drawn", "control", "rejected",
    )  # fmt: skip
    assert "bonds across a gap" in drawn["force_field_reason"]
    assert (given["force_field"][:2] == "kept").all()
    assert relaxed["only_drawn"].sum() == 1 and relaxed.loc["drawn", "only_drawn"]
