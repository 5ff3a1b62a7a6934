"""Compute the bundled library: relaxed monolayers and stacks, with this project's DFT.

    python -m heteroforge.dft.compute_library --work FOLDER [--workers 2]

Reads resources/library/seeds.yaml and adds to the files beside it what they lack:
monolayers.extxyz, monolayers.csv, bilayers.csv (what models learn from), stacks.csv (all other
numbers of a stack), runs.csv (one line per entry: cost, code version, or why it failed) and
provenance.json. They are written after every entry. Every finished step is a
file in the work folder, so that a killed run goes on where it was. A material that fails does not
stop the others.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from ase import Atoms

from heteroforge.dft.calculations import Calculator
from heteroforge.dft.monolayers import cached, compute_monolayer
from heteroforge.dft.protocols import Protocol, Pseudopotentials
from heteroforge.dft.running import Launcher
from heteroforge.dft.verification import (
    UNITS,
    assemble,
    compute_bands,
    compute_density,
    relax_layer,
    relax_stack,
    start_structure,
)
from heteroforge.io import provenance, read_json, write_json, write_table
from heteroforge.labels import COLUMNS, LABELLED
from heteroforge.sources.library import Library, read_library, table_of, write_library
from heteroforge.structures import Monolayer, Stack
from heteroforge.structures.matching import find_matches, stack_from_match

__all__ = ["LibraryFiles", "compute_stack", "entry_name", "stack_of", "start_folder"]

SOURCE = "computed by heteroforge.dft.compute_library"
RUNS = ["entry", "status", "reason", "cutoff_ry", "core_seconds", "seconds", "revision"]


def _atoms_to_json(atoms: Atoms) -> dict:
    found = {
        "symbols": atoms.get_chemical_symbols(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
    }
    if "layer" in atoms.arrays:
        found["layer"] = atoms.arrays["layer"].tolist()
    return found


def _atoms_from_json(data: dict) -> Atoms:
    atoms = Atoms(
        data["symbols"], positions=data["positions"], cell=data["cell"], pbc=(True, True, False)
    )
    if "layer" in data:
        atoms.set_array("layer", np.array(data["layer"]))
    return atoms


def stack_of(entry: dict, layers: dict[str, Monolayer], rows: Mapping[str, Mapping]) -> Stack:
    """The stack that an entry of seeds.yaml names, where the layers' spheres touch.

    Args:
        entry: of seeds.yaml.
        layers: by identifier, relaxed.
        rows: what is known of them; stiffnesses share the strain, equal shares without them.
    """
    bottom, top = layers[entry["bottom"]], layers[entry["top"]]
    cells = entry.get("cells", [1, 1])
    atoms = cells[0] * len(bottom.species) + cells[1] * len(top.species)
    for match in find_matches(bottom, top, 1.3 * cells[0] * bottom.area_a2, 6.0, atoms):
        found = [round(np.linalg.det(s)) for s in (match.supercell_bottom, match.supercell_top)]
        if found == cells and _is_turned_as(entry, match.twist_deg):
            # 0.3333 is a third: next to it pw.x would not find the threefold axis.
            registry = tuple(
                float(limit) if abs(limit - x) < 1e-3 else x
                for x in entry.get("registry", [0.0, 0.0])
                for limit in [Fraction(x).limit_denominator(6)]
            )
            stiffness = tuple(
                rows.get(entry[k], {}).get("stiffness_n_m") for k in ("bottom", "top")
            )
            return stack_from_match(
                bottom, top, match, registry, gap_a=None, stiffness_n_m=stiffness
            )
    raise ValueError(f"no match of {entry['bottom']} and {entry['top']} with these cells: {entry}")


def _is_turned_as(entry: dict, twist_deg: float) -> bool:
    if "twist_deg" in entry:
        return abs(twist_deg - entry["twist_deg"]) < 0.1
    return (abs((twist_deg + 30) // 60) % 2 == 1) == entry["turned"]


def compute_stack(stack: Stack, calculator: Callable[[str], Calculator], folder: Path) -> dict:
    """Verify a stack as a campaign does; returns its numbers and relaxed specification."""

    def relax() -> dict:
        run = calculator("relax")
        found = relax_stack(run, start_structure(stack))
        return {**found, "atoms": _atoms_to_json(found["atoms"]), "attempts": run.attempts}

    relaxation = cached(folder / "relax.json", relax)
    atoms = _atoms_from_json(relaxation["atoms"])

    def layer(index: int) -> dict:
        shared = folder.parent / "layers"
        return relax_layer(
            lambda name: calculator(f"layer_{index}/{name}"), atoms, index, stack, shared
        )

    layers = [
        cached(folder / f"layer_{i}.json", lambda i=i: layer(i)) for i in range(len(stack.layers))
    ]

    def electronic() -> dict:
        run = calculator("electronic")
        density = compute_density(run, atoms, folder / "relax").numbers
        # Labels have no use for effective masses of stacks.
        bands, masses = compute_bands(run, atoms, density, layers, with_masses=False)
        run.clean()
        return {
            "density": density,
            "bands": {**bands.to_dict(), "masses": masses},
            "provenance": run.provenance(stack.species),
            "attempts": run.attempts,
        }

    states = cached(folder / "electronic.json", electronic)
    numbers = assemble(stack, atoms, relaxation, states["density"], states["bands"], layers)
    found = relaxed_stack(stack, numbers["interlayer_gap_a"])
    runs = [relaxation, states, *layers]
    return {
        "specification": found.to_json(),
        "stack_id": found.key(),
        "properties": numbers,
        "provenance": states["provenance"],
        "core_seconds": round(sum(a["core_seconds"] for run in runs for a in run["attempts"]), 1),
    }


def relaxed_stack(stack: Stack, gap_a: float) -> Stack:
    """The stack with the interlayer gap that DFT found."""
    return replace(stack, interfaces=(replace(stack.interfaces[0], gap_a=float(gap_a)),))


def entry_name(entry: dict) -> str:
    """Name of an entry of seeds.yaml, for files and runs.csv."""
    if "id" in entry:
        return entry["id"]
    if "cells" in entry:
        below, above = entry["cells"]
        return f"{entry['bottom']}__{entry['top']}__{below}_on_{above}_{entry['twist_deg']:.0f}deg"
    registry = "_".join(f"{x:.2f}" for x in entry["registry"])
    return f"{entry['bottom']}__{entry['top']}__{registry}" + "_turned" * entry["turned"]


def elements_of(entry: dict, monolayers: list[dict]) -> set[str]:
    """Elements of an entry of seeds.yaml; of a stack those of its layers."""
    names = {entry.get("id"), entry.get("bottom"), entry.get("top")}
    return {e for seed in monolayers if seed["id"] in names for e in seed["elements"]}


@dataclass
class LibraryFiles:
    """The library's files: read once, written after every entry that is finished.

    Attributes:
        folder: resources/library.
        order: identifiers of the monolayers as in seeds.yaml.
        monolayers, rows: by identifier, structure and known properties.
        labels: rows of bilayers.csv.
        stacks: rows of stacks.csv by entry; stacks computed before it was kept have none.
        runs: rows of runs.csv by entry.
        origin: content of provenance.json.
    """

    folder: Path
    order: list[str]
    monolayers: dict[str, Monolayer] = field(default_factory=dict)
    rows: dict[str, dict] = field(default_factory=dict)
    labels: list[dict] = field(default_factory=list)
    stacks: dict[str, dict] = field(default_factory=dict)
    runs: dict[str, dict] = field(default_factory=dict)
    origin: dict = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, order: list[str]) -> LibraryFiles:
        """What the folder holds; nothing where it is new."""
        files = cls(folder, order)
        if (folder / "runs.csv").exists():
            library = read_library(folder / "monolayers.extxyz", folder / "monolayers.csv")
            files.monolayers = dict(library.monolayers)
            files.rows = library.table.astype(object).to_dict("index")
            files.labels = pd.read_csv(folder / "bilayers.csv").to_dict("records")
            if (folder / "stacks.csv").exists():
                stacks = pd.read_csv(folder / "stacks.csv").astype(object)
                files.stacks = stacks.set_index("entry").to_dict("index")
            files.runs = pd.read_csv(folder / "runs.csv").set_index("entry").to_dict("index")
            files.origin = read_json(folder / "provenance.json")
        return files

    def has(self, name: str) -> bool:
        return self.runs.get(name, {}).get("status") == "finished"

    def add(self, name: str, found: dict, seconds: float) -> None:
        """Take in a finished monolayer or stack."""
        origin = found["provenance"]
        known = self.origin.get("protocol", origin["protocol"])
        # The cutoff rises where an element needs it.
        if {**known, "cutoff_ry": None} != {**origin["protocol"], "cutoff_ry": None}:
            raise ValueError(
                f"{name} is of protocol {origin['protocol']['name']}, the library in {self.folder} "
                f"of {known['name']}: numbers of two protocols are not compared; use --output"
            )
        checksums = self.origin.get("pseudopotentials_sha256", {})
        checksums = dict(sorted((checksums | origin["pseudopotentials_sha256"]).items()))
        self.origin = {**origin, "protocol": known, "pseudopotentials_sha256": checksums}
        if "monolayer" in found:
            self.monolayers[name] = Monolayer.from_dict(found["monolayer"])
            self.rows[name] = found["row"]
        else:
            self.labels = [r for r in self.labels if r["stack_id"] != found["stack_id"]]
            self.labels += [
                {
                    "stack_id": found["stack_id"],
                    "specification": found["specification"],
                    "property": key,
                    "value": round(float(found["properties"][key]), 5),
                    "unit": unit,
                    "fidelity": "dft",
                    "source": SOURCE,
                    "protocol": origin["protocol"]["name"],
                }
                for key, unit in LABELLED.items()
                if found["properties"][key] is not None
            ]
            known = {
                key: round(value, 5) if isinstance(value, float) else value
                for key, value in found["properties"].items()
                if key in UNITS and not isinstance(value, list)
            }
            self.stacks[name] = {"stack_id": found["stack_id"], **known}
        self.runs[name] = {
            "status": "finished",
            "cutoff_ry": origin["protocol"]["cutoff_ry"],
            "core_seconds": found["core_seconds"],
            "seconds": round(seconds),
            "revision": provenance()["revision"],
        }

    def fail(self, name: str, reason: str) -> None:
        revision = provenance()["revision"]
        self.runs[name] = {"status": "failed", "reason": reason, "revision": revision}

    def write(self) -> None:
        monolayers = {name: self.monolayers[name] for name in self.order if name in self.monolayers}
        table = table_of(monolayers, self.rows)
        numbers = table.select_dtypes("float").columns
        table[numbers] = table[numbers].round(5) + 0.0  # no −0.0
        library = Library(monolayers, table)
        write_library(self.folder / "monolayers.extxyz", self.folder / "monolayers.csv", library)
        write_table(self.folder / "bilayers.csv", pd.DataFrame(self.labels, columns=COLUMNS))
        stacks = [{"entry": name, **row} for name, row in self.stacks.items()]
        if stacks:
            write_table(self.folder / "stacks.csv", pd.DataFrame(stacks).dropna(axis=1, how="all"))
        runs = pd.DataFrame([{"entry": name, **run} for name, run in self.runs.items()])
        write_table(self.folder / "runs.csv", runs.reindex(columns=RUNS))
        command = "python -m heteroforge.dft.compute_library --work FOLDER"
        origin = {**self.origin, "command": command, "code": provenance()}
        write_json(self.folder / "provenance.json", origin)


def start_folder(folder: Path, basis: list, anew: bool = False) -> None:
    """A work folder whose finished steps were computed from `basis`; what others left is removed.

    Args:
        folder: of one entry.
        basis: the entry, the protocol's values, checksums of the pseudopotentials.
        anew: remove what is finished, too.
    """
    note = folder / "basis.json"
    basis = json.loads(json.dumps(basis))
    if folder.exists() and (not note.exists() or json.loads(note.read_text()) != basis):
        shutil.rmtree(folder)
    if anew and (folder / "done.json").exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(note, basis)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 1 when an entry failed."""
    root = Path(__file__).resolve().parents[3] / "resources" / "library"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=Path, default=root / "seeds.yaml")
    parser.add_argument("--output", type=Path, default=root)
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for logs and finished steps"
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="calculations at a time, one core each"
    )
    parser.add_argument("--only", default="", help="entries whose name holds this expression")
    parser.add_argument("--again", action="store_true", help="also entries the library has")
    parser.add_argument(
        "--keep-lattice",
        action="store_true",
        help="with --again: monolayers in the geometry that the library has",
    )
    parser.add_argument("--minutes", type=float, help="begin no entry after this time")
    parser.add_argument("--protocol", default="quick")
    parser.add_argument("--pseudopotentials", default="pseudodojo")
    options = parser.parse_args(arguments)
    seeds = yaml.safe_load(options.seeds.read_text())
    pseudopotentials = Pseudopotentials(options.pseudopotentials)
    files = LibraryFiles.read(options.output, [seed["id"] for seed in seeds["monolayers"]])
    began = time.monotonic()
    lock = threading.Lock()
    failures: list[str] = []

    def attempt(entry: dict, compute: Callable, build: Callable | None = None) -> None:
        name = entry_name(entry)
        wanted = re.search(options.only, name) and (options.again or not files.has(name))
        late = options.minutes and time.monotonic() - began > 60 * options.minutes
        if not wanted or late:
            return
        folder = options.work / name
        clock = time.monotonic()

        try:
            elements = elements_of(entry, seeds["monolayers"])
            pseudopotentials.check(elements)
            protocol = Protocol.named(options.protocol, pseudopotentials, elements)
            basis = [entry, protocol.to_dict(), pseudopotentials.checksums(elements)]
            subject = entry
            if build is not None:
                subject = build(entry, files.monolayers, files.rows)
                basis.append(subject.to_dict())
            kept = files.monolayers.get(name) if options.keep_lattice else None
            if kept:
                basis.append(kept.to_dict())
            start_folder(folder, basis, anew=options.again)
            if kept:
                known = {"monolayer": kept.to_dict(), "scan": [], "attempts": []}
                cached(folder / "lattice.json", lambda: known)

            def calculator(step: str) -> Calculator:
                return Calculator(folder / step, protocol, pseudopotentials, Launcher(ranks=1))

            found = cached(folder / "done.json", lambda: compute(subject, calculator, folder))
            with lock:
                files.add(name, found, time.monotonic() - clock)
                files.write()
            print(f"{name}: done in {time.monotonic() - clock:.0f} s", flush=True)
        except Exception as error:  # one bad material must not stop the others
            reason = f"{type(error).__name__}: {error}"
            failures.append(name)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "error.txt").write_text(traceback.format_exc())
            with lock:
                files.fail(name, reason)
                files.write()
            print(f"{name}: failed: {reason}", file=sys.stderr, flush=True)

    def stack(entry: dict, layers: list[Future]) -> None:
        for layer in layers:
            layer.result()
        if {entry["bottom"], entry["top"]} <= files.monolayers.keys():
            attempt(entry, compute_stack, stack_of)

    with ThreadPoolExecutor(options.workers) as pool:
        jobs = {s["id"]: pool.submit(attempt, s, compute_monolayer) for s in seeds["monolayers"]}
        others = [
            pool.submit(stack, entry, [jobs[entry["bottom"]], jobs[entry["top"]]])
            for entry in seeds["stacks"]
        ]
    for job in [*jobs.values(), *others]:
        job.result()  # what is no fault of an entry is not lost
    return min(len(failures), 1)


if __name__ == "__main__":
    sys.exit(main())
