"""Force field against DFT: gaps and binding it finds, and what it would keep from DFT.

Run from the project's folder (some minutes, one thread):

    nice -n 19 python tests/benchmarks/force_field.py [--data ../shared/data] [--number 40] \\
        [--campaigns results/*]

Of bundled stacks, and with `--data` of HetML's heterobilayers and of BiDB's homobilayers: those
that are held by dispersion, and those whose layers are bonded in DFT. These start from touching
spheres. Verified candidates of campaigns start from the gap that they were sampled with.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.io import read_json
from heteroforge.labels.published import read_bidb_stacks, read_hetml_stacks
from heteroforge.screening.force_field import ForceField, Limits, closest_contact, relax
from heteroforge.sources.library import read_library
from heteroforge.structures import Stack, build
from heteroforge.structures.matching import contact_gap_a

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(0.05, 100, 1.1, 6.0, 1.0)


def bundled() -> list[tuple[Stack, float, float]]:
    """Stack, gap in Å and binding in meV/Å² of the bundled stacks."""
    folder = ROOT / "resources" / "library"
    library = read_library(folder / "monolayers.extxyz", folder / "monolayers.csv")
    table = pd.read_csv(folder / "bilayers.csv")
    values = table.pivot(index="specification", columns="property", values="value")
    return [
        (Stack.from_json(text, library.monolayers), row.interlayer_gap_a, row.binding_energy_mev_a2)
        for text, row in values.iterrows()
    ]


def hetml(data: Path, number: int, random) -> list[tuple[Stack, float, float]]:
    found = [p for p in read_hetml_stacks(data) if len(p.values) and "interlayer_gap_a" in p.values]
    chosen = random.choice(len(found), min(number, len(found)), replace=False)
    names = ("interlayer_gap_a", "binding_energy_mev_a2")
    return [
        (found[i].stack, *(found[i].values.get(name, np.nan) for name in names)) for i in chosen
    ]


def bidb(data: Path, number: int, seed: int, bonded: bool) -> list[tuple[Stack, float, float]]:
    """Bound homobilayers, or those whose layers are bonded at the distance that DFT found."""
    table = pd.read_csv(data / "bidb" / "bilayers.csv")
    energy, distance = table["Binding energy"], table["Interlayer distance"]
    inside = (
        distance.between(0.8, 2.4)
        if bonded
        else (energy > 0) & (energy < 40) & distance.between(1.5, 5.5)
    )
    table = table[inside & (table["Number of atoms"] <= 12)]
    table = table.groupby("monolayer_name").sample(1, random_state=seed)
    if not bonded:
        table = table.sample(min(number, len(table)), random_state=seed)
    table = table.set_index("name")
    columns = ["Interlayer distance", "Binding energy"]
    found = [
        (p.stack, *table.loc[p.name, columns].astype(float))
        for p in read_bidb_stacks(data, list(table.index))
    ]
    if bonded:
        limit = LIMITS.minimum_contact_ratio
        found = [f for f in found if (closest_contact(build(f[0]))[0] or limit) < limit]
    return found[:number]


def verified(folders: list[Path]) -> list[tuple[Stack, float, float]]:
    """Candidates of campaigns as they were given to DFT, each stack once."""
    found = {}
    for folder in folders:
        for path in sorted(folder.glob("dft/slot_*/result.json")):
            result = read_json(path)
            if result["status"] == "verified":
                stack = Stack.from_dict(result["specification"])
                values = [
                    result["properties"][name]["value"]
                    for name in ("interlayer_gap_a", "binding_energy_mev_a2")
                ]
                found[stack.key()] = (stack, *values)
    return list(found.values())


def touching(stack: Stack) -> Stack:
    """The stack with the gaps at which its spheres touch."""
    interfaces = (
        replace(interface, gap_a=contact_gap_a(stack, i))
        for i, interface in enumerate(stack.interfaces)
    )
    return replace(stack, interfaces=tuple(interfaces))


def measure(name: str, stacks: list[tuple[Stack, float, float]], field: ForceField) -> None:
    rows = []
    for stack, gap, binding in stacks:
        found = relax(stack, field, LIMITS)
        rows.append({"formula": stack.formula, "dft_gap_a": gap, "dft_binding": binding} | found)
        print("   ", {k: v if isinstance(v, str) else round(float(v or 0), 2)
                      for k, v in rows[-1].items()}, flush=True)  # fmt: skip
    table = pd.DataFrame(rows)
    print(f"{name}: {table['outcome'].value_counts().to_dict()}")
    relaxed = table[table["interlayer_gap_a"].notna()]
    for column in ("start_gap_a", "interlayer_gap_a"):
        error = (relaxed[column] - relaxed["dft_gap_a"]).astype(float)
        print(f"{name}: {column}: MAE {error.abs().mean():.3f} Å, median {error.abs().median():.3f}"
              f" Å, bias {error.mean():+.3f} Å, n {len(error)}")  # fmt: skip
    print(f"{name}: steps {relaxed['steps'].mean():.1f} in the mean", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with hetml/ and bidb/")
    parser.add_argument("--number", type=int, default=40, help="bilayers of each published set")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--campaigns", type=Path, nargs="*", default=[], help="their folders")
    options = parser.parse_args()
    field = ForceField()

    def start_touching(stacks):
        return [(touching(stack), *values) for stack, *values in stacks]

    measure("bundled", start_touching(bundled()), field)
    if options.campaigns:
        measure("campaigns", verified(options.campaigns), field)
    if options.data is not None:
        random = np.random.default_rng(options.seed)
        for name, stacks in (
            ("BiDB, bonded", bidb(options.data, options.number, options.seed, True)),
            ("HetML", hetml(options.data, options.number, random)),
            ("BiDB, bound", bidb(options.data, options.number, options.seed, False)),
        ):
            measure(name, start_touching(stacks), field)


if __name__ == "__main__":
    main()
