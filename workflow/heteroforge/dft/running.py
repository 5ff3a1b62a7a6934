"""Running the programs of Quantum ESPRESSO: launcher, attempts, remedies."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.espresso import write_espresso_in

from heteroforge.dft.outputs import (
    PwResult,
    espresso_version,
    number_of_processes,
    processor_seconds,
    progress_seconds,
    read_pw,
    total_energies_ev,
)
from heteroforge.dft.progress import pw_progress
from heteroforge.dft.protocols import Pseudopotentials
from heteroforge.dft.recovery import SMEARED, diagnose
from heteroforge.io import InputError, read_json, write_json

__all__ = [
    "CalculationFailed",
    "JobTooSmall",
    "Launcher",
    "OutOfMemory",
    "OutOfTime",
    "PREFIX",
    "fingerprint",
    "last_geometry",
    "run_program",
    "run_pw",
    "unrecorded_runs",
]

PREFIX = "heteroforge"
BEFORE = ".before.json"  # ends the names of files on runs that were cut short
LEAST_S = 20.0  # walltime with which it makes sense to start pw.x, or to let a program go on
ENDS_S = 15.0  # walltime that is kept for writing down how the job ended
PROGRESS_S = 15.0  # between two lines on how far a program is
# By these a program that was not started by `srun` takes itself for one that was: a job's script
# is, and Open MPI without SLURM's process manager then refuses to start.
STARTED_BY_SCHEDULER = ("SLURM_", "PMI_", "PMIX_", "PALS_")
# More processes than SLURM counts tasks, and none bound to a core: binding would put the jobs of
# one machine on the same ones. For Open MPI 4 and 5, and Intel MPI; no option is known to all.
WITHOUT_BINDING = {
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "I_MPI_PIN": "off",
}


class CalculationFailed(RuntimeError):
    """A calculation that stayed broken after all remedies; holds the attempts."""

    def __init__(self, reason: str, attempts: list[dict]) -> None:
        super().__init__(reason)
        self.attempts = attempts


class CannotStart(OSError):
    """A program ended before it began: no fault of the calculation, but of how it is started."""


class JobTooSmall(RuntimeError):
    """The job's limits are used up: submitted again, with more, the calculation goes on."""


class OutOfTime(JobTooSmall):
    """The job's walltime is used up."""


class OutOfMemory(JobTooSmall):
    """A program of the job was killed time and again: most likely for its memory."""


@dataclass(frozen=True)
class Launcher:
    """How programs are started.

    Attributes:
        template: "auto" (the program alone, or `mpirun` on this node for several processes), or a
            command in which {ranks} stands for the number of MPI processes.
        ranks: MPI processes.
        walltime_s: seconds the job may take; pw.x stops itself at 95 % of what is left.
        started: clock at the job's start (time.monotonic).
    """

    template: str = "auto"
    ranks: int = 1
    walltime_s: float | None = None
    started: float = field(default_factory=time.monotonic)

    def command(self, program: str, pools: int = 1) -> list[str]:
        """Command line of a program; raises FileNotFoundError where it is not installed."""
        if shutil.which(program) is None:
            raise FileNotFoundError(
                f"{program} is not on PATH: run `make setup`, load its module, or name that in "
                "dft.modules (and switch env-modules on in slurm/config.yaml)"
            )
        if self.template == "auto" and self.ranks == 1:
            return [program]
        template = "mpirun -np {ranks}" if self.template == "auto" else self.template
        launched = shlex.split(template.format(ranks=self.ranks))
        # Left to itself pw.x 7.1 and later may choose another number than one.
        return [*launched, program, "-nk", str(pools)]

    def environment(self) -> dict[str, str]:
        """Environment of a program."""
        found = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            # Containers and continuous integration run as root, where Open MPI wants these.
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        }
        if self.template != "auto":
            return found  # a site's own launcher may need what its scheduler says
        kept = {k: v for k, v in found.items() if not k.startswith(STARTED_BY_SCHEDULER)}
        return kept | WITHOUT_BINDING

    @property
    def is_limited(self) -> bool:
        """Whether a scheduler ends the job that goes beyond its limits."""
        return self.walltime_s is not None

    def remaining_s(self) -> float | None:
        if self.walltime_s is None:
            return None
        return self.walltime_s - (time.monotonic() - self.started)


def _end_with_parent() -> None:
    """Have Linux end this process when the one that started it dies, be it by kill −9.

    Else a calculation left over would go on writing into the folder of the one that replaces it.
    """
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


