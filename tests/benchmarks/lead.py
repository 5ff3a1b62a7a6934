"""The gap of a layer of PbI2 by pseudopotentials of two families, and of both.

PBE without spin-orbit coupling, protocol `quick`, at 60 and 100 Ry; ten minutes. With `--gpaw` by
GPAW, where it and its datasets are installed (Debian: gpaw, gpaw-data), in the Python that has it.

    python tests/benchmarks/lead.py
    /usr/bin/python3 tests/benchmarks/lead.py --gpaw
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms

A, HEIGHT = 4.53978, 24.0
ATOMS = Atoms(
    "IPbI",
    positions=[(0, 0, 10.1213), (A / 2, A / 12**0.5, 12.0), (0, A / 3**0.5, 13.8787)],
    cell=[[A, 0, 0], [-A / 2, A * 3**0.5 / 2, 0], [0, 0, HEIGHT]],
    pbc=(True, True, False),
)


def gap_ev(energies_ev: np.ndarray, electrons: float) -> float:
    occupied = round(electrons / 2)
    return float(energies_ev[:, occupied].min() - energies_ev[:, occupied - 1].max())


def by_gpaw() -> None:
    from gpaw import GPAW, PW, FermiDirac

    atoms = ATOMS.copy()
    atoms.pbc = True
    mesh = {"size": (6, 6, 1), "gamma": True}
    atoms.calc = GPAW(mode=PW(400), xc="PBE", kpts=mesh, occupations=FermiDirac(0.02), txt=None)
    atoms.get_potential_energy()
    path = {"path": "GMKG", "npoints": 31}
    bands = atoms.calc.fixed_density(kpts=path, symmetry="off", txt=None)
    energies = np.array([bands.get_eigenvalues(k) for k in range(31)])
    print(f"| GPAW | {gap_ev(energies, atoms.calc.get_number_of_electrons()):.2f} |")


def by_pseudopotentials() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))
    from dataclasses import replace

    from heteroforge.dft.calculations import Calculator
    from heteroforge.dft.protocols import DOWNLOADS, Protocol, Pseudopotentials
    from heteroforge.dft.running import Launcher

    path = ATOMS.cell.bandpath(pbc=(True, True, False), npoints=31).kpts
    for lead, iodine, cutoff_ry in (
        ("pseudodojo", "pseudodojo", 60),
        ("pseudodojo", "pseudodojo", 100),
        ("sg15", "sg15", 60),
        ("sg15", "pseudodojo", 60),
    ):
        with tempfile.TemporaryDirectory() as folder:
            # A folder of one's own is used as it is, the unfit file too.
            family = Path(folder) / "pseudodojo"
            family.mkdir()
            for element, source in (("Pb", lead), ("I", iodine)):
                shutil.copy(DOWNLOADS / source / f"{element}.upf", family)
            pseudopotentials = Pseudopotentials(str(family))
            protocol = replace(Protocol.named("quick", pseudopotentials), cutoff_ry=cutoff_ry)
            run = Calculator(Path(folder) / "run", protocol, pseudopotentials, Launcher())
            electrons = run.scf(ATOMS).electrons
            (energies,) = run.energies_at(ATOMS, path, "bands")
            gap = gap_ev(energies, electrons)
            print(f"| lead {lead}, iodine {iodine}, {cutoff_ry} Ry | {gap:.2f} |", flush=True)


if __name__ == "__main__":
    print("| | gap (eV) |\n|---|---|")
    by_gpaw() if "--gpaw" in sys.argv else by_pseudopotentials()
