"""Gaps of bundled layers by the shipped model of layers alone, beside this project's DFT.

Nothing is looked up. Layers that the training tables lack stand first. Predictions are with
spin–orbit coupling, DFT without it.

    python tests/benchmarks/bundled_layers.py
"""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.models.monolayer_prediction import load_monolayer_predictor
from heteroforge.sources import read_library

RESOURCES = Path(__file__).resolve().parents[2] / "resources"


def main() -> None:
    folder = RESOURCES / "library"
    library = read_library(folder / "monolayers.extxyz", folder / "monolayers.csv")
    model = load_monolayer_predictor(RESOURCES / "models" / "monolayers.pt")
    names = list(library.monolayers)
    told = model.predict(list(library.monolayers.values()))
    table = pd.DataFrame(
        {
            "layer": names,
            "lacking": told["outside_training"],
            "gap_ev": told["gap_ev"],
            "std_ev": told["gap_ev_std"],
            "dft_ev": library.table.loc[names, "gap_ev"].to_numpy(),
        }
    )
    table["errors_in_std"] = (table["gap_ev"] - table["dft_ev"]) / table["std_ev"]
    table = table.sort_values(["lacking", "layer"], ascending=[False, True])
    print(table.round(2).to_string(index=False))
    for words, rows in (
        ("lacking in training", table[table["lacking"] != ""]),
        ("in training", table[table["lacking"] == ""]),
    ):
        error = (rows["gap_ev"] - rows["dft_ev"]).abs()
        print(
            f"{words}: {len(rows)} layers, mean absolute error {error.mean():.2f} eV, "
            f"{(rows['errors_in_std'].abs() <= 1).sum()} within one standard deviation"
        )


if __name__ == "__main__":
    main()
