"""What a running pw.x says of itself."""

import pytest

from heteroforge.dft import running
from heteroforge.dft.progress import pw_progress

LOG = """
     iteration #  1     ecut=    60.00 Ry     beta= 0.50
     estimated scf accuracy    <       0.14620000 Ry
     number of scf cycles    =   2
     number of bfgs steps    =   1
     iteration #  7     ecut=    60.00 Ry     beta= 0.50
     estimated scf accuracy    <       8.1E-05 Ry
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "running"),
        (LOG, "ionic step 2, SCF iteration 7, accuracy 8.1e-05 Ry"),
        (LOG[:60], "SCF iteration 1"),
        (LOG.replace("8.1E-05", "*******"), "ionic step 2, SCF iteration 7"),
        ("Computing kpt #:    14  of    37\n", "k-point 14 of 37"),
        ("x" * 50_000 + LOG, "ionic step 2, SCF iteration 7, accuracy 8.1e-05 Ry"),
    ],
)
def test_progress_is_the_last_state(tmp_path, text, words):
    log = tmp_path / "pw.out"
    log.write_text(text)
    assert pw_progress(log) == words


def test_a_running_program_is_followed(tmp_path, monkeypatch, capsys):
    program = tmp_path / "pw.x"
    program.write_text("#!/bin/sh\necho 'iteration #  3'\nsleep 1\necho done\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(running, "PROGRESS_S", 0.2)
    folder = tmp_path / "slot_0/scf"
    log = running.run_program(running.Launcher(), "pw.x", "", folder, "scf")
    assert log.endswith("done\n")
    assert capsys.readouterr().out == "slot_0/scf/scf: SCF iteration 3\n"
