"""Campaigns that are hit by faults at random moments and must end as if nothing had happened.

    python tests/workflow/faults.py --faults 50 --seed 1 --folder FOLDER

A small campaign runs undisturbed. The same campaign is then started over and over, each time until
a fault strikes: a process is killed, the quota is used up, a file is damaged, malformed or gone.
It is resumed as a user would, after what the message asked for, until it is finished; its results
must then be those of the undisturbed one. Kinds and moments follow from the seed. All faults are
written to FOLDER/faults.csv; the exit status is the number of faults that were not survived.
"""

import argparse
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import projects
import psutil
import torch

CONFIGURATION = ("--configfile", "config/campaigns/test.yaml")
REMEDY = "delete it and run again"

# Finished tables that must be equal to the last digit.
EXACT = (
    "library/monolayers.parquet", "library/rejected.csv", "clustering/clusters.csv",
    "clustering/drivers.csv", "stacks/matches.parquet", "stacks/training_stacks.parquet",
    "labels/labels.parquet", "gvae/history.csv", "gnn/calibration.json",
    "gnn/test_predictions.parquet", "samples/shard_*.parquet", "screening/ranked.parquet",
    "screening/selected.csv", "screening/rejected.csv", "screening/funnel.json",
    "screening/force_field.csv", "dft/failed.csv",
)  # fmt: skip
# Files that later stages read: what is wrong with them must be noticed.
READ_LATER = (
    "library/monolayers.parquet", "library/monolayers.extxyz",
    "clustering/descriptors.parquet", "clustering/clusters.csv",
    "stacks/*.parquet", "labels/labels.parquet", "gvae/model.pt", "gnn/member_*.pt",
    "gnn/calibration.json", "samples/shard_*.parquet", "screening/ranked.parquet",
    "screening/selected.csv", "dft/slots_*.json", "dft/slot_*/relaxed.extxyz",
    "dft/slot_*/scf/result.json",
)  # fmt: skip
# Of DFT, by unit: a relaxation that was interrupted ends elsewhere within its thresholds. How many
# steps it took, what follows from them, and what of it was waste depends on the interruption.
TOLERANCE = {"_ev": 0.05, "_mev_a2": 8.0, "_a": 0.05}
DEPENDS_ON_INTERRUPTION = (
    "ionic_steps",
    "mass_fit_residual_ev",
    "wasted_core_seconds",
)


@dataclass
class Fault:
    """One fault: what was done when, and what came of it."""

    number: int
    kind: str
    seed: int
    after_jobs: int = 0
    after_s: float = 0.0
    campaign: int = 0
    target: str = ""
    exit_code: int | None = None
    told: str = ""
    fault_of_ours: str = ""


