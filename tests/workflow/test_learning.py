"""The rule that tells what the labels of an earlier campaign brought, on made-up predictions."""

import pandas as pd
import pytest
from projects import SMALLEST, copy_project, run

from heteroforge.structures.matching import stack_layers


@pytest.mark.slow
def test_errors_before_and_after_learning_are_told(tmp_path, small_monolayers):
    labels = {"from_campaigns": ["earlier"], "bundled": True}
    project = copy_project(tmp_path / "project", {**SMALLEST, "labels": labels})
    stack = stack_layers([small_monolayers["MoSS"], small_monolayers["WSS"]])
    known = {"pair": "a", "property": "gap_ev", "true": 1.0, "stack_id": "known", "network": 1.3}
    new = known | {"pair": "b", "stack_id": stack.key()}
    for name in ("earlier/gnn", "earlier/dft", "small/gnn"):
        (project / "results" / name).mkdir(parents=True)
    pd.DataFrame([known | {"predicted": 1.5}]).to_parquet(
        project / "results/earlier/gnn/test_predictions.parquet"
    )
    pd.DataFrame(
        {
            "verified_stack_id": [stack.key()],
            "specification": stack.to_json(inline_monolayers=True),
            "predicted_gap_ev": 1.4,
        }
    ).to_parquet(project / "results/earlier/dft/results.parquet")
    pd.DataFrame([known | {"predicted": 1.2}, new | {"predicted": 1.1}]).to_parquet(
        project / "results/small/gnn/test_predictions.parquet"
    )
    done = run(
        project,
        *("--cores", "1", "--configfile", "config/campaigns/test.yaml"),
        *("--allowed-rules", "compare_with_earlier"),
        *("--", "results/small/gnn/learned_since.csv"),
    )
    assert done.returncode == 0, done.stdout[-3000:]
    found = pd.read_csv(project / "results/small/gnn/learned_since.csv")
    found = found[found["predictor"] == "chosen"].set_index("stacks")
    assert (found["campaign"] == "earlier").all()
    assert found.loc["known before", ["before", "after"]].tolist() == pytest.approx([0.5, 0.2])
    assert found.loc["verified", ["before", "after"]].tolist() == pytest.approx([0.4, 0.1])
    assert (project / "results/small/gnn/learned_since.png").stat().st_size > 5000
