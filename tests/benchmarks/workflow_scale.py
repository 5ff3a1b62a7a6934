"""How long Snakemake takes to plan a campaign of many DFT candidates, and in how much memory.

    python tests/benchmarks/workflow_scale.py [--candidates 10000] [--per-job 1] [--finished 9900]

Runs the dry run of a whole campaign in a copy of the project: nothing done, and with all but the
last candidates finished. No calculation is run.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))
import projects


def dry_run(project: Path, *targets: str) -> dict:
    """Seconds (of the processor, too: machines may be busy), peak memory, jobs of a dry run."""
    command = projects.snakemake(
        "--dry-run", *targets, "--scheduler", "greedy", "--configfile", "config/campaigns/test.yaml"
    )
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=project,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=projects.environment(),
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        output.seek(0)
        text = output.read()
    if status != 0:
        raise RuntimeError(f"the dry run failed: {text[-2000:]}")
    counts = dict(re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE))
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
        "jobs": int(counts.get("total", 0)),
        "verify_candidates": int(counts.get("verify_candidates", 0)),
    }


def finish_all_but_the_last(project: Path, candidates: int, per_job: int, finished: int) -> None:
    """Put the files in place that a campaign has when so many candidates are verified."""
    results = project / "results" / projects.SMALLEST["campaign"]
    for name in (
        "library/monolayers.extxyz", "library/monolayers.parquet", "screening/selected.csv",
    ):  # fmt: skip
        path = results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    rows = "".join(f"{slot},4\n" for slot in range(candidates))
    (results / "screening" / "selected.csv").write_text("slot,number_of_atoms\n" + rows)
    (results / "dft").mkdir(exist_ok=True)
    for first in range(0, finished, per_job):
        last = min(first + per_job, candidates) - 1
        (results / "dft" / f"slots_{first}-{last}.json").write_text("[]")


def measure(candidates: int, per_job: int, finished: int) -> dict:
    """Dry runs at the start and near the end of a campaign."""
    overlay = {**projects.SMALLEST, "dft": {"slots": candidates, "candidates_per_job": per_job}}
    with tempfile.TemporaryDirectory() as folder:
        project = projects.copy_project(Path(folder) / "project")
        (project / "config" / "campaigns" / "test.yaml").write_text(yaml.safe_dump(overlay))
        start = dry_run(project)
        finish_all_but_the_last(project, candidates, per_job, finished)
        resumed = dry_run(project, "dft")
    return {
        "candidates": candidates,
        "candidates_per_job": per_job,
        "from_the_start": start,
        "finished": finished,
        "resumed": resumed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--per-job", type=int, default=1)
    parser.add_argument("--finished", type=int, default=9_900)
    options = parser.parse_args()
    print(json.dumps(measure(options.candidates, options.per_job, options.finished), indent=1))


if __name__ == "__main__":
    main()
