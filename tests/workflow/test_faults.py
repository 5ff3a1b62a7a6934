"""A few faults of each sort against a campaign; the command in faults.py runs many."""

import shutil

import faults
import pandas as pd
import pytest


@pytest.mark.pw
@pytest.mark.long
@pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not on PATH")
def test_a_campaign_that_is_struck_ends_as_one_that_is_not(tmp_path):
    found = faults.run(tmp_path, faults=4, seed=4, cores=2, spacing=6)
    assert len({fault.kind for fault in found}) == 4
    assert [fault for fault in found if fault.fault_of_ours] == []


def test_results_that_differ_are_noticed(tmp_path):
    one = {
        "ranked": pd.DataFrame({"a": [1.0, 2.0]}),
        "dft/results": pd.DataFrame({"gap_ev": [1.0]}),
    }
    close = {**one, "dft/results": pd.DataFrame({"gap_ev": [1.01]})}
    assert faults.differences(one, close) == []
    far = {**one, "dft/results": pd.DataFrame({"gap_ev": [1.2]})}
    assert faults.differences(one, far) == ["dft/results: gap_ev"]
    other = {**one, "ranked": pd.DataFrame({"a": [1.0, 2.0 + 1e-12]})}
    assert faults.differences(one, other) == ["ranked: a"]
    assert faults.differences(one, {"ranked": one["ranked"]}) == ["dft/results: missing"]


def test_a_schedule_follows_from_its_seed():
    assert faults.schedule(54, 1) == faults.schedule(54, 1)
    assert faults.schedule(54, 1) != faults.schedule(54, 2)
    counts = dict.fromkeys(faults.KINDS, 0)
    for fault in faults.schedule(54, 1):
        counts[fault.kind] += 1
    assert set(counts.values()) == {6}
