"""Levels of elements by pseudopotentials of two families, which should be the same.

A simple cubic crystal of each element, at 2.2 covalent radii, PBE, 90 Ry, 3 × 3 × 3 points. Prints
by how much the levels from 12 eV below to 4 eV above the Fermi energy differ, whatever is common to
all of them aside, and with names the levels at Γ in eV from the Fermi energy. Half an hour for all.

    python tests/benchmarks/pseudopotential_families.py [ELEMENT ...]
    /usr/bin/python3 tests/benchmarks/pseudopotential_families.py --gpaw ELEMENT [ELEMENT ...]

The second, where GPAW and its datasets are installed (Debian: gpaw, gpaw-data), gives its levels.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

FAMILIES = ("pseudodojo", "sg15")


def crystal(element: str) -> Atoms:
    return Atoms(element, cell=[2.2 * covalent_radii[atomic_numbers[element]]] * 3, pbc=True)


def by_gpaw(element: str) -> None:
    from gpaw import GPAW, PW, FermiDirac

    atoms = crystal(element)
    mesh = {"size": (3, 3, 3), "gamma": True}
    smearing = FermiDirac(0.1)
    atoms.calc = GPAW(mode=PW(450), xc="PBE", kpts=mesh, occupations=smearing, txt=None, nbands=-8)
    atoms.get_potential_energy()
    levels = atoms.calc.get_eigenvalues(0) - atoms.calc.get_fermi_level()
    print(f"{element} gpaw: {levels.round(2).tolist()}", flush=True)


def levels_ev(element: str, family: str) -> tuple[float, np.ndarray]:
    """Valence electrons, and levels (nk, bands) in eV from the Fermi energy; Γ is the first."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))
    from heteroforge.dft.protocols import DOWNLOADS, Pseudopotentials
    from heteroforge.dft.running import Launcher, run_pw

    with tempfile.TemporaryDirectory() as folder:
        # A folder of one's own is used as it is, unfit files too.
        own = Path(folder) / family
        own.mkdir()
        shutil.copy(DOWNLOADS / family / f"{element}.upf", own)
        pseudopotentials = Pseudopotentials(str(own))
        electrons = pseudopotentials.valence(element)
        system = {
            "ecutwfc": 90,
            "ecutrho": 360,
            "occupations": "smearing",
            "degauss": 0.02,
            "nbnd": int(electrons / 2) + 6,
        }
        namelists = {
            "control": {"calculation": "scf", "disk_io": "low"},
            "system": system,
            "electrons": {"conv_thr": 1e-8, "mixing_beta": 0.3},
        }
        found, _ = run_pw(
            crystal(element), namelists, (3, 3, 3), pseudopotentials, Path(folder), Launcher()
        )
    return electrons, found.energies_ev[0] - found.fermi_ev


def compare(element: str, shows_levels: bool) -> None:
    (few, ours), (many, theirs) = (levels_ev(element, family) for family in FAMILIES)
    if shows_levels:
        for family, levels in zip(FAMILIES, (ours, theirs), strict=True):
            print(f"{element} {family}: {levels[0].round(2).tolist()}")
    # What one of them has in its core and the other among the valence electrons lies lowest.
    deeper = round((many - few) / 2)
    ours, theirs = ours[:, max(0, -deeper) :], theirs[:, max(0, deeper) :]
    bands = min(ours.shape[1], theirs.shape[1]) - 1
    ours, theirs = ours[:, :bands], theirs[:, :bands]
    apart = (ours - theirs)[(ours > -12) & (ours < 4)]
    spread = f"{np.std(apart):.3f} eV" if apart.size else "no level to compare"
    print(f"{element}: {spread} ({few:.0f} and {many:.0f} electrons)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("elements", nargs="*")
    parser.add_argument("--gpaw", action="store_true")
    options = parser.parse_args()
    if options.gpaw:
        for element in options.elements:
            by_gpaw(element)
        return
    folder = Path(__file__).resolve().parents[2] / "resources/downloads/pseudopotentials"
    known = [{path.stem for path in (folder / family).glob("*.upf")} for family in FAMILIES]
    for element in options.elements or sorted(set.intersection(*known), key=atomic_numbers.get):
        try:
            compare(element, bool(options.elements))
        except RuntimeError as error:
            print(f"{element}: {error}", flush=True)


if __name__ == "__main__":
    main()
