"""The tiny campaign from the bundled library to the report, with real pw.x (coarse protocol)."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import projects
import pytest
from opened import check_campaign

ONE_RULE_OF_EACH_STAGE = (
    "build_library", "cluster_monolayers", "enumerate_stacks", "collect_labels", "train_gvae",
    "train_gnn_member", "sample_stacks", "screen_stacks", "verify_candidates", "write_report",
)  # fmt: skip

pytestmark = [
    pytest.mark.pw,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not on PATH"),
]


def command(*arguments: str) -> list[str]:
    overlay = ["--configfile", "config/campaigns/tiny.yaml", "config/campaigns/test.yaml"]
    return [
        sys.executable, "-m", "snakemake", "--cores", "2", "--rerun-incomplete", *overlay, "--",
        *arguments,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return projects.copy_project(
        tmp_path_factory.mktemp("project"), {"dft": {"protocol": "coarse"}}
    )


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


def finished_jobs(told: str) -> Counter[str]:
    """How often Snakemake saw a job of each rule end well."""
    return Counter(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", told))


def planned_jobs(told: str) -> Counter[str]:
    """Jobs of each rule in the table that Snakemake prints before it starts."""
    table = told.partition("Job stats:")[2].partition("total")[0]
    return Counter({rule: int(count) for rule, count in re.findall(r"(?m)^(\w+) +(\d+)$", table)})


def kill_early(project: Path, rules: set[str]) -> tuple[set[str], str]:
    """Start the campaign and kill all of it as soon as a job of one of the rules is at work.

    Returns which of the rules were hit, and what Snakemake told.
    """
    results = project / "results" / "tiny"

    def logs() -> dict[Path, int]:
        found = (results / "logs").rglob("*.log")
        return {path: path.stat().st_mtime_ns for path in found}

    def hit() -> set[str]:
        """A script writes its log when it has imported what it needs and begins."""
        new = {path.relative_to(results / "logs") for path, _ in logs().items() - before.items()}
        return rules & {path.with_suffix("").parts[0] for path in new}

    before = logs()
    with (project / "told.txt").open("w+") as told:
        campaign = subprocess.Popen(
            command(), cwd=project, stdout=told, stderr=told, start_new_session=True
        )
        started = time.monotonic()
        while not hit():
            assert campaign.poll() is None, f"the campaign ended before any of {rules} began"
            assert time.monotonic() - started < 1500, rules
            time.sleep(0.05)
        if "verify_candidates" in hit():
            while not (results / "dft" / "slot_0" / "relax").is_dir():
                assert campaign.poll() is None, "the campaign ended without a relaxation"
                time.sleep(0.1)
            time.sleep(3.0)  # into a run of pw.x
        struck = hit()
        os.killpg(campaign.pid, signal.SIGKILL)
        campaign.wait()
        told.seek(0)
        return struck, told.read()


def unlock(project: Path) -> None:
    unlocked = subprocess.run(
        [*command()[:-1], "--unlock"], cwd=project, capture_output=True, text=True
    )
    assert unlocked.returncode == 0, unlocked.stderr
    assert not any((project / ".snakemake" / "locks").glob("*"))


def test_a_campaign_killed_at_every_stage_goes_on_and_ends_with_verified_candidates(project):
    planned, finished = Counter(), Counter()
    waiting = set(ONE_RULE_OF_EACH_STAGE)
    while waiting:
        struck, told = kill_early(project, waiting)
        planned = planned or planned_jobs(told)
        finished += finished_jobs(told)
        waiting -= struck
        if waiting:  # what `unlock` does, without the start of a Snakemake each time
            shutil.rmtree(project / ".snakemake" / "locks")
    unlock(project)
    before = modification_times(project)
    assert any(path.name == "model.pt" for path in before)
    last = run(project)
    assert last.returncode == 0, last.stderr[-3000:]
    # Of what was done when the last kill came, nothing is touched again.
    after = modification_times(project)
    changed = [path for path in before if after.get(path) != before[path]]
    changed = [path for path in changed if path.name != "submissions.json"]  # history: it grows
    assert not changed, f"made again after the kill: {changed}"
    # And over all kills, no job that Snakemake saw finished was run a second time. (One that ended
    # in the moment of a kill is not run again either, but Snakemake did not live to say so.)
    finished += finished_jobs(last.stdout + last.stderr)
    assert planned and not finished - planned
    assert (planned - finished).total() < len(ONE_RULE_OF_EACH_STAGE)

    slot = project / "results" / "tiny" / "dft" / "slot_0"
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


def test_other_programs_open_what_it_leaves(project):
    opened = check_campaign(project / "results" / "tiny")
    assert set(opened) == {".extxyz", ".cif", ".csv", ".parquet", ".json"}


def test_snakemakes_own_report_shows_the_pictures_of_every_stage(project):
    made = subprocess.run(
        [*command()[:-1], "--report", "own_report.html"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert made.returncode == 0, made.stderr[-3000:]
    page = (project / "own_report.html").read_text(encoding="utf-8")
    for category in ("2. clustering", "5. gvae", "8. screening", "9. dft"):
        assert category in page


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
