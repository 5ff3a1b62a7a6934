"""Planning a campaign stays cheap: a tenth of the ten thousand candidates of the benchmark."""

import workflow_scale


def test_a_thousand_candidates_are_planned_in_seconds():
    found = workflow_scale.measure(1000, 1, 990)
    start, resumed = found["from_the_start"], found["resumed"]
    assert start["verify_candidates"] == 1000
    # Reading the rules included; ten times as many must stay below a minute and 2 GB.
    assert start["processor_seconds"] < 15 and start["peak_mb"] < 1000
    # Only what is missing: ten candidates and the table of all.
    assert resumed["verify_candidates"] == 10
    assert resumed["jobs"] == 12
