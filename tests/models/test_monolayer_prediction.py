"""Properties of layers alone: what is learned, told and kept."""

from dataclasses import replace

import ase.io
import numpy as np
import pandas as pd
import pytest

import heteroforge.predict as command
from heteroforge.models.monolayer_prediction import (
    MONOLAYER_UNITS,
    load_monolayer_predictor,
    save_monolayer_predictor,
    train_monolayer_predictor,
)
from heteroforge.models.property_prediction import KnownLayers, layer_identity, layer_inputs
from heteroforge.models.structure_files import read_structures
from heteroforge.structures import Monolayer


@pytest.fixture(scope="module")
def layers(small_monolayers):
    """The small monolayers in ten sizes each, for a mass that grows with the cell."""
    sizes = 1 + 0.01 * np.arange(10)
    return [
        replace(layer, a=layer.a * s, b=layer.b * s)
        for layer in small_monolayers.values()
        for s in sizes
    ]


@pytest.fixture(scope="module")
def trained(layers):
    # One number per formula, which no structure tells of a formula never seen.
    number = {formula: (-1.0) ** i for i, formula in enumerate({la.formula: 0 for la in layers})}
    rows = [
        dict.fromkeys(MONOLAYER_UNITS, 1.0)
        | {
            "heat_of_formation_ev_atom": number[layer.formula],
            "gap_ev": 0.3 * layer.a,
            "electron_mass_m0": 10 ** (layer.a - 3.0),
            "vacuum_step_ev": 0.0 if layer.has_equal_faces else 0.5,
            # Known of every second one, and of the others nothing.
            "hole_mass_m0": 0.5 if i % 2 else None,
        }
        for i, layer in enumerate(layers)
    ]
    return train_monolayer_predictor(layers, rows, seed=0, steps=150, epochs=3)


def test_what_spans_decades_has_a_factor_and_the_rest_a_deviation(trained, layers):
    table = trained[0].predict(layers)
    assert (table["electron_mass_m0"] > 0).all() and (table["electron_mass_m0_factor"] > 1).all()
    assert (table["gap_ev_std"] > 0).all() and (table["gap_ev"] >= 0).all()
    true = np.array([10 ** (layer.a - 3.0) for layer in layers])
    known = np.log10(table["electron_mass_m0"]) - np.log10(true)
    assert np.abs(known).mean() < 0.5 * np.abs(np.log10(true) - np.log10(true).mean()).mean()


def test_layers_upside_down_have_the_opposite_step(trained, layers):
    polar = next(layer for layer in layers if not layer.has_equal_faces)
    atoms = polar.to_atoms()
    atoms.positions[:, 2] *= -1
    both = [polar, Monolayer.from_atoms(atoms)]
    up, down = trained[0].predict(both)["vacuum_step_ev"]
    assert up == pytest.approx(-down) and abs(up) > 0.05


def test_a_property_that_no_monolayer_has_is_named(layers):
    rows = [dict.fromkeys(MONOLAYER_UNITS, 1.0) | {"hole_mass_m0": None} for _ in layers]
    with pytest.raises(ValueError, match="of no monolayer is known: hole_mass_m0"):
        train_monolayer_predictor(layers, rows, seed=0)


def test_elements_and_layers_that_training_lacks_are_told(trained, layers):
    foreign = replace(layers[0], species=("Pt",) * len(layers[0].species))
    told, known = trained[0].predict([foreign, layers[0]])["outside_training"]
    assert told == f"element Pt; layer {layer_identity(foreign)}" and known == ""


def test_held_out_is_by_formula(trained, layers):
    table = trained[1]
    assert len(table) == len(layers) * len(MONOLAYER_UNITS)
    known = table[table["property"] == "heat_of_formation_ev_atom"]
    assert np.isfinite(known[["true", "predicted", "descriptors", "atoms"]]).all().all()
    x = np.array([layer_inputs(layer) for layer in layers])
    column = list(MONOLAYER_UNITS).index("heat_of_formation_ev_atom")
    predicted, _ = trained[0].descriptors.predict(x, np.zeros((len(x), len(MONOLAYER_UNITS))))
    seen = predicted[:, column] - known["true"].to_numpy()
    unseen = known["descriptors"].to_numpy() - known["true"].to_numpy()
    assert np.abs(unseen).mean() > 2 * np.abs(seen).mean()


