"""Walltime: pw.x is told to stop in time, goes on in the next job, and is not started without."""

import contextlib
import json
import os
import re
import time
from dataclasses import replace

import pytest
from ase import Atoms

from heteroforge.dft import running
from heteroforge.dft.calculations import Calculator, cell_for_truncation
from heteroforge.dft.outputs import PwResult, number_of_processes, processor_seconds
from heteroforge.dft.protocols import Protocol, Pseudopotentials
from heteroforge.dft.running import (
    CalculationFailed,
    CannotStart,
    Launcher,
    OutOfMemory,
    OutOfTime,
)

STOPPED = """
ATOMIC_POSITIONS (angstrom)
B    0.000    0.000    7.500
N    0.111    1.222    7.777

     Maximum CPU time exceeded
     JOB DONE.
"""


@pytest.fixture
def relax(tmp_path, monkeypatch):
    """Relax in a folder that stays the same; pw.x stops itself, and its inputs are kept."""
    inputs: list[str] = []

    def run_program(launcher, program, text, folder, name, pools=1, **_):
        inputs.append(text)
        (folder / f"{name}.out").write_text(STOPPED)
        return STOPPED

    monkeypatch.setattr(running, "run_program", run_program)
    family = Pseudopotentials("pseudodojo")
    protocol = Protocol.named("quick", family)
    cell = [[2.5, 0, 0], [-1.25, 2.165, 0], [0, 0, 15]]
    atoms = cell_for_truncation(Atoms("BN", positions=[(0, 0, 0), (0, 1.4, 0)], cell=cell))

    def run(walltime_s: float, started_s_ago: float = 0.0) -> list[str]:
        launcher = Launcher("auto", 1, walltime_s, time.monotonic() - started_s_ago)
        with pytest.raises(OutOfTime) as caught:
            Calculator(tmp_path, protocol, family, launcher).relax(atoms)
        return [*inputs, str(caught.value)]

    return run


def test_without_time_nothing_is_started(relax):
    (message,) = relax(65.0, started_s_ago=60.0)
    assert "5 s are left" in message


def test_a_relaxation_that_runs_out_of_time_goes_on_in_the_next_job(relax):
    text, message = relax(600.0)
    assert re.search(r"max_seconds\s*=\s*(569|570)", text)
    assert "stopped itself" in message
    assert "1.222" not in text
    _, again, _ = relax(1200.0)
    assert re.search(r"max_seconds\s*=\s*(1139|1140)", again)
    assert re.search(r"N\s+0\.111\d*\s+1\.222\d*\s+7\.777", again)


def test_runs_that_were_cut_short_with_their_job_are_recorded(relax, tmp_path, monkeypatch):
    log = "Program PWSCF v.6.7\ntotal cpu time spent up to now is      33.1 secs\n" + STOPPED
    monkeypatch.setitem(globals(), "STOPPED", log)
    relax(600.0)
    relax(600.0)
    relax(600.0)
    kept = json.loads((tmp_path / "relax.before.json").read_text())["runs"]
    assert [(run["symptom"], run["core_seconds"]) for run in kept] == [("out_of_time", 33.1)] * 2


def test_occupations_are_smeared_as_the_protocol_says_in_the_end(tmp_path, monkeypatch):
    """A remedy may smear more on the way; energies of two smearings are not compared."""
    widths: list[str] = []

    def run_program(launcher, program, text, folder, name, pools=1, **_):
        widths.append(re.search(r"degauss\s*=\s*(\S+)", text)[1])
        assert ("startingpot" in text) == (len(widths) == 3)
        log = "     JOB DONE.\n"
        if len(widths) == 1:
            log = "Error in routine electrons (1):\n charge is wrong: smearing is needed\n"
        (folder / f"{name}.out").write_text(log)
        return log

    monkeypatch.setattr(running, "run_program", run_program)
    monkeypatch.setattr(running, "read_pw", lambda path: widths[-1])
    family = Pseudopotentials("pseudodojo")
    run = Calculator(tmp_path, Protocol.named("quick", family), family, Launcher())
    atoms = cell_for_truncation(Atoms("BN", positions=[(0, 0, 0), (0, 1.4, 0)], cell=[2.5, 2.5, 9]))
    namelists = run.namelists(atoms, "scf")
    last, attempts = running.run_pw(atoms, namelists, (2, 2, 1), family, tmp_path, Launcher())
    assert float(last) == 0.002
    assert [float(width) for width in widths] == [0.002, 0.004, 0.002]
    assert [record.get("symptom") for record in attempts] == ["charge_wrong", "smeared", None]


