"""Why lattice constants of published GaN and GaP differ from ours: gallium's 3d electrons.

Zincblende GaN and GaP by pseudopotentials with 3d electrons (pw.x), by all electrons (Elk), and by
GPAW, with which C2DB was computed, with gallium's 3d in the frozen core; the planar layer of GaN by
GPAW, too. PBE without dispersion, so that codes and datasets are all that differs. About twenty
minutes; needs Debian's packages gpaw, gpaw-data and elk-lapw beside pw.x and the installed
pseudopotentials.

    python tests/benchmarks/gallium_core.py
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase import units

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.dft.protocols import Pseudopotentials

BULK_A = {"N": (4.48, 4.52, 4.56, 4.60, 4.64), "P": (5.42, 5.47, 5.52, 5.57, 5.62)}  # Å
LAYER_A = (3.19, 3.21, 3.24, 3.27, 3.30)
NEEDED = {"/usr/bin/python3": "gpaw gpaw-data", "elk-lapw": "elk-lapw", "pw.x": "quantum-espresso"}

PW = """
&control calculation='scf' prefix='p' outdir='./o' pseudo_dir='{folder}' /
&system ibrav=2 A={a} nat=2 ntyp=2 ecutwfc=90 occupations='fixed' /
&electrons conv_thr=1e-9 /
ATOMIC_SPECIES
Ga 69.723 Ga.upf
{anion} 1.0 {anion}.upf
ATOMIC_POSITIONS crystal
Ga 0 0 0
{anion} 0.25 0.25 0.25
K_POINTS automatic
6 6 6 0 0 0
"""

ELK = """
tasks
  0

xctype
  20 0 0

rgkmax
  9.0

gmaxvr
  20.0

lmaxapw
  10

nempty
  6

epsengy
  1e-6

avec
  {h} {h} 0.0
  {h} 0.0 {h}
  0.0 {h} {h}

sppath
  '/usr/share/elk-lapw/species/'

atoms
  2
  'Ga.in'
  1
  0.0 0.0 0.0  0.0 0.0 0.0
  '{anion}.in'
  1
  0.25 0.25 0.25  0.0 0.0 0.0

ngridk
  6 6 6
"""

# Run by Debian's own Python. Plane waves to 800 eV, as in C2DB.
GPAW = """
from ase import Atoms
from ase.build import bulk
from gpaw import GPAW, PW, FermiDirac
a = {a}
if {layer}:
    atoms = Atoms("GaN", cell=[a, a, 16, 90, 90, 120], pbc=(True, True, False),
                  scaled_positions=[(1/3, 2/3, 0.5), (2/3, 1/3, 0.5)])
    kpoints = (12, 12, 1)
else:
    atoms, kpoints = bulk("GaN", "zincblende", a=a), (6, 6, 6)
    atoms.symbols[1] = "{anion}"
atoms.calc = GPAW(mode=PW(800), xc="PBE", kpts=dict(size=kpoints, gamma=True),
                  occupations=FermiDirac(0.01), txt=None)
energy = atoms.get_potential_energy()
homo, lumo = atoms.calc.get_homo_lumo()
print(energy, lumo - homo)
"""


def run(command: list[str], folder: str) -> str:
    """Standard output of a command in a folder.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout


def pw_energy(anion: str, a: float, family: str) -> float:
    """Energy in eV of the zincblende crystal by pw.x."""
    with tempfile.TemporaryDirectory() as folder:
        potentials = Pseudopotentials(family).folder.resolve()
        Path(folder, "in").write_text(PW.format(anion=anion, a=a, folder=potentials))
        found = re.search(r"!\s+total energy\s+=\s+(\S+)", run(["pw.x", "-in", "in"], folder))
        return float(found[1]) * units.Ry


def elk_energy(anion: str, a: float) -> float:
    """Energy in eV of the zincblende crystal by Elk."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "elk.in").write_text(ELK.format(anion=anion, h=a / units.Bohr / 2))
        run(["elk-lapw"], folder)
        return float(Path(folder, "TOTENERGY.OUT").read_text().split()[-1]) * units.Hartree


def gpaw_energy(anion: str, a: float, layer: bool) -> tuple[float, float]:
    """Energy and gap in eV of the zincblende crystal, or of the layer of GaN, by GPAW."""
    with tempfile.TemporaryDirectory() as folder:
        script = GPAW.format(anion=anion, a=a, layer=layer)
        energy, gap = run(["/usr/bin/python3", "-c", script], folder).split()[-2:]
        return float(energy), float(gap)


def minimum(lattice: tuple[float, ...], energies: list[float]) -> float:
    """Lattice constant of least energy, from a cubic polynomial through the points."""
    middle = np.mean(lattice)
    roots = np.roots(np.polyder(np.polyfit(np.array(lattice) - middle, energies, 3)))
    return float(middle + min(roots, key=abs).real)


def main() -> None:
    for program, package in NEEDED.items():
        if not shutil.which(program):
            sys.exit(f"{program} is missing: sudo apt-get install {package}")
    print("| crystal | code | a (Å) |\n|---|---|---|")
    for anion, lattice in BULK_A.items():
        codes = {
            "pw.x, pseudodojo": lambda a, x=anion: pw_energy(x, a, "pseudodojo"),
            "pw.x, sg15": lambda a, x=anion: pw_energy(x, a, "sg15"),
            "GPAW": lambda a, x=anion: gpaw_energy(x, a, layer=False)[0],
            "Elk": lambda a, x=anion: elk_energy(x, a),
        }
        for code, energy in codes.items():
            found = minimum(lattice, [energy(a) for a in lattice])
            print(f"| zincblende Ga{anion} | {code} | {found:.3f} |", flush=True)
    layer = {a: gpaw_energy("N", a, layer=True) for a in LAYER_A}
    found = minimum(LAYER_A, [energy for energy, _ in layer.values()])
    print(f"| layer of GaN | GPAW | {found:.3f} |\n")
    for a, (_, gap) in layer.items():
        print(f"gap of the layer at {a} Å, GPAW: {gap:.2f} eV")


if __name__ == "__main__":
    main()
