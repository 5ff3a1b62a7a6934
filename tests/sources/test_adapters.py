from types import SimpleNamespace

import ase.db
import pandas as pd
import pytest
from ase.build import graphene, mx2
from ase.io import write
from pymatgen.core import Lattice, Structure

from heteroforge.io import InputError
from heteroforge.sources import ase_database, bundled, collect, folder, materials_project

BORON_NITRIDE = Structure(
    Lattice.hexagonal(2.50, 6.66),
    ["B", "N", "N", "B"],
    [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.25], [1 / 3, 2 / 3, 0.75], [2 / 3, 1 / 3, 0.75]],
)
SILICON = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])


def layer(atoms):
    atoms.center(vacuum=8, axis=2)
    return atoms


def test_folder_with_cif_extxyz_and_table(tmp_path):
    write(tmp_path / "sulfide.cif", layer(mx2("MoS2")))
    carbon = layer(graphene("C2"))
    carbon.info["monolayer_id"] = "graphene"
    write(tmp_path / "others.extxyz", [carbon, layer(mx2("WSe2", a=3.3))])
    (tmp_path / "broken.cif").write_text("data_x\n_cell_length_a 3\n")
    (tmp_path / "notes.txt").write_text("not a structure")
    (tmp_path / "properties.csv").write_text(
        "monolayer_id,gap_ev,gap_is_direct,protocol\nsulfide,1.7,true,PBE\ngraphene,0,,\n"
    )
    library, rejected = collect(folder.read_candidates(tmp_path), maximum_atoms=6)
    assert list(library.monolayers) == ["graphene", "others-1", "sulfide"]
    table = library.table
    assert table.loc["sulfide", "gap_ev"] == 1.7
    assert bool(table.loc["sulfide", "gap_is_direct"]) is True
    assert table.loc["sulfide", "protocol"] == "PBE"
    assert bool(table.loc["graphene", "is_metal"]) is True
    assert pd.isna(table.loc["others-1", "gap_ev"])
    assert rejected["file"].tolist() == ["broken.cif"]
    assert rejected["reason"].str.len().min() > 0


def test_disordered_cif_is_set_aside(tmp_path):
    write(tmp_path / "alloy.cif", layer(mx2("MoS2")))
    text = (tmp_path / "alloy.cif").read_text()
    assert "1.0000" in text
    (tmp_path / "alloy.cif").write_text(text.replace("1.0000", "0.5000"))
    _, rejected = collect(folder.read_candidates(tmp_path), maximum_atoms=6)
    assert rejected["reason"].tolist() == ["disordered: sites with partial occupancy"]


def test_misspelt_column_is_named(tmp_path):
    write(tmp_path / "x.cif", layer(mx2("MoS2")))
    (tmp_path / "properties.csv").write_text("monolayer_id,gap_eV\nx,1\n")
    with pytest.raises(InputError, match="unknown column gap_eV: did you mean gap_ev"):
        list(folder.read_candidates(tmp_path))


def test_folder_without_structures_is_named(tmp_path):
    with pytest.raises(InputError, match="no structure files"):
        list(folder.read_candidates(tmp_path))


def test_database_in_c2db_style(tmp_path):
    path = tmp_path / "c2db.db"
    with ase.db.connect(path) as database:
        database.write(
            layer(mx2("MoS2")),
            uid="MoS2-1",
            gap=1.58,
            gap_dir=1.58,
            vbm=-2.0,
            cbm=-0.42,
            evac=4.0,
            emass1=0.42,
            hmass1=-0.53,
            c_11=132.0,
        )
        database.write(layer(graphene("C2")), uid="C2-1", gap=0.0, vbm=-1.0)
    library, rejected = collect(ase_database.read_candidates(path), maximum_atoms=6)
    assert len(rejected) == 0
    row = library.table.loc["MoS2-1"]
    assert row["vbm_ev"] == pytest.approx(-6.0)
    assert row["cbm_ev"] == pytest.approx(-4.42)
    assert row["hole_mass_m0"] == 0.53
    assert row["stiffness_n_m"] == 132.0
    assert bool(row["gap_is_direct"]) is True
    # Without the vacuum level an edge is a number against nothing.
    assert pd.isna(library.table.loc["C2-1", "vbm_ev"])


def test_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "x.db").write_text("not a database")
    with pytest.raises(InputError, match="x.db: not an ASE database"):
        list(ase_database.read_candidates(tmp_path / "x.db"))


def test_bundled_structure_without_a_line_is_named(tmp_path):
    atoms = layer(mx2("MoS2"))
    atoms.info["monolayer_id"] = "MoS2"
    write(tmp_path / "monolayers.extxyz", atoms)
    (tmp_path / "monolayers.csv").write_text("monolayer_id,gap_ev\nWS2,1.8\n")
    with pytest.raises(InputError, match="no line for monolayer 'MoS2'"):
        list(bundled.read_candidates(tmp_path))


def test_materials_project_documents_become_layers():
    documents = [
        SimpleNamespace(material_id="mp-984", formula_pretty="BN", structure=BORON_NITRIDE),
        SimpleNamespace(material_id="mp-149", formula_pretty="Si", structure=SILICON),
    ]
    library, rejected = collect(
        materials_project.candidates_from_documents(documents), maximum_atoms=6
    )
    assert list(library.monolayers) == ["BN-mp-984"]
    assert library.table["source"].tolist() == ["Materials Project mp-984"]
    assert rejected["material"].tolist() == ["Si-mp-149"]
    assert "not layered" in rejected["reason"][0]


SEARCH = {
    "elements": ["Mo"],
    "gap_ev": [0.5, None],
    "energy_above_hull_ev_atom": 0.1,
    "maximum_sites": 20,
    "include_gnome": False,
}


def test_missing_key_of_the_materials_project_is_told(monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    with pytest.raises(InputError, match="MP_API_KEY is not set"):
        materials_project.search(**SEARCH)


def test_refused_key_is_never_shown(monkeypatch):
    # The client refuses a key of a wrong length before it asks the service.
    key = "key-that-must-stay-secret"
    monkeypatch.setenv("MP_API_KEY", key)
    with pytest.raises(InputError, match="Materials Project: ") as caught:
        materials_project.search(**SEARCH)
    assert key not in str(caught.value)
    assert "\n" not in str(caught.value)
