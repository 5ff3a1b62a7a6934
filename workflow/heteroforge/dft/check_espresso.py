"""Whether the Quantum ESPRESSO at hand gives the numbers of the bundled library, in a minute.

    python -m heteroforge.dft.check_espresso [--ranks 4] [--launcher "srun --overlap -n {ranks}"]

Runs pw.x, pp.x and projwfc.x on a layer of h-BN as a verification does and compares: labels of the
library and of campaigns are learnt from together, so they have to be of one kind. For a new
machine, module or version, before a campaign. Logs are in the folder that it names at the end.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from pathlib import Path

import numpy as np

from heteroforge.dft.calculations import Calculator, cell_for_truncation
from heteroforge.dft.protocols import Protocol, Pseudopotentials
from heteroforge.dft.running import CalculationFailed, Launcher
from heteroforge.dft.verification import compute_bands, compute_density
from heteroforge.io import read_json
from heteroforge.sources.library import read_library

__all__ = ["compare"]

LIBRARY = Path(__file__).resolve().parents[3] / "resources" / "library"
LAYER = "BN-honeycomb"
RAISED_A = 0.05  # of nitrogen, so that there is something to relax
# Largest deviations: versions 6.7 and 7.2 agree to all digits shown, and as much does not matter.
ALLOWED = {
    "thickness_a": 0.02,
    "vbm_ev": 0.003,
    "cbm_ev": 0.003,
    "gap_ev": 0.003,
    "electron_mass_m0": 0.01,
    "hole_mass_m0": 0.01,
}


def compare(folder: Path, launcher: Launcher) -> tuple[dict[str, tuple[float, float]], str]:
    """Numbers of h-BN in the library and by the programs that `launcher` starts.

    Args:
        folder: where these run.
        launcher: starts them.

    Returns:
        Both by quantity of ALLOWED, the library's first; and the version of pw.x.

    Raises:
        CalculationFailed: a run failed, or its dispersion energy is not that of D3.
        ValueError: an output could not be read.
    """
    library = read_library(LIBRARY / "monolayers.extxyz", LIBRARY / "monolayers.csv")
    layer, row = library.monolayers[LAYER], library.table.loc[LAYER]
    origin = read_json(LIBRARY / "provenance.json")
    family = Pseudopotentials(origin["pseudopotential_family"])
    protocol = Protocol.named(origin["protocol"]["name"], family, layer.species)
    own = folder / LAYER
    shutil.rmtree(own, ignore_errors=True)  # what another version left would be gone on from
    run = Calculator(own, protocol, family, launcher)
    atoms = cell_for_truncation(layer.to_atoms())
    raised = atoms.copy()
    raised.positions[raised.numbers == 7, 2] += RAISED_A
    relaxed = run.relax(raised).atoms
    density = compute_density(run, atoms).numbers
    bands, masses = compute_bands(run, atoms, density)
    found = {
        "thickness_a": float(np.ptp(relaxed.positions[:, 2])),
        "vbm_ev": max(bands.edges.vbm_ev, density["mesh_vbm_ev"]),
        "cbm_ev": min(bands.edges.cbm_ev, density["mesh_cbm_ev"]),
        **masses,
    }
    found["gap_ev"] = found["cbm_ev"] - found["vbm_ev"]
    version = run.provenance(layer.species)["quantum_espresso"]
    run.clean()
    # A metal has no masses.
    here = {name: math.nan if found.get(name) is None else found[name] for name in ALLOWED}
    return {name: (float(row[name]), here[name]) for name in ALLOWED}, version


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 1 when a number deviates."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--launcher", default="auto", help="as dft.launcher")
    parser.add_argument("--ranks", type=int, default=1, help="as dft.ranks")
    parser.add_argument(
        "--work", type=Path, default=Path("check_espresso"), help="folder that all nodes see"
    )
    options = parser.parse_args(arguments)
    try:
        numbers, version = compare(options.work, Launcher(options.launcher, options.ranks))
    except (CalculationFailed, OSError, ValueError) as error:
        print(f"{error}\nlogs are in {options.work.resolve()}", file=sys.stderr)
        return 1
    print(f"pw.x {version}, h-BN\n{'':18}{'library':>12}{'here':>12}{'allowed':>10}")
    outside = []
    for name, (known, found) in numbers.items():
        deviates = not abs(found - known) <= ALLOWED[name]
        outside += [name] * deviates
        told = "  deviates" * deviates
        print(f"{name:18}{known:12.4f}{found:12.4f}{ALLOWED[name]:10.3f}{told}")
    if outside:
        print(f"{', '.join(outside)}: results would not be comparable with the bundled labels")
    print(f"logs are in {options.work.resolve()}")
    return min(len(outside), 1)


if __name__ == "__main__":
    sys.exit(main())
