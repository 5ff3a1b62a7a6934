"""What a density takes that begins where the relaxation ended, and one that begins with atoms.

Layers of the bundled library with an atom moved by 0.05 Å, protocol `quick`. Two minutes.

    python tests/benchmarks/density_taken_over.py [NAME ...]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.dft.calculations import Calculator, cell_for_truncation
from heteroforge.dft.protocols import Protocol, Pseudopotentials
from heteroforge.dft.running import Launcher
from heteroforge.dft.verification import compute_density
from heteroforge.sources import read_library

LIBRARY = Path(__file__).resolve().parents[2] / "resources" / "library"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=["BN-honeycomb", "MoS2-2H"])
    layers = read_library(LIBRARY / "monolayers.extxyz", LIBRARY / "monolayers.csv").monolayers
    family = Pseudopotentials("pseudodojo")
    print("| layer | began with | core-seconds | energy less that of the relaxation (eV) |")
    print("|---|---|---|---|")
    for name in parser.parse_args().names:
        atoms = cell_for_truncation(layers[name].to_atoms())
        atoms.positions[0, 2] += 0.05
        protocol = Protocol.named("quick", family, set(layers[name].species))
        with tempfile.TemporaryDirectory() as folder:

            def run(step: str, folder=folder, protocol=protocol) -> Calculator:
                return Calculator(Path(folder) / step, protocol, family, Launcher())

            relaxed = run("relax").relax(atoms)
            for title, relaxed_in in (("atoms", None), ("relaxation", Path(folder) / "relax")):
                density = run(title)
                found = compute_density(density, relaxed.atoms, relaxed_in).numbers
                seconds = sum(attempt["core_seconds"] for attempt in density.attempts)
                apart = found["energy_ev"] - relaxed.energy_ev
                print(f"| {name} | {title} | {seconds:.1f} | {apart:+.1e} |", flush=True)


if __name__ == "__main__":
    main()