# pw.x itself says what it could not write, and not why.
_DISK_IS_FULL = re.compile(
    r"no space left on device|disk quota exceeded|error (?:while )?writing .*", re.IGNORECASE
)


def run_program(
    launcher: Launcher, program: str, text: str, folder: Path, name: str, pools: int = 1
) -> str:
    """Run a program on an input text in `folder`; returns its log, which is kept as `name`.out.

    The whole process group is killed when this process is interrupted.

    Raises:
        CannotStart: the program, or what launches it, ended with an error before it had printed its
            first line, or ran as another number of processes than asked for (as several copies of
            one process, say); repeating the calculation is of no use.
        OSError: its disk is full, which is no fault of the calculation, either; or the program, or
            what launches it, is not installed.
    """
    command = launcher.command(program, pools)
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(
            f"{command[0]} is not on PATH, by which {program} would be started: see dft.launcher"
        )
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{name}.in"
    source.write_text(text)
    (folder / "CRASH").unlink(missing_ok=True)
    log = folder / f"{name}.out"
    with log.open("w") as handle:
        process = subprocess.Popen(
            [*command, "-in", source.name],
            cwd=folder,
            stdout=handle,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=launcher.environment(),
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        try:
            _follow(process, log, launcher, program)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    crash = folder / "CRASH"
    told = log.read_text(errors="replace")
    if full := _DISK_IS_FULL.search(told):
        raise OSError(f"{program}: {full[0]}; see {log}, dft.scratch")
    _check_processes(told, launcher, program)
    # Launchers hand on the signal n that ended a process as 128 + n.
    killed = not 0 < process.returncode < 128 or "on signal" in told
    # Wrong numbers of pools are told before the first line.
    began = re.search(r"^\s*Program \w|Error in routine", told, re.MULTILINE)
    if not killed and told.strip() and not began:
        lines = [line.strip(" *-") for line in told.splitlines()]
        first = next((line for line in lines if line and "OPAL ERROR" not in line), "")
        raise CannotStart(
            f"{program} did not start: {first}; all of it is in {log}. It was called as "
            f"`{' '.join(command)}`: see dft.launcher and dft.modules"
        )
    return told + (crash.read_text(errors="replace") if crash.exists() else "")


def _check_processes(told: str, launcher: Launcher, program: str) -> None:
    """Raises CannotStart where a program runs as another number of processes than asked for."""
    if (processes := number_of_processes(told)) not in (None, launcher.ranks):
        raise CannotStart(
            f"{program} ran as {processes} of {launcher.ranks} processes. It was called as "
            f"`{' '.join(launcher.command(program))}`: see dft.launcher (of srun, --mpi) and "
            "dft.ranks"
        )


def _follow(process: subprocess.Popen, log: Path, launcher: Launcher, program: str) -> None:
    """Wait for a program, saying now and then how far it is.

    Raises:
        CannotStart: it runs as another number of processes than asked for.
        OutOfTime: the job ends, and the program has not stopped itself.
    """
    said, place = "", "/".join((*log.parent.parts[-2:], log.stem))
    while True:
        remaining = launcher.remaining_s()
        wait = PROGRESS_S if remaining is None else min(PROGRESS_S, max(1.0, remaining - ENDS_S))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=wait)
            return
        if remaining is not None and launcher.remaining_s() < ENDS_S:
            raise OutOfTime(f"{place}: {program} did not stop before the job's walltime ended")
        told, now = "", said
        with contextlib.suppress(OSError):  # a file system that hiccups is no reason to stop pw.x
            told, now = log.read_text(errors="replace"), pw_progress(log)
        _check_processes(told, launcher, program)
        if now != said:
            said = now
            print(f"{place}: {now}", flush=True)


