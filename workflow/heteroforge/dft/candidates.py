"""The verification of one candidate in its folder: steps as files, each computed once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms

from heteroforge.dft import submissions
from heteroforge.dft.calculations import Calculator
from heteroforge.dft.lattices import described, free_monolayer, on_free_lattices
from heteroforge.dft.protocols import Pseudopotentials
from heteroforge.dft.registries import compare_registries, preferred
from heteroforge.dft.running import (
    CalculationFailed,
    Launcher,
    OutOfMemory,
    OutOfTime,
    unrecorded_runs,
)
from heteroforge.dft.scan import lowest_point
from heteroforge.dft.scratch import copy_save, remove_save
from heteroforge.dft.steps import (
    calculator_for,
    claim_folder,
    inside_targets,
    protocol_for,
    run_step,
)
from heteroforge.dft.verification import (
    EDGES,
    UNITS,
    Density,
    assemble,
    compute_bands,
    compute_density,
    compute_strain_response,
    relax_layer,
    relax_stack,
    start_structure,
)
from heteroforge.io import (
    InputError,
    atomic_path,
    provenance,
    read_frames,
    read_json,
    write_frames,
    write_json,
    write_table,
)
from heteroforge.labels import LABELLED
from heteroforge.models.windows import UNCLIPPED
from heteroforge.sources import Library
from heteroforge.structures import Monolayer, Stack

__all__ = ["Submission", "Verification", "verify_slot"]


@dataclass(frozen=True)
class Submission:
    """The job that verifies: which attempt of the workflow it is, and what it may use.

    Attributes:
        attempt: counted by the workflow, from 1.
        walltime_min: minutes, None where nothing ends it.
        memory_mb: memory it asked for.
    """

    attempt: int = 1
    walltime_min: float | None = None
    memory_mb: int | None = None


def verify_slot(
    slot: int,
    selected: pd.DataFrame,
    library: Library,
    folder: Path,
    *,
    settings: Mapping,
    targets: Mapping,
    launcher: Launcher,
    submission: Submission,
) -> dict:
    """Verify the candidate of a slot; steps that are finished are not computed again.

    A candidate of which `maximum_submissions` jobs in a row ended without a gain (killed, out of
    memory or of walltime), or twice as many without a result, is given up, as failed, with its
    history.

    Args:
        slot: number of the slot.
        selected: `slot`, `stack_id`, `specification` and predictions, as the screen wrote them.
        library: of the campaign.
        folder: of the slot; claimed by this process until it ends.
        settings: the `dft` section of the configuration, and `maximum_mismatch_percent`, the
            largest strain of a layer that the screen admits.
        targets: window [low, high] per property.
        launcher: how programs are started.
        submission: the job this runs in.

    Returns:
        What `result.json` holds: `status` "verified", "failed" or "empty".

    Raises:
        JobTooSmall: the job's walltime or memory is used up; submitted again, it goes on.
    """
    claim_folder(folder, launcher)
    chosen = selected[selected["slot"] == slot]
    if chosen.empty:
        result = {"status": "empty", "slot": slot}
        write_json(folder / "result.json", result)
        return result
    work = Verification(folder, chosen.iloc[0], library, settings, targets, launcher)
    stuck, before = submissions.without_progress(folder), submissions.cut_short(folder)
    most = settings["maximum_submissions"]
    if submission.attempt > 1 and len(stuck) >= most:
        return work.give_up(stuck)
    if len(before) >= 2 * most:
        return work.give_up(before)
    limits = {"walltime_min": submission.walltime_min, "memory_mb": submission.memory_mb}
    submissions.begin(folder, submission.attempt, limits)
    work.series = submissions.series(folder)
    try:
        result = work.run()
    except BaseException as error:
        too_small = {OutOfTime: submissions.OUT_OF_TIME, OutOfMemory: submissions.OUT_OF_MEMORY}
        submissions.end(folder, too_small.get(type(error), repr(error)))
        raise
    submissions.end(folder, result["status"])
    return result


@dataclass
class Verification:
    """The steps of one candidate; `folder` holds all their files, `row` is the screen's, `series`
    tells the jobs that the workflow submits one after another from others (`run_step`)."""

    folder: Path
    row: pd.Series
    library: Library
    settings: Mapping
    targets: Mapping
    launcher: Launcher
    series: str | None = None

    @property
    def identity(self) -> dict:
        return {"slot": int(self.row["slot"]), "stack_id": self.row["stack_id"]}

    def predicted(self, verified: str | None) -> dict:
        """The screen's words on the candidate, predictions those of the registry it slid into.

        Args:
            verified: key of the stack that was verified, None where none was.
        """
        values = self.row.drop(["slot", "stack_id", "specification"])
        values = {name: None if pd.isna(value) else value for name, value in values.items()}
        if_slid = json.loads(values.pop("predicted_if_slid", None) or "{}")
        if verified in (None, self.row["stack_id"]):
            return values
        # Of a registry that the screen did not ask about nothing is predicted.
        told = {*LABELLED, *UNCLIPPED.values()}
        unknown = {name: None for name in values if name.removesuffix("_std") in told}
        return values | unknown | if_slid.get(verified, {})

    def run(self) -> dict:
        """All steps in order; returns the result, which is written too."""
        try:
            self.prepare()
            self.lattice()
            self.registries()
            self.relax()
            self.layers()
            self.density()
            self.bands()
            self.response()
            result = self.collect()
        except BaseException:
            # What lies on this node's disk is of no use to a job on another.
            if self.settings["scratch"] is not None:
                self.clear()
            raise
        self.clear()
        return result

    def clear(self) -> None:
        """Remove all densities and wave functions."""
        for save in list(self.folder.rglob("save")):
            remove_save(save.parent)

    def give_up(self, history: list[dict]) -> dict:
        """Record as failed a candidate that ends every job it is given."""
        last = history[-1]
        reason = (
            f"{len(history)} jobs ended before the calculation did, the last with "
            f"{last['walltime_min']} min and {last['memory_mb']} MB: killed, out of memory or out "
            "of walltime; submissions.json has the history"
        )
        print(f"given up: {reason}")
        self.clear()
        outcome = {"status": "failed", "step": self._step_in_progress(), "reason": reason}
        return self._write_result(outcome | {"attempts": self._attempts()})

    # --- steps --------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Structure and identity of the candidate; fails where it cannot be computed at all."""
        family = Pseudopotentials(self.settings["pseudopotentials"])
        if self.file("structure.extxyz").exists():
            # Prepared with a family that had what this one lacks.
            try:
                family.check(self.elements())
            except ValueError:
                self.file("candidate.json").unlink(missing_ok=True)

        def prepare() -> dict:
            # Of a candidate that was here before: later steps must not rest on its elements.
            self.file("structure.extxyz").unlink(missing_ok=True)
            stack = Stack.from_json(self.row["specification"], self.library.monolayers)
            atoms = start_structure(stack)
            family.check(atoms.get_chemical_symbols())
            write_frames(self.file("structure.extxyz"), atoms)
            with atomic_path(self.file("structure.cif")) as path:
                atoms.write(path, format="cif")
            return {**self.identity, "specification": stack.to_dict()}

        run_step(
            self.file("candidate.json"),
            {},
            prepare,
            # Not the predictions: another training alone is no reason to compute again.
            basis={**self.identity, "specification": self.row["specification"]},
            writes=[self.file("structure.extxyz")],
        )

    def lattice(self) -> None:
        """The cell of a stack with layers whose lattice constants are not of this DFT."""
        limit = self.settings["maximum_mismatch_percent"]
        stiffness = self._stiffness_n_m()

        def settle(candidate: dict) -> dict:
            attempts: list[dict] = []

            def find(name: str, layer: Monolayer) -> dict:
                outcome = self._free_layer(name, layer)
                attempts.extend(outcome["attempts"])
                if outcome["status"] != "done":
                    text = f"lattice constant of {layer.formula}: {outcome['reason']}"
                    raise CalculationFailed(text, attempts)
                return outcome

            stack = Stack.from_dict(candidate["specification"])
            settled, lattices = on_free_lattices(
                stack, find, limit, self.library.relaxed, stiffness
            )
            return {
                "specification": settled.to_dict(),
                "lattices": lattices,
                "attempts": attempts,
            }

        if self._settled_by() == "lattice":
            foreign = sorted({*self._layers()} - self.library.relaxed - {""})
            basis = [limit, foreign, stiffness] if foreign else limit
            self._step("lattice", ["candidate"], settle, basis=basis)

    def _settled_by(self) -> str:
        """The step that tells the cell: of layers relaxed by this DFT the candidate has it."""
        return "candidate" if self.library.relaxed.issuperset(self._layers()) else "lattice"

    def _layers(self) -> list[str]:
        """Names of the layers, from the bottom; none of a candidate that cannot be built."""
        try:
            layers = read_json(self.file("candidate.json"))["specification"]["layers"]
        except (InputError, KeyError):
            return []
        return [layer["monolayer"]["name"] for layer in layers]

    def _stiffness_n_m(self) -> list[float]:
        """Of every layer, as the library has it; empty where that of one is unknown."""
        known = self.library.table["stiffness_n_m"].dropna()
        layers = self._layers()
        return [float(known[name]) for name in layers] if {*layers} <= {*known.index} else []

    def _free_layer(self, name: str, layer: Monolayer) -> dict:
        """Lattice of a layer alone; kept, so that a job that ends does not lose it."""

        def find() -> dict:
            shared = self.folder.parent / "layers"
            return free_monolayer(self.calculator(f"lattice/{name}"), layer, shared)

        return self._step(f"lattice/{name}", [], find, basis=layer.to_dict())

    def registries(self) -> None:
        """The registry that is verified: the lowest one, where the campaign asks for it."""

        def compare(**settled: dict) -> dict:
            stack = Stack.from_dict(settled[self._settled_by()]["specification"])
            found = compare_registries(self._scan, stack) if self.settings["registries"] else None
            attempts = [attempt for entry in found or [] for attempt in entry.pop("attempts")]
            return {
                "specification": preferred(stack, found or []).to_dict(),
                "registries": found,
                "attempts": attempts,
            }

        self._step("registries", [self._settled_by()], compare, basis=self.settings["registries"])

    def _scan(self, name: str, atoms: Atoms) -> dict:
        """Interlayer scan of one registry; kept, so that a job that ends does not lose it."""

        def scan() -> dict:
            calculator = self.calculator(f"registries/{name}")
            points = calculator.scan_gap(atoms)
            calculator.clean()
            return {"scan": points, "attempts": calculator.attempts}

        geometry = [atoms.get_chemical_symbols(), atoms.cell.tolist(), atoms.positions.tolist()]
        return self._step(f"registries/{name}", [], scan, basis=geometry)

    def relax(self) -> None:
        """Interlayer scan, where none was made for the registries, and relaxation."""

        def relax(registries: dict) -> dict:
            calculator = self.calculator("relax")
            start = start_structure(Stack.from_dict(registries["specification"]))
            compared = registries["registries"] or []
            gained = _gained_by_registries(compared, registries["specification"])
            found = relax_stack(calculator, start, scan=not compared, gained_ev=gained)
            relaxed = found.pop("atoms")
            write_frames(self.file("relaxed.extxyz"), relaxed)
            return {
                **found,
                "attempts": calculator.attempts,
                "provenance": calculator.provenance(relaxed.get_chemical_symbols()),
            }

        self._step("relax", ["registries"], relax, writes=["relaxed.extxyz"])

    def density(self) -> None:
        """Density, total energy and vacuum levels."""

        def density(relax: dict) -> dict:
            found, attempts = self._settle_density()
            layers = [f"layer_{i}_per_ev" for i in range(found.states.shape[1] - 1)]
            for name, values, columns in (
                ("potential.csv", found.potential, ["z_a", "potential_ev"]),
                ("density_of_states.csv", found.states, ["energy_ev", *layers]),
            ):
                write_table(self.file(name), pd.DataFrame(values.round(5) + 0.0, columns=columns))
            return {**found.numbers, "attempts": attempts}

        self._step("scf", ["relax"], density, writes=["potential.csv", "density_of_states.csv"])

    def _settle_density(self) -> tuple[Density, list[dict]]:
        """The density of the relaxed stack in scf/save, marked when it is complete."""
        calculator = self.calculator("scf")
        found = compute_density(calculator, self.relaxed(), self.file("relax"))
        self.file(_COMPLETE).touch()
        return found, calculator.attempts

    def bands(self) -> None:
        """Bands along the path, layer weights and effective masses."""

        def bands(scf: dict, **layers: dict) -> dict:
            again: list[dict] = []
            if not self.file(_COMPLETE).is_file():  # on the disk of another node, or cut short
                _, again = self._settle_density()
                # The record of the density that is gone is in the step `scf`.
                again = [run for run in again if run.get("symptom") != "result_lost"]
            calculator = self.calculator("bands")
            # A copy: the density stays as its step left it, should this one be repeated.
            copy_save(self.file("scf/save"), self.file("bands/save"))
            alone = list(layers.values())
            found, masses = compute_bands(calculator, self.relaxed(), scf, alone)
            calculator.clean()
            write_json(self.file("bands.json"), {**found.to_dict(), "masses": masses})
            return {"masses": masses, "attempts": again + calculator.attempts}

        # What was kept with masses of another point or range, or before that was told, is no such,
        # nor what lacks points of symmetry that the mesh holds.
        how = "masses at the extremum, which is told, range by the gap; valleys; all folded points"
        needs = ["scf", *self._layer_names()]
        self._step("bands", needs, bands, writes=["bands.json"], basis=how)

    def response(self) -> None:
        """Stiffness, deformation potentials and mobilities, where the campaign asks for them."""

        def response(scf: dict, bands: dict) -> dict:
            found = read_json(self.file("bands.json"))
            return compute_strain_response(
                lambda name: self.calculator(f"strain/{name}"), self.relaxed(), found, scf
            )

        if self.settings["mobility"]:
            # What was kept before swapped bands and unlike valleys were told is no such.
            how = "central differences of one band"
            self._step("strain", ["scf", "bands"], response, basis=how)

    def layers(self) -> None:
        """Each layer alone: in the stack's cell and free."""

        def relax(registries: dict, relax: dict, layer: int) -> dict:
            stack = Stack.from_dict(registries["specification"])

            def calculator(name: str) -> Calculator:
                return self.calculator(f"layer_{layer}/{name}")

            shared = self.folder.parent / "layers"
            version = relax["provenance"]["quantum_espresso"]
            return relax_layer(calculator, self.relaxed(), layer, stack, shared, version)

        for layer, name in enumerate(self._layer_names()):
            self._step(name, ["registries", "relax"], partial(relax, layer=layer), basis=EDGES)

    def collect(self) -> dict:
        """All numbers, and whether they meet the targets."""

        def collect(
            candidate: dict,
            registries: dict,
            relax: dict,
            scf: dict,
            bands: dict,
            strain: dict | None = None,
            lattice: dict | None = None,
            **alone: dict,
        ) -> dict:
            layers = list(alone.values())
            stack = Stack.from_dict(registries["specification"])
            atoms = self.relaxed()
            found = read_json(self.file("bands.json"))
            compared = registries["registries"]
            numbers = assemble(stack, atoms, relax, scf, found, layers, strain, compared)
            target = inside_targets(numbers, self.targets)
            with atomic_path(self.file("relaxed.cif")) as path:
                atoms.write(path, format="cif")
            steps = [*filter(None, [lattice]), registries, relax, scf, bands]
            steps += [*filter(None, [strain]), *layers]
            asked = Stack.from_dict(candidate["specification"])
            told = described(asked, stack)
            return {
                "status": "verified",
                "properties": {k: {"value": v, "unit": UNITS[k]} for k, v in numbers.items()},
                "target": target,
                "meets_target": all(t["inside"] for t in target.values()),
                "layers": layers,
                "specification": told.to_dict(),
                "verified_stack_id": told.key(),
                "lattices": lattice["lattices"] if lattice else [],
                "registries": compared,
                "attempts": [a for step in steps for a in step.get("attempts", [])],
                **relax["provenance"],
                "quantum_espresso": ", ".join(_espresso_versions(relax, [*steps])),
                "versions": provenance(),
            }

        needs = [*self._steps()]
        outcome = run_step(self.file("result.json"), self._needs(needs), collect)
        if outcome["status"] == "skipped":  # an earlier step failed: so did the candidate
            outcome["status"] = "failed"
        if outcome["status"] == "failed":
            outcome["attempts"] = self._attempts()
        candidate = read_json(self.file("candidate.json"))
        return self._write_result(
            {
                "specification": candidate.get("specification"),
                "predicted": self.predicted(self._as_described(candidate, outcome)),
            }
            | outcome
        )

    def _as_described(self, candidate: dict, outcome: dict) -> str | None:
        """Key of what was verified, in the words of the screen: layers as they were proposed."""
        if outcome["status"] != "verified":
            return None
        asked = Stack.from_dict(candidate["specification"])
        found = Stack.from_dict(outcome["specification"])
        return replace(asked, interfaces=found.interfaces).key()

    # --- helpers ------------------------------------------------------------------------------

    def _write_result(self, outcome: dict) -> dict:
        result = self.identity | outcome
        write_json(self.file("result.json"), result)
        return result

    def file(self, name: str) -> Path:
        return self.folder / name

    def relaxed(self) -> Atoms:
        return read_frames(self.file("relaxed.extxyz"))[0]

    def calculator(self, name: str) -> Calculator:
        return calculator_for(self.file(name), self.settings, self.launcher, self.elements())

    def elements(self) -> set[str]:
        return set(read_frames(self.file("structure.extxyz"))[0].get_chemical_symbols())

    def _needs(self, names) -> dict[str, Path]:
        return {name: self.file(_STEPS.get(name, f"{name}/result.json")) for name in names}

    def _step(self, name: str, needs: list[str], compute, writes=(), basis=None) -> dict:
        # The numbers depend on these settings, and not on how many processes computed them.
        rests_on = {key: self.settings[key] for key in ("protocol", "pseudopotentials")}
        rests_on["own"] = basis
        if self.file("structure.extxyz").exists():
            # By content: the files behind both names may have changed.
            rests_on["protocol_values"] = protocol_for(self.settings, self.elements()).to_dict()
            family = Pseudopotentials(self.settings["pseudopotentials"])
            rests_on["pseudopotentials_sha256"] = family.checksums(self.elements())
        return run_step(
            self.file(f"{name}/result.json"),
            self._needs(needs),
            compute,
            basis=rests_on,
            writes=[self.file(file) for file in writes],
            series=self.series,
        )

    def _steps(self) -> dict[str, str]:
        """Result files of the steps that this candidate has, in order."""
        asked = {name for name, key in _OPTIONAL.items() if self.settings[key]}
        asked.add(self._settled_by())
        steps: dict[str, str] = {}
        for name, file in _STEPS.items():
            if name in asked or name not in {*_OPTIONAL, "lattice"}:
                steps[name] = file
            if name == "relax":
                steps |= {layer: f"{layer}/result.json" for layer in self._layer_names()}
        return steps

    def _layer_names(self) -> list[str]:
        """Steps of the layers alone, from the bottom."""
        return [f"layer_{i}" for i in range(len(self._layers()))]

    def _attempts(self) -> list[dict]:
        """All runs of pw.x so far: those that steps tell of, and those of steps cut short."""
        found = unrecorded_runs(self.folder, self.launcher.ranks)
        # What parts of a step have computed its own result repeats.
        for step in sorted(path for path in self.folder.iterdir() if path.is_dir()):
            own = step / "result.json"
            for file in [own] if own.exists() else sorted(step.rglob("result.json")):
                with contextlib.suppress(InputError):
                    found += read_json(file).get("attempts", [])
        return found

    def _step_in_progress(self) -> str:
        """The first step without a finished outcome."""
        for name, file in self._steps().items():
            try:
                if read_json(self.file(file))["status"] != "done":
                    return name
            except InputError:
                return name
        return "collect"


