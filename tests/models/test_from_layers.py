"""Strain energy, formation energy and vacuum step by physics from the layers."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from heteroforge.io import read_table
from heteroforge.models.from_layers import (
    FROM_LAYERS,
    POISSON_RATIO,
    POISSON_STD,
    VACUUM_STEP_STD_EV,
    predict_from_layers,
    strain_energy_mev_a2,
)
from heteroforge.models.monolayer_prediction import load_monolayer_predictor
from heteroforge.models.property_prediction import KnownLayers, load_predictor
from heteroforge.models.structure_files import read_structures, stack_of
from heteroforge.predict import (
    MODEL,
    MONOLAYER_MODEL,
    RESOURCES,
    known_layers,
    predict_structures,
)
from heteroforge.structures import Defect, Stack, build
from heteroforge.structures.matching import stack_layers

N_M = 62.4151  # of one N/m, in meV/Å²
GUESSED = {
    "stiffness_n_m": 100.0,
    "stiffness_n_m_factor": np.exp(0.2),
    "heat_of_formation_ev_atom": -0.5,
    "heat_of_formation_ev_atom_std": 0.1,
    "vacuum_step_ev": 0.3,
    "vacuum_step_ev_std": 0.04,
}
OF_LAYERS = SimpleNamespace(predict=lambda layers: pd.DataFrame([GUESSED] * len(layers)))


@pytest.fixture()
def known(small_monolayers):
    """Stiffness of all, heat of formation of MoS2, vacuum step of MoSSe."""
    table = pd.DataFrame({"stiffness_n_m": 120.0}, index=list(small_monolayers))
    table.loc["MoSS", "heat_of_formation_ev_atom"] = -0.9
    table.loc["MoSeS", "vacuum_step_ev"] = 0.7
    return KnownLayers(small_monolayers, table)


def predict(stacks, known, binding=20.0, std=3.0):
    values = {"binding_energy_mev_a2": binding, "binding_energy_mev_a2_std": std}
    predicted = pd.DataFrame(values, index=range(len(stacks)))
    return predict_from_layers(stacks, predicted, known, OF_LAYERS)


def strained(layer, xx=0.0, yy=0.0, xy=0.0, **options):
    """A layer alone in a cell that is strained by so much."""
    stack = stack_layers([layer], **options)
    cell = stack.cell @ np.array([[1 + xx, xy], [xy, 1 + yy]])
    a, b = np.linalg.norm(cell, axis=1)
    gamma = np.degrees(np.arccos(cell[0] @ cell[1] / (a * b)))
    return replace(stack, a=float(a), b=float(b), gamma_deg=float(gamma))


def test_energy_of_small_strains(small_monolayers):
    layer, e = small_monolayers["MoSS"], 1e-4
    energies = {
        "uniaxial": ({"xx": e}, 0.5),
        "biaxial": ({"xx": e, "yy": e}, 1 + POISSON_RATIO),
        "shear": ({"xy": e}, 1 - POISSON_RATIO),
    }
    for strain, expected in energies.values():
        found = strain_energy_mev_a2(strained(layer, **strain), [100.0])
        assert found == pytest.approx(expected * 100.0 * e**2 * N_M, rel=1e-3)


def test_an_isotropic_layer_has_no_preferred_direction(small_monolayers):
    layer, supercells = small_monolayers["MoSS"], [((1, 0), (0, 1)), ((2, 1), (-1, 1))]
    along_x, turned = (
        strain_energy_mev_a2(strained(layer, xx=0.01, supercells=[cells]), [100.0])
        for cells in supercells  # the second turns the layer by 19°, and has three cells
    )
    assert turned == pytest.approx(along_x, rel=1e-6)


def test_strain_energies_of_this_projects_dft():
    folder = RESOURCES / "library"
    known = known_layers([folder])
    monolayers = {name.split(":")[-1]: layer for name, layer in known.monolayers.items()}
    texts = read_table(folder / "bilayers.csv").drop_duplicates("stack_id").set_index("stack_id")
    dft = read_table(folder / "stacks.csv").dropna(subset="strain_energy_mev_a2")
    stacks = [Stack.from_json(texts["specification"][key], monolayers) for key in dft["stack_id"]]
    found = predict(stacks, known)
    assert len(found) >= 2 and (dft["strain_energy_mev_a2"] > 1).any()
    # As much as the Poisson ratios of 68 % of layers make; that of graphane is near zero.
    allowed = np.maximum(1.0, POISSON_STD / (1 + POISSON_RATIO) * dft["strain_energy_mev_a2"])
    off = np.abs(found["strain_energy_mev_a2"] - dft["strain_energy_mev_a2"])
    assert (off <= allowed).mean() > 0.9 and (off <= 2 * allowed).all()


def test_formation_energy_and_its_spread(small_monolayers, known):
    stack = stack_layers(
        [small_monolayers["MoSS"], small_monolayers["WSS"]], stiffness_n_m=[120.0] * 2
    )
    row = predict([stack], known).iloc[0]
    strain = row["strain_energy_mev_a2"]
    assert strain == pytest.approx(strain_energy_mev_a2(stack, [120.0] * 2)) and strain > 0
    assert row["strain_energy_mev_a2_std"] == pytest.approx(
        strain * POISSON_STD / (1 + POISSON_RATIO)
    )
    assert row["net_energy_mev_a2"] == pytest.approx(20.0 - strain)
    assert row["net_energy_mev_a2_std"] == pytest.approx(
        np.hypot(3.0, row["strain_energy_mev_a2_std"])
    )
    per_atom = 1e-3 * stack.area_a2 / 6
    # MoS2 is known, WS2 is guessed.
    expected = (-0.9 - 0.5) / 2 + per_atom * (strain - 20.0)
    assert row["formation_energy_ev_atom"] == pytest.approx(expected)
    parts = [0.1 / 2, per_atom * 3.0, per_atom * row["strain_energy_mev_a2_std"]]
    assert row["formation_energy_ev_atom_std"] == pytest.approx(np.linalg.norm(parts))


def test_a_guessed_stiffness_widens(small_monolayers):
    stack = stack_layers([small_monolayers["MoSS"], small_monolayers["WSS"]])
    blank = KnownLayers(small_monolayers, pd.DataFrame(index=list(small_monolayers)))
    row = predict([stack], blank).iloc[0]
    both = row["strain_energy_mev_a2"] / 2
    parts = [2 * both * POISSON_STD / (1 + POISSON_RATIO), 0.2 * both, 0.2 * both]
    assert row["strain_energy_mev_a2_std"] == pytest.approx(np.linalg.norm(parts), rel=0.01)


def test_vacuum_steps_add_up_as_the_layers_lie(small_monolayers, known):
    janus, even = small_monolayers["MoSeS"], small_monolayers["MoSS"]

    def step(layers, flipped):
        return predict([stack_layers(layers, flipped=flipped)], known).iloc[0]

    assert step([janus, even], [False, False])["vacuum_step_ev"] == 0.7
    assert step([janus, even], [True, False])["vacuum_step_ev"] == -0.7
    assert step([janus, janus], [False, False])["vacuum_step_ev"] == 1.4
    assert step([janus, janus], [False, True])["vacuum_step_ev"] == 0.0
    assert step([even, even], [False, False])["vacuum_step_ev_std"] == VACUUM_STEP_STD_EV
    unknown = KnownLayers({}, pd.DataFrame())
    row = predict([stack_layers([janus, even], flipped=[True, False])], unknown).iloc[0]
    assert row["vacuum_step_ev"] == -0.3
    assert row["vacuum_step_ev_std"] == pytest.approx(np.hypot(0.04, VACUUM_STEP_STD_EV))


def test_upside_down_all_stays_but_the_step(small_monolayers, known):
    layers = [small_monolayers[name] for name in ("MoSeS", "WSS", "MoSS")]
    stack = stack_layers(layers, stiffness_n_m=[120.0] * 3)
    one, other = predict([stack, stack.reversed()], known).to_dict("records")
    assert other.pop("vacuum_step_ev") == -one.pop("vacuum_step_ev") == -0.7
    assert other == pytest.approx(one)


def test_files_show_the_strain_of_their_method(small_monolayers, known):
    """Layers of a file are put on the cell that costs least, whatever cell the file has."""
    layers = [small_monolayers["MoSS"], small_monolayers["MoSeSe"]]
    stack = stack_layers(layers, stiffness_n_m=[120.0] * 2)
    smaller = replace(stack, a=0.985 * stack.a, b=0.985 * stack.b)
    read = [stack_of(build(one)) for one in (stack, smaller)]
    assert not any(layer.monolayer.name for one in read for layer in one.layers)
    found = predict([stack, *read], known)["strain_energy_mev_a2"]
    assert found[0] > 3
    assert found[1:].to_numpy() == pytest.approx(found[0], rel=0.02)


def test_the_command_has_them(small_monolayers, known, tmp_path):
    stack = stack_layers([small_monolayers["MoSS"], small_monolayers["WSS"]])
    build(stack).write(tmp_path / "pair.extxyz")
    build(stack_layers([small_monolayers["WSS"]])).write(tmp_path / "single.extxyz")
    structures = list(read_structures([tmp_path]))
    of_layers = load_monolayer_predictor(MONOLAYER_MODEL)
    predictor = load_predictor(MODEL)
    table = predict_structures(structures, predictor, known, of_layers).set_index("name")
    names = [f"{name}{end}" for name in FROM_LAYERS for end in ("", "_std")]
    assert np.isfinite(table.loc["pair", names].astype(float)).all()
    assert np.isfinite(table.loc["single", "vacuum_step_ev"])
    assert pd.isna(table.loc["single", "strain_energy_mev_a2"])
    assert not table.columns.duplicated().any()
    without = predict_structures(structures, predictor, known)
    assert "strain_energy_mev_a2" not in without


def test_what_cannot_be_told(small_monolayers, known):
    stack = stack_layers([small_monolayers["MoSS"], small_monolayers["WSS"]])
    stranger = replace(small_monolayers["WSS"], species=("O", "W", "O"), name="")
    strange = stack_layers([small_monolayers["MoSS"], stranger])
    vacancy = replace(
        stack, layers=(replace(stack.layers[0], defects=(Defect("vacancy", 0),)), stack.layers[1])
    )
    found = predict([stack, strange, vacancy], known)
    # Nobody knows the own cell of a layer that no library has.
    assert found["strain_energy_mev_a2"].isna().tolist() == [False, True, False]
    assert found["formation_energy_ev_atom"].isna().tolist() == [False, False, True]
    assert list(predict([], known).columns) == list(found.columns)
