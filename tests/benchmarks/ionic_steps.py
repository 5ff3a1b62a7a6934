"""What relaxations take with pw.x's own growth of steps, and with that of `Calculator`.

pw.x's BFGS lets a step grow threefold after one that took the slope along it to `w_2` (0.5 by
default) of what it was, else by half. Layers start as in the first cell of their search for a
lattice constant, stacks as their layers are alone, at the distance they have in the library; both
with the protocol `quick`. About half an hour for the names by default.

    python tests/benchmarks/ionic_steps.py [NAME ...]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import pandas as pd
import yaml
from ase import Atoms

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.dft.calculations import Calculator, cell_for_truncation
from heteroforge.dft.protocols import Protocol, Pseudopotentials
from heteroforge.dft.prototypes import starting_structure
from heteroforge.dft.running import Launcher
from heteroforge.dft.verification import start_structure
from heteroforge.sources import read_library
from heteroforge.structures import Stack

LIBRARY = Path(__file__).resolve().parents[2] / "resources" / "library"
DEFAULT = (
    "InP-buckled",
    "SiSn-buckled",
    "TiS2-1T",
    "BN-honeycomb__CH-graphane__0.67_0.33",
    "AlN-honeycomb__GeC-honeycomb__0.67_0.33",
    "BP-honeycomb__GeC-honeycomb__0.67_0.33",
    "AlP-honeycomb__AlP-honeycomb__0.67_0.33_turned",
    "AlN-honeycomb__P-blue__0.33_0.67",
)


class WithOwnGrowth(Calculator):
    """Steps grow as pw.x lets them by itself."""

    def namelists(self, *arguments, **options) -> dict[str, dict]:
        found = super().namelists(*arguments, **options)
        return found | {"ions": {k: v for k, v in found["ions"].items() if k != "w_2"}}


def start_of(name: str) -> Atoms:
    if "__" not in name:
        seeds = yaml.safe_load((LIBRARY / "seeds.yaml").read_text())["monolayers"]
        seed = next(seed for seed in seeds if seed["id"] == name)
        start = starting_structure(seed["prototype"], seed["elements"], seed["a"], seed.get("b"))
        return cell_for_truncation(start)
    layers = read_library(LIBRARY / "monolayers.extxyz", LIBRARY / "monolayers.csv").monolayers
    labels = pd.read_csv(LIBRARY / "bilayers.csv").set_index("stack_id")["specification"]
    stacks = pd.read_csv(LIBRARY / "stacks.csv").set_index("entry")["stack_id"]
    specification = labels[~labels.index.duplicated()][stacks[name]]
    return start_structure(Stack.from_json(specification, layers))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", default=DEFAULT)
    family = Pseudopotentials("pseudodojo")
    print("| start | ionic steps | core-seconds | energy, from that of pw.x's own (meV) |")
    print("|---" * 4 + "|")
    for name in parser.parse_args().names:
        atoms = start_of(name)
        protocol = Protocol.named("quick", family, set(atoms.get_chemical_symbols()))
        steps, seconds, energies = [], [], []
        for kind in (WithOwnGrowth, Calculator):
            with tempfile.TemporaryDirectory() as scratch:
                run = kind(Path(scratch), protocol, family, Launcher())
                result = run.relax(atoms)
            steps.append(result.ionic_steps)
            seconds.append(sum(attempt["core_seconds"] for attempt in run.attempts))
            energies.append(result.energy_ev)
        print(
            f"| {name} | {steps[0]} → {steps[1]} | {seconds[0]:.0f} → {seconds[1]:.0f} | "
            f"{1000 * (energies[1] - energies[0]):+.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
