"""Our homobilayers against those of BiDB: the second table of docs/dft_accuracy.md.

Run from the project's folder:

    python tests/benchmarks/published_homobilayers.py --data ../shared/data \\
        --output docs/dft_accuracy.md

Tolerances were set before the comparison: binding energy 25 %, interlayer distance 0.15 Å, gap
0.15 eV. A stack of the bundled library and an entry of BiDB are one when each pair of elements lies
above each other alike: the registry by where the atoms are, not by what it is called.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.io import write_text
from heteroforge.labels.published import read_bidb_stacks
from heteroforge.sources.library import read_library
from heteroforge.structures import Stack
from heteroforge.structures.build import layer_sites
from heteroforge.structures.plane import minimum_image_distances

# Property, title, unit, digits, tolerance, whether it is relative.
COMPARED = [
    ("binding_energy_mev_a2", "binding energy", "meV/Å²", 1, 0.25, True),
    ("interlayer_gap_a", "interlayer distance", "Å", 2, 0.15, False),
    ("gap_ev", "gap", "eV", 2, 0.15, False),
]
SAME_CELL = 0.02  # of the lattice constant
BEGIN, END = "<!-- bilayers -->\n", "<!-- end of bilayers -->"


def fingerprint(stack: Stack) -> tuple | None:
    """Elements of both layers and how far from above each other they lie, in lattice constants.

    The same for a stack seen from below. None where the layers have more than one cell each.
    """
    if any(layer.number_of_cells != 1 for layer in stack.layers):
        return None
    shift = np.array(stack.interfaces[0].offset)
    (below, places, low), (above, others, high) = (layer_sites(la) for la in stack.layers)
    apart = minimum_image_distances(places, others + shift, stack.cell) / stack.a
    heights = [low - low.max(), high - high.min()]
    pairs = [
        sorted(
            (
                (below[i], round(abs(heights[0][i]))),
                (above[j], round(abs(heights[1][j]))),
            )
        )
        + [round(float(apart[i, j]), 1)]
        for i in range(len(below))
        for j in range(len(above))
    ]
    return tuple(sorted(map(str, pairs)))


def compare(ours: pd.DataFrame, library, published) -> pd.DataFrame:
    """One row per bundled homobilayer and quantity that BiDB has, too."""
    known: dict[tuple, list] = {}
    for entry in published:
        mark = fingerprint(entry.stack) if entry.values else None
        if mark is not None:
            known.setdefault(mark, []).append(entry)
    rows = []
    for text, group in ours.groupby("specification", sort=False):
        stack = Stack.from_json(text, library.monolayers)
        values = dict(zip(group["property"], group["value"], strict=True))
        alike = [
            entry
            for entry in known.get(fingerprint(stack), [])
            if abs(entry.stack.a / stack.a - 1) < SAME_CELL
        ]
        if len(alike) != 1:
            continue
        names = [layer["monolayer"] for layer in json.loads(text)["layers"]]
        for name, title, unit, digits, tolerance, relative in COMPARED:
            if name not in values or name not in alike[0].values:
                continue
            mine, theirs = values[name], alike[0].values[name]
            off = mine / theirs - 1 if relative and theirs else mine - theirs
            rows.append(
                {
                    "stack": f"{'/'.join(names)} {stack.stacking(0)}",
                    "quantity": f"{title} ({unit})",
                    "ours": f"{mine:.{digits}f}",
                    "BiDB": f"{theirs:.{digits}f}",
                    "difference": f"{100 * off:+.1f} %" if relative else f"{off:+.2f}",
                    "inside": "yes" if abs(off) <= tolerance else "**no**",
                    "entry": alike[0].name,
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--library", type=Path, default=Path("resources/library"))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    library = read_library(
        options.library / "monolayers.extxyz", options.library / "monolayers.csv"
    )
    ours = pd.read_csv(options.library / "bilayers.csv", encoding="utf-8-sig")
    table = compare(ours, library, read_bidb_stacks(options.data))
    lines = [f"| {' | '.join(table.columns)} |", "|---" * len(table.columns) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in table.itertuples(index=False)]
    print("\n".join(lines))
    for quantity, inside in table.groupby("quantity", sort=False)["inside"]:
        print(f"{quantity}: {(inside == 'yes').sum()} of {len(inside)} inside", file=sys.stderr)
    if options.output:
        before, rest = options.output.read_text().split(BEGIN)
        text = before + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END)[1]
        write_text(options.output, text)


if __name__ == "__main__":
    main()
