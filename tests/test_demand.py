"""What jobs ask for, from the size of their candidates."""

import pytest

from heteroforge.demand import core_min_of_slots, largest_stack, memory_mb, walltime_min

DFT = {"protocol": "quick", "mobility": False}


def test_more_work_and_later_attempts_ask_for_more():
    small = walltime_min(15.0, 1, 1, 1440)
    assert small < walltime_min(60.0, 1, 1, 1440) > walltime_min(60.0, 1, 8, 1440)
    assert walltime_min(15.0, 2, 1, 1440) == 2 * small
    assert walltime_min(10000.0, 3, 1, 1440) == 1440
    assert memory_mb(40, 1, 1) > memory_mb(4, 1, 1) < memory_mb(4, 1, 8)
    assert memory_mb(4, 3, 1) == 4 * memory_mb(4, 1, 1)


def test_what_the_screen_expects_is_asked_for(tmp_path):
    selected = tmp_path / "selected.csv"
    selected.write_text(
        "slot,number_of_atoms,expected_core_min\n0,4,7.5\n1,6,20.25\n2,8,\n3,4,30\n"
    )
    assert core_min_of_slots(selected, 0, 1, {"maximum_atoms": 9}, DFT) == 27.75
    # An element without a pseudopotential has no cost: guessed from the atoms.
    eight = core_min_of_slots(selected, 2, 2, {"maximum_atoms": 9}, DFT)
    assert eight > core_min_of_slots(selected, 0, 0, {"maximum_atoms": 9}, DFT)
    assert core_min_of_slots(selected, 2, 3, {"maximum_atoms": 9}, DFT) == eight + 30.0
    assert core_min_of_slots(selected, 4, 9, {"maximum_atoms": 9}, DFT) == 0.0


def test_before_the_screen_has_chosen_the_largest_is_guessed(tmp_path):
    def guess(last=0, atoms=8, **dft):
        missing = tmp_path / "none.csv"
        return core_min_of_slots(missing, 0, last, {"maximum_atoms": atoms}, DFT | dft)

    assert guess(atoms=4) < guess() == guess(last=9) / 10
    assert guess(protocol="standard") > guess() < guess(mobility=True)
    assert guess(protocol="of my own") == guess(protocol="precise")


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