class Campaign:
    """A campaign in a copy of the project, started and stopped from outside."""

    def __init__(self, folder: Path, cores: int) -> None:
        self.project = folder
        self.results = self.project / "results" / projects.SMALLEST["campaign"]
        self.log = self.project / "snakemake.log"
        self.cores = cores
        self.process: subprocess.Popen | None = None

    def make(self) -> None:
        """A new copy of the project."""
        shutil.rmtree(self.project, ignore_errors=True)
        projects.copy_project(self.project)
        library = self.project / "resources" / "library"
        source = library.resolve()
        library.unlink()
        shutil.copytree(source, library)  # ours, to be hidden

    def start(self) -> None:
        # What --unlock does.
        shutil.rmtree(self.project / ".snakemake" / "locks", ignore_errors=True)
        with self.log.open("w") as handle:
            self.process = subprocess.Popen(
                projects.snakemake(
                    "--cores", str(self.cores), "--rerun-incomplete", *CONFIGURATION
                ),
                cwd=self.project,
                stdout=handle,
                stderr=subprocess.STDOUT,
                env=projects.environment(),
                start_new_session=True,
                # A shell starts its background jobs deaf to Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def go_on(self, jobs: int) -> bool:
        """Let some jobs finish, and stop it then; True where it ended before by itself."""
        while self.text.count(" steps (") < jobs and not self.ended:
            time.sleep(0.1)
        ended = self.ended
        self.interrupt()
        return ended

    def mend(self) -> None:
        """What a user does who is told that a file is damaged."""
        for told in re.findall(r"\berror: ([^\s:]+): ", self.text):
            path = self.project / told
            if path.is_relative_to(self.results):
                path.unlink(missing_ok=True)

    def wait(self, timeout_s: float = 600) -> int:
        return self.process.wait(timeout_s)

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def processes(self, *words: str) -> list[psutil.Process]:
        """Processes of this campaign whose command line holds one of the words."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd().startswith(str(self.project)):
                    line = " ".join(process.cmdline())
                    if not words or any(word in line for word in words):
                        found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def interrupt(self) -> None:
        """Ctrl-C, which a terminal sends to Snakemake and its jobs alike."""
        if not self.ended:
            os.killpg(self.process.pid, signal.SIGINT)
            self.wait(180)

    def kill_all(self) -> None:
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()

    def finished_files(self) -> list[Path]:
        """Artifacts that later rules read."""
        return sorted({p for pattern in READ_LATER for p in self.results.glob(pattern)})


# --- kinds of faults: each strikes a campaign that runs, and returns what it hit ------------------


def strike_snakemake(campaign: Campaign, draw: random.Random) -> str:
    """Kill Snakemake alone: its jobs go on, and the next run starts beside them."""
    campaign.process.kill()
    return "snakemake"


def strike_everything(campaign: Campaign, draw: random.Random) -> str:
    """Kill all processes at once, as a power cut does."""
    campaign.kill_all()
    return "all processes"


def strike_worker(campaign: Campaign, draw: random.Random) -> str:
    """Kill the script of a rule."""
    workers = campaign.processes(".snakemake/scripts/")
    if not workers:
        return ""
    worker = draw.choice(workers)
    name = worker.cmdline()[-1].split(".")[-2]
    worker.kill()
    return name


def strike_pw(campaign: Campaign, draw: random.Random) -> str:
    """Kill pw.x, as the kernel does when memory runs out."""
    running = campaign.processes("pw.x -in")
    if not running:
        return ""
    victim = draw.choice(running)
    name = victim.cmdline()[-1]
    victim.kill()
    return name


def strike_quota(campaign: Campaign, draw: random.Random) -> str:
    """Let no process of the campaign, and none it starts, write any further."""
    struck = campaign.processes()
    for process in struck:
        try:
            process.rlimit(psutil.RLIMIT_FSIZE, (0, 0))
        except (psutil.NoSuchProcess, PermissionError):
            continue
    return f"{len(struck)} processes"


def strike_truncation(campaign: Campaign, draw: random.Random) -> str:
    """Cut a finished file in half."""
    campaign.interrupt()
    files = campaign.finished_files()
    if not files:
        return ""
    path = draw.choice(files)
    os.truncate(path, path.stat().st_size // 2)
    return str(path.relative_to(campaign.project))


def strike_corruption(campaign: Campaign, draw: random.Random) -> str:
    """Overwrite 64 bytes in the middle of a finished file."""
    campaign.interrupt()
    files = [p for p in campaign.finished_files() if p.stat().st_size > 256]
    if not files:
        return ""
    path = draw.choice(files)
    with path.open("r+b") as handle:
        handle.seek(path.stat().st_size // 2 - 32)
        handle.write(bytes(draw.choices(range(128, 256), k=64)))
    return str(path.relative_to(campaign.project))


def strike_source(campaign: Campaign, draw: random.Random) -> str:
    """Make the source of monolayers unreachable."""
    campaign.interrupt()
    path = campaign.project / "resources" / "library" / "monolayers.extxyz"
    path.rename(path.with_suffix(".hidden"))
    return str(path.relative_to(campaign.project))


def without(column: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        pd.read_parquet(path).drop(columns=column).to_parquet(path, index=False)

    return spoil


def nonsense_model(path: Path) -> None:
    torch.save({"state": {"weight": torch.zeros(2)}}, path)


def nonsense_specification(path: Path) -> None:
    table = pd.read_csv(path)
    table.loc[0, "specification"] = '{"layers": "many"}'
    table.to_csv(path, index=False)


# One input of every stage, and how it is spoilt.
MALFORMED = {
    "library/monolayers.parquet": without("gap_ev"),
    "stacks/matches.parquet": without("bottom"),
    "stacks/training_stacks.parquet": without("specification"),
    "labels/labels.parquet": without("value"),
    "clustering/descriptors.parquet": without("monolayer_id"),
    "gvae/model.pt": nonsense_model,
    "gnn/member_0.pt": nonsense_model,
    "gnn/calibration.json": lambda path: path.write_text("[]"),
    "samples/shard_0.parquet": without("specification"),
    "screening/selected.csv": nonsense_specification,
    "dft/slots_0-0.json": lambda path: path.write_text('[{"status": "verified"}]'),
}


def strike_malformed(campaign: Campaign, draw: random.Random) -> str:
    """Feed a stage a file that can be read and is wrong."""
    campaign.interrupt()
    present = [name for name in MALFORMED if (campaign.results / name).exists()]
    if not present:
        return ""
    path = campaign.results / draw.choice(present)
    MALFORMED[str(path.relative_to(campaign.results))](path)
    return str(path.relative_to(campaign.project))


KINDS: dict[str, Callable[[Campaign, random.Random], str]] = {
    "kill Snakemake": strike_snakemake,
    "kill everything": strike_everything,
    "kill a worker": strike_worker,
    "kill pw.x": strike_pw,
    "use up the quota": strike_quota,
    "truncate a file": strike_truncation,
    "corrupt a file": strike_corruption,
    "hide the source": strike_source,
    "malformed input": strike_malformed,
}
AT_REST = ("truncate a file", "corrupt a file", "hide the source", "malformed input")
# Jobs that may finish after a fault at rest until the next fault comes: a damaged file that nothing
# reads before that is told later, or is seen in the final tables.
JOBS_BETWEEN = 3
# Starts of a campaign until a fault finds what it hits.
MOST_TRIES = 20


# --- what must come of a fault --------------------------------------------------------------------


def recover(campaign: Campaign, fault: Fault) -> None:
    """Let the campaign run into the fault, check exit status and message, mend as it says."""
    if fault.kind == "kill pw.x":
        # A remedy of the calculation, of which the campaign knows nothing.
        end = time.monotonic() + 10
        while time.monotonic() < end and not campaign.ended:
            time.sleep(0.2)
        if campaign.ended and campaign.process.returncode:
            fault.fault_of_ours = "a killed calculation ended the campaign"
        campaign.interrupt()
        return
    # A specification without sense is told where the results are collected, which comes last.
    to_the_end = fault.kind not in AT_REST or "selected" in fault.target
    if fault.kind in AT_REST:
        campaign.start()
    try:
        if to_the_end or campaign.go_on(JOBS_BETWEEN):
            fault.exit_code = campaign.wait()
    except subprocess.TimeoutExpired:
        campaign.kill_all()
        fault.fault_of_ours = "the campaign hung"
        return
    text = campaign.text
    shutil.copy(campaign.log, campaign.project.parent / f"fault_{fault.number}.log")
    # Not at the start of a line alone: jobs that run side by side write to one terminal.
    told = re.search(r"\berror: .*", text)
    fault.told = told.group()[:300] if told else ""
    if fault.kind == "hide the source":
        path = campaign.project / fault.target
        path.with_suffix(".hidden").rename(path)
        if fault.exit_code and fault.target not in text:
            fault.fault_of_ours = "no message names the source"
    elif fault.kind in AT_REST:
        path = campaign.project / fault.target
        if fault.exit_code:
            if Path(fault.target).name not in fault.told:
                fault.fault_of_ours = "no message names the file"
            path.unlink(missing_ok=True)
        elif (
            fault.exit_code == 0 and fault.kind == "malformed input" and "selected" in fault.target
        ):
            # Read and set aside: the slot failed, with the reason. Made anew like any other file.
            with (campaign.results / "dft" / "failed.csv").open(encoding="utf-8-sig") as handle:
                if not any("layers" in row["reason"] for row in csv.DictReader(handle)):
                    fault.fault_of_ours = "a wrong specification was not listed"
            path.unlink()
    elif fault.exit_code == 0:
        fault.fault_of_ours = "ended well in spite of the fault"
    elif fault.kind == "kill a worker" and f"Error in rule {fault.target}" not in text:
        fault.fault_of_ours = "the rule that was killed is not named"


def artifacts(results: Path) -> dict[str, object]:
    """Contents of the final files, without what may differ between runs."""
    found: dict[str, object] = {}
    for pattern in EXACT:
        for path in sorted(results.glob(pattern)):
            name = str(path.relative_to(results))
            if path.suffix == ".json":
                content = json.loads(path.read_text())
                found[name] = content
            else:
                read = pd.read_csv if path.suffix == ".csv" else pd.read_parquet
                found[name] = read(path)
    table = pd.read_parquet(results / "dft" / "results.parquet")
    # Else a kill alone, whose time is waste, makes a difference.
    table["core_seconds"] -= table["wasted_core_seconds"]
    found["dft/results.parquet"] = table.drop(columns=list(DEPENDS_ON_INTERRUPTION))
    return found


def differences(expected: dict[str, object], found: dict[str, object]) -> list[str]:
    """What differs between the final files of two campaigns."""
    told = [f"{name}: missing" for name in expected.keys() - found.keys()]
    for name in sorted(expected.keys() & found.keys()):
        one, other = expected[name], found[name]
        if not isinstance(one, pd.DataFrame):
            told += [f"{name}: differs"] if one != other else []
        elif one.shape != other.shape or list(one) != list(other):
            told.append(f"{name}: {one.shape} became {other.shape}")
        elif not name.startswith("dft/results"):
            told += [f"{name}: {c}" for c in one if not one[c].equals(other[c])]
        else:
            told += [f"{name}: {c}" for c in one if not _alike(one[c], other[c])]
    return told


def _alike(one: pd.Series, other: pd.Series) -> bool:
    if one.dtype.kind != "f":
        return one.name.endswith("_weights") or one.name.endswith("gaps_a") or one.equals(other)
    suffix = next((s for s in TOLERANCE if one.name.endswith(s)), None)
    tolerance = TOLERANCE[suffix] if suffix else 0.1 * one.abs().max()
    return np.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True)


def schedule(faults: int, seed: int) -> list[Fault]:
    """Kinds in turn, each round in another order."""
    draw = random.Random(seed)
    kinds: list[str] = []
    while len(kinds) < faults:
        kinds += draw.sample(list(KINDS), len(KINDS))
    return [Fault(i, kind, draw.randrange(10**9)) for i, kind in enumerate(kinds[:faults])]


def strike(campaign: Campaign, fault: Fault, tries: int, spacing: int) -> bool:
    """Start the campaign and let the fault strike some seconds after some jobs have finished.

    Jobs, not seconds alone, so that a slow machine gets as far as a fast one. False where the
    fault found nothing to hit; the next try comes later.
    """
    draw = random.Random(fault.seed + tries)
    fault.after_jobs = draw.randrange(spacing) + tries
    fault.after_s = round(draw.uniform(0.0, 6.0), 1)
    campaign.start()
    while campaign.text.count(" steps (") < fault.after_jobs and not campaign.ended:
        time.sleep(0.1)
    at_rest = fault.kind in AT_REST
    end = time.monotonic() + fault.after_s
    while time.monotonic() < end and not campaign.ended:
        time.sleep(0.05)
    # A process to hit may have to be waited for.
    while at_rest or not campaign.ended:
        fault.target = KINDS[fault.kind](campaign, draw)
        if fault.target or at_rest:
            return bool(fault.target)
        time.sleep(0.05)
    return False


def run(folder: Path, faults: int, seed: int, cores: int, spacing: int) -> list[Fault]:
    """Strike campaigns until all faults are used up; returns them with what came of each."""
    undisturbed = Campaign(folder / "undisturbed", cores)
    if not (undisturbed.results / "report" / "index.html").exists():
        if not undisturbed.project.exists():
            undisturbed.make()
        undisturbed.start()
        if undisturbed.wait(3000) != 0:
            raise RuntimeError(f"the undisturbed campaign failed: see {undisturbed.log}")
    expected = artifacts(undisturbed.results)
    if expected["dft/results.parquet"].empty:
        raise RuntimeError(f"nothing was verified, so that no fault can hit DFT: {undisturbed.log}")
    record = folder / "faults.csv"
    done = read(record)
    waiting = [fault for fault in schedule(faults, seed) if fault.number not in done]
    while waiting:
        number = 1 + max((fault.campaign for fault in done.values()), default=0)
        campaign = Campaign(folder / "disturbed", cores)
        hit = run_campaign(campaign, waiting, number, expected, spacing)
        done |= {fault.number: fault for fault in hit}
        write(record, done)
    return list(done.values())


def run_campaign(
    campaign: Campaign,
    waiting: list[Fault],
    number: int,
    expected: dict[str, object],
    spacing: int,
) -> list[Fault]:
    """One campaign from start to end, struck by faults taken from `waiting`; returns these."""
    campaign.make()
    hit: list[Fault] = []
    complete, tries = False, 0
    while not complete:
        # pw.x runs last: its faults are kept until there is something to hit, and then come first.
        late = (campaign.results / "screening" / "selected.csv").exists()
        fault = next((f for f in waiting if (f.kind == "kill pw.x") == late), None)
        fault = fault or next(iter(waiting), None)
        if fault is None:
            campaign.start()
            complete = campaign.wait(3000) == 0
            break
        if not strike(campaign, fault, tries, spacing):
            tries += 1
            complete = campaign.wait() == 0 and fault.kind not in AT_REST
            campaign.mend()
            if tries > MOST_TRIES:
                waiting.remove(fault)
                fault.campaign, fault.fault_of_ours = number, "found nothing to hit"
                hit.append(fault)
                tries = 0
            continue
        waiting.remove(fault)
        fault.campaign, tries = number, 0
        recover(campaign, fault)
        hit.append(fault)
        print(fault, flush=True)
    if hit and not complete:
        hit[-1].fault_of_ours = f"the campaign did not recover: {campaign.text[-800:]}"
    elif hit:
        try:
            told = differences(expected, artifacts(campaign.results))
        except (OSError, ValueError) as error:  # a final file that cannot be read
            told = [str(error)]
        if told:
            hit[-1].fault_of_ours = "; ".join(told)
    print(f"campaign {number}: {len(hit)} faults, complete: {complete}", flush=True)
    return hit


def read(path: Path) -> dict[int, Fault]:
    """Faults of a former run that ended early."""
    if not path.exists():
        return {}
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    found = [
        Fault(
            **{
                **row,
                **{name: int(row[name]) for name in ("number", "seed", "after_jobs", "campaign")},
            }
        )
        for row in rows
    ]
    return {fault.number: fault for fault in found}


def write(path: Path, faults: dict[int, Fault]) -> None:
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, [field.name for field in fields(Fault)])
        writer.writeheader()
        writer.writerows(asdict(fault) for fault in faults.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True, help="campaigns and record go here")
    parser.add_argument(
        "--spacing",
        type=int,
        default=12,
        help="fewer than so many jobs, of a campaign's thirty, finish between two faults",
    )
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    folder = options.folder.resolve()
    faults = run(folder, options.faults, options.seed, options.cores, options.spacing)
    lost = [fault for fault in faults if fault.fault_of_ours]
    campaigns = len({fault.campaign for fault in faults})
    print(f"{len(faults)} faults in {campaigns} campaigns, seed {options.seed}: "
          f"{len(lost)} not survived")  # fmt: skip
    return min(len(lost), 100)


if __name__ == "__main__":
    sys.exit(main())
