"""Published tables of monolayers, read from a folder that holds copies of them.

The tables, their public homes and checksums are listed in resources/sources/tables.csv; the folder
is laid out as its column `file` says.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from ase import Atoms
from ase.formula import Formula

from heteroforge.io import InputError, read_table
from heteroforge.sources.candidates import LARGEST_MASS_M0, Candidate
from heteroforge.sources.mobility import SMALLEST_POTENTIAL_EV, mobility_cm2_vs

__all__ = ["PROTOCOL", "read_c2db", "read_hetml"]

CHECKSUMS = Path(__file__).parents[3] / "resources" / "sources" / "tables.csv"
PROTOCOL = "C2DB PBE"
# The export and the structures share no identifier, and relaxed cells of one material agree.
SAME_AREA = 0.002
SMALLEST_MASS_M0 = 0.01
# Beyond these a bilayer has not been relaxed to a bound one.
BINDING_MEV_A2 = (0.0, 100.0)
INTERLAYER_DISTANCE_A = (1.5, 5.5)

C2DB_COLUMNS = {
    "gap_ev": "Band gap",
    "work_function_ev": "Work function (avg. if finite dipole)",
    "vacuum_step_ev": "Vacuum level difference",
    "stiffness_n_m": "Stiffness tensor, 11-component",
    "hull_distance_ev_atom": "Energy above convex hull",
    "heat_of_formation_ev_atom": "Heat of formation",
    "polarizability_in_plane_a": "Static interband polarizability (x)",
    "polarizability_out_of_plane_a": "Static interband polarizability (z)",
}
HETML_COLUMNS = {
    "gap_ev": "gap",
    "vbm_ev": "vbm",
    "cbm_ev": "cbm",
    "work_function_ev": "work_function",
    "vacuum_step_ev": "evacdiff",
    "stiffness_n_m": "c_11",
    "deformation_potential_cbm_ev": "D_cbm",
    "deformation_potential_vbm_ev": "D_vbm",
    "hull_distance_ev_atom": "ehull",
    "heat_of_formation_ev_atom": "hform",
    "polarizability_in_plane_a": "alphax",
    "polarizability_out_of_plane_a": "alphaz",
}


def read_c2db(folder: str | Path) -> Iterator[Candidate]:
    """Monolayers of C2DB, with the properties of its 2021 export and binding energies of BiDB.

    A row of the export belongs to the one structure with its composition and, within 0.2 %, its
    cell's area; where several have them, no one gets it. The binding energy (meV/Å²) is that of
    the strongest bound homobilayer of the monolayer.

    Raises:
        InputError: a table is missing, lacks a column, or is not the one with that checksum.
    """
    folder = Path(folder)
    frames = _frames(folder, "c2db/monolayers.extxyz.gz")
    export = read_table(_checked(folder, "c2db/properties_2021.csv"), columns=["Formula"])
    names = [str(atoms.info["name"]) for atoms in frames]
    rows = _rows_of(frames, export)
    binding = _binding_energies(folder)
    for name, atoms, row in zip(names, frames, rows, strict=True):
        yield Candidate(
            material=name,
            atoms=atoms,
            properties=_c2db_properties(row) | {"binding_energy_mev_a2": binding.get(name)},
            source="C2DB",
            protocol=PROTOCOL if row else None,
            without_spin_orbit=_known({"gap_ev": row.get("Gap wo. soc.")}),
            file="c2db/monolayers.extxyz.gz",
        )


def read_hetml(folder: str | Path) -> Iterator[Candidate]:
    """Hexagonal monolayers of HetML with C2DB's deformation potentials, and mobilities from them.

    Raises:
        InputError: a table is missing, lacks a column, or is not the one with that checksum.
    """
    folder = Path(folder)
    path = _checked(folder, "hetml/monolayers.csv")
    table = read_table(path, columns=["hetml_id", *HETML_COLUMNS.values()]).set_index("hetml_id")
    for atoms in _frames(folder, "hetml/monolayers.extxyz"):
        row = table.loc[str(atoms.info["hetml_id"])].to_dict()
        yield Candidate(
            material=f"{atoms.info['uid']}",
            atoms=atoms,
            properties=_hetml_properties(row),
            source="HetML",
            protocol=PROTOCOL,
            without_spin_orbit=_known(
                {f"{key}_ev": row[f"{key}_nosoc"] for key in ("gap", "vbm", "cbm")}
            ),
            file="hetml/monolayers.extxyz",
        )


def _rows_of(frames: list[Atoms], export: pd.DataFrame) -> list[dict]:
    """Per structure its row of the export; empty where there is none, or no one to tell."""
    by_composition: dict[str, list[tuple[float, int]]] = {}
    for place, atoms in enumerate(frames):
        area = float(np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1])))
        by_composition.setdefault(_hill(str(atoms.symbols)), []).append((area, place))
    found: list[list[dict]] = [[] for _ in frames]
    for row in export.to_dict("records"):
        area = _number(row["Area of unit-cell"])
        places = [
            place
            for other, place in by_composition.get(_hill(str(row["Formula"])), [])
            if area is not None and abs(other / area - 1) < SAME_AREA
        ]
        if len(places) == 1:
            found[places[0]].append(row)
    return [rows[0] if len(rows) == 1 else {} for rows in found]


def _c2db_properties(row: Mapping) -> dict:
    values = {key: _number(row.get(column)) for key, column in C2DB_COLUMNS.items()}
    vacuum = _number(row.get("Vacuum level"))
    for key, column in (("vbm_ev", "Val. band maximum"), ("cbm_ev", "Cond. band minimum")):
        edge = _number(row.get(column))
        values[key] = None if edge is None or vacuum is None else edge - vacuum
    for key, band in (("electron_mass_m0", "Conduction"), ("hole_mass_m0", "Valence")):
        masses = [_number(row.get(f"{band} band effective mass, direction {k}")) for k in (1, 2)]
        values[key] = _mean_mass(*masses)
    direct = _number(row.get("Dir. band gap"))
    if values["gap_ev"] and direct is not None:
        values["gap_is_direct"] = abs(direct - values["gap_ev"]) < 1e-3
    return _sensible(values)


def _hetml_properties(row: Mapping) -> dict:
    values = {key: _number(row[column]) for key, column in HETML_COLUMNS.items()}
    # Edges are against vacuum here, other than in C2DB's export.
    values["electron_mass_m0"] = _mean_mass(_number(row["emass1"]), _number(row["emass2"]))
    values["hole_mass_m0"] = _mean_mass(_number(row["hmass1"]), _number(row["hmass2"]))
    values = _sensible(values)
    if values["gap_ev"]:
        values["gap_is_direct"] = str(row["is_dir_gap"]) == "True"
    for carrier, edge in (("electron", "cbm"), ("hole", "vbm")):
        potential = values[f"deformation_potential_{edge}_ev"]
        mass, stiffness = values[f"{carrier}_mass_m0"], values["stiffness_n_m"]
        known = None not in (potential, mass, stiffness)
        if known and abs(potential) >= SMALLEST_POTENTIAL_EV:
            values[f"{carrier}_mobility_cm2_vs"] = mobility_cm2_vs(stiffness, mass, mass, potential)
    return values


def _sensible(values: dict) -> dict:
    """Without what cannot be, and with the vacuum step of an electron's energy.

    A negative stiffness is that of an unstable cell, not a property. The published difference of
    the vacuum levels is that of the electrostatic potential: it has the sign of the dipole moment.
    """
    if values["stiffness_n_m"] is not None and values["stiffness_n_m"] <= 0:
        values["stiffness_n_m"] = None
    if values["vacuum_step_ev"] is not None:
        values["vacuum_step_ev"] = -values["vacuum_step_ev"]
    return values


def _known(values: Mapping) -> dict:
    numbers = {key: _number(value) for key, value in values.items()}
    return {key: number for key, number in numbers.items() if number is not None}


def _mean_mass(first: float | None, second: float | None) -> float | None:
    """√(m₁ m₂) of both directions, None where one is no mass of a band that carries."""
    if first is None or second is None or first * second <= 0:
        return None
    mass = math.sqrt(first * second)
    return mass if SMALLEST_MASS_M0 < mass <= LARGEST_MASS_M0 else None


def _binding_energies(folder: Path) -> dict[str, float]:
    """Largest binding energy (meV/Å²) of each monolayer's homobilayers, by C2DB folder name."""
    columns = ["monolayer_name", "Binding energy", "Interlayer distance"]
    table = read_table(_checked(folder, "bidb/bilayers.csv"), columns=columns)
    energy = pd.to_numeric(table["Binding energy"], errors="coerce")
    distance = pd.to_numeric(table["Interlayer distance"], errors="coerce")
    bound = energy.gt(BINDING_MEV_A2[0]) & energy.le(BINDING_MEV_A2[1])
    bound &= distance.between(*INTERLAYER_DISTANCE_A)
    return energy[bound].groupby(table["monolayer_name"][bound]).max().to_dict()


