"""Which reading of HetML's labels does DFT agree with, for one pair of its layers?

    python tests/benchmarks/published_registries_by_dft.py --data FOLDER --pair SnS-ZrS2

Scans the gap of the pair as `read_hetml_stacks` reads AA and AB, and with the upper layer turned by
180°, in the published cell (protocol `quick`, layers held as listed; a quarter of an hour on one
core for SnS-ZrS2). Printed beside what was published: the gap, and how much stronger AB binds.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.dft.calculations import Calculator, cell_for_truncation, with_height
from heteroforge.dft.protocols import Protocol, Pseudopotentials
from heteroforge.dft.running import Launcher
from heteroforge.dft.scan import SCAN_ROOM_A, lowest_point, opened
from heteroforge.labels.published import half_turned, read_hetml_stacks
from heteroforge.structures import Stack, build


def lowest(stack: Stack, height: float, calculator: Calculator) -> tuple[float, float]:
    """Gap in Å and energy in meV/Å² of the lowest point of a scan."""
    calculator.folder.mkdir(parents=True, exist_ok=True)
    shift, energy_ev = lowest_point(calculator.scan_gap(with_height(build(stack), height)))
    return stack.interfaces[0].gap_a + shift, 1e3 * energy_ev / stack.area_a2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with hetml/")
    parser.add_argument("--pair", required=True, help="formula of the table, as SnS-ZrS2")
    parser.add_argument("--pseudopotentials", default="sg15")
    parser.add_argument("--work", type=Path, default=Path("results/registries"))
    options = parser.parse_args()
    table = pd.read_csv(Path(options.data) / "hetml" / "bilayers.csv").set_index("huid")
    table = table[table["formula"] == options.pair]
    stacks = {}
    for entry in read_hetml_stacks(options.data):
        if entry.name in table.index:
            row = table.loc[entry.name]
            gap = replace(entry.stack.interfaces[0], gap_a=entry.values["interlayer_gap_a"])
            for reading, stack in (("as read", entry.stack), ("turned", half_turned(entry.stack))):
                interface = replace(gap, offset=stack.interfaces[0].offset)
                cell = {"a": row["lat_a"], "b": row["lat_a"], "interfaces": (interface,)}
                stacks[reading, row["stacktype"]] = replace(stack, **cell)
    if not stacks:
        raise SystemExit(f"{options.pair}: HetML has no such pair")
    published = table.set_index("stacktype")
    elements = next(iter(stacks.values())).species
    pseudopotentials = Pseudopotentials(options.pseudopotentials)
    protocol = Protocol.named("quick", pseudopotentials, elements)
    height = max(
        cell_for_truncation(opened(build(stack), SCAN_ROOM_A)).cell.array[2, 2]
        for stack in stacks.values()
    )
    found = {}
    for (reading, label), stack in stacks.items():
        folder = options.work / options.pair / f"{label}_{reading.replace(' ', '_')}"
        calculator = Calculator(folder, protocol, pseudopotentials, Launcher(ranks=1))
        found[reading, label] = lowest(stack, height, calculator)
        gap_a = published.loc[label, "ILD"]
        print(f"{label} {reading}: {found[reading, label][0]:.2f} Å, published {gap_a:.2f} Å")
    stronger = published.loc["AB", "Ebind"] - published.loc["AA", "Ebind"]
    for reading in ("as read", "turned"):
        ours = found[reading, "AA"][1] - found[reading, "AB"][1]
        print(f"AB binds more, {reading}: {ours:+.1f} meV/Å², published {stronger:+.1f}")


if __name__ == "__main__":
    main()
