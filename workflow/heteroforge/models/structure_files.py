"""Structure files as stacks: what the shipped prediction command reads."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from heteroforge.io import InputError
from heteroforge.structures import Stack, StructureError, parse, split_layers
from heteroforge.structures.monolayer import in_plane
from heteroforge.structures.plane import minimum_image_distances

__all__ = ["ReadStructure", "read_structures", "stack_of", "structure_paths"]

SUFFIXES = (".cif", ".extxyz", ".xyz", ".vasp", ".poscar")
# Corrugated layers of twisted stacks repeat their cell within this only; tried from the first on.
TOLERANCES_A = (0.005, 0.05, 0.2, 0.45)
# Large cells repeat a smaller one as a rule, and each try takes seconds.
LARGE_ATOMS, LARGE_TOLERANCES_A = 60, (0.05, 0.45)
# Layers of more sites than this have not been reduced to their primitive cell.
FEW_SITES = 16
# Layers nearer than bonds are long are still two where no atoms across the widest empty interval
# are nearer than this times the sum of their covalent radii.
BONDED = 1.1
# Nearer to its image than this a single layer is a bulk crystal, or a stack without vacuum.
LEAST_VACUUM_A = 5.0


@dataclass(frozen=True)
class ReadStructure:
    """A structure of a file: its stack, or why there is none."""

    file: str
    name: str
    stack: Stack | None
    reason: str = ""


def read_structures(paths: Iterable[str | Path]) -> Iterator[ReadStructure]:
    """Stacks of all structures of files, and of the structure files of folders.

    Formats: CIF, extended XYZ, POSCAR. What cannot be read or is no set of layers comes with the
    reason instead of a stack.

    Raises:
        InputError: a path that does not exist, or a folder without structure files.
    """
    for path in structure_paths(paths):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                frames = ase.io.read(path, index=":")
        except Exception as error:  # readers raise many types for a broken file
            reason = " ".join(str(error).split())[:200]
            yield ReadStructure(str(path), path.stem, None, f"unreadable: {reason}")
            continue
        if not frames:
            yield ReadStructure(str(path), path.stem, None, "no structure in the file")
        for number, atoms in enumerate(frames):
            own = path.stem if len(frames) == 1 else f"{path.stem}-{number}"
            name = str(atoms.info.get("name", own))
            try:
                yield ReadStructure(str(path), name, stack_of(atoms))
            except StructureError as error:
                yield ReadStructure(str(path), name, None, str(error))


def stack_of(atoms: Atoms) -> Stack:
    """The stack of some atoms, layers reduced to their primitive cells as far as they have them.

    Of a layer alone it is a stack of one layer.

    Raises:
        StructureError: no layers with an empty space between them and their images.
    """
    if len(atoms) < 2:
        raise StructureError(f"{len(atoms)} atom: a layer has two atoms or more")
    number = None
    if len(split_layers(atoms)) == 1:
        # Layers nearer to each other than bonds are long: the widest empty interval decides.
        number = 2 if _nearest_across(atoms) >= BONDED else 1
    if number == 1:
        _check_vacuum(atoms)
    for tolerance in TOLERANCES_A if len(atoms) < LARGE_ATOMS else LARGE_TOLERANCES_A:
        stack = parse(atoms, number_of_layers=number, tolerance_a=tolerance)
        if max(len(layer.monolayer.species) for layer in stack.layers) <= FEW_SITES:
            break
    return stack


def _nearest_across(atoms: Atoms) -> float:
    """Shortest distance across the widest empty interval over the sum of covalent radii.

    Zero where there is no interval.
    """
    try:
        lower, upper = split_layers(atoms, 2)
    except StructureError:
        return 0.0
    cell, fractional, heights = in_plane(atoms)
    radii = covalent_radii[atoms.numbers]
    lateral = minimum_image_distances(fractional[lower], fractional[upper], cell)
    distance = np.hypot(lateral, heights[lower][:, None] - heights[upper][None])
    return float((distance / (radii[lower][:, None] + radii[upper][None])).min())


def _check_vacuum(atoms: Atoms) -> None:
    """Raises StructureError for a crystal that goes on out of the plane."""
    _, _, heights = in_plane(atoms)
    empty = float(abs(atoms.cell[2, 2]) - np.ptp(heights))
    if atoms.pbc[2] and empty < LEAST_VACUUM_A:
        raise StructureError(
            f"no layer: {empty:.1f} Å from its image above, where {LEAST_VACUUM_A:g} Å tell layers "
            "apart"
        )


def structure_paths(paths: Iterable[str | Path]) -> list[Path]:
    """Files, and the structure files of folders and of folders in them.

    Raises:
        InputError: a path that does not exist, or a folder without structure files.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(
                p
                for p in path.rglob("*")
                if p.suffix.lower() in SUFFIXES or p.name.upper().startswith(("POSCAR", "CONTCAR"))
            )
            if not inside:
                raise InputError(f"{path}: no structure files ({', '.join(SUFFIXES)}, POSCAR)")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    return found
