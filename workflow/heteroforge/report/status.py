"""Where a campaign stands: per stage done, running and failed jobs, best so far, what is left.

A job is a log, `logs/<rule>.log` or `logs/<rule>/<wildcards>.log`. It is done when Snakemake has
written its benchmark after that, running while its process holds the log, and failed otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from heteroforge.io import InputError, is_being_written, read_json
from heteroforge.report.campaign import Campaign, Candidate
from heteroforge.report.words import number_text, quantity, value_text, window_text

__all__ = ["Job", "StageStatus", "read_status", "status_text"]

_TAIL_BYTES = 4000


@dataclass(frozen=True)
class Job:
    """One job that was started.

    Attributes:
        rule, name: rule and wildcards; `name` is empty for rules without.
        state: "done", "running" or "failed".
        line: the last thing it said.
        log: path of its log.
        seconds: how long it took; None unless done.
    """

    rule: str
    name: str
    state: str
    line: str
    log: Path
    seconds: float | None


@dataclass
class StageStatus:
    """Jobs of a stage; `expected` counts those of all its rules, by rule."""

    stage: str
    expected: Mapping[str, int]
    jobs: list[Job] = field(default_factory=list)

    def count(self, state: str) -> int:
        return sum(job.state == state for job in self.jobs)

    @property
    def total(self) -> int:
        return max(sum(self.expected.values()), len(self.jobs))

    @property
    def state(self) -> str:
        if self.count("failed"):
            return "failed"
        if self.count("running"):
            return "running"
        if self.count("done") >= self.total:
            return "done"
        return "partly done" if self.jobs else "waiting"

    @property
    def words(self) -> str:
        """How many jobs are done, and how long they took."""
        done = f"{self.count('done')} of {self.total} jobs"
        seconds = sum(job.seconds or 0 for job in self.jobs)
        return f"{done}, {_duration(seconds)}" if seconds else done


def read_status(folder: str | Path, expected: Mapping[str, Mapping[str, int]]) -> list[StageStatus]:
    """State of all jobs of a campaign, by stage.

    Args:
        folder: `results/<campaign>`.
        expected: per stage its rules and how many jobs each has.
    """
    folder = Path(folder)
    stages = []
    for stage, rules in expected.items():
        status = StageStatus(stage, rules)
        for rule in rules:
            for log in _logs(folder / "logs", rule):
                status.jobs.append(_read_job(folder, rule, log))
        stages.append(status)
    return stages


def _logs(folder: Path, rule: str) -> list[Path]:
    alone = folder / f"{rule}.log"
    return ([alone] if alone.is_file() else []) + sorted((folder / rule).glob("*.log"))


def _read_job(folder: Path, rule: str, log: Path) -> Job:
    benchmark = folder / "benchmarks" / log.relative_to(folder / "logs").with_suffix(".tsv")
    finished = benchmark.is_file() and benchmark.stat().st_mtime >= log.stat().st_mtime
    state = "running" if is_being_written(log) else "done" if finished else "failed"
    name = "" if log.parent == folder / "logs" else log.stem
    return Job(rule, name, state, _last_line(log), log, _seconds(benchmark) if finished else None)


def _last_line(log: Path) -> str:
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = handle.read().decode(errors="replace").replace("\r", "\n").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _seconds(benchmark: Path) -> float | None:
    try:
        return float(pd.read_csv(benchmark, sep="\t")["s"].mean())
    except (ValueError, KeyError, OSError):
        return None


def seconds_left(
    stages: Sequence[StageStatus],
    elsewhere: Sequence[Path] = (),
    expected: Mapping[str, float] = MappingProxyType({}),
) -> tuple[float, list[str]]:
    """Computing time of the jobs that are left, and the rules that were never timed.

    Args:
        stages: as read.
        elsewhere: folders of other campaigns, whose times count where this one has none.
        expected: seconds that are left of rules of which that is known otherwise.
    """
    total, untimed = 0.0, []
    for status in stages:
        for rule, number in status.expected.items():
            jobs = [job for job in status.jobs if job.rule == rule]
            left = number - sum(job.state == "done" for job in jobs)
            if left <= 0:
                continue
            if rule in expected:
                total += expected[rule]
                continue
            known = [job.seconds for job in jobs if job.seconds is not None]
            for folder in [] if known else elsewhere:
                benchmarks = [folder / "benchmarks" / f"{rule}.tsv"]
                benchmarks += sorted((folder / "benchmarks" / rule).glob("*.tsv"))
                known += [s for b in benchmarks if b.is_file() and (s := _seconds(b)) is not None]
            if known:
                total += left * sum(known) / len(known)
            else:
                untimed.append(rule)
    return total, untimed


def status_text(
    campaign: Campaign, stages: Sequence[StageStatus], elsewhere: Sequence[Path] = ()
) -> str:
    """The state of a campaign for a terminal: a line per stage, best so far, rest, what to do."""
    lines = [f"campaign {campaign.name} ({campaign.folder})"]
    for status in stages:
        lines.append(f"  {status.stage:<11}{status.state:<12}{status.words}")
        for job in status.jobs:
            if job.state != "done":
                name = f"{job.rule} {job.name}".strip()
                lines.append(f"    {name} {job.state}: {job.line or 'nothing said yet'}")
                if job.state == "failed":
                    lines.append(f"      all it said: {job.log}")
        if status.stage == "dft":
            lines += [f"    {text}" for text in _slots_words(campaign)]
            if empty := campaign.empty_slots_words:
                lines.append(f"    {empty}: the report says what lets more through")
    lines.append(f"best so far: {_best_words(campaign)}")
    failed = [job for status in stages for job in status.jobs if job.state == "failed"]
    if all(status.state == "done" for status in stages):
        lines.append(f"finished: {campaign.folder}/report/index.html")
        return "\n".join(lines)
    total, untimed = seconds_left(stages, elsewhere, _dft_left(campaign))
    rest = f"about {_duration(total)} of computing, jobs one after another" if total else "unknown"
    if untimed:
        rest += f"; never timed: {', '.join(untimed)}"
    lines.append(f"rest: {rest}")
    if failed:
        lines.append(
            "what to do: read the logs named above; once the cause is gone, the command that "
            "started this campaign goes on from what is there"
        )
    elif not any(status.count("running") for status in stages):
        lines.append(f"what to do: {_between_jobs(campaign.folder)}")
    return "\n".join(lines)


def _between_jobs(folder: Path) -> str:
    """What no running job means: a campaign that ended, or one whose next job has not begun.

    A job writes its log when it has loaded what it needs, and on a cluster it waits in a queue.
    """
    results = folder.absolute().parent
    lock = results / ".campaign.lock"  # held by `make campaign`, however that ends
    if lock.is_file() and is_being_written(lock):
        return "wait: a campaign is running in this folder, and its next job has not begun to work"
    # Left behind by a Snakemake that was killed, too.
    if any((results.parent / ".snakemake" / "locks").glob("*")):
        return (
            "no job is at work, but Snakemake has locked this folder: it is running and its next "
            "job has not begun to work, or it was killed; then the command that started it goes on "
            "from what is there (`snakemake` after `snakemake --unlock`)"
        )
    return "nothing is running; the command that started this campaign goes on from what is there"


def _dft_left(campaign: Campaign) -> dict[str, float]:
    """Seconds of the candidates that are pending, as the screen expects; {} where it does not."""
    left = [c.predicted for c in campaign.candidates if c.status == "pending"]
    core_min = [predicted.get("expected_core_min") for predicted in left]
    if not core_min or any(minutes is None or pd.isna(minutes) for minutes in core_min):
        return {}
    ranks = (campaign.configuration.get("dft") or {}).get("ranks", 1)
    return {"verify_candidates": 60.0 * float(sum(core_min)) / ranks}


def _slots_words(campaign: Campaign) -> list[str]:
    """One line per candidate: outcome, or the steps that are finished."""
    lines = []
    for candidate in sorted(campaign.candidates, key=lambda c: c.slot):
        text = candidate.status
        if candidate.status == "verified":
            inside = "meets all targets" if candidate.meets_targets else "outside: " + ", ".join(
                quantity(name).words for name in candidate.misses
            )  # fmt: skip
            text = f"verified, {inside}"
        elif candidate.status == "failed":
            text = f"failed: {candidate.reason}"
        else:
            folder = campaign.folder / "dft" / f"slot_{candidate.slot}"
            steps = [path.parent.name for path in sorted(folder.glob("*/result.json"))]
            if not _is_of(folder, candidate):
                steps = []  # those of a candidate of an earlier selection
            begun = "begun, no step finished" if folder.is_dir() else "not begun"
            text = f"finished steps: {', '.join(steps)}" if steps else begun
        lines.append(f"slot {candidate.slot} {candidate.title}: {text}")
    return lines


def _is_of(folder: Path, candidate: Candidate) -> bool:
    try:
        begun = read_json(folder / "candidate.json")
    except InputError:
        return False
    return begun.get("stack_id") == candidate.predicted.get("stack_id")


def _best_words(campaign: Campaign) -> str:
    if campaign.verified:
        best = campaign.verified[0]
        values = [
            f"{quantity(n).words} {value_text(n, t['value'])} "
            f"(asked for: {window_text(n, t['window'])})"
            for n, t in best.target.items()
        ]
        return f"{best.title}, by DFT: {', '.join(values)}"
    selected = campaign.selected
    if selected is not None and len(selected) and "probability" in selected:
        best = selected.sort_values("probability", ascending=False).iloc[0]
        name = best["layers"] if "layers" in selected else best["stack_id"]
        return f"{name}, predicted to meet all targets with probability {best['probability']:.2f}"
    return "nothing yet"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{number_text(seconds, 0)} s"
    if seconds < 5400:
        return f"{number_text(seconds / 60, 0)} min"
    return f"{number_text(seconds / 3600, 1)} h"
