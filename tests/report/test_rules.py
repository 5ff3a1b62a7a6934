"""The rules that answer at any time: where a campaign stands, and the report so far."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy without results."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("config", "envs", "workflow"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "resources").symlink_to(ROOT / "resources")
    return folder


def ask(project: Path, rule: str) -> str:
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "1",
        "--nolock",
        rule,
        "--quiet",
        "all",
    ]
    finished = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.slow
def test_status_of_a_campaign_that_has_not_begun(project):
    said = ask(project, "status")
    lines = {line.split()[0]: line for line in said.splitlines() if line.startswith("  ")}
    assert list(lines) == ["library", "clustering", "stacks", "labels", "gvae", "gnn", "samples",
                           "screening", "dft", "report"]  # fmt: skip
    assert all("waiting" in line and " 0 of " in line for line in lines.values())
    # Without `predict`, which a campaign does not need.
    assert " 0 of 6 jobs" in lines["gnn"]
    assert "best so far: nothing yet" in said


@pytest.mark.slow
def test_report_of_a_campaign_that_has_not_begun(project):
    ask(project, "write_interim_report")
    page = (project / "results/demo/report/interim.html").read_text(encoding="utf-8")
    assert "No candidate has been verified" in page and "Where it stands" in page