def test_a_program_that_does_not_start_is_no_fault_of_the_calculation(tmp_path):
    launcher = Launcher("sh -c 'echo; echo no process manager; exit 3' --")
    with pytest.raises(CannotStart, match="pw.x did not start: no process manager.*dft.launcher"):
        running.run_program(launcher, "pw.x", "", tmp_path, "scf")
    # Killed before its first line, as when memory runs out: the calculation is tried again.
    killed = Launcher("sh -c 'echo; echo exited on signal 9; exit 137' --")
    assert "signal 9" in running.run_program(killed, "pw.x", "", tmp_path, "scf")
    by_srun = Launcher("sh -c 'echo srun: error: task 0: Killed; exit 137' --")
    assert "Killed" in running.run_program(by_srun, "pw.x", "", tmp_path, "scf")
    begun = Launcher("sh -c 'echo; echo Program PWSCF v.6.7MaX starts; exit 1' --")
    assert "PWSCF" in running.run_program(begun, "pw.x", "", tmp_path, "scf")


def test_copies_of_one_process_are_not_taken_for_processes_of_one_run(tmp_path):
    """As `srun` starts them where its --mpi is not that of Quantum ESPRESSO."""
    said = "echo Program PWSCF; echo Parallel version \\(MPI\\), running on     1 processors"
    alone = Launcher(f"sh -c '{said}' --", ranks=1)
    assert "processors" in running.run_program(alone, "pw.x", "", tmp_path, "scf")
    with pytest.raises(CannotStart, match="ran as 1 of 4 processes.*dft.launcher"):
        running.run_program(replace(alone, ranks=4), "pw.x", "", tmp_path, "scf")
    for line, processes in (
        ("Parallel version (MPI & OpenMP), running on       8 processor cores\n"
         "     Number of MPI processes:                 4", 4),
        ("Serial multi-threaded version, running on    2 processor cores", 1),
        ("Parallel version (MPI), running on     2 processors", 2),
    ):  # fmt: skip
        assert number_of_processes(f"     Program PWSCF v.7.3\n\n     {line}\n") == processes


def test_copies_of_one_process_are_told_while_they_run(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "PROGRESS_S", 0.2)
    said = "echo Program PWSCF; echo Parallel version \\(MPI\\), running on     1 processors"
    started = time.monotonic()
    with pytest.raises(CannotStart, match="ran as 1 of 4 processes"):
        copies = Launcher(f"sh -c 'sleep 0.5; {said}; sleep 60' --", ranks=4)
        running.run_program(copies, "pw.x", "", tmp_path, "scf")
    assert time.monotonic() - started < 10


def test_a_program_that_hangs_ends_before_the_job_does(tmp_path):
    """So that how the job ended is written down, and what lies on the node's disk removed."""
    started = time.monotonic()
    hangs = Launcher("sh -c 'sleep 60' --", walltime_s=running.ENDS_S + 1.5)
    with pytest.raises(OutOfTime, match="pw.x did not stop before the job's walltime ended"):
        running.run_program(hangs, "pw.x", "", tmp_path, "scf")
    assert time.monotonic() - started < 10


def test_a_launcher_that_is_not_installed_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no_such_run is not on PATH.*dft.launcher"):
        running.run_program(Launcher("no_such_run -n 1"), "pw.x", "", tmp_path, "scf")


@pytest.mark.parametrize(
    "said",
    ["Fortran runtime error: No space left on device", "error writing file charge-density"],
)
def test_a_full_disk_is_no_fault_of_the_calculation(tmp_path, said):
    text = f"echo Program PWSCF; echo {said}; exit 2"
    with pytest.raises(OSError, match=f"{said.split(': ')[-1]}.*dft.scratch"):
        running.run_program(Launcher(f"sh -c '{text}' --"), "pw.x", "", tmp_path, "scf")


def test_one_pool_is_asked_for_where_a_launcher_starts_several_processes():
    assert Launcher(ranks=1).command("pw.x") == ["pw.x"]
    for launcher in (Launcher(ranks=4), Launcher("srun -n 4"), Launcher("srun -n {ranks}", 4)):
        assert launcher.command("pw.x")[-3:] == ["pw.x", "-nk", "1"]