def run_pw(
    atoms: Atoms,
    namelists: dict[str, dict],
    k_points: tuple[int, int, int] | np.ndarray,
    pseudopotentials: Pseudopotentials,
    folder: Path,
    launcher: Launcher,
    name: str = "pw",
    maximum_attempts: int = 5,
) -> tuple[PwResult, list[dict]]:
    """Run pw.x until it succeeds or its remedies are used up.

    A relaxation that was killed goes on from the last geometry in its log, and tells of all its
    steps from the structure asked for. Every attempt is recorded and its log kept
    (`name`.attempt-N.out); so are runs that were cut short with the job they ran in
    (`name`.before.json). Where a remedy smears the occupations more than the protocol,
    the calculation goes on from there with the protocol's own smearing: energies of two smearings
    are not compared.

    Args:
        atoms: start structure.
        namelists: control, system, electrons, ions, cell; outdir and prefix are set here.
        k_points: mesh, or explicit points (n, 3) in units of the reciprocal vectors.
        pseudopotentials: family to use.
        folder: where input, log and scratch (`save`) go.

    Returns:
        The result, and one record per attempt: symptom, remedy, seconds of wall time and of all
        processes (`core_seconds`).

    Raises:
        CalculationFailed: still broken after `maximum_attempts`.
        OutOfTime: the job ends before the calculation does.
        OutOfMemory: killed twice at one place, or in the last attempt, in a job that is bound to
            limits.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = copy.deepcopy(namelists)
    for section in ("control", "system", "electrons", "ions", "cell"):
        settings.setdefault(section, {})
    pseudopotentials.verify(atoms.get_chemical_symbols())
    relaxing = settings["control"].get("calculation") == "relax"
    pools = 0
    # What helped here before, in this job or in an earlier one, helps from the start.
    settings["electrons"] |= _known_remedies(folder)
    asked_for = copy.deepcopy(settings["electrons"])
    attempts: list[dict] = []
    log_file = folder / f"{name}.out"
    # A log left in this folder is gone on from only if it began at the same structure: another
    # candidate may have been here before.
    start_file = folder / f"{name}.start"
    checksums = pseudopotentials.checksums(atoms.get_chemical_symbols())
    start = fingerprint(atoms, [settings["system"], np.asarray(k_points).tolist(), checksums])
    before_file = folder / f"{name}{BEFORE}"
    before = _Before()
    if log_file.exists() and start_file.exists() and start_file.read_text() == start:
        before = _Before.read(before_file)
        log = log_file.read_text(errors="replace")
        attempts += before.runs + _cut_short(log, name, launcher.ranks)
        if relaxing:
            before.add(log)
            atoms = last_geometry(log, before.at(atoms))
    else:
        log_file.unlink(missing_ok=True)
        before_file.unlink(missing_ok=True)
        start_file.write_text(start)
    place = folder / "save" / "pseudopotentials"  # goes with what else is on scratch
    pseudo_dir = pseudopotentials.for_pw(atoms.get_chemical_symbols(), place)
    smearing_ry = settings["system"].get("degauss")
    smeared = False
    seen: Counter[str] = Counter()
    for attempt in range(1, maximum_attempts + 1):
        remaining = launcher.remaining_s()
        if remaining is not None:
            if remaining < LEAST_S:
                raise OutOfTime(f"{name}: {remaining:.0f} s are left of the job's walltime")
            settings["control"]["max_seconds"] = int(remaining - _reserve_s(remaining))
        pools = pools or _pools(launcher.ranks, k_points)
        text = _input(atoms, settings, k_points, pseudo_dir)
        of_protocol = settings["system"].get("degauss") == smearing_ry
        before = replace(
            before, runs=attempts, positions_a=atoms.positions.tolist(), comparable=of_protocol
        )
        write_json(before_file, asdict(before))  # the new run overwrites the log
        xml = folder / "save" / f"{PREFIX}.xml"
        xml.unlink(missing_ok=True)  # of an earlier run it would be taken for a result of this one
        clock = time.monotonic()
        log = run_program(launcher, "pw.x", text, folder, name, pools)
        seconds = time.monotonic() - clock
        # Of a run that was killed the wall time is all there is.
        core_seconds = launcher.ranks * (processor_seconds(log) or seconds)
        record = {
            "attempt": attempt,
            "step": name,
            "seconds": round(seconds, 1),
            "core_seconds": round(core_seconds, 1),
            "quantum_espresso": espresso_version(log),
        }
        symptom = diagnose(log)
        result = None
        if symptom is None:
            try:
                result = read_pw(xml)
            except ValueError as error:
                record.update(symptom="unreadable_result", remedy="run again", detail=str(error))
        if result is not None and of_protocol:
            # Who asked for it keeps these records; asked again it still knows where it began.
            write_json(before_file, asdict(replace(before, runs=[])))
            _keep_remedies(folder, asked_for, settings["electrons"])
            return before.completed(result) if relaxing else result, [*attempts, record]
        if relaxing:
            before.add(log)
        if symptom is None:
            if relaxing:
                atoms = last_geometry(log, atoms)
            if result is None:
                attempts.append(record)
                continue
            wider = settings["system"]["degauss"]
            settings["system"]["degauss"] = smearing_ry
            settings["electrons"] |= {"startingpot": "file", "startingwfc": "file"}
            record.update(symptom="smeared", remedy=f"smearing {wider} -> {smearing_ry} Ry")
            attempts.append(record)
            shutil.copy(log_file, folder / f"{name}.attempt-{attempt}.out")
            symptom, smeared = SMEARED, True
            continue
        seen[symptom.name] += 1
        remedy = symptom.remedy(settings, seen[symptom.name])
        killed_before = attempt > 1 and attempts[-1].get("symptom") == "killed"
        if smeared and settings["system"].get("degauss") != smearing_ry:
            symptom, remedy = SMEARED, ""  # that was tried
        record.update(symptom=symptom.name, remedy=remedy)
        attempts.append(record)
        shutil.copy(log_file, folder / f"{name}.attempt-{attempt}.out")
        if symptom.name == "out_of_time":
            raise OutOfTime(f"{name}: stopped itself before the job's walltime ended")
        reached = last_geometry(log, atoms).positions if relaxing else atoms.positions
        stuck = np.array_equal(reached, atoms.positions)
        if symptom.name == "killed" and launcher.is_limited:
            if killed_before and stuck:
                raise OutOfMemory(f"{name}: pw.x was killed twice at one place")
            if attempt == maximum_attempts > 1:
                raise OutOfMemory(f"{name}: pw.x was killed in the last of {attempt} attempts")
        if not remedy:
            break
        if symptom.name == "pools":
            pools = 1
        if relaxing:
            atoms = last_geometry(log, atoms)
            if symptom.name == "bfgs" and settings["ions"].get("ion_dynamics") != "damp":
                atoms = atoms.copy()
                atoms.rattle(0.01, seed=attempt)
    reason = f"{name}: {symptom.name if symptom else 'unreadable result'}" + (
        f" ({symptom.meaning})" if symptom else ""
    )
    raise CalculationFailed(f"{reason} after {len(attempts)} attempts", attempts)


@dataclass
class _Before:
    """What earlier runs of a calculation came to, but the last one, whose log tells.

    Attributes:
        runs: their records, until a run ends well.
        positions_a: (n, 3), where the last one began.
        comparable: whether the last one has the smearing of the protocol, and so its energies.
        first_energy_ev: total energy of the structure asked for, where it is known.
        ionic_steps: geometries computed.
    """

    runs: list[dict] = field(default_factory=list)
    positions_a: list | None = None
    comparable: bool = True
    first_energy_ev: float | None = None
    ionic_steps: int = 0

    @classmethod
    def read(cls, path: Path) -> _Before:
        try:
            content = read_json(path)
            return cls(runs=content) if isinstance(content, list) else cls(**content)
        except (InputError, TypeError):  # none, damaged, or of another version
            return cls()

    def add(self, log: str) -> None:
        """Take in the last run's log."""
        energies = total_energies_ev(log)
        if self.comparable and energies and not self.ionic_steps:
            self.first_energy_ev = energies[0]
        self.ionic_steps += len(energies)

    def at(self, atoms: Atoms) -> Atoms:
        """The atoms where the last run began."""
        moved = atoms.copy()
        if self.positions_a is not None:
            moved.positions = self.positions_a
        return moved

    def completed(self, result: PwResult) -> PwResult:
        """The result of the last run as that of all."""
        if not self.ionic_steps:
            return result
        steps = self.ionic_steps + result.ionic_steps
        return replace(result, first_energy_ev=self.first_energy_ev, ionic_steps=steps)


