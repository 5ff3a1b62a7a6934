"""Force field against DFT: gaps and binding it finds, and what it would keep from DFT.

Run from the project's folder (some minutes, one thread):

    nice -n 19 python tests/benchmarks/force_field.py [--data ../shared/data] [--number 40] \\
        [--campaigns results/*]

Of bundled stacks, and with `--data` of HetML's heterobilayers and of BiDB's homobilayers: those
that are held by dispersion, those whose layers are bonded in DFT, and those of which another
stacking, into which they may slide, is lower. These start from touching spheres. Verified
candidates of campaigns start from the gap that they were sampled with.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.io import read_json
from heteroforge.labels.published import read_bidb_stacks, read_hetml_stacks
from heteroforge.screening.force_field import ForceField, Limits, relax, relax_with_others
from heteroforge.sources.library import read_library
from heteroforge.structures import Stack, build
from heteroforge.structures.compare import closest_contact
from heteroforge.structures.matching import contact_gap_a, other_registries

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(0.05, 100, 1.2, 6.0, 1.0)


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


def families(data: Path, number: int, random) -> list[dict]:
    """Published stackings that slide into each other: the lowest by DFT, and one that is higher.

    Half of the families have a lowest stacking that is bonded by its contact ratio, as far as there
    are so many.
    """
    groups: dict[str, dict] = {}
    table = pd.read_csv(data / "bidb" / "bilayers.csv")
    small = table[table["Number of atoms"] <= 8]
    for entry in read_bidb_stacks(data, list(small["name"])):
        if "binding_energy_mev_a2" not in entry.values:
            continue
        stack = entry.stack
        family = min([stack.key(), *(other.key() for other in other_registries(stack))])
        groups.setdefault(f"{entry.layers[0]} {family}", {})[stack.key()] = entry
    found: dict[bool, list[dict]] = {True: [], False: []}
    for entries in groups.values():
        order = sorted(entries.values(), key=lambda e: -e.values["binding_energy_mev_a2"])
        if len(order) < 2:
            continue
        best, *others = order
        other = others[random.integers(len(others))]
        lead = best.values["binding_energy_mev_a2"] - other.values["binding_energy_mev_a2"]
        ratio = closest_contact(build(best.stack))[0] or 9.0
        ratio_asked = closest_contact(build(other.stack))[0] or 9.0
        row = {"stack": other.stack, "lead": lead, "ratio": ratio, "ratio_asked": ratio_asked}
        found[ratio < LIMITS.minimum_contact_ratio].append(row)
    chosen = []
    for rows, most in ((found[True], number // 2), (found[False], number)):
        picked = random.permutation(len(rows))[
            : most - (len(chosen) if rows is found[False] else 0)
        ]
        chosen += [rows[i] for i in picked]
    return chosen


def measure_sliding(rows: list[dict], field: ForceField) -> None:
    """Whether the force field knows that a stacking slides into one that bonds."""
    for row in rows:
        found = relax_with_others(touching(row["stack"]), field, LIMITS)
        row |= {"outcome": found["outcome"], "reason": found["reason"]}
        print("   ", row["stack"].formula, {k: row[k] for k in ("lead", "ratio", "ratio_asked")},
              row["outcome"], row["reason"], flush=True)  # fmt: skip
    table = pd.DataFrame(rows)
    bonded = table["ratio"] < LIMITS.minimum_contact_ratio
    for words, part in (("bonded by DFT", table[bonded]), ("not bonded", table[~bonded])):
        print(f"lowest stacking {words}: {part['outcome'].value_counts().to_dict()}")


def contacts(data: Path) -> None:
    """Binding of published bilayers by how near two atoms of different layers come."""
    rows = [
        (closest_contact(build(p.stack))[0], p.values.get("binding_energy_mev_a2"))
        for p in read_bidb_stacks(data)
        if p.values
    ]
    table = pd.DataFrame(rows, columns=["ratio", "binding"]).astype(float).dropna()
    bins = [0.0, 1.1, 1.2, 1.25, 1.3, 1.4, 1.5, 1.7, 9.0]
    grouped = table.groupby(pd.cut(table["ratio"], bins), observed=True)["binding"]
    print(grouped.describe(percentiles=[0.1, 0.5, 0.9]).round(1).to_string(), flush=True)


def batches(stacks: list[Stack], sizes=(1, 8, 24)) -> None:
    """Processor time of energy and forces by CHGNet for each structure, by size of batch."""
    from chgnet.model import CHGNet
    from pymatgen.io.ase import AseAtomsAdaptor

    model = CHGNet.load(use_device="cpu", verbose=False)
    structures = []
    for stack in stacks:
        atoms = build(stack)
        atoms.pbc = True  # as ForceField takes them
        structures.append(AseAtomsAdaptor.get_structure(atoms))
    graphs = [model.graph_converter(structure) for structure in structures]
    model.predict_graph(graphs, task="ef", batch_size=1)  # what comes first is slower
    for size in sizes:
        start = time.process_time()
        model.predict_graph(graphs, task="ef", batch_size=size)
        seconds = (time.process_time() - start) / len(graphs)
        print(f"batches of {size}: {1000 * seconds:.1f} ms a structure", flush=True)


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
    parser.add_argument("--batches", action="store_true", help="time of CHGNet alone, and no more")
    options = parser.parse_args()
    if options.batches:
        batches([stack for stack, *_ in bundled()])
        return
    field = ForceField()

    def start_touching(stacks):
        return [(touching(stack), *values) for stack, *values in stacks]

    measure("bundled", start_touching(bundled()), field)
    if options.campaigns:
        measure("campaigns", verified(options.campaigns), field)
    if options.data is not None:
        random = np.random.default_rng(options.seed)
        contacts(options.data)
        measure_sliding(families(options.data, options.number, random), field)
        for name, stacks in (
            ("BiDB, bonded", bidb(options.data, options.number, options.seed, True)),
            ("HetML", hetml(options.data, options.number, random)),
            ("BiDB, bound", bidb(options.data, options.number, options.seed, False)),
        ):
            measure(name, start_touching(stacks), field)


if __name__ == "__main__":
    main()
