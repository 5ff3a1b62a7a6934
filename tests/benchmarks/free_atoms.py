"""Levels of free atoms by the installed pseudopotentials, or by files given, beside those named.

A file of ONCVPSP with orbitals names the levels of all electrons; one without is compared with the
file of PseudoDojo, where both were made in the same configuration. A minute for all.

    python tests/benchmarks/free_atoms.py [FILE.upf ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ase.units import Rydberg

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))
from heteroforge.dft.protocols import DOWNLOADS
from heteroforge.dft.pseudoatoms import PseudoAtom, reference_configuration

FAMILIES = ("pseudodojo", "sg15")


def deviations_ev(path: Path) -> dict[str, float]:
    """By level, of our solution from the levels that all electrons have; empty: none are known."""
    configuration = reference_configuration(path)
    named = PseudoAtom.read(path).orbitals
    beside = DOWNLOADS / "pseudodojo" / path.name
    if not named and beside.is_file():
        own, other = (
            dict(_by_label(configuration)),
            dict(_by_label(reference_configuration(beside))),
        )
        if all(own[label] == other[label] for label in own.keys() & other.keys()):
            named = PseudoAtom.read(beside).orbitals
    levels = {orbital.label: orbital.energy_ry for orbital in named}
    solved = PseudoAtom.read(path).solve(configuration)
    return {
        orbital.label: (orbital.energy_ry - levels[orbital.label]) * Rydberg
        for orbital in solved
        if orbital.label in levels
    }


def _by_label(configuration: tuple) -> list[tuple[str, float]]:
    return [(f"{n}{'SPDF'[momentum]}", f) for n, momentum, f in configuration]


def main() -> None:
    given = [Path(argument) for argument in sys.argv[1:]]
    paths = given or sorted(p for family in FAMILIES for p in (DOWNLOADS / family).glob("*.upf"))
    worst: dict[str, list[float]] = {}
    for path in paths:
        found = deviations_ev(path)
        told = ", ".join(f"{label} {value:+.3f}" for label, value in found.items())
        print(f"{path.parent.name}/{path.name}: {told or 'nothing to compare with'}", flush=True)
        if found:
            worst.setdefault(path.parent.name, []).append(np.abs(list(found.values())).max())
    for family, values in worst.items():
        print(f"{family}: {len(values)} files, largest deviation {max(values):.3f} eV")


if __name__ == "__main__":
    main()