# How the density is converged, which changes no result.
_REMEDIES = ("mixing_beta", "mixing_mode", "electron_maxstep", "diagonalization")


def _known_remedies(folder: Path) -> dict:
    """Settings of `electrons` by which an earlier calculation in this folder converged."""
    try:
        return {
            key: v for key, v in read_json(folder / "remedies.json").items() if key in _REMEDIES
        }
    except (InputError, AttributeError):  # none, or damaged
        return {}


def _keep_remedies(folder: Path, asked_for: dict, electrons: dict) -> None:
    changed = {key: electrons[key] for key in _REMEDIES if electrons.get(key) != asked_for.get(key)}
    if changed:
        write_json(folder / "remedies.json", _known_remedies(folder) | changed)


def _cut_short(log: str, name: str, ranks: int) -> list[dict]:
    """Record of a run whose job ended before its result was kept; [] where pw.x had not begun.

    Args:
        log: of the run.
        name: of the calculation.
        ranks: MPI processes, where the log does not tell.
    """
    if "Program PWSCF" not in log:
        return []
    symptom = diagnose(log)
    seconds = processor_seconds(log) or progress_seconds(log) or 0.0
    return [
        {
            "attempt": 0,
            "step": name,
            "symptom": symptom.name if symptom else "result_lost",
            "core_seconds": round((number_of_processes(log) or ranks) * seconds, 1),
            "quantum_espresso": espresso_version(log),
        }
    ]