def _gained_by_registries(registries: Sequence[Mapping], verified: Mapping) -> float:
    """Energy in eV from the structure as selected to the registry verified, at its best distance.

    Args:
        registries: of `compare_registries`, all in one basis; 0 where there are none.
        verified: specification of the stack.
    """
    scanned = [entry for entry in registries if "scan" in entry]
    offset = verified["interfaces"][0]["offset"] if scanned else None
    asked = next((e["scan"] for e in scanned if e["is_asked"]), None)
    best = next((e["scan"] for e in scanned if np.allclose(e["offset"], offset)), None)
    if asked is None or best is None:
        return 0.0
    as_selected = next(energy for shift, energy, _ in asked if shift == 0.0)
    return as_selected - lowest_point(best)[1]


def _espresso_versions(relax: Mapping, steps: Sequence[Mapping]) -> list[str]:
    """Versions of Quantum ESPRESSO behind a candidate: more than one where it changed meanwhile."""
    found = {relax["provenance"]["quantum_espresso"]}
    for step in steps:
        found |= {run.get("quantum_espresso") for run in step.get("attempts", [])}
        found |= {*step.get("espresso_versions", [])}
    return sorted(found - {None})


# Steps that a campaign may ask for, by the setting that does.
_OPTIONAL = {"strain": "mobility"}
_COMPLETE = "scf/save/complete"  # written when the density beside it is
# Result files of the steps, in order; of `lattice` where the lattice constants of a layer are
# not of this DFT. Those of the layers alone come after `relax`.
_STEPS = {
    "candidate": "candidate.json",
    "lattice": "lattice/result.json",
    "registries": "registries/result.json",
    "relax": "relax/result.json",
    "scf": "scf/result.json",
    "bands": "bands/result.json",
    "strain": "strain/result.json",
}
