"""Stiffness of a monolayer of the bundled library by PBE without dispersion, in a given cell.

Tells how much of a difference from a published stiffness comes of the lattice constant. Stress at
±1 % strain, positions relaxed, protocol `quick`; a few minutes.

    python tests/benchmarks/stiffness_without_dispersion.py TiS2-1T 3.414
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.dft.calculations import Calculator, cell_for_truncation
from heteroforge.dft.protocols import Protocol, Pseudopotentials
from heteroforge.dft.running import Launcher
from heteroforge.dft.strain import stiffness_of_metal
from heteroforge.sources import read_library


class WithoutDispersion(Calculator):
    def namelists(self, *arguments, **options) -> dict[str, dict]:
        found = super().namelists(*arguments, **options)
        kept = {k: v for k, v in found["system"].items() if not k.startswith(("vdw", "dftd3"))}
        return found | {"system": kept}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("monolayer", help="identifier of a hexagonal one in the bundled library")
    parser.add_argument("a", type=float, help="lattice constant in Å")
    options = parser.parse_args()
    folder = Path(__file__).resolve().parents[2] / "resources" / "library"
    library = read_library(folder / "monolayers.extxyz", folder / "monolayers.csv")
    layer = replace(library.monolayers[options.monolayer], a=options.a, b=options.a)
    atoms = cell_for_truncation(layer.to_atoms())
    family = Pseudopotentials("pseudodojo")
    protocol = Protocol.named("quick", family, set(layer.species))
    with tempfile.TemporaryDirectory() as scratch:
        found = stiffness_of_metal(
            lambda name: WithoutDispersion(Path(scratch) / name, protocol, family, Launcher()),
            lambda name, compute: compute(),
            atoms,
            hexagonal=True,
        )
    ours = library.table.at[options.monolayer, "stiffness_n_m"]
    print(
        f"{options.monolayer}: {found['stiffness_n_m']:.1f} N/m without dispersion at a = ", end=""
    )
    print(f"{options.a:.3f} Å; the library has {ours:.1f} N/m at a = ", end="")
    print(f"{library.monolayers[options.monolayer].a:.3f} Å")


if __name__ == "__main__":
    main()
