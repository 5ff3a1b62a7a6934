import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene, mx2

from heteroforge.io import InputError, read_table
from heteroforge.sources import Candidate, collect, read_library, write_library


def layer(atoms: Atoms) -> Atoms:
    atoms.center(vacuum=8, axis=2)
    atoms.pbc = (True, True, False)
    return atoms


def molybdenite(**arguments) -> Atoms:
    return layer(mx2("MoS2", **arguments))


def boron_nitride() -> Atoms:
    atoms = layer(graphene("C2", a=2.50))
    atoms.symbols = ["B", "N"]
    return atoms


def reason(atoms: Atoms | None = None, **arguments) -> str:
    before = arguments.pop("before", [])
    settings = {"maximum_atoms": 6} | arguments.pop("settings", {})
    candidates = [*before, Candidate("odd", atoms, file="odd.cif", **arguments)]
    candidates.append(Candidate("last", layer(graphene("C2"))))
    library, rejected = collect(candidates, **settings)
    assert "last" in library.monolayers, "one bad material must not stop the others"
    assert rejected["material"].tolist() == ["odd"]
    assert rejected["file"].tolist() == ["odd.cif"]
    return rejected["reason"][0]


def test_good_material_is_kept_in_its_primitive_cell():
    atoms = molybdenite() * (3, 2, 1)
    library, rejected = collect([Candidate("MoS2", atoms, {"gap_ev": 1.7})], maximum_atoms=3)
    assert len(rejected) == 0
    assert library.table.loc["MoS2", "number_of_atoms"] == 3
    assert library.table.loc["MoS2", "a_a"] == pytest.approx(3.18)
    assert library.table.loc["MoS2", "layer_group"] == 78
    assert library.table.loc["MoS2", "is_metal"] == np.False_
    assert library.table["vbm_ev"].isna().all()


def test_reasons():
    assert "unreadable" in reason(None, reason="unreadable: no atoms block")
    shared = boron_nitride()
    shared.info["occupancy"] = {"0": {"B": 0.5, "C": 0.5}, "1": {"N": 1.0}}
    assert "disordered" in reason(shared)
    flat = boron_nitride()
    flat.set_cell([[2.5, 0, 0], [5.0, 0, 0], [0, 0, 16]])
    assert "no in-plane cell" in reason(flat)
    close = molybdenite()
    close.positions[1] = close.positions[0] + [0.1, 0, 0]
    assert "overlapping atoms" in reason(close)
    assert "3 atoms in the primitive cell, at most 2" in reason(
        molybdenite(), settings={"maximum_atoms": 2}
    )
    allowed = {"elements_allowed": ["Mo", "C"]}
    assert "element S is not one of" in reason(molybdenite(), settings=allowed)
    assert "element S is excluded" in reason(molybdenite(), settings={"elements_excluded": ["S"]})
    assert "no pseudopotential for Mo" in reason(
        molybdenite(), settings={"elements_available": {"S", "C"}}
    )
    bulk = boron_nitride()
    bulk.set_cell([*bulk.cell[:2], [0, 0, 3.3]])
    bulk.pbc = True
    assert "no vacuum along z: 3.3 Å" in reason(bulk)
    double = boron_nitride()
    upper = boron_nitride()
    upper.positions[:, 2] += 3.3
    double.extend(upper)
    assert "more than one layer: nothing within 3.30 Å" in reason(double)
    assert "gap_ev = 'wide': a number expected" in reason(
        molybdenite(), properties={"gap_ev": "wide"}
    )
    assert "lies below" in reason(molybdenite(), properties={"vbm_ev": -4.0, "cbm_ev": -5.0})


@pytest.mark.parametrize("change", ["same", "turned", "upside down", "supercell", "moved"])
def test_equal_structures_count_once(change):
    janus = molybdenite()
    janus.symbols[2] = "Se"
    other = janus.copy()
    if change == "turned":
        other.rotate(37, "z", rotate_cell=True)
    elif change == "upside down":
        other.positions[:, 2] *= -1
        other = layer(other)
    elif change == "supercell":
        other *= (2, 2, 1)
    elif change == "moved":
        other.positions += [0.7, 0.3, 1.0]
        other.cell[2, 2] += 4
    assert reason(other, before=[Candidate("first", janus)]) == "duplicate of first"


def test_phases_and_strained_structures_are_different():
    candidates = [
        Candidate("2H", molybdenite(kind="2H")),
        Candidate("1T", molybdenite(kind="1T")),
        Candidate("wide", molybdenite(kind="2H", a=3.30)),
    ]
    library, _ = collect(candidates, maximum_atoms=6)
    assert list(library.monolayers) == ["2H", "1T", "wide"]


def test_taken_identifier_and_odd_characters():
    candidates = [
        Candidate("a/b c", molybdenite()),
        Candidate("a b c", layer(graphene("C2"))),
    ]
    library, rejected = collect(candidates, maximum_atoms=6)
    assert list(library.monolayers) == ["a_b_c"]
    assert "identifier a_b_c is taken" in rejected["reason"][0]


def test_mass_of_a_flat_band_is_unknown():
    library, _ = collect(
        [Candidate("x", molybdenite(), {"electron_mass_m0": 400.0, "hole_mass_m0": 0.6})], 6
    )
    assert np.isnan(library.table.loc["x", "electron_mass_m0"])
    assert library.table.loc["x", "hole_mass_m0"] == 0.6


def test_library_comes_back_from_its_files(tmp_path):
    library, _ = collect(
        [
            Candidate("MoS2", molybdenite(), {"gap_ev": 1.7, "gap_is_direct": True}, "here"),
            Candidate("C", layer(graphene("C2")), {"gap_ev": 0.0}, "here", "PBE"),
        ],
        maximum_atoms=6,
    )
    structures, table = tmp_path / "monolayers.extxyz", tmp_path / "monolayers.parquet"
    write_library(structures, table, library)
    back = read_library(structures, table)
    assert list(back.monolayers) == ["MoS2", "C"]
    assert back.monolayers["MoS2"].name == "MoS2"
    assert back.monolayers["MoS2"].thickness_a == pytest.approx(3.19)
    assert back.table.equals(library.table)
    shuffled = read_table(table)[::-1]
    shuffled.to_parquet(table)
    with pytest.raises(InputError, match="do not hold the same monolayers"):
        read_library(structures, table)


def test_empty_library_comes_back(tmp_path):
    library, rejected = collect([Candidate("x", reason="unreadable")], maximum_atoms=6)
    write_library(tmp_path / "m.extxyz", tmp_path / "m.parquet", library)
    assert len(read_library(tmp_path / "m.extxyz", tmp_path / "m.parquet")) == 0
    assert len(rejected) == 1
