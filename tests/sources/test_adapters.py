import json
import zipfile

import ase.db
import pandas as pd
import pytest
from ase import Atoms
from ase.build import graphene, mx2
from ase.io import write

from heteroforge.io import InputError
from heteroforge.sources import (
    ase_database,
    bundled,
    cdvae_csv,
    collect,
    folder,
    jarvis,
    read_candidates,
)


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


def test_every_kind_of_bad_file_is_set_aside_with_its_reason(tmp_path):
    def save(name: str, atoms) -> None:
        write(tmp_path / f"{name}.extxyz", atoms)

    save("good", layer(mx2("MoS2")))
    overlapping = layer(mx2("MoSe2", a=3.3))
    overlapping.positions[1] = overlapping.positions[0] + [0.1, 0, 0]
    save("overlapping", overlapping)
    missing = layer(mx2("WS2"))
    missing.positions[0, 0] = float("nan")
    save("not_a_number", missing)
    save("no_cell", Atoms("MoS2", positions=[[0, 0, 0], [1.8, 0, 1.6], [1.8, 0, -1.6]]))
    large = layer(mx2("WSe2", a=3.3)) * (12, 12, 1)
    large.rattle(0.05, seed=1)  # no smaller cell
    save("large", large)
    save("other_unit", layer(mx2("WTe2", a=3.5)))
    save("two_lines", layer(mx2("MoTe2", a=3.5)))
    for name in ("twin_a", "twin_b"):
        carbon = layer(graphene("C2", a=2.46 if name == "twin_a" else 2.7))
        carbon.info["monolayer_id"] = "twin"
        save(name, carbon)
    (tmp_path / "empty.cif").write_text("")
    (tmp_path / "properties.csv").write_text(
        "monolayer_id,gap_ev\nother_unit,1700\ntwo_lines,1.0\ntwo_lines,1.1\ngood,1.7\n"
    )
    library, rejected = collect(folder.read_candidates(tmp_path), maximum_atoms=6)
    assert list(library.monolayers) == ["good", "twin"]
    reasons = rejected.set_index("file")["reason"]
    for file, told in (
        ("overlapping.extxyz", "overlapping atoms: Mo and Se 0.10 Å apart"),
        ("not_a_number.extxyz", "not finite"),
        ("no_cell.extxyz", "no in-plane cell"),
        ("large.extxyz", "432 atoms in the primitive cell, at most 6 expected"),
        ("other_unit.extxyz", "another unit?"),
        ("two_lines.extxyz", "2 lines in properties.csv, one expected"),
        ("twin_b.extxyz", "identifier twin is taken"),
        ("empty.cif", "Empty file"),
    ):
        assert told in reasons[file], reasons[file]
    assert len(rejected) == 8


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
            evacdiff=0.5,
        )
        database.write(layer(graphene("C2")), uid="C2-1", gap=0.0, vbm=-1.0)
    library, rejected = collect(ase_database.read_candidates(path), maximum_atoms=6)
    assert len(rejected) == 0
    row = library.table.loc["MoS2-1"]
    assert row["vbm_ev"] == pytest.approx(-6.0)
    assert row["cbm_ev"] == pytest.approx(-4.42)
    assert row["hole_mass_m0"] == 0.53
    assert row["stiffness_n_m"] == 132.0
    assert row["vacuum_step_ev"] == -0.5, "published is the electrostatic potential's"
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


def test_table_with_a_cif_in_each_line(tmp_path):
    write(tmp_path / "layer.cif", layer(mx2("MoS2")))
    text = (tmp_path / "layer.cif").read_text()
    rows = pd.DataFrame(
        {
            "material_id": ["a", "b", "c"],
            "cif": [text, "data_x\n_cell_length_a 3\n", text.replace("Mo", "W")],
            "gap_ev": [1.6, 1.0, 1700.0],
            "heat_all": [0.1, 0.2, 0.3],
        }
    )
    rows.to_csv(tmp_path / "val.csv", index=False)
    library, rejected = collect(cdvae_csv.read_candidates(tmp_path / "val.csv"), maximum_atoms=6)
    assert library.table["gap_ev"].to_dict() == {"a": 1.6}
    assert rejected["file"].tolist() == ["val.csv, line 3", "val.csv, line 4"]
    assert rejected["reason"][0].startswith("unreadable")
    assert rejected["reason"][1] == "gap_ev = 1700: 0 to 25 expected; another unit?"


@pytest.mark.parametrize("zipped", [False, True])
def test_jarvis_list(tmp_path, zipped):
    atoms = layer(mx2("MoS2"))
    entry = {
        "jid": "JVASP-664",
        "atoms": {
            "lattice_mat": atoms.cell.tolist(),
            "coords": atoms.get_scaled_positions().tolist(),
            "elements": ["Mo ", "S ", "S "],
            "cartesian": False,
        },
        "optb88vdw_bandgap": 1.65,
        "ehull": "na",
        "formation_energy_peratom": -0.9,
    }
    text = json.dumps([entry, {"jid": "JVASP-1"}])
    path = tmp_path / "dft_2d.json"
    path.write_text(text)
    if zipped:
        path = tmp_path / "dft_2d.json.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("d2.json", text)
    library, rejected = collect(jarvis.read_candidates(path), maximum_atoms=6)
    row = library.table.loc["JVASP-664"]
    assert (row["gap_ev"], row["heat_of_formation_ev_atom"]) == (1.65, -0.9)
    assert pd.isna(row["hull_distance_ev_atom"])
    assert row["formula"] == "MoS2"
    assert row["protocol"] == "JARVIS OptB88vdW"
    assert rejected["reason"].tolist() == ["unreadable: KeyError: 'atoms'"]


def test_file_that_is_no_jarvis_list_is_named(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match="not a JSON list of JARVIS-DFT"):
        list(jarvis.read_candidates(tmp_path / "x.json"))


def test_unknown_source_is_told_the_known_ones():
    with pytest.raises(InputError, match="expected one of bundled, folder, cdvae_csv"):
        list(read_candidates(["c3db"], [None], {}, ""))
