"""D3 energies by pw.x beside those of the reference implementation, of every element.

    python tests/benchmarks/dispersion_of_elements.py [ELEMENT ...]

A hexagonal sheet of one atom per element, in one iteration at a cutoff of 10 Ry: D3 takes positions
alone. A minute for the 72 elements of PseudoDojo.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.dft.protocols import Pseudopotentials
from heteroforge.dft.running import Launcher, run_pw
from heteroforge.structures.dispersion import dispersion_ev

FAMILY = Pseudopotentials("pseudodojo")


def sheet(element: str) -> Atoms:
    """One atom in a hexagonal cell of 10 Å height, its neighbours a little beyond a bond."""
    a = 2 * covalent_radii[atomic_numbers[element]] + 0.4
    cell = [[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, 10]]
    return Atoms(element, positions=[[0, 0, 5]], cell=cell, pbc=True)


def by_pw(atoms: Atoms, folder: Path) -> float:
    """D3 energy in eV that pw.x adds."""
    namelists = {
        "control": {"calculation": "scf", "disk_io": "low"},
        "system": {
            "ecutwfc": 10.0,
            "occupations": "smearing",
            "degauss": 0.1,
            "nbnd": int(FAMILY.valence(atoms.get_chemical_symbols()[0])) + 6,
            "vdw_corr": "dft-d3",
            "dftd3_version": 4,
            "dftd3_threebody": False,
        },
        # Any density does.
        "electrons": {"conv_thr": 1e9, "electron_maxstep": 1, "diago_thr_init": 0.1},
    }
    return run_pw(atoms, namelists, (1, 1, 1), FAMILY, folder, Launcher())[0].dispersion_ev or 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    installed = sorted(path.stem for path in FAMILY.folder.glob("*.upf"))
    parser.add_argument("elements", nargs="*", default=installed)
    options = parser.parse_args()
    print("element  pw.x (eV)  dftd3 (eV)  ratio")
    worst = 0.0
    for element in options.elements:
        atoms = sheet(element)
        with tempfile.TemporaryDirectory() as folder:
            found = by_pw(atoms, Path(folder))
        expected = dispersion_ev(atoms)
        ratio = found / expected
        wrong = bool(abs(ratio - 1) > 0.005)
        worst = max(worst, 0.0 if wrong else abs(ratio - 1))
        print(f"{element:7} {found:10.4f} {expected:11.4f} {ratio:6.3f}{'  wrong' * wrong}")
    print(f"all others within {100 * worst:.2f} %")


if __name__ == "__main__":
    main()
