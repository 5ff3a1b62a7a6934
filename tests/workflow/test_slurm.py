"""`snakemake --profile slurm` on a real, one-node SLURM: jobs that are cancelled, run out of
walltime or memory, a node that is drained, and a candidate that kills every job it is given."""

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import projects
import pytest

from heteroforge.io import read_json
from heteroforge.structures import Stack
from heteroforge.structures.matching import enumerate_registries, find_matches, stack_from_match

SCRIPT = projects.ROOT / "workflow" / "setup" / "one_node_slurm.sh"
HANGS, SMALL_MEMORY, ALWAYS_KILLED, CANCELLED = 1, 2, 3, 4
SLOTS = 5

# Starts pw.x with MPI; hangs once in the folder of one candidate, eats memory in that of another.
LAUNCHER = f"""#!/bin/bash
ranks=$1; shift
case $PWD in
    */slot_{HANGS}/*) mkdir "$(dirname "$0")/hung" 2>/dev/null && exec sleep 600 ;;
    */slot_{ALWAYS_KILLED}/*) exec python3 -c 'x = bytearray(4 << 30); input()' < <(sleep 600) ;;
esac
exec mpirun --oversubscribe --bind-to none -np "$ranks" "$@"
"""

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.pw,
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not on PATH"),
]


@pytest.fixture(scope="module")
def slurm():
    """A SLURM of one node."""
    installed = subprocess.run([SCRIPT, "install"], capture_output=True, text=True)
    if installed.returncode != 0:
        pytest.skip(f"no SLURM on this machine: {installed.stderr.strip().splitlines()[-1]}")
    # The path of munge's socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    started = subprocess.run([SCRIPT, "start", folder], capture_output=True, text=True)
    if "has a SLURM" in started.stderr or "root is needed" in started.stderr:
        pytest.skip(started.stderr.strip())
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        yield folder
    finally:
        subprocess.run([SCRIPT, "stop", folder], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def candidates() -> list[Stack]:
    """A bilayer per slot."""
    layers = projects.bundled_library().monolayers
    bottom, top = layers["C-graphene"], layers["BN-honeycomb"]
    match = find_matches(bottom, top, 1.3 * bottom.area_a2, 6.0, 4)[0]
    registries = enumerate_registries(bottom, top)
    return [
        stack_from_match(bottom, top, match, registries[slot % len(registries)], 3.2 + 0.1 * slot)
        for slot in range(SLOTS)
    ]


def queue() -> dict[str, tuple[str, str]]:
    """Jobs in SLURM's queue: state and comment (which names rule and wildcards) by id."""
    text = subprocess.check_output(
        ["squeue", "--noheader", "--states=PENDING,RUNNING", "--format=%i|%T|%k"], text=True
    )
    return {i: (state, comment) for i, state, comment in (x.split("|") for x in text.splitlines())}


def wait_for(condition, seconds: float, process: subprocess.Popen):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        assert process.poll() is None, "the campaign ended before"
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} s; queue: {queue()}")


