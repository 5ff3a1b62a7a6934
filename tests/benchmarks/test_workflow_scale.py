"""The benchmark of planning, with few candidates: what it counts is right."""

import workflow_scale


def test_only_what_is_missing_is_planned():
    found = workflow_scale.measure(60, 1, 50)
    assert found["from_the_start"]["verify_candidates"] == 60
    assert found["from_the_start"]["processor_seconds"] > 0
    assert found["from_the_start"]["peak_mb"] > 0
    # Ten candidates and what is made of all.
    assert found["resumed"]["verify_candidates"] == 10
    assert found["resumed"]["jobs"] < 20
