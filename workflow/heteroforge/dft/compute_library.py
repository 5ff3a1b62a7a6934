"""Compute the bundled library: relaxed monolayers and stacks, with this project's DFT.

    python -m heteroforge.dft.compute_library --work FOLDER [--workers 2]

Reads resources/library/seeds.yaml, writes monolayers.extxyz, monolayers.csv, bilayers.csv and
provenance.json beside it. Every finished step is a file in the work folder, so that a killed run
goes on where it was. A material that fails is listed in failed.csv and does not stop the others.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from ase import Atoms
from ase.build import mx2

from heteroforge.dft.calculations import Calculator, cell_for_truncation
from heteroforge.dft.electronic import mobility_cm2_vs
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
from heteroforge.io import provenance, write_frames, write_json, write_table
from heteroforge.structures import Monolayer, Stack
from heteroforge.structures.matching import (
    find_matches,
    stack_from_match,
    van_der_waals_gap_a,
)

__all__ = ["compute_monolayer", "compute_stack", "starting_structure"]

STRAIN = 0.01
FLAT_BELOW_A = 0.05  # a buckling that forces of this size do not tell from none
RESOLVED_EV = 0.5  # deformation potentials below are not told from noise: no mobility
EV_A2_TO_N_M = 16.02176634
LABELS = ("gap_ev", "vbm_ev", "cbm_ev", "binding_energy_mev_a2", "interlayer_gap_a")


def starting_structure(prototype: str, elements: list[str], a: float) -> Atoms:
    """Ideal atoms of a prototype (see seeds.yaml), heights from usual bond lengths.

    Raises:
        ValueError: unknown prototype.
    """
    cell = np.array([[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, 20.0]])
    third = [[0.0, 0.0], [1 / 3, 2 / 3]]
    if prototype in ("honeycomb", "buckled"):
        # A small buckling lets a layer that wants to be flat become flat, not the other way round.
        height = 0.0 if prototype == "honeycomb" else 0.18 * a
        symbols, places, z = elements, third, [0.0, height]
    elif prototype == "hydrogenated":
        first, second = elements
        bond = {"H": 1.1 if first == "C" else 1.5, "F": 1.38}[second]
        buckling = 0.18 * a
        symbols = [first, first, second, second]
        places = third + third
        z = [0.0, buckling, -bond, buckling + bond]
    elif prototype in ("2H", "1T"):
        metal, anion = elements
        atoms = mx2(f"{metal}{anion}2", kind=prototype, a=a, thickness=3.15, vacuum=8.0)
        return atoms
    elif prototype == "puckered":
        b, half, u = a * 1.39, 1.06, 0.08
        cell = np.array([[a, 0, 0], [0, b, 0], [0, 0, 20.0]])
        symbols = elements * 4
        places = [[0.0, u], [0.5, 0.5 - u], [0.0, -u], [0.5, 0.5 + u]]
        z = [half, half, -half, -half]
    else:
        raise ValueError(f"seeds.yaml: unknown prototype {prototype!r}")
    xy = np.array(places) @ cell[:2, :2]
    positions = np.column_stack([xy, np.array(z) + 10.0])
    return Atoms(symbols, positions=positions, cell=cell, pbc=(True, True, False))


def _cached(path: Path, compute: Callable[[], dict]) -> dict:
    if path.exists():
        return json.loads(path.read_text())
    result = compute()
    write_json(path, result)
    return result


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


def compute_monolayer(seed: dict, calculator: Callable[[str], Calculator], folder: Path) -> dict:
    """Relax a monolayer and compute what the library holds of it.

    Lattice constant from energies at the protocol's cutoff, band edges, masses, stiffness and
    deformation potentials from ±1 % uniaxial strain with relaxed positions, mobility by
    deformation-potential theory. For layers that are not hexagonal x and y are strained, and the
    better direction gives the mobility; deformation potential and stiffness are those along x.

    Args:
        seed: entry of seeds.yaml.
        calculator: gives a calculator for a subfolder of `folder`.
        folder: where finished steps are kept.

    Returns:
        One row of monolayers.csv and the structure.
    """

    def relax() -> dict:
        start = cell_for_truncation(
            starting_structure(seed["prototype"], seed["elements"], seed["a"])
        )
        run = calculator("relax")
        atoms = run.relax(start, cell=True).atoms
        run.clean()
        return {"monolayer": Monolayer.from_atoms(atoms).to_dict(), "attempts": run.attempts}

    first = _cached(folder / "relax.json", relax)

    def lattice() -> dict:
        run = calculator("lattice")
        start = cell_for_truncation(Monolayer.from_dict(first["monolayer"]).to_atoms())
        atoms, scan = fit_lattice(run, start)
        if np.ptp(atoms.positions[:, 2]) < FLAT_BELOW_A:
            atoms.positions[:, 2] = atoms.positions[:, 2].mean()
        result = run.relax(atoms)
        run.clean()
        layer, _ = Monolayer.from_atoms(result.atoms, name=seed["id"]).standardised()
        return {"monolayer": layer.to_dict(), "scan": scan, "attempts": run.attempts}

    relaxed = _cached(folder / "lattice.json", lattice)
    layer = Monolayer.from_dict(relaxed["monolayer"])
    atoms = cell_for_truncation(layer.to_atoms())

    def electronic() -> dict:
        run = calculator("electronic")
        density, _ = compute_density(run, atoms)
        bands, masses = compute_bands(run, atoms, density)
        found = {**density, **masses, "provenance": run.provenance(layer.species)}
        summary = bands.to_dict()
        for long in ("k_distance", "labels", "energies_ev", "layer_weights"):
            summary.pop(long)
        run.clean()
        return found | summary

    states = _cached(folder / "electronic.json", electronic)
    gap = min(states["cbm_ev"], states["mesh_cbm_ev"]) - max(
        states["vbm_ev"], states["mesh_vbm_ev"]
    )
    is_metal = bool(states["is_metal"] or states["mesh_is_metal"] or gap <= 0)
    row = {
        "monolayer_id": seed["id"],
        "is_metal": is_metal,
        "gap_ev": 0.0 if is_metal else gap,
        "gap_is_direct": states["gap_is_direct"] and not is_metal,
        "vbm_ev": max(states["vbm_ev"], states["mesh_vbm_ev"]),
        "cbm_ev": min(states["cbm_ev"], states["mesh_cbm_ev"]),
        "work_function_ev": -states["fermi_ev"] if is_metal and states["fermi_ev"] else None,
        "vacuum_step_ev": states["vacuum_step_ev"],
        "electron_mass_m0": states.get("electron_mass_m0"),
        "hole_mass_m0": states.get("hole_mass_m0"),
        "energy_ev": states["energy_ev"],
        "source": "computed by heteroforge.dft.compute_library",
        "protocol": states["provenance"]["protocol"]["name"],
    }
    if is_metal:
        # Without a gap there is no band edge to strain; both edges are the Fermi energy.
        row["vbm_ev"] = row["cbm_ev"] = states["fermi_ev"]
    hexagonal = abs(layer.a / layer.b - 1) < 1e-3 and abs(layer.gamma_deg - 120) < 0.1
    # Of a semimetal the strained Dirac points leave the mesh, which falsifies the stiffness; and
    # there is no edge to follow. Unknown is better than wrong.
    axes = () if is_metal else (0,) if hexagonal else (0, 1)
    for axis in axes:
        strained = {
            sign: _cached(
                folder / f"strain_{'xy'[axis]}_{sign:+d}.json",
                lambda s=sign, x=axis: _strained(calculator, atoms, states, x, s),
            )
            for sign in (-1, 1)
        }
        second = (
            strained[1]["energy_ev"] + strained[-1]["energy_ev"] - 2 * states["energy_ev"]
        ) / STRAIN**2
        stiffness = EV_A2_TO_N_M * second / layer.area_a2
        row.setdefault("stiffness_n_m", stiffness)
        for carrier, edge in (("electron", "cbm"), ("hole", "vbm")):
            potential = deformation_potential_ev(
                strained[-1][f"{edge}_ev"], states[f"{edge}_ev"], strained[1][f"{edge}_ev"]
            )
            row.setdefault(f"deformation_potential_{edge}_ev", potential)
            if abs(potential) < RESOLVED_EV:
                continue
            # Valleys that symmetry repeats conduct alike in all directions.
            light, heavy = (states[f"{carrier}_mass_{kind}_m0"] for kind in ("light", "heavy"))
            mass = 2 / (1 / light + 1 / heavy)
            if not hexagonal:
                mass = states[f"{carrier}_mass_{'xy'[axis]}_m0"]
            mobility = mobility_cm2_vs(stiffness, mass, states[f"{carrier}_mass_m0"], potential)
            key = f"{carrier}_mobility_cm2_vs"
            row[key] = max(mobility, row.get(key, 0.0))
    return {"row": row, "monolayer": relaxed["monolayer"], "provenance": states["provenance"]}


def deformation_potential_ev(
    compressed_ev: float, unstrained_ev: float, stretched_ev: float, strain: float = STRAIN
) -> float:
    """Shift of a band edge per strain, in eV, from edges against vacuum at −ε, 0 and +ε.

    The one-sided slope of larger magnitude: where strain splits a degenerate edge the slopes
    differ, and their mean would make carriers look as if they did not scatter.
    """
    slopes = (unstrained_ev - compressed_ev) / strain, (stretched_ev - unstrained_ev) / strain
    return max(slopes, key=abs)


def _strained(calculator, atoms: Atoms, states: dict, axis: int, sign: int) -> dict:
    run = calculator(f"strain_{'xy'[axis]}_{sign:+d}")
    deformed = atoms.copy()
    cell = deformed.cell.array.copy()
    cell[:, axis] *= 1 + sign * STRAIN
    deformed.set_cell(cell, scale_atoms=True)
    # The mesh of the unstrained cell: strain breaks the symmetry that K on the mesh relies on.
    result = run.relax(deformed, mesh=run.mesh(atoms))
    levels, _ = run.vacuum(result.atoms)
    # The same valley and band as without strain; the lowest of all might be another one.
    places = [states["vbm_k_fractional"], states["cbm_k_fractional"]]
    energies = run.energies_at(result.atoms, places, "edges")[0] - levels["vacuum_ev"]
    run.clean()
    return {
        "energy_ev": result.energy_ev,
        "vbm_ev": float(energies[0, states["vbm_band"]]),
        "cbm_ev": float(energies[1, states["cbm_band"]]),
        "attempts": run.attempts,
    }


def fit_lattice(run: Calculator, atoms: Atoms) -> tuple[Atoms, list]:
    """Scale the in-plane cell to the lowest energy at the cutoff given.

    A relaxation of the cell keeps the plane waves it started with and so follows a stress that the
    cutoff falsifies, most of all for oxygen and fluorine; energies at one cutoff
    have their minimum where later energies of strained cells have it.

    Returns:
        The atoms scaled, and (strain, energy in eV) per point computed.
    """
    energies: dict[int, float] = {}

    def scaled(strain: float) -> Atoms:
        result = atoms.copy()
        cell = result.cell.array.copy()
        cell[:2] *= 1 + strain
        result.set_cell(cell, scale_atoms=True)
        return result

    def energy(place: int) -> float:
        if place not in energies:
            mesh = run.mesh(atoms)
            result = run.scf(scaled(STRAIN * place), name=f"lattice_{place:+d}", mesh=mesh)
            energies[place] = result.energy_ev
        return energies[place]

    middle = 0
    while abs(middle) < 6:
        lowest = min((middle - 1, middle, middle + 1), key=energy)
        if lowest == middle:
            break
        middle = lowest
    low, centre, high = (energy(middle + step) for step in (-1, 0, 1))
    strain = STRAIN * (middle + 0.5 * (low - high) / (low - 2 * centre + high))
    return scaled(strain), [[STRAIN * place, energies[place]] for place in sorted(energies)]


def stack_of(entry: dict, layers: dict[str, Monolayer]) -> Stack:
    """The stack that an entry of seeds.yaml names, on the layers' relaxed lattices."""
    bottom, top = layers[entry["bottom"]], layers[entry["top"]]
    for match in find_matches(bottom, top, 1.3 * bottom.area_a2, 6.0, 12):
        turned = abs((match.twist_deg + 30) // 60) % 2 == 1
        if turned == entry["turned"]:
            gap = 0.9 * van_der_waals_gap_a(bottom, top)  # attraction pulls below the contact
            return stack_from_match(bottom, top, match, tuple(entry["registry"]), gap)
    raise ValueError(f"no 1×1 match of {entry['bottom']} and {entry['top']}, {entry}")


def compute_stack(stack: Stack, calculator: Callable[[str], Calculator], folder: Path) -> dict:
    """Verify a stack as a campaign does; returns its numbers and relaxed specification."""

    def relax() -> dict:
        run = calculator("relax")
        found = relax_stack(run, start_structure(stack))
        run.clean()
        return {**found, "atoms": _atoms_to_json(found["atoms"]), "attempts": run.attempts}

    relaxation = _cached(folder / "relax.json", relax)
    atoms = _atoms_from_json(relaxation["atoms"])

    def electronic() -> dict:
        run = calculator("electronic")
        density, _ = compute_density(run, atoms)
        # Labels have no use for effective masses of stacks.
        bands, masses = compute_bands(run, atoms, density, with_masses=False)
        run.clean()
        return {
            "density": density,
            "bands": {**bands.to_dict(), "masses": masses},
            "provenance": run.provenance(stack.species),
        }

    states = _cached(folder / "electronic.json", electronic)

    def layer(index: int) -> dict:
        run = calculator(f"layer_{index}")
        found = relax_layer(run, None, atoms, index, stack)
        run.clean()
        return found

    layers = [
        _cached(folder / f"layer_{i}.json", lambda i=i: layer(i)) for i in range(len(stack.layers))
    ]
    numbers = assemble(stack, atoms, relaxation, states["density"], states["bands"], layers)
    return {
        "specification": relaxed_stack(stack, numbers["interlayer_gap_a"]).to_json(),
        "stack_id": relaxed_stack(stack, numbers["interlayer_gap_a"]).key(),
        "properties": numbers,
        "provenance": states["provenance"],
    }


def relaxed_stack(stack: Stack, gap_a: float) -> Stack:
    """The stack with the interlayer gap that DFT found."""
    from dataclasses import replace

    return replace(stack, interfaces=(replace(stack.interfaces[0], gap_a=float(gap_a)),))


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the number of entries that failed."""
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
    parser.add_argument("--protocol", default="quick")
    parser.add_argument("--pseudopotentials", default="pseudodojo")
    parser.add_argument("--collect-only", action="store_true", help="write what is finished so far")
    options = parser.parse_args(arguments)
    seeds = yaml.safe_load(options.seeds.read_text())
    pseudopotentials = Pseudopotentials(options.pseudopotentials)
    protocol = Protocol.named(options.protocol, pseudopotentials.family)

    def calculator(folder: Path) -> Callable[[str], Calculator]:
        return lambda name: Calculator(folder / name, protocol, pseudopotentials, Launcher(ranks=1))

    failed: list[dict] = []
    finished: dict[str, dict] = {}

    def attempt(name: str, compute: Callable[[Path], dict]) -> None:
        folder = options.work / name
        if options.collect_only and not (folder / "done.json").exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        clock = time.monotonic()
        try:
            finished[name] = _cached(folder / "done.json", lambda: compute(folder))
            print(f"{name}: done in {time.monotonic() - clock:.0f} s", flush=True)
        except Exception as error:  # one bad material must not stop the others
            failed.append({"entry": name, "reason": f"{type(error).__name__}: {error}"})
            (folder / "error.txt").write_text(traceback.format_exc())
            print(f"{name}: failed: {error}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(options.workers) as pool:
        jobs = {
            seed["id"]: pool.submit(
                attempt,
                seed["id"],
                lambda f, s=seed: compute_monolayer(s, calculator(f), f),
            )
            for seed in seeds["monolayers"]
        }

        def stack_job(entry: dict, name: str) -> None:
            layers = {}
            for end in ("bottom", "top"):
                jobs[entry[end]].result()
                if entry[end] not in finished:
                    return
                layers[entry[end]] = Monolayer.from_dict(finished[entry[end]]["monolayer"])
            attempt(name, lambda f: compute_stack(stack_of(entry, layers), calculator(f), f))

        for entry in seeds["stacks"]:
            registry = "_".join(f"{x:.2f}" for x in entry["registry"])
            turned = "_turned" if entry["turned"] else ""
            pool.submit(stack_job, entry, f"{entry['bottom']}__{entry['top']}__{registry}{turned}")
    write_results(options.output, seeds, finished, failed)
    return len(failed)


def write_results(output: Path, seeds: dict, finished: dict, failed: list[dict]) -> None:
    """Write the library's files from what is finished."""
    monolayers = [finished[s["id"]] for s in seeds["monolayers"] if s["id"] in finished]
    layers = [Monolayer.from_dict(m["monolayer"]) for m in monolayers]
    write_frames(output / "monolayers.extxyz", [layer.to_atoms() for layer in layers])
    rows = []
    for layer, entry in zip(layers, monolayers, strict=True):
        rows.append(
            {
                "monolayer_id": layer.name,
                "formula": layer.formula,
                "prototype": layer.prototype,
                "layer_group": layer.layer_group,
                "number_of_atoms": len(layer.species),
                "a_a": layer.a,
                "b_a": layer.b,
                "gamma_deg": layer.gamma_deg,
                "thickness_a": layer.thickness_a,
                "area_a2": layer.area_a2,
                **entry["row"],
            }
        )
    table = pd.DataFrame(rows)
    numbers = table.select_dtypes("float").columns
    table[numbers] = table[numbers].round(5) + 0.0  # no −0.0
    write_table(output / "monolayers.csv", table)
    stacks = [v for v in finished.values() if "stack_id" in v]
    labels = [
        {
            "stack_id": s["stack_id"],
            "specification": s["specification"],
            "property": name,
            "value": round(float(s["properties"][name]), 5),
            "unit": UNITS[name],
            "fidelity": "dft",
            "source": "computed by heteroforge.dft.compute_library",
            "protocol": s["provenance"]["protocol"]["name"],
        }
        for s in stacks
        for name in LABELS
        if s["properties"][name] is not None
    ]
    columns = "stack_id specification property value unit fidelity source protocol".split()
    write_table(output / "bilayers.csv", pd.DataFrame(labels, columns=columns))
    checksums: dict[str, str] = {}
    for entry in finished.values():
        checksums.update(entry["provenance"]["pseudopotentials_sha256"])
    first = next(iter(finished.values()))["provenance"] if finished else {}
    write_json(
        output / "provenance.json",
        {
            **first,
            "pseudopotentials_sha256": dict(sorted(checksums.items())),
            "command": "python -m heteroforge.dft.compute_library --work FOLDER",
            "code": provenance(),
            "failed": failed,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