def test_a_campaign_outlives_what_happens_on_a_cluster(slurm, tmp_path):
    overlay = {**projects.SMALLEST}
    launcher = tmp_path / "launcher.sh"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    overlay["dft"] = {
        "slots": SLOTS,
        "protocol": "rough",
        "ranks": 2,
        "launcher": f"{launcher} {{ranks}}",
        "scratch": "$HETEROFORGE_TEST_SCRATCH",
        "maximum_submissions": 2,
        "modules": ["QuantumESPRESSO/7"],
    }
    project = projects.copy_project(tmp_path / "project", overlay)
    # Stands for the site's environment modules.
    modules = tmp_path / "modules.sh"
    modules.write_text(f'module() {{ echo "$@" >> {tmp_path}/modules.log; }}\n')
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    projects.select(project, candidates())
    walltime = (
        f"verify_candidates:runtime=1 if wildcards.first == '{HANGS}' and attempt == 1 else 8"
    )
    memory = (
        f"verify_candidates:mem_mb=60 if wildcards.first == '{SMALL_MEMORY}' and attempt == 1 "
        "else 1500"
    )
    log = tmp_path / "snakemake.log"
    with log.open("w") as handle:
        campaign = subprocess.Popen(
            projects.snakemake(
                "--profile", "slurm", "dft", "--configfile", "config/campaigns/test.yaml",
                "--slurm-init-seconds-before-status-checks", "3",
                "--software-deployment-method", "env-modules",
                "--set-resources", walltime, memory,
            ),
            cwd=project,
            stdout=handle,
            stderr=subprocess.STDOUT,
            env=projects.environment()
            | {"HETEROFORGE_TEST_SCRATCH": str(scratch), "BASH_ENV": str(modules)},
        )  # fmt: skip
    dft = project / "results" / "small" / "dft"
    try:
        cancelled = wait_for(
            lambda: next(
                (
                    job
                    for job, (_, comment) in queue().items()
                    if comment.endswith(f"wildcards_{CANCELLED}_{CANCELLED}")
                    and (dft / f"slot_{CANCELLED}" / "submissions.json").exists()
                ),
                None,
            ),
            300,
            campaign,
        )
        subprocess.run(["scancel", cancelled], check=True)
        node = subprocess.check_output(["sinfo", "--noheader", "--format=%n"], text=True).strip()
        drain = ["scontrol", "update", f"NodeName={node}"]
        subprocess.run([*drain, "State=DRAIN", "Reason=maintenance"], check=True)
        time.sleep(8)  # what runs goes on, what waits waits
        subprocess.run([*drain, "State=RESUME"], check=True)
        assert campaign.wait(600) == 0, log.read_text()[-5000:]
    finally:
        campaign.kill()

    text = log.read_text()
    assert queue() == {}
    table = pd.read_parquet(dft / "results.parquet").set_index("slot")
    assert sorted(table.index) == [0, HANGS, SMALL_MEMORY, CANCELLED]
    assert not [save for slot in table.index for save in (dft / f"slot_{slot}").rglob("save")]
    with (dft / "failed.csv").open(encoding="utf-8-sig") as handle:
        (failed,) = csv.DictReader(handle)
    assert failed["slot"] == str(ALWAYS_KILLED) and failed["step"] == "registries"
    assert "2 jobs ended before the calculation did" in failed["reason"]

    def history(slot: int) -> list[tuple[int, str | None]]:
        records = read_json(dft / f"slot_{slot}" / "submissions.json")
        return [(record["attempt"], record["ended"]) for record in records]

    assert history(0) == [(1, "verified")]
    assert history(HANGS) == [(1, "out of time"), (2, "verified")]
    assert history(SMALL_MEMORY) == [(2, "verified")]  # the first ended before Python began
    assert history(ALWAYS_KILLED) == [(1, None), (2, None)]
    assert history(CANCELLED)[0] == (1, None) and history(CANCELLED)[-1][1] == "verified"
    walltimes = [r["walltime_min"] for r in read_json(dft / f"slot_{HANGS}" / "submissions.json")]
    assert walltimes == [1, 8]
    # pw.x ran with both ranks.
    output = (dft / "slot_0" / "scf" / "scf.out").read_text()
    assert (
        "running on     2 processors" in output
        or "Number of MPI processes:                 2" in output
    )
    assert "TIMEOUT" in text or "CANCELLED" in text
    assert "load QuantumESPRESSO/7" in (tmp_path / "modules.log").read_text()

    again = projects.run(
        project, "--profile", "slurm", "dft", "--configfile", "config/campaigns/test.yaml"
    )
    assert again.returncode == 0 and "Nothing to be done" in again.stdout, again.stdout[-2000:]


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_automatic_launcher_starts_programs_inside_a_job(slurm, tmp_path, ranks):
    """A job's script is started by `srun`; MPI must not take pw.x for started by it as well."""
    script = tmp_path / "job.py"
    script.write_text(
        "from pathlib import Path\n"
        "from heteroforge.dft.running import Launcher, run_program\n"
        f"print(run_program(Launcher(ranks={ranks}), 'pw.x', '', Path('.'), 'pw'))\n"
    )
    told = subprocess.run(
        ["srun", "--ntasks=1", f"--cpus-per-task={ranks}", "--mem=1500", sys.executable, script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(projects.ROOT / "workflow")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "Program PWSCF" in told.stdout, told.stdout + told.stderr
    if ranks > 1:
        assert re.search(r"running on +2 processors|MPI processes: +2", told.stdout)


def test_a_job_gets_the_gpu_and_the_partition_that_the_profile_names(slurm, tmp_path):
    project = projects.copy_project(tmp_path / "project")
    finished = projects.run(
        project, "--profile", "slurm", "results/small/library/monolayers.parquet",
        "--configfile", "config/campaigns/test.yaml",
        "--slurm-init-seconds-before-status-checks", "3",
        "--set-resources", "build_library:gpu=1", "build_library:slurm_partition=main",
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-3000:]
    text = subprocess.check_output(
        [
            "squeue",
            "--noheader",
            "--states=all",
            "--Format=tres-per-job:40,partition:20,comment:60",
        ],
        text=True,
    )
    (job,) = [line.split() for line in text.splitlines() if "build_library" in line]
    assert job[0].endswith("gpu:1") and job[1] == "main"
