"""Published bilayers as labelled stacks, from tables laid out as the published ones."""

import gzip
import io
from dataclasses import replace

import ase.io
import numpy as np
import pandas as pd
import pytest

from heteroforge.io import InputError
from heteroforge.labels.published import (
    elastic_energy_mev_a2,
    read_bidb_stacks,
    read_hetml_stacks,
)
from heteroforge.models.from_layers import POISSON_RATIO, strain_energy_mev_a2
from heteroforge.structures import build
from heteroforge.structures.matching import stack_layers


def test_heterobilayers_get_the_registry_their_label_means(tmp_path, small_monolayers):
    folder = tmp_path / "hetml"
    folder.mkdir()
    frames = []
    for number, name in ((11, "MoSS"), (12, "WSeSe")):
        atoms = small_monolayers[name].to_atoms()
        atoms.info = {"hetml_id": number, "uid": name}
        frames.append(atoms)
    ase.io.write(folder / "monolayers.extxyz", frames)
    constants = {"hetml_id": [11, 12], "c_11": [130.0, 110.0], "c_12": [30.0, 20.0]}
    pd.DataFrame(constants).to_csv(folder / "monolayers.csv", index=False)
    row = {"uid_bot": 11, "uid_top": 12, "ILD": 3.4, "Egap": 1.1, "IE": 5.5, "EA": 4.4}
    row["is_metal"] = False
    rows = [
        row | {"huid": "a", "stacktype": "AA", "Ebind": 15.0},
        row | {"huid": "b", "stacktype": "AB", "Ebind": 18.0, "Egap": np.nan, "is_metal": True},
        row | {"huid": "c", "stacktype": "AB", "Ebind": -900.0},
    ]
    pd.DataFrame(rows).to_csv(folder / "bilayers.csv", index=False)
    on_top, hollow, unbound = read_hetml_stacks(tmp_path)
    assert on_top.stack.interfaces[0].gap_a > hollow.stack.interfaces[0].gap_a + 0.3
    assert on_top.layers == ("MoSS", "WSeSe")
    strain = elastic_energy_mev_a2([atoms.cell.lengths()[0] for atoms in frames], [160.0, 130.0])
    assert on_top.values == {
        "gap_ev": 1.1, "vbm_ev": -5.5, "cbm_ev": -4.4, "interlayer_gap_a": 3.4,
        "net_energy_mev_a2": 15.0, "binding_energy_mev_a2": pytest.approx(15.0 + strain),
    }  # fmt: skip
    assert strain > 0.1
    assert hollow.values["gap_ev"] == 0.0, "a metal"
    assert unbound.values == {}
    pd.DataFrame(constants | {"c_11": [130.0, -1.0]}).to_csv(folder / "monolayers.csv", index=False)
    on_top = next(read_hetml_stacks(tmp_path))
    assert on_top.values["net_energy_mev_a2"] == 15.0
    assert "binding_energy_mev_a2" not in on_top.values, "the strain energy is not known"


def test_the_elastic_energy_is_that_of_the_cell_that_costs_least(small_monolayers):
    bottom, top = small_monolayers["MoSS"], small_monolayers["WSeSe"]
    stiffness = np.array([130.0, 70.0])
    found = elastic_energy_mev_a2([bottom.a, top.a], (1 + POISSON_RATIO) * stiffness)
    stack = stack_layers([bottom, top])
    energies = [
        strain_energy_mev_a2(replace(stack, a=a, b=a), stiffness)
        for a in np.linspace(bottom.a, top.a, 201)
    ]
    assert 0 < np.argmin(energies) < 100, "nearer to the stiffer layer"
    assert found == pytest.approx(min(energies), rel=1e-3)
    assert elastic_energy_mev_a2([top.a, bottom.a], stiffness[::-1]) == pytest.approx(
        found / (1 + POISSON_RATIO)
    )
    assert np.isnan(elastic_energy_mev_a2([bottom.a, top.a], [130.0, np.nan]))


def test_homobilayers_are_parsed_from_their_structures(tmp_path, small_stacks):
    folder = tmp_path / "bidb"
    folder.mkdir()
    stack = next(s for s in small_stacks if s.layers[0].monolayer == s.layers[1].monolayer)
    text = io.StringIO()
    for name in ("one", "two"):
        atoms = build(stack)
        atoms.info = {"name": name}
        ase.io.write(text, atoms, format="extxyz")
    with gzip.open(folder / "bilayers.extxyz.gz", "wt") as handle:
        handle.write(text.getvalue())
    values = {"Binding energy": 20.0, "Interlayer distance": 3.1, "Band gap": 1.2}
    values |= {"monolayer_name": "1M", "Monolayer band gap": 1.6}
    rows = [values | {"name": name} for name in ("one", "two")]
    pd.DataFrame(rows).to_csv(folder / "bilayers.csv", index=False)
    found = list(read_bidb_stacks(tmp_path))
    assert [entry.name for entry in found] == ["one", "two"]
    assert found[0].stack.formula == stack.formula
    assert found[0].layer_gap_ev == 1.6 and found[0].values["gap_ev"] == 1.2
    assert [entry.name for entry in read_bidb_stacks(tmp_path, ["two"])] == ["two"]


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match="monolayers.extxyz"):
        list(read_hetml_stacks(tmp_path))
