"""The tiny campaign from the bundled library to the report, with real pw.x."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("Snakefile", "config", "envs", "workflow")

pytestmark = [
    pytest.mark.pw,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not on PATH"),
]


def command(*arguments: str) -> list[str]:
    overlay = ["--configfile", "config/campaigns/tiny.yaml"]
    return [
        sys.executable, "-m", "snakemake", "--cores", "2", "--rerun-incomplete", *overlay, "--",
        *arguments,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project without results; what the set-up downloaded is linked."""
    folder = tmp_path_factory.mktemp("project")
    skipped = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=skipped)
        else:
            shutil.copy(source, folder / name)
    (folder / "resources").mkdir()
    for source in (ROOT / "resources").iterdir():
        (folder / "resources" / source.name).symlink_to(source)
    return folder


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments), cwd=project, capture_output=True, text=True, timeout=1500
    )


def modification_times(project: Path) -> dict[Path, float]:
    """Of finished artifacts; not of logs and of scratch folders."""
    results = project / "results" / "tiny"
    return {
        path: path.stat().st_mtime_ns
        for path in results.rglob("*")
        if path.suffix in {".parquet", ".csv", ".json", ".pt", ".html"} and path.is_file()
    }


def test_a_killed_campaign_goes_on_and_ends_with_verified_candidates(project):
    first = subprocess.Popen(
        command(), cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    slot = project / "results" / "tiny" / "dft" / "slot_0"
    started = time.monotonic()
    while not (slot / "relax").is_dir():
        assert first.poll() is None, "the campaign ended before DFT started"
        assert time.monotonic() - started < 900
        time.sleep(0.2)
    time.sleep(3.0)  # into a run of pw.x
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = modification_times(project)
    assert any(path.name == "model.pt" for path in before)

    unlocked = subprocess.run(
        [*command()[:-1], "--unlock"], cwd=project, capture_output=True, text=True
    )
    assert unlocked.returncode == 0, unlocked.stderr
    second = run(project)
    assert second.returncode == 0, second.stderr[-3000:]
    after = modification_times(project)
    changed = [path for path in before if after.get(path) != before[path]]
    changed = [path for path in changed if path.name != "submissions.json"]  # history: it grows
    assert not changed, f"made again after the kill: {changed}"

    result = json.loads((slot / "result.json").read_text())
    assert result["status"] == "verified", result.get("reason")
    numbers = {name: entry["value"] for name, entry in result["properties"].items()}
    assert 2.5 < numbers["interlayer_gap_a"] < 4.0
    assert 2.0 < numbers["binding_energy_mev_a2"] < 40.0
    assert numbers["strain_energy_mev_a2"] > -0.3  # straining a relaxed layer costs energy
    assert numbers["vacuum_flatness_ev"] < 0.05
    screening = project / "results" / "tiny" / "screening"
    relaxed = pd.read_csv(screening / "force_field.csv").set_index("stack_id")
    selected = pd.read_csv(screening / "selected.csv")
    assert (relaxed.loc[selected["stack_id"], "outcome"] == "kept").all()
    table = pd.read_parquet(project / "results" / "tiny" / "dft" / "results.parquet")
    assert len(table) == 1
    page = (project / "results" / "tiny" / "report" / "index.html").read_text()
    assert table.loc[0, "formula"].split("/")[0] in page


def test_what_is_finished_is_not_made_again(project):
    before = modification_times(project)
    again = run(project)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr
    assert modification_times(project) == before


def test_a_single_stage_by_its_target_file(project):
    drivers = project / "results" / "tiny" / "clustering" / "drivers.csv"
    drivers.unlink()
    again = run(project, "results/tiny/clustering/drivers.csv")
    assert again.returncode == 0, again.stderr[-2000:]
    assert drivers.exists()
    assert "verify_candidates" not in again.stderr
