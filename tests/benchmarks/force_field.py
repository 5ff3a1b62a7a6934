"""Force field against DFT: gaps and binding it finds, and what it would keep from DFT.

Run from the project's folder (some minutes, one thread):

    nice -n 19 python tests/benchmarks/force_field.py [--data ../shared/data] [--number 60]

Of bundled stacks, and with `--data` of HetML's heterobilayers and of BiDB's homobilayers, the
bound ones and those bound by more than 60 meV/Å², which layers without bonds never are. Each
starts from touching spheres, as samples do on average.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.labels.published import read_bidb_stacks, read_hetml_stacks
from heteroforge.screening.force_field import ForceField, Limits, relax
from heteroforge.sources.library import read_library
from heteroforge.structures import Stack
from heteroforge.structures.matching import contact_gap_a

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(0.05, 100, 1.1, 6.0, 1.0)
BONDED_MEV_A2 = 60.0


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
    table = pd.read_csv(data / "bidb" / "bilayers.csv")
    energy = table["Binding energy"]
    inside = (
        (energy > BONDED_MEV_A2) & (energy < 1000)
        if bonded
        else (energy > 0) & (energy < 40) & table["Interlayer distance"].between(1.5, 5.5)
    )
    table = table[inside & (table["Number of atoms"] <= 12)]
    table = table.groupby("monolayer_name").sample(1, random_state=seed)
    table = table.sample(min(number, len(table)), random_state=seed).set_index("name")
    columns = ["Interlayer distance", "Binding energy"]
    return [
        (p.stack, *table.loc[p.name, columns].astype(float))
        for p in read_bidb_stacks(data, list(table.index))
    ]


def measure(name: str, stacks: list[tuple[Stack, float, float]], field: ForceField) -> None:
    rows = []
    for stack, gap, binding in stacks:
        gaps = [contact_gap_a(stack, i) for i in range(stack.number_of_layers - 1)]
        touching = tuple(
            replace(interface, gap_a=gap_a)
            for interface, gap_a in zip(stack.interfaces, gaps, strict=True)
        )
        found = relax(replace(stack, interfaces=touching), field, LIMITS)
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
    parser.add_argument("--number", type=int, default=60, help="bilayers of each published set")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    field = ForceField()
    measure("bundled", bundled(), field)
    if options.data is not None:
        random = np.random.default_rng(options.seed)
        measure("HetML", hetml(options.data, options.number, random), field)
        for name, bonded in (("BiDB, bound", False), ("BiDB, bonded", True)):
            measure(name, bidb(options.data, options.number, options.seed, bonded), field)


if __name__ == "__main__":
    main()