def test_each_property_has_the_weights_that_err_least_on_formulas_not_seen(trained):
    predictor, table = trained
    for name, share in zip(MONOLAYER_UNITS, predictor.share_of_atoms, strict=True):
        part = table[(table["property"] == name) & table["true"].notna()]
        error = (part["predicted"] - part["true"]).abs().mean()
        for own in ("descriptors", "atoms"):
            assert error <= (part[own] - part["true"]).abs().mean() + 1e-9
        assert predictor.metrics[name]["share_of_atoms"] == share
    assert len(set(predictor.share_of_atoms)) > 1


def test_saved_and_read_again(trained, layers, tmp_path):
    save_monolayer_predictor(tmp_path / "model.pt", trained[0])
    again = load_monolayer_predictor(tmp_path / "model.pt")
    pd.testing.assert_frame_equal(trained[0].predict(layers[:3]), again.predict(layers[:3]))


def test_files_of_layers_alone_get_masses_and_no_binding(trained, small_monolayers, tmp_path):
    ase.io.write(tmp_path / "layer.cif", small_monolayers["MoSS"].to_atoms())
    structures = list(read_structures([tmp_path]))
    table = command.predict_structures(structures, None, None, trained[0])
    row = table.iloc[0]
    assert row["number_of_layers"] == 1 and row["reason"] == ""
    assert np.isfinite(
        row[["gap_ev", "electron_mass_m0", "electron_mass_m0_factor"]].astype(float)
    ).all()
    assert pd.isna(row["binding_energy_mev_a2"])
    assert row["spin_orbit"] and row["layers_known"] == 0.0
    without = command.predict_structures(structures, None, None).iloc[0]
    assert "no model of layers" in without["reason"]


def test_what_a_library_knows_of_a_layer_alone_is_told(trained, small_monolayers, tmp_path):
    ase.io.write(tmp_path / "layer.cif", small_monolayers["MoSS"].to_atoms())
    structures = list(read_structures([tmp_path]))
    own = {"MoSS": small_monolayers["MoSS"]}

    def row(**values):
        known = KnownLayers(own, pd.DataFrame([values], index=["MoSS"]))
        return command.predict_structures(structures, None, known, trained[0]).iloc[0]

    predicted = row(thickness_a=3.1)
    assert predicted["layers_known"] == 0.0 and predicted["spin_orbit"]
    found = row(gap_ev=1.58, gap_without_spin_orbit_ev=1.68, stiffness_n_m=131.0)
    assert found["gap_ev"] == 1.58 and found["stiffness_n_m"] == 131.0
    assert found["layers_known"] == 1.0 and found["spin_orbit"]
    assert pd.isna(found["gap_ev_std"]) and pd.isna(found["stiffness_n_m_factor"])
    assert found["vbm_ev_std"] == predicted["vbm_ev_std"]
    middle = (predicted["vbm_ev"] + predicted["cbm_ev"]) / 2
    assert found[["vbm_ev", "cbm_ev"]].tolist() == pytest.approx([middle - 0.79, middle + 0.79])
    # Our own DFT has no spin–orbit coupling.
    found = row(
        gap_without_spin_orbit_ev=1.68, vbm_without_spin_orbit_ev=-5.9, vbm_ev=np.nan,
        hole_mass_m0=4.0, hole_mass_split_m0=0.9,
    )  # fmt: skip
    assert found["gap_ev"] == 1.68 and found["vbm_ev"] == -5.9 and not found["spin_orbit"]
    assert found["cbm_ev"] == pytest.approx(-4.22) and found["hole_mass_m0"] == 0.9
    metal = row(gap_ev=0.0, vbm_ev=-4.6, cbm_ev=-4.6)
    carriers = [name for name in metal.index if "mass" in name or "mobility" in name]
    assert len(carriers) >= 8 and metal[carriers].isna().all()
    assert metal["vbm_ev"] == metal["cbm_ev"] == -4.6 and not pd.isna(metal["stiffness_n_m"])
