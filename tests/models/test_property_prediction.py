"""Prediction from structure: known and unknown layers, what training has not seen, the command."""

from dataclasses import replace

import ase.io
import numpy as np
import pandas as pd
import pytest

from heteroforge import predict as command
from heteroforge.models.property_prediction import (
    LAYER_PROPERTIES,
    STACK_PROPERTIES,
    KnownLayers,
    layer_identity,
    load_predictor,
    save_predictor,
    train_predictor,
)
from heteroforge.models.structure_files import ReadStructure, stack_of
from heteroforge.structures import build


@pytest.fixture(scope="module")
def layer_table(small_table) -> pd.DataFrame:
    return small_table.assign(polarizability_in_plane_a=4.0, polarizability_out_of_plane_a=0.3)


@pytest.fixture(scope="module")
def trained(small_stacks, small_monolayers, layer_table):
    """A predictor trained for a moment on bilayers that follow Anderson's rule less 0.2 eV."""
    rows = []
    for stack in small_stacks:
        edges = layer_table.loc[[layer.monolayer.name for layer in stack.layers]]
        gap = max(0.0, edges["cbm_ev"].min() - edges["vbm_ev"].max()) - 0.2
        rows.append([gap, edges["vbm_ev"].max(), edges["cbm_ev"].min(), 20.0 + gap, 3.0 + gap / 9])
    names = [tuple(layer.monolayer.name for layer in stack.layers) for stack in small_stacks]
    return train_predictor(
        small_monolayers,
        layer_table.to_dict("index"),
        small_stacks,
        np.array(rows),
        names,
        [float("nan")] * len(small_stacks),
        seed=1,
        steps=80,
        layer_steps=40,
        width=16,
    )


def test_held_out_predictions_and_calibration(trained, small_stacks):
    predictor, held_out = trained
    assert len(held_out) == 2 * len(small_stacks)
    for kind in ("known", "predicted"):
        assert set(predictor.calibration[kind]) == set(STACK_PROPERTIES)
        for scale in predictor.calibration[kind].values():
            assert 0.5 <= scale["coverage"][0] <= scale["coverage"][1] <= 1.0
    known = held_out[held_out["knowledge"] == "known"]
    error = (known["gap_ev_predicted"] - known["gap_ev_true"]).abs().mean()
    baseline = (known["gap_ev_baseline"] - known["gap_ev_true"]).abs().mean()
    assert error < baseline
    assert set(predictor.metrics["layer_mae"]) == set(LAYER_PROPERTIES)


def test_known_layers_are_found_by_structure(small_monolayers, layer_table):
    known = KnownLayers(small_monolayers, layer_table)
    for name, layer in small_monolayers.items():
        unnamed = replace(layer, name="")
        assert known.find(unnamed) == name
        strained = replace(unnamed, a=layer.a * 1.01, b=layer.b * 1.01)
        assert known.find(strained) == name
        assert known.find(replace(unnamed, a=layer.a * 1.1, b=layer.b * 1.1)) is None
        # The other phase: the chalcogens of one side moved to the other corner of the triangle.
        octahedral = replace(unnamed, positions=((0.0, 0.0), (1 / 3, 2 / 3), (2 / 3, 1 / 3)))
        assert layer_identity(octahedral) != layer_identity(unnamed)
        assert known.find(octahedral) is None


def test_prediction_depends_on_neither_vacuum_nor_distance(trained, small_stacks):
    predictor, _ = trained
    stack = small_stacks[1]
    interface = stack.interfaces[0]
    wider = replace(stack, interfaces=(replace(interface, gap_a=interface.gap_a + 0.4),))
    variants = [
        stack_of(build(stack)),
        stack_of(build(stack, vacuum_a=40.0)),
        stack_of(build(wider)),
        stack_of(build(stack.reversed())),
        stack_of(build(stack) * (2, 2, 1)),
    ]
    found = predictor.predict(variants)[list(STACK_PROPERTIES)].to_numpy()
    assert np.allclose(found, found[0], atol=2e-3)


def test_says_what_is_known_and_what_training_has_not_seen(
    trained, small_stacks, small_monolayers, layer_table
):
    predictor, _ = trained
    known = KnownLayers(small_monolayers, layer_table)
    layer = small_stacks[0].layers[1]
    foreign = replace(layer.monolayer, species=("S", "Ta", "S"), name="", a=layer.monolayer.a + 0.1)
    strange = replace(
        small_stacks[0], layers=(small_stacks[0].layers[0], replace(layer, monolayer=foreign))
    )
    table = predictor.predict([small_stacks[0], strange], known)
    assert table["layers_known"].tolist() == [1.0, 0.5]
    assert table["outside_training"][0] == ""
    assert "element Ta" in table["outside_training"][1]
    assert "layer TaS2" in table["outside_training"][1]
    numbers = table[[f"{name}{end}" for name in STACK_PROPERTIES for end in ("", "_std")]]
    assert np.isfinite(numbers.to_numpy()).all()
    assert (table.filter(like="_std") > 0).all().all()


def test_saved_and_read_again(trained, small_stacks, tmp_path):
    predictor, _ = trained
    save_predictor(tmp_path / "model.pt", predictor)
    again = load_predictor(tmp_path / "model.pt")
    pd.testing.assert_frame_equal(
        predictor.predict(small_stacks[:4]), again.predict(small_stacks[:4])
    )


def test_command_gives_a_row_per_structure(
    trained, small_stacks, small_monolayers, tmp_path, capsys
):
    save_predictor(tmp_path / "model.pt", trained[0])
    folder = tmp_path / "structures"
    folder.mkdir()
    ase.io.write(folder / "bilayer.cif", build(small_stacks[0]))
    ase.io.write(folder / "layer.cif", small_monolayers["MoSS"].to_atoms())
    output = tmp_path / "predictions.csv"
    arguments = [str(folder), "--model", str(tmp_path / "model.pt"), "--output", str(output)]
    assert command.main(arguments) == 0
    table = pd.read_csv(output)
    assert table["name"].tolist() == ["bilayer", "layer"]
    assert table["gap_ev"].notna().tolist() == [True, False]
    assert "one layer only" in table["reason"][1]
    assert "2 structures, 1 set aside" in capsys.readouterr().err
    assert command.main([str(tmp_path / "nothing"), "--model", str(tmp_path / "model.pt")]) == 2


def test_nothing_but_unreadable_structures(trained):
    table = command.predict_structures(
        [ReadStructure("a.cif", "a", None, "unreadable")], trained[0], None
    )
    assert len(table) == 1 and table["gap_ev"].isna().all()
