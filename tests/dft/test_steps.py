"""Steps as files, without pw.x."""

import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from heteroforge.dft import steps
from heteroforge.dft.calculations import Calculator
from heteroforge.dft.protocols import Protocol
from heteroforge.dft.running import CalculationFailed, Launcher, OutOfTime
from heteroforge.dft.scan import lowest_point
from heteroforge.dft.steps import inside_targets, run_step
from heteroforge.io import read_json


def test_a_failed_calculation_is_a_result_and_a_broken_machine_is_not(tmp_path):
    def fails() -> dict:
        raise CalculationFailed("scf: density did not converge", [{"attempt": 1}])

    def breaks() -> dict:
        raise FileNotFoundError("pw.x is not on PATH")

    def stumbles() -> dict:
        raise RuntimeError("no lattice of this kind")

    assert run_step(tmp_path / "c.json", {}, stumbles)["reason"] == (
        "RuntimeError: no lattice of this kind"
    )
    outcome = run_step(tmp_path / "a.json", {}, fails)
    assert outcome["status"] == "failed" and outcome["attempts"] == [{"attempt": 1}]
    assert read_json(tmp_path / "a.json") == outcome
    with pytest.raises(FileNotFoundError):
        run_step(tmp_path / "b.json", {}, breaks)
    assert not (tmp_path / "b.json").exists()


def test_later_steps_carry_the_reason_and_empty_slots_stay_empty(tmp_path):
    run_step(tmp_path / "a.json", {}, lambda: {"status": "failed", "reason": "no luck"})
    second = run_step(tmp_path / "b.json", {"relax": tmp_path / "a.json"}, dict)
    third = run_step(tmp_path / "c.json", {"scf": tmp_path / "b.json"}, dict)
    assert second["status"] == third["status"] == "skipped"
    assert third["reason"] == "no luck" and third["step"] == "relax"
    run_step(tmp_path / "d.json", {}, lambda: {"status": "empty"})
    assert run_step(tmp_path / "e.json", {"x": tmp_path / "d.json"}, dict)["status"] == "empty"


def test_targets_with_open_ends():
    targets = {"gap_ev": [1.0, None], "binding_energy_mev_a2": [None, 20.0], "vbm_ev": None}
    found = inside_targets({"gap_ev": 1.5, "binding_energy_mev_a2": 25.0}, targets)
    assert found["gap_ev"]["inside"] and not found["binding_energy_mev_a2"]["inside"]
    assert "vbm_ev" not in found
    assert not inside_targets({}, {"gap_ev": [0.0, None]})["gap_ev"]["inside"]
    for found, inside in (("II", True), ("I", False), ("undetermined", False), (None, False)):
        assert (
            inside_targets({"alignment": found}, {"alignment": "II"})["alignment"]["inside"]
            is inside
        )


def test_two_processes_never_work_in_one_folder(tmp_path):
    program = (
        "import sys, time; from heteroforge.dft.steps import claim_folder; "
        "claim_folder(sys.argv[1]); print('mine', flush=True); time.sleep(float(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    first = subprocess.Popen([*command, "600"], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "mine\n"
    second = subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, text=True)
    holder = f"process {first.pid} on {platform.node()}"
    assert f"waiting for {holder}" in second.stdout.readline()
    with pytest.raises(OutOfTime, match=f"{holder} still works here.*delete"):
        steps.claim_folder(tmp_path, Launcher(walltime_s=1.0))
    first.kill()  # as a killed campaign's step ends some time
    assert second.stdout.readline() == "mine\n"
    assert second.wait(10) == 0


@pytest.mark.parametrize("distance", [-0.8, 0.05, 0.95])
def test_the_interlayer_scan_finds_the_lowest_energy_wherever_it_starts(distance, monkeypatch):
    def energy(self, atoms, calculation, name):
        gap = atoms.positions[1, 2] - atoms.positions[0, 2]
        decay = np.exp(-1.5 * (gap - 3.3))  # a Morse curve
        force = -0.05 * 2 * 1.5 * decay * (1 - decay)
        forces = np.array([[0, 0, -force], [0, 0, force]])
        return {"energy_ev": 0.05 * (1 - decay) ** 2, "forces_ev_a": forces}

    monkeypatch.setattr(Calculator, "kept", energy)
    atoms = Atoms("CC", positions=[(0, 0, 5), (0, 0, 8.3 + distance)], cell=[3, 3, 25])
    atoms.set_array("layer", np.array([0, 1]))
    protocol = Protocol("any", *[1e-9] * 7)
    calculator = Calculator(None, protocol, None, None)
    scan = calculator.scan_gap(atoms)
    assert len(scan) <= 5
    assert 3.3 + distance + lowest_point(scan)[0] == pytest.approx(3.3, abs=0.02)


def test_a_calculation_ends_with_the_process_that_started_it(tmp_path):
    program = (
        "import sys; from pathlib import Path; from heteroforge.dft import running\n"
        "running.Launcher.command = lambda self, program, pools=1: "
        "['sh', '-c', 'echo $$ > pid; exec sleep 60']\n"
        "running.run_program(running.Launcher(), 'pw.x', '', Path(sys.argv[1]), 'pw')"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    started = time.monotonic()
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text().strip()):
        assert time.monotonic() - started < 30
        time.sleep(0.05)
    process = Path("/proc") / pid.read_text().strip()
    assert process.exists()
    parent.kill()  # kill -9: no handler of its own can run
    parent.wait()
    while process.exists() and "Z" not in (process / "stat").read_text().split()[2]:
        assert time.monotonic() - started < 40
        time.sleep(0.05)


def test_a_file_system_without_locks_stops_nobody(tmp_path, monkeypatch, capsys):
    def no_locks(handle, operation):
        raise OSError(steps.errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(steps.fcntl, "flock", no_locks)
    steps.claim_folder(tmp_path)
    assert "no locks" in capsys.readouterr().out