def _frames(folder: Path, name: str) -> list[Atoms]:
    path = _checked(folder, name)
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    with opened as handle:
        # In memory: the reader goes back and forth, which compressed files are slow at.
        text = io.StringIO(handle.read())
    try:
        return list(ase.io.iread(text, index=":", format="extxyz"))
    except Exception as error:  # the reader raises many types for a broken file
        raise InputError(f"{path}: not readable as extended XYZ: {error}") from None


def _checked(folder: Path, name: str) -> Path:
    """Path of a table that is the one this reader was written for."""
    path = folder / name
    listed = read_table(CHECKSUMS, columns=["file", "sha256", "home"]).set_index("file").loc[name]
    if not path.is_file():
        raise InputError(f"{path}: no such file; it is made from {listed['home']}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != listed["sha256"]:
        raise InputError(
            f"{path}: sha256 {digest[:12]}…, expected {listed['sha256'][:12]}…: damaged, or "
            f"another version (if that is meant, put its checksum into {CHECKSUMS.name})"
        )
    return path


def _hill(formula: str) -> str:
    return str(Formula(formula).format("hill"))


def _number(value: object) -> float | None:
    number = pd.to_numeric(value, errors="coerce")
    return None if pd.isna(number) or not math.isfinite(number) else float(number)
