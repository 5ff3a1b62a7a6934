"""The published tables: on small ones made here, and on the real ones where they are."""

import gzip
import hashlib

import numpy as np
import pandas as pd
import pytest
from ase.build import graphene, mx2
from ase.io import write

from heteroforge.io import InputError
from heteroforge.sources import collect, published_tables
from heteroforge.sources.mobility import mobility_cm2_vs

EXPORT = {
    "Formula": ["MoS2", "C2", "WS2"],
    "Area of unit-cell": [8.758, 5.24, 20.0],
    "Band gap": ["1.58", "0.0", "1.5"],
    "Dir. band gap": ["1.58", "-", "1.5"],
    "Val. band maximum": ["-1.36", "-", "-"],
    "Cond. band minimum": ["0.22", "-", "-"],
    "Vacuum level": ["4.53", "2.8", "-"],
    "Conduction band effective mass, direction 1": ["0.4", "-", "-"],
    "Conduction band effective mass, direction 2": ["0.9", "-", "-"],
    "Valence band effective mass, direction 1": ["152.7", "-", "-"],
    "Valence band effective mass, direction 2": ["11.8", "-", "-"],
    "Work function (avg. if finite dipole)": ["-", "4.2", "-"],
    "Vacuum level difference": ["0.0", "0.0", "0.0"],
    "Stiffness tensor, 11-component": ["131.3", "-3.0", "-"],
    "Energy above convex hull": ["0.0", "0.0", "0.0"],
    "Heat of formation": ["-0.92", "0.0", "-"],
    "Static interband polarizability (x)": ["6.19", "-", "-"],
    "Static interband polarizability (z)": ["0.37", "-", "-"],
}
BILAYERS = {
    "monolayer_name": ["1MoS2-1"] * 4,
    "Binding energy": [20.1, 25.4, 3339.0, 30.0],
    "Interlayer distance": [3.1, 3.0, 3.0, 9.0],
}


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder of small tables, with a list of their checksums."""
    for folder in ("c2db", "bidb"):
        (tmp_path / folder).mkdir()
    frames = [mx2("MoS2", a=3.18), graphene("C2", a=2.46), mx2("WS2", a=3.19)]
    for atoms, name in zip(frames, ("1MoS2-1", "2C-1", "1WS2-1"), strict=True):
        atoms.center(vacuum=8, axis=2)
        atoms.pbc = (True, True, False)
        atoms.info = {"name": name}
    write(tmp_path / "c2db/plain.extxyz", frames)
    structures = tmp_path / "c2db/monolayers.extxyz.gz"
    structures.write_bytes(gzip.compress((tmp_path / "c2db/plain.extxyz").read_bytes()))
    pd.DataFrame(EXPORT).to_csv(tmp_path / "c2db/properties_2021.csv", index=False)
    pd.DataFrame(BILAYERS).to_csv(tmp_path / "bidb/bilayers.csv", index=False)
    files = ["c2db/monolayers.extxyz.gz", "c2db/properties_2021.csv", "bidb/bilayers.csv"]
    sums = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in files]
    listed = pd.DataFrame({"file": files, "sha256": sums, "home": "its home"})
    listed.to_csv(tmp_path / "tables.csv", index=False)
    monkeypatch.setattr(published_tables, "CHECKSUMS", tmp_path / "tables.csv")
    return tmp_path


def test_c2db_rows_find_their_structures(mirror):
    library, rejected = collect(published_tables.read_c2db(mirror), maximum_atoms=6)
    assert len(rejected) == 0
    row = library.table.loc["1MoS2-1"]
    assert row["vbm_ev"] == pytest.approx(-5.89)
    assert row["electron_mass_m0"] == pytest.approx(0.6)
    assert pd.isna(row["hole_mass_m0"]), "42 electron masses are those of a flat band"
    assert row["binding_energy_mev_a2"] == 25.4, "unbound and unrelaxed bilayers do not count"
    assert bool(row["gap_is_direct"]) is True
    carbon = library.table.loc["2C-1"]
    assert bool(carbon["is_metal"]) is True
    assert pd.isna(carbon["stiffness_n_m"]), "a negative stiffness is no property"
    # The export's WS2 has another cell, so it is another phase.
    assert pd.isna(library.table.loc["1WS2-1", "gap_ev"])


def test_damaged_and_missing_tables_are_named(mirror):
    with (mirror / "bidb/bilayers.csv").open("a") as handle:
        handle.write("\n")
    with pytest.raises(InputError, match="bilayers.csv: sha256 .* expected .*damaged"):
        list(published_tables.read_c2db(mirror))
    (mirror / "c2db/properties_2021.csv").unlink()
    with pytest.raises(InputError, match="properties_2021.csv: no such file; it is made from its"):
        list(published_tables.read_c2db(mirror))


def test_spin_orbit_coupling_is_told_apart(reference_data):
    layers = {c.material: c for c in published_tables.read_hetml(reference_data)}
    found = layers["WSe2-MoS2-NM"]
    assert found.without_spin_orbit["gap_ev"] > found.properties["gap_ev"] + 0.2
    assert found.without_spin_orbit["vbm_ev"] < found.properties["vbm_ev"] - 0.2


def test_hetml_mobilities_are_those_of_its_deformation_potentials(reference_data):
    library, rejected = collect(published_tables.read_hetml(reference_data), maximum_atoms=6)
    assert (len(library), len(rejected)) == (376, 0)
    row = library.table.loc["MoS2-MoS2-NM"]
    assert row["electron_mobility_cm2_vs"] == pytest.approx(
        mobility_cm2_vs(131.331357, 0.426957, 0.426957, -8.073318), rel=1e-4
    )
    # Edges are against vacuum already: the published ionization energy is 5.89 eV.
    assert row["vbm_ev"] == pytest.approx(-5.888, abs=1e-3)
    # Lead is the positive end: an electron's energy is lower in the vacuum on its side, above.
    polar = library.monolayers["PbO-GeSe-NM"]
    assert polar.species[int(np.argmax(polar.heights))] == "Pb"
    assert library.table.loc["PbO-GeSe-NM", "vacuum_step_ev"] == pytest.approx(-2.650, abs=1e-3)
    unknown = library.table["deformation_potential_cbm_ev"].isna()
    assert library.table.loc[unknown, "electron_mobility_cm2_vs"].isna().all(), "never guessed"


def test_alignments_of_hetml_are_andersons_rule_on_its_layers(reference_data):
    """So they are nothing that DFT of a stack could confirm."""
    layers = pd.read_csv(reference_data / "hetml/monolayers.csv").set_index("hetml_id")
    stacks = pd.read_csv(reference_data / "hetml/bilayers.csv").dropna(subset="band_alignment")
    edges = layers[["vbm", "cbm"]].apply(pd.to_numeric)
    lower, upper = (edges.loc[stacks[end]].to_numpy() for end in ("uid_bot", "uid_top"))
    gap = np.minimum(lower[:, 1], upper[:, 1]) - np.maximum(lower[:, 0], upper[:, 0])
    is_nested = (lower[:, 0] > upper[:, 0]) == (lower[:, 1] < upper[:, 1])
    expected = np.where(gap <= 0, "III", np.where(is_nested, "I", "II"))
    assert len(stacks) > 500 and (expected == stacks["band_alignment"]).all()
