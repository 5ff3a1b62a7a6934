"""Where a campaign stands, from its logs, benchmarks and results."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from campaign_files import TARGETS

from heteroforge.io import is_being_written, read_table, write_json, write_table, write_text
from heteroforge.report.campaign import Campaign
from heteroforge.report.status import read_status, seconds_left, status_text

ROOT = Path(__file__).parents[2]
RULES = {"gvae": {"train_gvae": 1}, "gnn": {"train_gnn_member": 3, "evaluate_gnn": 1}}


def finish(folder, job, seconds, later=1.0):
    """Log and benchmark of a job that is done."""
    log, benchmark = folder / f"logs/{job}.log", folder / f"benchmarks/{job}.tsv"
    write_text(log, "well done\n")
    write_text(benchmark, f"s\th:m:s\n{seconds}\t0:00:00\n")
    os.utime(benchmark, (log.stat().st_mtime + later,) * 2)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "results/demo"
    finish(folder, "train_gvae", 30.0)
    finish(folder, "train_gnn_member/0", 8.0)
    finish(folder, "train_gnn_member/1", 12.0)
    return folder


def test_stages_and_what_is_left(folder):
    gvae, gnn = read_status(folder, RULES)
    assert (gvae.state, gvae.count("done"), gvae.total) == ("done", 1, 1)
    assert (gnn.state, gnn.count("done"), gnn.total) == ("partly done", 2, 4)
    assert seconds_left([gvae, gnn]) == (10.0, ["evaluate_gnn"])
    finish(folder.parent / "other", "evaluate_gnn", 5.0)
    assert seconds_left([gvae, gnn], [folder.parent / "other"]) == (15.0, [])


def test_a_job_that_began_anew_and_ended_badly_has_failed(folder):
    finish(folder, "train_gnn_member/1", 12.0, later=-5.0)  # the log is the newer one
    log = folder / "logs/train_gnn_member/2.log"
    write_text(log, "epoch 1\nTraceback …\nInputError: labels.parquet: no column value\n\n")
    gnn = read_status(folder, RULES)[1]
    assert gnn.state == "failed"
    assert [(j.name, j.state) for j in gnn.jobs] == [
        ("0", "done"),
        ("1", "failed"),
        ("2", "failed"),
    ]
    text = status_text(Campaign(folder, TARGETS), [gnn])
    assert "train_gnn_member 2 failed: InputError: labels.parquet: no column value" in text
    assert str(log) in text and "what to do: read the logs" in text


def test_a_running_job_is_told_from_a_dead_one(folder):
    log = folder / "logs/train_gnn_member/2.log"
    program = "import sys; from heteroforge.io import log_to; log_to(sys.argv[1])\n"
    program += "print('epoch 3/30', flush=True); sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    with subprocess.Popen([sys.executable, "-c", program, str(log)], env=environment,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout.readline() == b"epoch 3/30\n"
        assert is_being_written(log)
        gnn = read_status(folder, RULES)[1]
        assert gnn.state == "running" and gnn.jobs[-1].line == "epoch 3/30"
        process.kill()
    assert not is_being_written(log)
    assert read_status(folder, RULES)[1].state == "failed"


def test_progress_bars_count_as_lines(folder):
    write_text(folder / "logs/evaluate_gnn.log", " 25%|##  | 2/8\r 50%|#### | 4/8\r")
    assert read_status(folder, RULES)[1].jobs[-1].line == "50%|#### | 4/8"


def test_candidates_and_best_so_far(finished_campaign):
    text = status_text(
        Campaign(finished_campaign, TARGETS), read_status(finished_campaign, {"dft": {}})
    )
    text = text.replace("\u202f", " ")
    assert "slot 0 MoS2 / WS2: verified, meets all targets" in text
    assert "slot 1 MoS2 / MoSe2: verified, outside: band gap" in text
    assert "slot 2 MoS2 / WSe2: failed: SCF not converged after 5 attempts" in text
    assert (
        "best so far: MoS2 / WS2, by DFT: band gap 1.24 eV (asked for: between 1 and 3 eV)" in text
    )


def test_of_candidates_that_are_left_the_screen_knows_the_time(finished_campaign, tmp_path):
    folder = shutil.copytree(finished_campaign, tmp_path / "demo")
    shutil.rmtree(folder / "dft")
    path = folder / "screening/selected.csv"
    table = read_table(path)
    write_table(path, table.assign(expected_core_min=20.0))
    write_json(folder / "dft/slot_0/candidate.json", {"stack_id": "of another"})
    write_json(folder / "dft/slot_0/relax/result.json", {})
    stages = read_status(folder, {"dft": {"verify_candidates": len(table)}})
    text = status_text(Campaign(folder, TARGETS), stages)
    assert f"rest: about {20 * len(table)} min of computing" in text
    assert "slot 0 MoS2 / WS2: begun, no step finished" in text
    own = table.set_index("slot").at[0, "stack_id"]
    write_json(folder / "dft/slot_0/candidate.json", {"stack_id": own})
    text = status_text(Campaign(folder, TARGETS), stages)
    assert "slot 0 MoS2 / WS2: finished steps: relax" in text


def test_nothing_begun(tmp_path):
    text = status_text(Campaign(tmp_path / "new", TARGETS), read_status(tmp_path / "new", RULES))
    assert "gvae       waiting" in text and "best so far: nothing yet" in text
    assert "never timed: train_gvae, train_gnn_member, evaluate_gnn" in text


def test_between_two_jobs_a_campaign_is_not_taken_for_ended(folder):
    """`flock`, as the Makefile has it, holds the lock until the campaign ends, however it does."""

    def advice() -> str:
        text = status_text(Campaign(folder, TARGETS), read_status(folder, RULES))
        return text.splitlines()[-1]

    lock = folder.parent / ".campaign.lock"
    assert advice().startswith("what to do: nothing is running; the command that")
    options = re.search(r"@flock (.*) results/.campaign.lock", (ROOT / "Makefile").read_text())[1]
    program = ["bash", "-c", "echo begun; exec sleep 100"]
    command = ["flock", *options.split(), str(lock), *program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as campaign:
        assert campaign.stdout.readline() == b"begun\n"
        assert "wait: a campaign is running" in advice()
        campaign.kill()
    assert lock.is_file() and "nothing is running" in advice()
    # Snakemake without make, running or killed: files tell no more.
    locks = folder.parents[1] / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    write_text(locks / "0.input.lock", "results/demo/library/monolayers.parquet\n")
    assert "Snakemake has locked this folder" in advice()
