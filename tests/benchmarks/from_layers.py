"""Strain energies and vacuum steps from layers, held against DFT.

Run from the project's folder (half a minute of processor time):

    python tests/benchmarks/from_layers.py --data ../shared/data

Prints the ratio of stiffnesses that `models.from_layers` takes for Poisson's (C2DB); strain
energies beside those of this project's own DFT, which should agree within 16 % (as much as the
ratios of 68 % of layers make) or 1 meV/Å²; and vacuum steps beside HetML's and this project's.

HetML lists the two vacuum levels in the order of their height. Which side is the higher one its
dipole tells: a sheet of dipoles makes a step of 4π · 14.40 V Å · dipole over area, and the level of
an electron is lower on the side that the dipole points to. Both are checked.

HetML published binding less strain energy: the energies of the
layers that it subtracts (checked) are those of free layers, the same in every stack. What
`read_hetml_stacks` adds for the strain is printed last.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.features.stacks import COULOMB_EV_A
from heteroforge.io import read_table
from heteroforge.labels.published import read_hetml_stacks
from heteroforge.models.from_layers import POISSON_RATIO, predict_from_layers
from heteroforge.models.monolayer_prediction import load_monolayer_predictor
from heteroforge.predict import MONOLAYER_MODEL, RESOURCES, known_layers
from heteroforge.structures import Stack

POLAR_EV, NOT_POLAR_EV = 0.3, 0.05


def poisson_ratios(folder: Path) -> pd.Series:
    """C12/C11 of layers of C2DB with equal C11 and C22 (within 3 %) of 20 N/m and more."""
    columns = {k: f"Stiffness tensor, {k}-component" for k in ("11", "12", "22")}
    table = read_table(folder / "c2db/properties_2021.csv", columns=list(columns.values()))
    c11, c12, c22 = (pd.to_numeric(table[name], errors="coerce") for name in columns.values())
    return (c12 / c11)[(c11 > 20) & ((c11 - c22).abs() < 0.03 * c11)].dropna()


def own_stacks(of_layers) -> pd.DataFrame:
    """Stacks of the bundled library of which all numbers are kept, with what is predicted."""
    folder = RESOURCES / "library"
    known = known_layers([folder])
    monolayers = {name.split(":")[-1]: layer for name, layer in known.monolayers.items()}
    given = read_table(folder / "bilayers.csv").drop_duplicates("stack_id").set_index("stack_id")
    dft = read_table(folder / "stacks.csv")
    texts = given.loc[dft["stack_id"], "specification"]
    stacks = [Stack.from_json(text, monolayers) for text in texts]
    binding = dft[["binding_energy_mev_a2"]].assign(binding_energy_mev_a2_std=0.0)
    found = predict_from_layers(stacks, binding, known, of_layers)
    return pd.concat([dft, found.add_suffix("_predicted")], axis=1)


def published_steps(folder: Path, of_layers) -> pd.DataFrame:
    """Vacuum steps of HetML's stacks in eV, upper less lower, with what is predicted."""
    known = known_layers([folder])
    entries = list(read_hetml_stacks(folder))
    stacks = [entry.stack for entry in entries]
    nothing = pd.DataFrame(np.nan, index=range(len(stacks)), columns=["", "_std"])
    nothing = nothing.add_prefix("binding_energy_mev_a2")
    found = predict_from_layers(stacks, nothing, known, of_layers)
    table = read_table(folder / "hetml/bilayers.csv").set_index("huid")
    table = table.loc[[entry.name for entry in entries]].reset_index()
    assert (table["Evac1"] >= table["Evac0"]).all()
    from_dipole = -4 * np.pi * COULOMB_EV_A * table["total_dipole"] / table["surf_area"]
    height = table["Evac1"] - table["Evac0"]
    assert (from_dipole.abs() - height).abs().quantile(0.99) < 0.05
    difference = 1e3 * (table["Eml0"] + table["Eml1"] - table["Ehet"]) / table["surf_area"]
    assert (difference - table["Ebind"]).abs().max() < 1e-3
    own = [[_step(known.values(layer.monolayer)) for layer in s.layers] for s in stacks]
    return found.assign(
        dft=np.sign(from_dipole) * height,
        lower=[steps[0] for steps in own],
        upper=[steps[1] for steps in own],
        is_metal=table["is_metal"].astype(bool),
        alone=table["Eml0"],
        layer=table["uid_bot"],
    )


def _step(values) -> float:
    value = values.get("vacuum_step_ev")
    return np.nan if value is None else float(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the published tables")
    folder = parser.parse_args().data
    of_layers = load_monolayer_predictor(MONOLAYER_MODEL)
    ratios = poisson_ratios(folder)
    spread = (ratios - POISSON_RATIO).abs().quantile(0.68)
    print(
        f"C12/C11 of {len(ratios)} layers: median {ratios.median():.3f}, 68 % within {spread:.3f}"
    )
    dft = own_stacks(of_layers)
    print("strain energies in meV/Å², vacuum steps in eV; DFT and predicted:")
    names = [
        f"{n}{end}"
        for n in ("strain_energy_mev_a2", "vacuum_step_ev")
        for end in ("", "_predicted")
    ]
    print(dft[["entry", *names]].round(3).to_string(index=False))
    steps = published_steps(folder, of_layers)
    one = (steps["lower"].abs() > POLAR_EV) & (steps["upper"].abs() < NOT_POLAR_EV)
    other = (steps["upper"].abs() > POLAR_EV) & (steps["lower"].abs() < NOT_POLAR_EV)
    for side, some in (("lower", steps[one]), ("upper", steps[other])):
        agree = (np.sign(some["vacuum_step_ev"]) == np.sign(some["dft"])).mean()
        print(f"{side} layer alone polar: sign as in DFT in {agree:.1%} of {len(some)}")
    for name, some in (
        ("all", steps),
        ("semiconductors", steps[~steps["is_metal"]]),
        ("metals", steps[steps["is_metal"]]),
    ):
        error = (some["vacuum_step_ev"] - some["dft"]).abs()
        zero = some["dft"].abs().mean()
        print(
            f"{name}, {len(some)}: mean absolute error {error.mean():.3f}, 68 % within "
            f"{error.quantile(0.68):.3f} eV; predicting zero {zero:.3f}"
        )
    alone = steps.groupby("layer")["alone"].nunique()
    values = [entry.values for entry in read_hetml_stacks(folder)]
    strain = pd.DataFrame(values).eval("binding_energy_mev_a2 - net_energy_mev_a2").dropna()
    layers = pd.read_csv(folder / "hetml/monolayers.csv").set_index("hetml_id")["lattice_param"]
    pairs = pd.read_csv(folder / "hetml/bilayers.csv")
    mean = (pairs["uid_bot"].map(layers) + pairs["uid_top"].map(layers)) / 2
    print(
        f"HetML: cells are {100 * (1 - pairs['lat_a'] / mean).mean():.2f} % shorter than the mean"
    )
    print(
        f"HetML: {alone.max()} energy of a layer in all its stacks at most; strain energies of "
        f"{len(strain)} stacks: mean {strain.mean():.2f} meV/Å², largest {strain.max():.1f} meV/Å²"
    )


if __name__ == "__main__":
    main()
