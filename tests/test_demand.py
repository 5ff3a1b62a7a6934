"""What jobs ask for, from the size of their candidates."""

import pytest

from heteroforge.demand import largest_stack, memory_mb, walltime_min

SETTINGS = {"protocol": "quick", "ranks": 1, "mobility": False, "maximum_walltime_min": 1440}


def test_more_work_and_later_attempts_ask_for_more():
    small = walltime_min(4, 1, 1, SETTINGS)
    assert small < walltime_min(8, 1, 1, SETTINGS) < walltime_min(8, 10, 1, SETTINGS)
    assert walltime_min(4, 1, 2, SETTINGS) == 2 * small
    assert walltime_min(4, 1, 1, SETTINGS | {"protocol": "standard"}) > small
    assert walltime_min(8, 1, 1, SETTINGS | {"ranks": 8}) < walltime_min(8, 1, 1, SETTINGS)
    assert walltime_min(200, 10, 3, SETTINGS) == 1440
    assert walltime_min(4, 1, 1, SETTINGS | {"mobility": True}) > small
    assert memory_mb(40, 1, 1) > memory_mb(4, 1, 1) < memory_mb(4, 1, 8)
    assert memory_mb(4, 3, 1) == 4 * memory_mb(4, 1, 1)


def test_the_largest_candidate_of_a_job_is_found(tmp_path):
    selected = tmp_path / "selected.csv"
    assert largest_stack(selected, 0, 9) is None
    selected.write_text('slot,specification,number_of_atoms\n0,"{""a"": 1, 2}",4\n7,x,12\n')
    assert largest_stack(selected, 0, 9) == 12
    assert largest_stack(selected, 0, 0) == 4
    assert largest_stack(selected, 1, 6) is None


@pytest.mark.parametrize("content", ["slot,formula\n0,BN\n", "", "slot,number_of_atoms\n0,\n"])
def test_a_damaged_table_is_left_to_the_script_that_reads_it(tmp_path, content):
    selected = tmp_path / "selected.csv"
    selected.write_text(content)
    assert largest_stack(selected, 0, 9) is None
