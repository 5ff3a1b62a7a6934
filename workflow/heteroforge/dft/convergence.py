"""How far pseudopotentials need plane waves: a convergence study, element by element.

    python -m heteroforge.dft.convergence --elements B N --work FOLDER [--family pseudodojo]
    python -m heteroforge.dft.convergence          # the table of what is known

Every element in a buckled honeycomb of bonds near its covalent diameter. The sheet need not exist:
what converges slowly is the element's core, and a model that is the same for all elements allows to
compare them. Adds rows to resources/pseudopotentials/convergence.csv, and writes cutoffs.csv beside
it, which `Protocol.named` reads; can be stopped and resumed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from heteroforge.dft.calculations import Calculator, cell_for_truncation
from heteroforge.dft.monolayers import cached
from heteroforge.dft.protocols import CONVERGENCE, CUTOFFS, Protocol, Pseudopotentials
from heteroforge.dft.prototypes import starting_structure
from heteroforge.dft.running import CalculationFailed, Launcher
from heteroforge.io import write_table

__all__ = ["COLUMNS", "TOLERANCES", "converged_cutoffs", "errors_by_cutoff", "model_sheet"]

CUTOFFS_RY = (40, 50, 60, 70, 80, 110)
STRAIN = 0.01
DISPLACEMENT_A = 0.1
COLUMNS = [
    "family",
    "element",
    "cutoff_ry",
    "energy_mev_atom",
    "displacement_mev",
    "lattice_percent",
    "levels_mev",
]
# Largest errors that each protocol may have from its cutoff.
TOLERANCES = {
    "quick": {"displacement_mev": 5.0, "lattice_percent": 0.5, "levels_mev": 30.0},
    "standard": {"displacement_mev": 1.0, "lattice_percent": 0.2, "levels_mev": 10.0},
    "precise": {"displacement_mev": 0.3, "lattice_percent": 0.1, "levels_mev": 3.0},
}


def model_sheet(element: str, strain: float = 0.0) -> Atoms:
    """Two atoms of an element in a buckled honeycomb, stretched in its plane by `strain`."""
    bond = 2 * covalent_radii[atomic_numbers[element]]
    atoms = starting_structure("buckled", [element, element], 1.6 * bond)
    atoms.set_cell(atoms.cell.array * [[1 + strain], [1 + strain], [1]], scale_atoms=True)
    return cell_for_truncation(atoms)


def measure(element: str, cutoff_ry: float, family: str, folder: Path) -> dict:
    """Energies (eV) of the model at rest, strained, with an atom moved; occupied levels at Γ."""
    pseudopotentials = Pseudopotentials(family)
    protocol = replace(
        Protocol.named("quick", pseudopotentials),
        cutoff_ry=cutoff_ry,
        smearing_ry=0.01,  # most of these sheets are metals
        density_convergence_ry_atom=1e-9,
    )
    run = Calculator(folder, protocol, pseudopotentials, Launcher(ranks=1))
    mesh = (3, 3, 1)
    moved = model_sheet(element)
    moved.positions[1, 2] += DISPLACEMENT_A
    found = {"moved": run.scf(moved, mesh=mesh).energy_ev}
    for name, strain in (("short", -STRAIN), ("long", STRAIN), ("rest", 0.0)):
        result = run.scf(model_sheet(element, strain), mesh=mesh)
        found[name] = result.energy_ev
    occupied = int(result.electrons // 2)
    gamma = int(np.argmin(np.linalg.norm(result.k_points, axis=1)))
    levels = result.energies_ev[0, gamma, :occupied]
    run.clean()
    return {**found, "levels": (levels - levels[0]).tolist()}


def errors_by_cutoff(found: Mapping[float, Mapping]) -> pd.DataFrame:
    """What each cutoff gets wrong against the highest one.

    Args:
        found: outcomes of `measure` by cutoff in Ry.

    Returns:
        By cutoff: error of the total energy (meV/atom), of the energy that moving an atom by 0.1 Å
        in one cell takes (meV), of the lattice constant (%, from the slope of E over strain and the
        curvature at the highest cutoff), and the largest of the occupied levels at Γ (meV).
    """
    reference = found[max(found)]
    curvature = (reference["long"] + reference["short"] - 2 * reference["rest"]) / STRAIN**2

    def slope(values: Mapping) -> float:
        return (values["long"] - values["short"]) / (2 * STRAIN)

    rows = []
    for cutoff, values in sorted(found.items()):
        displaced = [v["moved"] - v["rest"] for v in (values, reference)]
        levels = np.subtract(values["levels"], reference["levels"])
        rows.append(
            {
                "cutoff_ry": cutoff,
                "energy_mev_atom": 1000 * (values["rest"] - reference["rest"]) / 2,
                "displacement_mev": 1000 * (displaced[0] - displaced[1]),
                "lattice_percent": -100 * (slope(values) - slope(reference)) / curvature,
                "levels_mev": 1000 * np.abs(levels).max(),
            }
        )
    return pd.DataFrame(rows)


def converged_cutoffs(table: pd.DataFrame) -> pd.DataFrame:
    """Lowest cutoff (Ry) per family and element from which on all errors stay in a tolerance.

    Args:
        table: COLUMNS.

    Returns:
        Indexed by (family, element), one column per protocol of TOLERANCES.
    """
    found = {}
    for key, rows in table.groupby(["family", "element"]):
        rows = rows.sort_values("cutoff_ry", ascending=False)
        found[key] = {}
        for protocol, limits in TOLERANCES.items():
            inside = np.all([rows[name].abs() <= limit for name, limit in limits.items()], axis=0)
            stays = np.logical_and.accumulate(inside)
            found[key][protocol] = rows.loc[stays, "cutoff_ry"].min()
    index = pd.MultiIndex.from_tuples(found, names=["family", "element"])
    return pd.DataFrame(list(found.values()), index=index)


def study(elements: Sequence[str], family: str, work: Path, output: Path) -> list[str]:
    """Measure elements one after the other and add them to the table; returns those that failed."""
    known = pd.read_csv(output) if output.exists() else pd.DataFrame(columns=COLUMNS)
    name, failed = Pseudopotentials(family).family, []
    for element in elements:
        if ((known["family"] == name) & (known["element"] == element)).any():
            continue
        folder = work / name / element
        folder.mkdir(parents=True, exist_ok=True)
        try:
            found = {
                cutoff: cached(
                    folder / f"{cutoff}.json",
                    lambda c=cutoff, e=element, f=folder: measure(e, c, family, f / f"{c}"),
                )
                for cutoff in CUTOFFS_RY
            }
        except (CalculationFailed, ValueError) as error:
            print(f"{element}: failed: {error}", file=sys.stderr, flush=True)
            failed.append(element)
            continue
        rows = errors_by_cutoff(found).assign(family=name, element=element)
        known = pd.concat([known, rows[COLUMNS].round(3)], ignore_index=True)
        write_table(output, known)
        write_table(output.with_name(CUTOFFS.name), converged_cutoffs(known).reset_index())
        print(f"{element}: {converged_cutoffs(rows).iloc[0].to_dict()}", flush=True)
    return failed


def describe(table: pd.DataFrame, cutoff_ry: float) -> str:
    """Markdown: the cutoffs that protocols need by element, and the errors at one cutoff."""
    names = list(TOLERANCES)
    needed = converged_cutoffs(table)
    errors = table[table["cutoff_ry"] == cutoff_ry].set_index(["family", "element"])
    lines = [
        f"| element | family | {' | '.join(f'{name} (Ry)' for name in names)} "
        "| displacement (meV) | lattice constant (%) | levels (meV) |",
        "|---" * (len(names) + 5) + "|",
    ]
    for family, element in sorted(needed.index):
        key = (family, element)
        cutoffs = " | ".join(f"{needed.loc[key, name]:.0f}" for name in names)
        row = errors.loc[key]
        lines.append(
            f"| {element} | {family} | {cutoffs} | {row['displacement_mev']:+.1f} "
            f"| {row['lattice_percent']:+.2f} | {row['levels_mev']:.1f} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 1 when an element failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--elements", nargs="*", default=[])
    parser.add_argument("--work", type=Path, help="folder for finished steps")
    parser.add_argument("--family", default="pseudodojo", help="installed family, or a folder")
    parser.add_argument("--output", type=Path, default=CONVERGENCE)
    options = parser.parse_args(arguments)
    if options.elements and options.work is None:
        parser.error("--elements needs --work, a folder for what pw.x writes")
    failed = study(options.elements, options.family, options.work, options.output)
    print(describe(pd.read_csv(options.output), cutoff_ry=60))
    return min(len(failed), 1)


if __name__ == "__main__":
    sys.exit(main())
