"""Prediction from structure: known and unknown layers, what training has not seen, the command."""

from dataclasses import replace

import ase.io
import numpy as np
import pandas as pd
import pytest

from heteroforge import predict as command
from heteroforge.labels import STACK_PROPERTIES
from heteroforge.models.calibration import calibrated_std
from heteroforge.models.graph_surrogate import SHARES
from heteroforge.models.property_prediction import (
    LAYER_PROPERTIES,
    WITHOUT_SPIN_ORBIT,
    KnownLayers,
    calibrate_by_kind,
    describe_with_knowledge,
    elements_at_same_heights,
    has_equal_layers,
    is_measured,
    layer_identity,
    load_predictor,
    polarity,
    save_predictor,
    train_predictor,
)
from heteroforge.models.structure_files import ReadStructure, read_structures, stack_of
from heteroforge.structures import Monolayer, build
from heteroforge.structures.matching import stack_layers


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
    predictor, held_out, _ = train_predictor(
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
    return predictor, held_out


def test_held_out_predictions_and_calibration(trained, small_stacks):
    predictor, held_out = trained
    assert len(held_out) == 2 * len(small_stacks)
    for knowledge in ("known", "predicted"):
        for kind in ("homobilayer", "heterobilayer"):
            scales = predictor.calibration[knowledge][kind]
            assert set(scales) == set(STACK_PROPERTIES)
            for scale in scales.values():
                assert 0.5 <= scale["coverage"][0] <= scale["coverage"][1] <= 1.0
    known = held_out[held_out["knowledge"] == "known"]
    error = (known["gap_ev_predicted"] - known["gap_ev_true"]).abs().mean()
    baseline = (known["gap_ev_baseline"] - known["gap_ev_true"]).abs().mean()
    assert error < baseline
    assert set(predictor.metrics["layer_mae"]) == set(LAYER_PROPERTIES)


def test_heterobilayers_and_homobilayers_count_alike_for_the_weights_of_the_ensembles(
    trained, small_stacks
):
    predictor, table = trained
    hetero = np.array([not has_equal_layers(small_stacks[i]) for i in table["stack"]])
    assert hetero.any() and not hetero.all()
    for name, share in zip(STACK_PROPERTIES, predictor.share_of_atoms, strict=True):
        columns = ("predicted", "from_descriptors", "from_atoms", "true")
        shown, descriptors, atoms, true = (table[f"{name}_{column}"] for column in columns)
        if name == "gap_ev":  # shown without values below zero
            continue
        np.testing.assert_allclose(shown, (1 - share) * descriptors + share * atoms)
        errors = {
            w: sum(
                ((1 - w) * descriptors + w * atoms - true).abs()[some].mean()
                for some in (hetero, ~hetero)
            )
            for w in SHARES
        }
        assert share == min(errors, key=errors.get)


def test_homobilayers_and_heterobilayers_are_calibrated_apart():
    generator = np.random.default_rng(0)
    equal = np.arange(400) < 300
    residuals = generator.normal(size=(400, len(STACK_PROPERTIES)))
    residuals[~equal] *= 0.1
    edge = STACK_PROPERTIES.index("vbm_ev")
    residuals[equal, edge] = np.nan
    groups = [str(i) for i in range(400)]
    scales = calibrate_by_kind(residuals, np.zeros_like(residuals), groups, equal)
    stds = {
        kind: {name: float(calibrated_std(scale, np.zeros(1))[0]) for name, scale in own.items()}
        for kind, own in scales.items()
    }
    for name in set(STACK_PROPERTIES) - {"vbm_ev"}:
        assert stds["homobilayer"][name] == pytest.approx(1.0, rel=0.25)
        assert stds["heterobilayer"][name] == pytest.approx(0.1, rel=0.25)
    # Edges are known of heterobilayers alone.
    assert scales["homobilayer"]["vbm_ev"] == scales["heterobilayer"]["vbm_ev"]


def test_a_stack_gets_the_interval_of_its_kind(trained, small_stacks):
    predictor, _ = trained
    calibration = {
        knowledge: {
            kind: {name: {"floor": std, "factors": [1.0, 1.645]} for name in STACK_PROPERTIES}
            for kind, std in (("homobilayer", 1e3), ("heterobilayer", 1e5))
        }
        for knowledge in ("known", "predicted")
    }
    found = replace(predictor, calibration=calibration).predict(small_stacks)
    equal = np.array([len({la.monolayer.name for la in s.layers}) == 1 for s in small_stacks])
    assert equal.any() and not equal.all()
    expected = np.where(equal, 1e3, 1e5)
    for name in STACK_PROPERTIES:
        assert np.allclose(found[f"{name}_std"], expected, rtol=0.01)


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


def sequence(*species: str) -> Monolayer:
    """A group-III layer X–M–M′–X′: metals above each other, chalcogens above each other."""
    return Monolayer(
        species=species,
        positions=((1 / 3, 2 / 3), (0.0, 0.0), (0.0, 0.0), (1 / 3, 2 / 3)),
        heights=(-2.4, -1.3, 1.3, 2.4),
        a=3.85,
        b=3.85,
        gamma_deg=120.0,
    )


def janus_trilayer() -> Monolayer:
    return Monolayer(
        species=("S", "Mo", "Se"), positions=((1 / 3, 2 / 3), (0.0, 0.0), (1 / 3, 2 / 3)),
        heights=(-1.55, 0.0, 1.7), a=3.25, b=3.25, gamma_deg=120.0,
    )  # fmt: skip


def test_of_one_material_the_first_source_counts(small_monolayers, layer_table):
    own = small_monolayers["MoSS"]
    stretched = replace(own, name="a: near", a=own.a * 1.02, b=own.b * 1.02)
    layers = {"a: near": stretched, "b: campaign": replace(own, name="b: campaign")}
    table = layer_table.loc[["MoSS", "MoSS"]].set_axis(list(layers))
    seen = replace(stretched, name="")
    assert KnownLayers(layers, table).find(seen) == "a: near"
    order = {"b: campaign": 0, "a: near": 1}
    assert KnownLayers(layers, table, order).find(seen) == "b: campaign"


def test_layers_with_elements_in_another_order_are_not_known():
    layer, swapped = sequence("S", "Ga", "In", "Se"), sequence("S", "In", "Ga", "Se")
    # All but the order is the same.
    assert layer_identity(layer) == layer_identity(swapped)
    table = pd.DataFrame({"gap_ev": [1.9, 2.2]}, index=["SGaInSe", "MoSSe"])
    inside_out = replace(janus_trilayer(), species=("S", "Se", "Mo"))
    known = KnownLayers({"SGaInSe": layer, "MoSSe": janus_trilayer()}, table)
    assert known.find(layer) == "SGaInSe" and known.find(swapped) is None
    assert known.find(janus_trilayer()) == "MoSSe" and known.find(inside_out) is None
    # Upside down, in another order of sites, or relaxed a little, it is the same.
    down = replace(layer, heights=tuple(-h for h in layer.heights))
    turned = sequence("Se", "In", "Ga", "S")
    relaxed = replace(layer, heights=(-2.45, -1.15, 1.4, 2.45))
    assert [known.find(one) for one in (down, turned, relaxed)] == ["SGaInSe"] * 3


def test_a_flat_layer_that_buckles_is_still_known():
    flat = Monolayer(
        species=("B", "N"), positions=((0.0, 0.0), (1 / 3, 2 / 3)), heights=(0.0, 0.0),
        a=2.51, b=2.51, gamma_deg=120.0,
    )  # fmt: skip
    for heights in ((0.01, -0.01), (-0.01, 0.01)):
        assert elements_at_same_heights(flat, replace(flat, heights=heights))


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


def test_prediction_depends_on_no_strain_that_a_file_shows(
    trained, small_stacks, small_monolayers, layer_table
):
    predictor, _ = trained
    known = KnownLayers(small_monolayers, layer_table)
    stack = next(s for s in small_stacks if len({la.monolayer.name for la in s.layers}) == 2)
    strained = replace(stack, a=1.012 * stack.a, b=1.012 * stack.b)
    read = [stack_of(build(stack)), stack_of(build(strained))]
    found = predictor.predict([stack, *read], known)[list(STACK_PROPERTIES)].to_numpy()
    assert np.allclose(found, found[0], atol=2e-3)


def test_vacuum_step_follows_the_way_up_of_a_polar_layer(small_monolayers, layer_table):
    table = layer_table.assign(vacuum_step_ev=0.0)
    table.loc["MoSeS", "vacuum_step_ev"] = 0.7
    known = KnownLayers(small_monolayers, table)
    polar, other = small_monolayers["MoSeS"], small_monolayers["MoSS"]
    for sign, flips in ((1, (False, False)), (-1, (True, False))):
        layer = stack_of(build(stack_layers([polar, other], flipped=flips))).layers[0]
        step = known.values(layer.monolayer)["vacuum_step_ev"]
        # A parsed layer may itself be written upside down.
        assert (-step if layer.flipped else step) == pytest.approx(sign * 0.7)
    assert polarity(polar) == -polarity(replace(polar, heights=tuple(-h for h in polar.heights)))
    assert polarity(other) == 0


def test_spin_orbit_coupling_is_in_the_edges_of_equal_layers_alone(small_monolayers, layer_table):
    names = ("MoSS", "WSS")
    rows = layer_table.to_dict("index")
    without = {other: rows["MoSS"][key] + 0.3 for key, other in WITHOUT_SPIN_ORBIT.items()}
    nothing = dict.fromkeys(LAYER_PROPERTIES, float("nan"))

    def baseline(layers, *known):
        found = describe_with_knowledge(stack_layers(layers), known, [nothing] * 2)
        return found["donor_gap_ev"]

    layer, other = (small_monolayers[name] for name in names)
    both = rows["MoSS"] | without
    assert baseline([layer, layer], both, both) == pytest.approx(both["gap_ev"])
    far = both | {"vbm_without_spin_orbit_ev": -9.0, "cbm_without_spin_orbit_ev": 0.0}
    found = baseline([layer, other], both, far)
    assert found == pytest.approx(both["gap_without_spin_orbit_ev"])
    # Only one of the two levels known: the other by the predicted difference.
    predicted = nothing | dict.fromkeys(WITHOUT_SPIN_ORBIT, 1.0)
    predicted |= dict.fromkeys(WITHOUT_SPIN_ORBIT.values(), 1.2)
    stack = stack_layers([layer, other])
    found = describe_with_knowledge(stack, [rows["MoSS"]] * 2, [predicted] * 2)
    assert found["gap_ev_mean"] == pytest.approx(rows["MoSS"]["gap_ev"] + 0.2)
    assert found["gap_known"] == 1.0 and found["edges_known"] == 0.0


def test_twisted_bilayer_of_300_atoms_is_predicted_and_flagged(
    trained, small_monolayers, layer_table, tmp_path
):
    """49 cells of each layer at 16.4°, corrugated as relaxed ones are."""
    predictor, _ = trained
    layers = [small_monolayers["MoSS"], small_monolayers["WSS"]]
    cells = [((8, 5), (-5, 3)), ((8, 3), (-3, 5))]
    atoms = build(stack_layers(layers, cells, gaps_a=[3.1]))
    assert len(atoms) == 294
    in_plane = atoms.get_scaled_positions()[:, :2]
    atoms.positions[:, 2] += 0.1 * np.cos(2 * np.pi * in_plane).sum(axis=1)
    ase.io.write(tmp_path / "twisted.extxyz", atoms)
    structures = list(read_structures([tmp_path / "twisted.extxyz"]))
    known = KnownLayers(small_monolayers, layer_table)
    row = command.predict_structures(structures, predictor, known).iloc[0]
    assert row["reason"] == "" and row["number_of_atoms"] == 294
    assert row["layers_known"] == 1.0
    assert "layers without a common cell, twist" in row["outside_training"]
    # The descriptors are those of the primitive cells: near the stack that is not twisted.
    plain = predictor.predict([stack_layers(layers)], known).iloc[0]
    for name in STACK_PROPERTIES:
        assert np.isfinite(row[name]) and row[f"{name}_std"] > 0
        assert abs(row[name] - plain[name]) < 10 * plain[f"{name}_std"]


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


def test_intervals_are_wider_where_both_layers_or_an_element_are_new(
    trained, small_stacks, monkeypatch
):
    predictor, _ = trained
    stack = next(s for s in small_stacks if len({la.monolayer.name for la in s.layers}) == 2)
    std = [f"{name}_std" for name in STACK_PROPERTIES]
    monkeypatch.setattr(
        "heteroforge.models.property_prediction.WIDER",
        {
            "both layers": dict.fromkeys(STACK_PROPERTIES, 2.0),
            "element": dict.fromkeys(STACK_PROPERTIES, 3.0),
        },
    )
    names = [layer_identity(layer.monolayer) for layer in stack.layers]
    plain = predictor.predict([stack])[std]

    def wider(**seen):
        return replace(predictor, **seen).predict([stack])[std] / plain

    assert np.allclose(wider(), 1.0)
    assert np.allclose(wider(identities=predictor.identities - {names[0]}), 1.0)
    assert np.allclose(wider(identities=predictor.identities - set(names)), 2.0)
    assert np.allclose(wider(elements=predictor.elements - {"S"}), 3.0)
    # Homobilayers of new layers are what intervals were calibrated on.
    same = next(s for s in small_stacks if len({la.monolayer.name for la in s.layers}) == 1)
    new = replace(predictor, identities=frozenset())
    assert np.allclose(new.predict([same])[std], predictor.predict([same])[std])


def test_errors_were_measured_of_bilayers_with_a_common_cell(small_stacks, small_monolayers):
    assert all(is_measured(stack) for stack in small_stacks)
    layer = small_monolayers["MoSS"]
    assert not is_measured(stack_layers([layer] * 3)) and not is_measured(stack_layers([layer]))


def test_saved_and_read_again(trained, small_stacks, tmp_path):
    predictor, _ = trained
    save_predictor(tmp_path / "model.pt", predictor)
    again = load_predictor(tmp_path / "model.pt")
    pd.testing.assert_frame_equal(
        predictor.predict(small_stacks[:4]), again.predict(small_stacks[:4])
    )


def test_command_gives_a_row_per_structure(trained, small_stacks, tmp_path, capsys):
    save_predictor(tmp_path / "model.pt", trained[0])
    folder = tmp_path / "structures"
    folder.mkdir()
    ase.io.write(folder / "bilayer.cif", build(small_stacks[0]))
    (folder / "broken.cif").write_text("no crystal")
    output = tmp_path / "predictions.csv"
    arguments = [str(folder), "--model", str(tmp_path / "model.pt"), "--output", str(output)]
    assert command.main(arguments) == 0
    table = pd.read_csv(output)
    assert table["name"].tolist() == ["bilayer", "broken"]
    assert table["gap_ev"].notna().tolist() == [True, False]
    assert "unreadable" in table["reason"][1]
    assert "electron_mass_m0" not in table
    assert "2 structures, 1 set aside" in capsys.readouterr().err
    assert command.main([str(tmp_path / "nothing"), "--model", str(tmp_path / "model.pt")]) == 2


def test_nothing_but_unreadable_structures(trained):
    table = command.predict_structures(
        [ReadStructure("a.cif", "a", None, "unreadable")], trained[0], None
    )
    assert len(table) == 1 and table["gap_ev"].isna().all()
