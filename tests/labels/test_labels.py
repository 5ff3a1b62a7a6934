"""Physics baselines and labels from tables."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from heteroforge.io import InputError, write_table
from heteroforge.labels import (
    BONDED,
    COLUMNS,
    OTHER,
    baseline_labels,
    campaign_labels,
    dft_labels,
    dispersion_binding_mev_a2,
    mark_bonded,
    stack_baselines,
    user_labels,
    verified_stacks,
)
from heteroforge.structures import Interface, Monolayer, Stack
from heteroforge.structures.matching import stack_layers

THIRD = ((0.0, 0.0), (1 / 3, 2 / 3))
LAYERS = {
    name: Monolayer(species, THIRD, (0.0, 0.0), a, a, 120.0, name)
    for name, species, a in (("C", ("C", "C"), 2.46), ("BN", ("B", "N"), 2.50))
}
TABLE = pd.DataFrame({"vbm_ev": [-4.3, -5.8], "cbm_ev": [-4.3, -1.1]}, index=pd.Index(["C", "BN"]))


def stack(*names, gap=3.4):
    return stack_layers([LAYERS[n] for n in names], gaps_a=[gap] * (len(names) - 1))


def test_anderson_takes_the_highest_valence_and_lowest_conduction_edge():
    found = stack_baselines(stack("BN", "C"), TABLE)
    assert (found["vbm_ev"], found["cbm_ev"], found["gap_ev"]) == (-4.3, -4.3, 0.0)
    found = stack_baselines(stack("BN", "BN"), TABLE)
    assert found["gap_ev"] == pytest.approx(4.7)
    broken = pd.DataFrame({"vbm_ev": [-4.0, -6.0], "cbm_ev": [-3.0, -5.0]}, index=["C", "BN"])
    assert stack_baselines(stack("BN", "C"), broken)["gap_ev"] == 0.0


def test_layers_with_a_dipole_are_aligned_where_they_face_each_other():
    # A step of +1 eV lifts everything above the bottom layer.
    polar = TABLE.assign(vacuum_step_ev=[0.0, 1.0])
    found = stack_baselines(stack("BN", "BN"), polar)
    assert found["gap_ev"] == pytest.approx(4.7 - 1.0)
    assert found["vbm_ev"] == pytest.approx(-5.8 + 0.5)
    back_to_back = stack("BN", "BN")
    turned = replace(back_to_back.layers[1], flipped=True)
    opposite = replace(back_to_back, layers=(back_to_back.layers[0], turned))
    assert stack_baselines(opposite, polar)["gap_ev"] == pytest.approx(4.7)


def test_baselines_do_not_depend_on_the_gap_the_stack_is_written_with():
    near, far = (stack_baselines(stack("BN", "C", gap=g), TABLE) for g in (3.0, 4.0))
    assert near == pytest.approx(far)


def test_an_unknown_edge_makes_the_gap_unknown_and_nothing_else():
    unknown = TABLE.copy()
    unknown.loc["BN", "cbm_ev"] = np.nan
    found = stack_baselines(stack("BN", "C"), unknown)
    assert found["gap_ev"] is None
    assert found["interlayer_gap_a"] > 2.5 and found["binding_energy_mev_a2"] > 0


def test_dispersion_of_graphene_falls_off_with_distance():
    near, far = (dispersion_binding_mev_a2(stack("C", "C", gap=g)) for g in (3.4, 10.0))
    # Total binding of bilayer graphene is about 20 meV/Å²; its attractive part is larger.
    assert 15 < near < 60
    assert 0 < far < 0.05 * near


def test_dispersion_does_not_depend_on_the_choice_of_cell():
    small = stack("C", "C")
    twice = tuple(replace(layer, supercell=((2, 0), (0, 1))) for layer in small.layers)
    large = replace(small, layers=twice, a=2 * small.a, interfaces=(Interface((0.0, 0.0), 3.4),))
    assert dispersion_binding_mev_a2(large) == pytest.approx(dispersion_binding_mev_a2(small))


def test_binding_of_three_layers_counts_both_interfaces():
    two, three = (dispersion_binding_mev_a2(stack(*["C"] * n)) for n in (2, 3))
    assert 2.0 * two < three < 2.4 * two


def test_baselines_have_one_row_per_stack_and_property():
    stacks = [stack("C", "BN"), stack("C", "BN"), stack("BN", "BN")]
    labels = baseline_labels(stacks, TABLE)
    assert not labels.duplicated(["stack_id", "property"]).any()
    assert labels["stack_id"].nunique() == 2
    assert set(labels["fidelity"]) == {"baseline"}


def row(name="gap_ev", value=1.0, text=None):
    return {"specification": text or stack("C", "BN").to_json(), "property": name, "value": value}


def test_own_labels_and_layers_that_the_library_lacks(tmp_path):
    path = tmp_path / "labels.csv"
    other = stack("C", "BN").to_json().replace('"C"', '"Xe2"')
    write_table(path, pd.DataFrame([row(), row(text=other)]))
    labels, foreign = user_labels(path, LAYERS)
    assert len(labels) == 1 and foreign == 1
    assert labels.loc[0, "stack_id"] == stack("C", "BN").key()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(name="band_gap"), "line 2: property 'band_gap'"),
        (row() | {"unit": "meV"}, "line 2: unit of gap_ev is 'meV', expected 'eV'"),
        (row() | {"fidelity": "baseline"}, "line 2: fidelity of gap_ev is 'baseline'"),
        (row(value="large"), "line 2: gap_ev is 'large', not a number"),
        (row(text="{"), "line 2: no readable specification"),
    ],
)
def test_bad_labels_name_the_line(tmp_path, bad, message):
    path = tmp_path / "labels.csv"
    write_table(path, pd.DataFrame([bad]))
    with pytest.raises(InputError, match=message):
        user_labels(path, LAYERS)


def test_results_of_a_campaign_become_labels(tmp_path):
    path = tmp_path / "results.parquet"
    entry = {
        "specification": stack("BN", "BN").to_json(inline_monolayers=True),
        "gap_ev": 4.2,
        "vbm_ev": -5.7,
        "cbm_ev": np.nan,
        "binding_energy_mev_a2": 19.0,
        "interlayer_gap_a": 3.3,
        "registry_shift_a": 0.01,
        "protocol": "quick",
    }
    slid = entry | {"registry_shift_a": 0.4}
    write_table(path, pd.DataFrame([entry, slid]))
    labels, left_out = campaign_labels(path, LAYERS)
    assert left_out == 1
    assert set(labels["property"]) == {
        "gap_ev", "vbm_ev", "binding_energy_mev_a2", "interlayer_gap_a"
    }  # fmt: skip
    assert set(labels["protocol"]) == {"quick"}


def test_a_layer_that_an_earlier_campaign_proposed_has_labels(tmp_path):
    """It has no name: it stands in full in the specification, as DFT relaxed it."""
    path = tmp_path / "results.parquet"
    relaxed = replace(LAYERS["BN"], species=("Al", "N"), a=3.12, b=3.12, name="")
    verified = stack_layers([LAYERS["BN"], relaxed])
    foreign = stack_layers([LAYERS["BN"], replace(relaxed, name="of another library")])
    values = dict.fromkeys(("vbm_ev", "cbm_ev", "binding_energy_mev_a2", "interlayer_gap_a"), None)
    rows = [
        values
        | {"specification": text, "gap_ev": 2.0, "registry_shift_a": 0.0, "protocol": "quick"}
        for text in (one.to_json(inline_monolayers=True) for one in (verified, foreign))
    ]
    write_table(path, pd.DataFrame(rows))
    labels, left_out = campaign_labels(path, LAYERS)
    assert left_out == 1 and labels["property"].tolist() == ["gap_ev"]
    again = Stack.from_json(labels["specification"][0], LAYERS)
    assert again.layers[1].monolayer.a == 3.12 and again.layers[0].monolayer.name == "BN"


def test_labels_of_all_sources_are_marked_together(tmp_path):
    own = tmp_path / "labels.csv"
    rows = [row("interlayer_gap_a", 1.9), row("gap_ev", 1.0)]
    write_table(own, pd.DataFrame(rows))
    assert dft_labels([own], [], LAYERS, 1.2, "quick")["fidelity"].tolist() == [BONDED, BONDED]
    assert dft_labels([own], [], LAYERS, 0.0, "quick")["fidelity"].tolist() == ["dft", "dft"]
    nothing = dft_labels([], [], LAYERS, 1.2, "quick")
    assert nothing.empty and list(nothing) == COLUMNS


def test_of_several_protocols_of_a_stack_one_is_learned_from(tmp_path):
    own = tmp_path / "labels.csv"
    other = stack("BN", "BN").to_json()
    rows = [
        row("gap_ev", 1.9) | {"protocol": "quick"},
        row("gap_ev", 2.6) | {"protocol": "HSE06"},
        row("gap_ev", 5.0, other) | {"protocol": "HSE06"},
    ]
    write_table(own, pd.DataFrame(rows))
    for protocol, values in (("quick", [1.9, 5.0]), ("HSE06", [2.6, 5.0]), ("none", [2.6, 5.0])):
        found = dft_labels([own], [], LAYERS, 0.0, protocol, ["HSE06"])
        assert found["value"].tolist() == values and set(found["fidelity"]) == {"dft"}


def test_labels_of_another_functional_are_told_and_not_learned_from(tmp_path):
    own = tmp_path / "labels.csv"
    other = stack("BN", "BN").to_json()
    rows = [
        row("gap_ev", 2.6) | {"protocol": "HSE06"},
        row("gap_ev", 1.9) | {"protocol": "quick"},
        row("gap_ev", 5.0, other) | {"protocol": "HSE06"},
        row("vbm_ev", -5.0, other) | {"protocol": ""},
    ]
    write_table(own, pd.DataFrame(rows))
    found = dft_labels([own], [], LAYERS, 0.0, "quick")
    told = dict(zip(found["value"], found["fidelity"], strict=True))
    assert told == {1.9: "dft", -5.0: "dft", 2.6: OTHER, 5.0: OTHER}
    # Its stack waits for DFT of this kind.
    labels = found[found["property"] == "gap_ev"]
    assert len(verified_stacks(labels, LAYERS, "quick")) == 1


def test_a_finer_label_counts_before_rougher_ones_however_many(tmp_path):
    own = tmp_path / "labels.csv"
    others = [stack("BN", "BN").to_json(), stack("C", "C").to_json()]
    rows = [row("gap_ev", 1.9) | {"protocol": "quick"}]
    rows += [row("gap_ev", 2.1) | {"protocol": "precise"}]
    rows += [row("gap_ev", 5.0, other) | {"protocol": "quick"} for other in others]
    write_table(own, pd.DataFrame(rows))
    for protocol, first in (("quick", 1.9), ("standard", 2.1), ("precise", 2.1)):
        found = dft_labels([own], [], LAYERS, 0.0, protocol)
        assert found["value"].tolist() == [first, 5.0, 5.0]


def test_stacks_that_bond_in_dft_are_marked_whatever_gap_they_were_specified_with():
    """C–B at 1.9 Å is 1.19 of the sum of covalent radii (1.60 Å); at 2.0 Å it is 1.25."""
    rows = []
    for top, dft_gap_a in (("BN", 1.9), ("C", 3.4)):
        own = stack("C", top, gap=3.4)
        for name, value in (("interlayer_gap_a", dft_gap_a), ("gap_ev", 1.0)):
            rows.append([own.key(), own.to_json(), name, value, "", "dft", "", ""])
    marked = mark_bonded(pd.DataFrame(rows, columns=COLUMNS), LAYERS, 1.2)
    assert marked["fidelity"].tolist() == [BONDED, BONDED, "dft", "dft"]
    assert mark_bonded(marked.iloc[:0], LAYERS, 1.2).empty
    never = mark_bonded(pd.DataFrame(rows, columns=COLUMNS), LAYERS, 0.0)
    assert never["fidelity"].eq("dft").all()
    # The relaxed atoms of a campaign know better than flat layers at the same distance.
    measured = pd.DataFrame(rows, columns=COLUMNS).assign(
        closest_contact_ratio=[1.3, 1.3, 1.1, 1.1]
    )
    assert mark_bonded(measured, LAYERS, 1.2)["fidelity"].tolist() == ["dft", "dft", BONDED, BONDED]
    apart = pd.DataFrame(rows, columns=COLUMNS).replace({"value": {1.9: 2.0}})
    assert mark_bonded(apart, LAYERS, 1.2)["fidelity"].eq("dft").all()


def test_a_label_of_a_rougher_protocol_leaves_a_stack_to_verify():
    rows = [
        (stack("C", "BN"), "dft", "quick"),
        (stack("BN", "BN"), "dft", "standard"),
        (stack("C", "C"), BONDED, "quick"),
        (stack("BN", "C"), "dft", "their own"),
        (stack("C", "BN", "C"), "baseline", ""),
    ]
    labels = pd.DataFrame(
        [{"specification": s.to_json(), "fidelity": f, "protocol": p} for s, f, p in rows]
    )
    keys = [s.prototype_key() for s, _, _ in rows]
    assert verified_stacks(labels, LAYERS, "quick") == set(keys[:4])
    assert verified_stacks(labels, LAYERS, "standard") == set(keys[1:4])
    assert verified_stacks(labels, LAYERS, "precise") == set(keys[2:4])
    assert verified_stacks(labels, LAYERS, "of my own") == set(keys[:4])