def unrecorded_runs(folder: Path, ranks: int) -> list[dict]:
    """Records of runs in a folder of which no step tells, for jobs ended before their steps did.

    Args:
        folder: of a candidate; runs below a folder with a `result.json` of its own are recorded.
        ranks: MPI processes.
    """
    found: list[dict] = []
    for start in sorted(folder.rglob("*.start")):
        above = [p for p in start.parents if folder in p.parents]
        name = start.name.removesuffix(".start")  # of which some have a point: scan_+0.00
        log = start.with_name(f"{name}.out")
        if any((parent / "result.json").exists() for parent in above) or not log.exists():
            continue
        found += _Before.read(start.with_name(f"{name}{BEFORE}")).runs
        found += _cut_short(log.read_text(errors="replace"), name, ranks)
    return found


def fingerprint(atoms: Atoms, how: object) -> str:
    """Checksum of elements, cell and positions (to 10⁻⁴ Å), and of how they are computed."""
    numbers = np.concatenate([atoms.numbers[:, None], atoms.positions], axis=1).round(4) + 0.0
    content = numbers.tobytes() + (atoms.cell.array.round(4) + 0.0).tobytes()
    return hashlib.sha256(content + json.dumps(how, sort_keys=True).encode()).hexdigest()


def _reserve_s(remaining_s: float) -> float:
    """Seconds before the end of a job's walltime at which pw.x is to stop itself: it looks once per
    iteration of the density."""
    return max(0.05 * remaining_s, min(2 * ENDS_S, remaining_s / 4))


def _pools(ranks: int, k_points) -> int:
    """Pools of k-points: one rank each is fastest as long as there are points enough."""
    if isinstance(k_points, np.ndarray):
        count = len(k_points)
    else:
        # Time reversal alone leaves at least half of the mesh; symmetry at most a 12th of that.
        count = max(1, k_points[0] * k_points[1] // 12)
    return max(p for p in range(1, ranks + 1) if ranks % p == 0 and p <= max(1, count))


def _input(atoms: Atoms, settings: dict, k_points, pseudo_dir: Path) -> str:
    from io import StringIO

    data = copy.deepcopy(settings)
    data["ions"].pop("rattled", None)
    data["control"].update(outdir="./save", prefix=PREFIX, pseudo_dir=str(pseudo_dir))
    if isinstance(k_points, np.ndarray):
        k_points = np.column_stack([k_points, np.ones(len(k_points))])
    buffer = StringIO()
    files = {element: f"{element}.upf" for element in atoms.get_chemical_symbols()}
    write_espresso_in(buffer, atoms, data, pseudopotentials=files, kpts=k_points)
    # ASE always writes the namelists of later programs, which pw.x 6.7 warns about.
    return re.sub(r"&(FCP|RISM)\n/\n\n?", "", buffer.getvalue())


_BLOCK = re.compile(
    r"(?:CELL_PARAMETERS \((?P<unit>[^)]*)\)\s*\n(?P<cell>(?:(?:\s*[-\d.]+){3}\s*\n){3})\s*)?"
    r"ATOMIC_POSITIONS \((?P<kind>\w+)\)\s*\n(?P<sites>(?:\s*[A-Z][a-z]?\d*(?:\s+[-\d.]+){3}.*\n)+)"
)


def last_geometry(log: str, atoms: Atoms) -> Atoms:
    """The last complete geometry in a log of pw.x, or `atoms` where there is none."""
    result = atoms.copy()
    for block in _BLOCK.finditer(log):
        sites = [line.split()[1:4] for line in block["sites"].strip().splitlines()]
        if len(sites) != len(atoms):
            continue
        if block["cell"]:
            cell = np.array([line.split() for line in block["cell"].strip().splitlines()], float)
            unit = block["unit"]
            if "alat" in unit:
                cell *= float(unit.split("=")[1]) * 0.529177210903
            elif unit.strip() == "bohr":
                cell *= 0.529177210903
            result.set_cell(cell)
        values = np.array(sites, float)
        if block["kind"] == "crystal":
            result.set_scaled_positions(values)
        elif block["kind"] == "angstrom":
            result.set_positions(values)
    return result
