"""What pw.x, pp.x and projwfc.x wrote, read from XML and cube files rather than from the log."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io.cube import read_cube
from ase.units import Bohr, Hartree

__all__ = [
    "PwResult",
    "espresso_version",
    "number_of_processes",
    "planar_average",
    "processor_seconds",
    "progress_seconds",
    "read_projections",
    "read_pw",
    "total_energies_ev",
]

RYDBERG_EV = Hartree / 2


@dataclass
class PwResult:
    """One finished pw.x run.

    Attributes:
        atoms: final structure, periodic in x and y.
        energy_ev: total energy in eV, dispersion included.
        first_energy_ev: total energy at the first geometry in eV; None where it converged with more
            smearing than the protocol's alone.
        dispersion_ev: what D3 adds to the energy in eV, None where not computed.
        ionic_steps: geometries computed.
        forces_ev_a: (n, 3) or None where not computed.
        stress_ev_a3: (3, 3) of the cell, positive when it pulls, or None where not computed.
        k_points: (nk, 3) Cartesian in 1/Å, 2π included.
        k_weights: (nk), sum 1 over a mesh.
        energies_ev: (spins, nk, bands) eigenvalues in eV, not shifted.
        electrons: number of valence electrons.
        fermi_ev: Fermi energy in eV or None.
        magnetisation: total moment in Bohr magnetons.
        converged: whether the density and, in a relaxation, the geometry converged.
    """

    atoms: Atoms
    energy_ev: float
    first_energy_ev: float | None
    dispersion_ev: float | None
    ionic_steps: int
    forces_ev_a: np.ndarray | None
    stress_ev_a3: np.ndarray | None
    k_points: np.ndarray
    k_weights: np.ndarray
    energies_ev: np.ndarray
    electrons: float
    fermi_ev: float | None
    magnetisation: float
    converged: bool


def _numbers(element: ElementTree.Element) -> np.ndarray:
    return np.array(element.text.split(), dtype=float)


def read_pw(path: Path) -> PwResult:
    """Read `<prefix>.xml` of pw.x (schema of version 6.4 and later).

    Raises:
        ValueError: the file is missing, truncated or holds no result.
        OSError: the disk does not let it be read.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (FileNotFoundError, ElementTree.ParseError) as error:
        raise ValueError(f"{path}: no readable pw.x result ({error})") from error
    output = root.find("output")
    if output is None or output.find("band_structure") is None:
        raise ValueError(f"{path}: pw.x ended before it wrote a result")
    structure = output.find("atomic_structure")
    cell = np.array([_numbers(structure.find(f"cell/a{i}")) for i in (1, 2, 3)]) * Bohr
    symbols = [a.get("name").rstrip("0123456789") for a in structure.find("atomic_positions")]
    positions = np.array([_numbers(a) for a in structure.find("atomic_positions")]) * Bohr
    atoms = Atoms(symbols, positions=positions, cell=cell, pbc=(True, True, False))
    alat = float(structure.get("alat")) * Bohr
    bands = output.find("band_structure")
    states = bands.findall("ks_energies")
    energies = np.array([_numbers(s.find("eigenvalues")) for s in states]) * Hartree
    spins = 2 if bands.findtext("lsda", "false").strip() == "true" else 1
    energies = energies.reshape(len(states), spins, -1).transpose(1, 0, 2)
    weights = np.array([float(s.find("k_point").get("weight")) for s in states])
    points = np.array([_numbers(s.find("k_point")) for s in states]) * 2 * np.pi / alat
    steps = root.findall("step")
    energy = float(output.findtext("total_energy/etot", "nan")) * Hartree
    first = float(steps[0].findtext("total_energy/etot")) * Hartree if steps else energy
    dispersion = float(output.findtext("total_energy/vdW_term", "0")) * Hartree
    forces, stress = output.find("forces"), output.find("stress")
    fermi = bands.findtext("fermi_energy") or bands.findtext("highestOccupiedLevel")
    scf = output.findtext("convergence_info/scf_conv/convergence_achieved", "true")
    geometry = output.findtext("convergence_info/opt_conv/convergence_achieved", "true")
    return PwResult(
        atoms=atoms,
        energy_ev=energy,
        first_energy_ev=first,
        dispersion_ev=dispersion or None,  # bands have a zero
        ionic_steps=max(1, len(steps)),
        forces_ev_a=None if forces is None else _numbers(forces).reshape(-1, 3) * Hartree / Bohr,
        # pw.x counts pressure as positive; mechanics counts tension.
        stress_ev_a3=None
        if stress is None
        else -_numbers(stress).reshape(3, 3) * Hartree / Bohr**3,
        k_points=points,
        k_weights=weights / weights.sum(),
        energies_ev=energies,
        electrons=float(bands.findtext("nelec")),
        fermi_ev=None if fermi is None else float(fermi) * Hartree,
        magnetisation=float(output.findtext("magnetization/total", "0")),
        converged=scf.strip() == "true" and geometry.strip() == "true",
    )