def test_programs_do_not_see_that_a_scheduler_started_their_job(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("PMI_RANK", "0")
    for ranks in (1, 2):
        environment = Launcher(ranks=ranks).environment()
        assert not {"SLURM_STEP_ID", "PMI_RANK"} & set(environment)
        assert environment["PATH"] == os.environ["PATH"]
    # `srun` as a site's launcher needs to know its job.
    assert Launcher("srun -n {ranks}").environment()["SLURM_STEP_ID"] == "0"


@pytest.mark.parametrize(
    ("clock", "seconds"),
    [
        ("     PWSCF        :   2m25.15s CPU   2m29.09s WALL", 145.15),
        ("     PWSCF        :     45.32s CPU     45.90s WALL", 45.32),
        ("     PWSCF        :  1h12m CPU        1h15m WALL", 4320.0),
        ("     Program PWSCF v.6.7MaX starts", None),
    ],
)
def test_processor_time_is_what_pw_counted(clock, seconds):
    assert processor_seconds(f"     h_psi : 1.0s CPU\n{clock}\n") == seconds


def test_runs_of_steps_that_were_cut_short_are_found(tmp_path):
    log = "Program PWSCF v.6.7\ntotal cpu time spent up to now is      12.0 secs\n"
    for folder, finished in (("relax", False), ("scf", True), ("layer_0/free", False)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "scan_+0.00.start").write_text("")
        (tmp_path / folder / "scan_+0.00.out").write_text(log)
        if finished:
            (tmp_path / folder / "result.json").write_text("{}")
    (tmp_path / "layer_0/result.json").write_text("{}")
    (tmp_path / "result.json").write_text("{}")  # the candidate's own tells of no step
    (found,) = running.unrecorded_runs(tmp_path, 2)
    assert (found["step"], found["symptom"], found["core_seconds"]) == ("scan_+0.00", "killed", 24)


STEP = """
!    total energy              =     {energy} Ry
ATOMIC_POSITIONS (angstrom)
B    0.000    0.000    7.500
N    0.111    1.222    {height}
"""
BEGUN = "     Program PWSCF v.6.7MaX starts\n"


@pytest.fixture
def resumed(tmp_path, monkeypatch):
    """Relax in a folder that stays the same, with the logs given one after another.

    Gives the result of the last one, the inputs, and what was left of an earlier result each time.
    """
    family = Pseudopotentials("pseudodojo")
    run = Calculator(tmp_path, Protocol.named("quick", family), family, Launcher("auto", 1, 600.0))
    atoms = cell_for_truncation(Atoms("BN", positions=[(0, 0, 0), (0, 1.4, 0)], cell=[2.5, 2.5, 9]))
    xml = tmp_path / "save" / "heteroforge.xml"
    xml.parent.mkdir()
    inputs, stale = [], []

    def relax(*logs: str):
        def run_program(launcher, program, text, folder, name, pools=1, **_):
            stale.append(xml.exists())
            xml.write_text("")
            inputs.append(text)
            log = left.pop(0)
            (folder / f"{name}.out").write_text(log)
            return log

        left = list(logs)
        monkeypatch.setattr(running, "run_program", run_program)
        unknown = dict.fromkeys(PwResult.__dataclass_fields__)
        last = PwResult(**unknown | {"ionic_steps": 2, "first_energy_ev": -1.0})
        monkeypatch.setattr(running, "read_pw", lambda path: last)
        namelists = run.namelists(atoms, "relax")
        found = None
        while left:
            with contextlib.suppress(OutOfTime):
                found = running.run_pw(
                    atoms, namelists, (2, 2, 1), family, tmp_path, run.launcher, "relax"
                )
        return found, inputs, stale

    return relax


def test_a_relaxation_that_went_on_tells_of_all_its_steps(resumed):
    clock = "     PWSCF        :     {}s CPU     50.00s WALL\n"
    first = BEGUN + STEP.format(energy=-20.0, height=7.7) + STEP.format(energy=-20.5, height=7.8)
    stopped = "Maximum CPU time exceeded\n" + clock.format(30)
    (result, attempts), inputs, stale = resumed(
        first + stopped, BEGUN + stopped, BEGUN + clock.format(12) + "JOB DONE."
    )
    assert result.first_energy_ev == pytest.approx(-20.0 * 13.605693, rel=1e-6)
    assert result.ionic_steps == 4
    assert [run["core_seconds"] for run in attempts] == [30.0, 30.0, 12.0]
    # The second job ended before its first step, and the third one knew where it began.
    assert "7.800" in inputs[1] and "7.800" in inputs[2]
    assert stale == [False, False, False]


def test_a_relaxation_that_is_repeated_still_knows_where_it_began(resumed):
    done = [BEGUN + STEP.format(energy=e, height=7.7) + "JOB DONE." for e in (-20.0, -21, -22)]
    (result, attempts), inputs, _ = resumed(*done)
    assert result.first_energy_ev == pytest.approx(-20.0 * 13.605693, rel=1e-6)
    assert result.ionic_steps == 4
    # Of those before only the last may be one whose result was lost with its job.
    assert [run.get("symptom") for run in attempts] == ["result_lost", None]
    assert "7.700" in inputs[1]


def test_energies_of_another_smearing_are_not_those_of_the_start(resumed):
    """Stopped while it converged with a wider smearing, and gone on from there."""
    wrong = BEGUN + "Error in routine electrons (1):\n charge is wrong: smearing is needed\n"
    wide = BEGUN + STEP.format(energy=-30.0, height=7.7) + "Maximum CPU time exceeded\n"
    (result, _), inputs, _ = resumed(wrong, wide, BEGUN + "JOB DONE.")
    widths = [float(re.search(r"degauss\s*=\s*(\S+)", text)[1]) for text in inputs]
    assert widths == [0.002, 0.004, 0.002]
    assert result.first_energy_ev is None and result.ionic_steps == 3


def test_what_is_killed_twice_at_one_place_wants_a_job_with_more_memory(resumed):
    """Where steps lie between two kills, something else may kill it."""
    steps = [BEGUN + STEP.format(energy=-20.0, height=z) for z in (7.6, 7.7, 7.8)]
    unmoved = BEGUN + "!    total energy              =     -20.0 Ry\n"
    with pytest.raises(OutOfMemory, match="relax: pw.x was killed twice at one place"):
        resumed(BEGUN, unmoved, BEGUN + "JOB DONE.")
    (_, attempts), inputs, _ = resumed(BEGUN, *steps, BEGUN + "JOB DONE.")
    assert len(attempts) == 2 + 5 and "7.800" in inputs[-1]  # two of the job before
    with pytest.raises(OutOfMemory, match="killed in the last of 5 attempts"):
        resumed(*steps[:2], *steps[:2], steps[2], BEGUN + "JOB DONE.")


def test_what_helped_a_calculation_helps_the_next_ones_from_the_start(resumed, tmp_path):
    failed = BEGUN + "convergence NOT achieved after  80 iterations\n"
    _, inputs, _ = resumed(failed, BEGUN + "JOB DONE.")
    assert [float(re.search(r"mixing_beta\s*=\s*(\S+)", text)[1]) for text in inputs] == [0.3, 0.24]
    _, again, _ = resumed(BEGUN + "JOB DONE.")  # in another job, say
    assert "local-TF" in again[-1] and re.search(r"mixing_beta\s*=\s*0.24", again[-1])
    (tmp_path / "remedies.json").write_text("[")
    assert "local-TF" not in resumed(BEGUN + "JOB DONE.")[1][-1]


def test_an_unknown_error_has_its_second_chance_whatever_came_before(resumed):
    unknown = BEGUN + "Error in routine readpp (1):\n a hiccup\n"
    (_, attempts), _, _ = resumed(BEGUN, unknown, BEGUN + "JOB DONE.")
    assert [run.get("symptom") for run in attempts] == ["killed", "stopped", None]


def test_on_ones_own_machine_a_killed_run_is_tried_again(tmp_path, monkeypatch):
    family = Pseudopotentials("pseudodojo")
    run = Calculator(tmp_path, Protocol.named("quick", family), family, Launcher())

    def run_program(launcher, program, text, folder, name, pools=1, **_):
        (folder / f"{name}.out").write_text(BEGUN)
        return BEGUN

    monkeypatch.setattr(running, "run_program", run_program)
    atoms = cell_for_truncation(Atoms("BN", positions=[(0, 0, 0), (0, 1.4, 0)], cell=[2.5, 2.5, 9]))
    with pytest.raises(CalculationFailed, match="killed .* after 5 attempts"):
        run.scf(atoms)
