"""Stiffness of graphene by smearing and mesh: what strained Dirac points do to it.

    python tests/benchmarks/metal_stiffness.py

Slope of the stress between −1 % and +1 %, as in the library; a few minutes of pw.x.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.dft import strain
from heteroforge.dft.calculations import Calculator, cell_for_truncation
from heteroforge.dft.protocols import Protocol, Pseudopotentials
from heteroforge.dft.running import Launcher
from heteroforge.sources import read_library

LIBRARY = Path(__file__).parents[2] / "resources" / "library"
# Smearing in Ry, and how much finer than in `quick` the k-points lie.
SETTINGS = ((0.002, 1), (0.01, 1), (0.02, 1), (0.01, 2))


def main() -> None:
    known = read_library(LIBRARY / "monolayers.extxyz", LIBRARY / "monolayers.csv").monolayers
    layer = known["C-graphene"]
    atoms = cell_for_truncation(layer.to_atoms())
    pseudopotentials = Pseudopotentials("pseudodojo")
    quick = Protocol.named("quick", pseudopotentials, set(layer.species))
    print("| smearing (Ry) | mesh | stiffness (N/m) |\n|---|---|---|")
    for smearing, finer in SETTINGS:
        protocol = replace(quick, k_spacing_per_a=quick.k_spacing_per_a / finer)
        strain.METAL_SMEARING_RY = smearing
        with tempfile.TemporaryDirectory() as folder:

            def calculator(step: str, folder=folder, protocol=protocol) -> Calculator:
                return Calculator(Path(folder, step), protocol, pseudopotentials, Launcher(ranks=1))

            mesh = calculator("mesh").mesh(atoms)
            found = strain.stiffness_of_metal(calculator, lambda _, run: run(), atoms, True)
        print(f"| {smearing} | {mesh[0]} × {mesh[1]} | {found['stiffness_n_m']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
