"""Symptoms in logs and what is done about them."""

import shutil
from pathlib import Path

import pytest

from heteroforge.dft.recovery import SYMPTOMS, diagnose


def fresh():
    return {
        "control": {},
        "system": {"nbnd": 10, "degauss": 0.002},
        "electrons": {"mixing_beta": 0.5},
        "ions": {},
        "cell": {},
    }


# What pw.x 6.7 and 7.2 print.
TEXTS = {
    "too_few_bands": ["too few bands"],  # and with two spin channels since 7.0
    "charge_wrong": ["charge is wrong"],
    "fermi_energy": ["internal error, cannot bracket Ef"],
    "diagonalisation": [
        "problems computing cholesky",
        "S matrix not positive definite",
        "too many bands are not converged",
        "eigenvectors failed to converge",
    ],
    "bfgs": ["history already reset at previous step"],
    "symmetry": ["not orthogonal operation", "lone vector"],
    "pools": ["invalid number of pools"],
    "scf_not_converged": ["convergence NOT achieved"],
    "steps_exhausted": ["The maximum number of steps has been reached."],
    "out_of_time": ["Maximum CPU time exceeded"],
}
CRASH = "Program received signal SIGSEGV: Segmentation fault - invalid memory reference."


def test_a_crash_is_met_with_matrices_of_another_size():
    settings = fresh()
    found = diagnose("     iteration #  1     ecut=    22.00 Ry     beta= 0.50\n" + CRASH)
    assert "11" in found.remedy(settings, 1) and settings["system"]["nbnd"] == 11
    assert "paro" in found.remedy(settings, 2)


@pytest.mark.parametrize(("name", "text"), [(n, x) for n, found in TEXTS.items() for x in found])
def test_symptom_is_recognised_even_where_the_job_says_done(name, text):
    found = diagnose(f"     Program PWSCF\n     {text} after 80\n   JOB DONE.\n")
    assert found is not None and found.name == name


@pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not on PATH")
def test_the_table_has_what_this_pw_says():
    program = Path(shutil.which("pw.x")).read_bytes()
    if b"Maximum CPU time exceeded" not in program:
        pytest.skip("pw.x keeps its texts in libraries or is a script")
    absent = [x for found in TEXTS.values() for x in found if x.encode() not in program]
    assert not absent


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("too_few_bands", "Error in routine setup (1):\n     too few spin up bands"),
        ("diagonalisation", "Error in routine  cdiaghg (12):\n     some other words"),
        ("bfgs", "bfgs failed after   4 scf cycles and   3 bfgs steps, convergence not achieved"),
        ("pools", "Error in routine divide_et_impera (1):\n     some other words"),
        ("runtime_error", "forrtl: severe (24): end-of-file during read"),
    ],
)
def test_other_words_of_the_same(name, text):
    assert diagnose(f"     Program PWSCF\n     {text}\n").name == name


def test_nodes_without_k_points_are_a_warning_alone():
    text = (
        "     Message from routine divide_et_impera:\n     suboptimal parallelization: some nodes"
    )
    assert diagnose(f"{text} have no k-points\n   JOB DONE.\n") is None


def test_an_error_of_the_fortran_library_is_told_and_tried_once_more():
    log = "At line 178 of file efermig.f90\nFortran runtime error: Missing comma\n"
    found = diagnose(log)
    assert found.name == "runtime_error" and "Missing comma" in found.meaning
    assert found.remedy(fresh(), 1) and not found.remedy(fresh(), 2)


def test_a_good_log_has_no_symptom_and_a_cut_one_was_killed():
    # The table of timings names cdiaghg in every good run.
    good = "     cdiaghg      :      0.10s CPU\n   JOB DONE.\n"
    assert diagnose(good) is None
    assert diagnose("     iteration #  3     ecut=    60.00 Ry").name == "killed"


def test_bands_that_were_not_found_count_and_those_of_early_iterations_do_not():
    unfound = "     c_bands:  2 eigenvalues not converged\n"
    density = f"     iteration #  1\n{unfound}     iteration #  2\n   JOB DONE.\n"
    assert diagnose(density) is None
    bands = f"     Band Structure Calculation\n{unfound}   JOB DONE.\n"
    assert diagnose(bands).name == "diagonalisation"


def test_an_error_that_is_not_in_the_table_is_told_and_tried_once_more():
    log = """ %%%%%
     Error in routine vloc_of_g (1):
     2D cutoff is smaller than pseudo cutoff radius:  increase interlayer distance
 %%%%%
     stopping ...
"""
    found = diagnose(log)
    assert found.name == "stopped"
    assert found.meaning.startswith("vloc_of_g: 2D cutoff is smaller than pseudo cutoff radius")
    assert found.remedy(fresh(), 1) and not found.remedy(fresh(), 2)


@pytest.mark.parametrize("symptom", SYMPTOMS, ids=lambda s: s.name)
def test_every_remedy_changes_settings_or_says_how_it_goes_on(symptom):
    settings = fresh()
    assert symptom.remedy(settings, 1)


def test_remedies_escalate_and_end():
    settings = fresh()
    remedy = {s.name: s.remedy for s in SYMPTOMS}
    assert "paro" in remedy["diagonalisation"](settings, 1)
    assert "cg" in remedy["diagonalisation"](settings, 2)
    assert remedy["diagonalisation"](settings, 3) == ""
    remedy["scf_not_converged"](settings, 1)
    first = settings["electrons"]["mixing_beta"]
    remedy["scf_not_converged"](settings, 2)
    assert settings["electrons"]["mixing_beta"] < first < 0.5
    assert settings["electrons"]["mixing_mode"] == "local-TF"
    assert "rattled" in remedy["bfgs"](settings, 1)
    assert "damp" in remedy["bfgs"](settings, 2)
    assert remedy["bfgs"](settings, 3) == ""
    remedy["too_few_bands"](settings, 1)
    assert settings["system"]["nbnd"] == 15
