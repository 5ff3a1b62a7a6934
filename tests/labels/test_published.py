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
    half_turned,
    read_bidb_stacks,
    read_hetml_stacks,
)
from heteroforge.models.from_layers import POISSON_RATIO, strain_energy_mev_a2
from heteroforge.structures import build
from heteroforge.structures.build import layer_sites
from heteroforge.structures.matching import stack_layers

THIRDS = {"A": (0.0, 0.0), "B": (1 / 3, 2 / 3), "C": (2 / 3, 1 / 3)}


def listed(number: int, species: str, places: str, heights: list[float], a: float) -> ase.Atoms:
    """A layer as HetML lists it: species and places from the bottom."""
    cell = [[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, 20]]
    scaled = [
        [*THIRDS[place], height / 20 + 0.5] for place, height in zip(places, heights, strict=True)
    ]
    info = {"hetml_id": number, "uid": species}
    return ase.Atoms(species, scaled_positions=scaled, cell=cell, pbc=[1, 1, 0], info=info)


MOLYBDENUM_SULFIDE = listed(11, "SMoS", "BCB", [-1.56, 0, 1.56], 3.18)
TUNGSTEN_SELENIDE = listed(12, "SeWSe", "BCB", [-1.68, 0, 1.68], 3.32)


def above_each_other(stack) -> set[tuple[str, str]]:
    """Sites of the lower and the upper layer in one column, as element and number from below."""
    shift = np.array(stack.interfaces[0].offset)
    named = []
    for layer in stack.layers:
        species, places, heights = layer_sites(layer)
        ranks = np.argsort(np.argsort(heights, kind="stable"), kind="stable") + 1
        named.append([(f"{s}{n}", p) for s, n, p in zip(species, ranks, places, strict=True)])
    found = set()
    for s, p in named[0]:
        for t, q in named[1]:
            apart = q + shift - p
            if np.abs(apart - np.round(apart)).max() < 0.01:
                found.add((s, t))
    return found


HAFNIUM_SULFIDE = listed(12, "SHfS", "ACB", [-1.45, 0, 1.45], 3.6)


@pytest.mark.parametrize(
    ("lower", "upper", "on_top", "hollow"),
    [
        # Faces on each other, and the upper one above the middle of the lower one's hexagons.
        (
            MOLYBDENUM_SULFIDE,
            TUNGSTEN_SELENIDE,
            {("S1", "Se1"), ("S3", "Se1"), ("S1", "Se3"), ("S3", "Se3"), ("Mo2", "W2")},
            {("S1", "W2"), ("S3", "W2")},
        ),
        # A 1T layer, listed with its lower face at the origin.
        (
            MOLYBDENUM_SULFIDE,
            HAFNIUM_SULFIDE,
            {("S1", "S1"), ("S3", "S1"), ("Mo2", "Hf2")},
            {("S1", "Hf2"), ("S3", "Hf2"), ("Mo2", "S3")},
        ),
        # A flat compound: its anion above the face, or its cation. DFT finds 3.49 and 2.80 Å.
        (
            MOLYBDENUM_SULFIDE,
            listed(12, "AlN", "CB", [0, 0], 3.12),
            {("S1", "N2"), ("S3", "N2"), ("Mo2", "Al1")},
            {("S1", "Al1"), ("S3", "Al1")},
        ),
        # A lower layer whose face is elsewhere: above its second atoms, or above none.
        (
            listed(11, "SSn", "BC", [0, 1.46], 3.75),
            HAFNIUM_SULFIDE,
            {("S1", "S1"), ("Sn2", "Hf2")},
            {("S1", "Hf2"), ("Sn2", "S3")},
        ),
    ],
)
def test_heterobilayers_get_the_registry_their_label_means(tmp_path, lower, upper, on_top, hollow):
    write_hetml(tmp_path, [lower, upper], [{"huid": x, "stacktype": x} for x in ("AA", "AB")])
    found = {entry.name: above_each_other(entry.stack) for entry in read_hetml_stacks(tmp_path)}
    assert found == {"AA": on_top, "AB": hollow}


@pytest.mark.parametrize("upper", [TUNGSTEN_SELENIDE, HAFNIUM_SULFIDE])
def test_a_half_turn_moves_what_lies_behind_the_face_alone(tmp_path, upper):
    write_hetml(tmp_path, [MOLYBDENUM_SULFIDE, upper], [{"huid": "a", "stacktype": "AA"}])
    (entry,) = read_hetml_stacks(tmp_path)
    turned = half_turned(entry.stack)
    lowest = f"{upper.symbols[0]}1"
    before, after = (above_each_other(stack) for stack in (entry.stack, turned))
    assert {pair for pair in before if pair[1] == lowest} == {("S1", lowest), ("S3", lowest)}
    assert {pair for pair in after if pair[1] == lowest} == {("S1", lowest), ("S3", lowest)}
    assert before != after
    assert above_each_other(half_turned(turned)) == before


def test_an_unknown_label_is_named(tmp_path):
    write_hetml(
        tmp_path, [MOLYBDENUM_SULFIDE, TUNGSTEN_SELENIDE], [{"huid": "a", "stacktype": "B"}]
    )
    with pytest.raises(InputError, match="a: stacktype 'B', not one of AA, AB"):
        list(read_hetml_stacks(tmp_path))


def write_hetml(folder, frames, rows, **constants) -> None:
    (folder / "hetml").mkdir(exist_ok=True)
    ase.io.write(folder / "hetml/monolayers.extxyz", frames)
    numbers = [atoms.info["hetml_id"] for atoms in frames]
    constants = {"hetml_id": numbers, "c_11": [130.0, 110.0], "c_12": [30.0, 20.0]} | constants
    pd.DataFrame(constants).to_csv(folder / "hetml/monolayers.csv", index=False)
    row = {"uid_bot": 11, "uid_top": 12, "ILD": 3.4, "Egap": 1.1, "IE": 5.5, "EA": 4.4}
    row |= {"is_metal": False, "Ebind": 15.0}
    pd.DataFrame([row | other for other in rows]).to_csv(folder / "hetml/bilayers.csv", index=False)


def test_heterobilayers_have_what_was_published(tmp_path):
    frames = [MOLYBDENUM_SULFIDE, TUNGSTEN_SELENIDE]
    rows = [
        {"huid": "a", "stacktype": "AA"},
        {"huid": "b", "stacktype": "AB", "Ebind": 18.0, "Egap": np.nan, "is_metal": True},
        {"huid": "c", "stacktype": "AB", "Ebind": -900.0},
    ]
    write_hetml(tmp_path, frames, rows)
    on_top, hollow, unbound = read_hetml_stacks(tmp_path)
    assert on_top.stack.interfaces[0].gap_a > hollow.stack.interfaces[0].gap_a + 0.3
    assert on_top.layers == ("SMoS", "SeWSe")
    strain = elastic_energy_mev_a2([atoms.cell.lengths()[0] for atoms in frames], [160.0, 130.0])
    assert on_top.values == {
        "gap_ev": 1.1, "vbm_ev": -5.5, "cbm_ev": -4.4, "interlayer_gap_a": 3.4,
        "net_energy_mev_a2": 15.0, "binding_energy_mev_a2": pytest.approx(15.0 + strain),
    }  # fmt: skip
    assert strain > 0.1
    assert hollow.values["gap_ev"] == 0.0, "a metal"
    assert unbound.values == {}
    write_hetml(tmp_path, frames, rows, c_11=[130.0, -1.0])
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