_CLOCK = re.compile(r"^\s*PWSCF\s*:\s*(?P<cpu>[\d.dhms ]*?)\s*CPU", re.MULTILINE)
_CLOCK_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def processor_seconds(log: str) -> float | None:
    """Seconds of one process that pw.x counted at its end; None where it was killed before."""
    found = _CLOCK.search(log)
    if found is None:
        return None
    parts = re.findall(r"([\d.]+)\s*([dhms])", found["cpu"])
    return sum(float(number) * _CLOCK_S[unit] for number, unit in parts)


def espresso_version(log: str) -> str | None:
    """Version of Quantum ESPRESSO by the first line of a program's log, such as "7.3"."""
    told = re.search(r"Program \w+ v\.(\S+)", log)
    return told[1] if told else None


def number_of_processes(log: str) -> int | None:
    """MPI processes by the first lines of a program's log; None where these do not tell."""
    if re.search(r"^\s*Serial (multi-threaded )?version", log, re.MULTILINE):
        return 1
    told = re.search(r"Number of MPI processes:\s+(\d+)|running on\s+(\d+) processors", log)
    return int(told[1] or told[2]) if told else None


_TOTAL_ENERGY = re.compile(r"^!\s+total energy\s+=\s+(-?[\d.]+) Ry", re.MULTILINE)


def total_energies_ev(log: str) -> list[float]:
    """Total energies in eV of the geometries whose density converged, in a log of pw.x."""
    return [float(energy) * RYDBERG_EV for energy in _TOTAL_ENERGY.findall(log)]


_SO_FAR = re.compile(r"total cpu time spent up to now is\s+([\d.]+) secs")


def progress_seconds(log: str) -> float | None:
    """Seconds of one process up to the last iteration of a run that was killed; None: none done."""
    told = _SO_FAR.findall(log)
    return float(told[-1]) if told else None


def planar_average(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Planar average along z of a cube file in Rydberg (plot_num = 11 of pp.x).

    Returns:
        Heights z in Å (n) and the potential in eV (n).
    """
    with path.open() as handle:
        content = read_cube(handle)
    values = content["data"].mean(axis=(0, 1)) * RYDBERG_EV
    height = content["atoms"].cell[2, 2]
    return np.arange(len(values)) * height / len(values), values


def read_projections(path: Path, log: str, number_of_atoms: int) -> np.ndarray:
    """Weight of every Kohn–Sham state on every atom.

    Args:
        path: `atomic_proj.xml` of projwfc.x (version 6.6 and later).
        log: output of projwfc.x, which alone says to which atom an orbital belongs.
        number_of_atoms: atoms in the cell.

    Returns:
        (spins, nk, bands, atoms) squared projections on the atoms' (orthogonalised) orbitals.

    Raises:
        ValueError: missing or truncated file.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ValueError(f"{path}: no readable projections ({error})") from error
    owners = [int(n) - 1 for n in re.findall(r"state #\s*\d+: atom\s+(\d+)", log)]
    header = root.find("HEADER")
    if len(owners) != int(header.get("NUMBER_OF_ATOMIC_WFC")):
        raise ValueError(f"{path}: {len(owners)} orbitals named in the log of projwfc.x")
    bands = int(header.get("NUMBER_OF_BANDS"))
    spins = int(header.get("NUMBER_OF_SPIN_COMPONENTS"))
    blocks = root.find("EIGENSTATES").findall("PROJS")
    result = np.zeros((len(blocks), bands, number_of_atoms))
    for k, block in enumerate(blocks):
        for owner, wave in zip(owners, block.findall("ATOMIC_WFC"), strict=True):
            values = _numbers(wave).reshape(bands, -1)  # real and imaginary part
            result[k, :, owner] += (values**2).sum(axis=1)
    points = len(blocks) // spins
    return result.reshape(spins, points, bands, number_of_atoms)
