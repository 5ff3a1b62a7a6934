"""Interlayer gaps of hard spheres against DFT gaps of 571 heterobilayers (HetML).

Run from the project's folder:

    nice -n 19 python tests/benchmarks/contact_gap.py --data ../shared/data
"""

import argparse
import sys
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.structures import Monolayer
from heteroforge.structures.matching import (
    enumerate_registries,
    stack_layers,
    van_der_waals_gap_a,
)

TURNS = (((1, 0), (0, 1)), ((-1, 0), (0, -1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with hetml/")
    options = parser.parse_args()
    layers = {}
    for atoms in ase.io.iread(options.data / "hetml" / "monolayers.extxyz", index=":"):
        layers[int(atoms.info["hetml_id"])] = Monolayer.from_atoms(atoms)
    table = pd.read_csv(options.data / "hetml" / "bilayers.csv")
    table = table[table.converged & table.ILD.between(1.5, 5.5)]
    known, mean = [], []
    for row in table.itertuples():
        pair = [layers[row.uid_bot], layers[row.uid_top]]
        gaps = [
            stack_layers(pair, [TURNS[0], turn], [registry]).interfaces[0].gap_a
            for turn in TURNS
            for registry in enumerate_registries(*pair)
        ]
        # The table calls the stacking with facing atoms on top of each other AA.
        known.append(max(gaps) if row.stacktype == "AA" else min(gaps))
        mean.append(van_der_waals_gap_a(*pair))
    gap = table.ILD.to_numpy()
    constant = np.full(len(gap), np.median(gap))
    for name, values in (
        ("contact_gap_a", known),
        ("van_der_waals_gap_a", mean),
        ("median", constant),
    ):
        error = np.array(values) - gap
        print(f"{name}: MAE {np.abs(error).mean():.3f} Å, bias {error.mean():+.3f} Å, n {len(gap)}")


if __name__ == "__main__":
    main()
