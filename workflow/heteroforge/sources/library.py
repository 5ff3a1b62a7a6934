"""The library of monolayers: structures and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from heteroforge.io import InputError, read_frames, read_table, write_frames, write_table
from heteroforge.io.conventions import protocol_names
from heteroforge.structures import Monolayer

__all__ = [
    "GEOMETRY",
    "PLAUSIBLE",
    "PROPERTIES",
    "Library",
    "read_library",
    "table_of",
    "write_library",
]

# Columns that follow from the structure.
GEOMETRY = {
    "formula": "string",
    "prototype": "string",
    "layer_group": "int64",
    "number_of_atoms": "int64",
    "a_a": "float64",
    "b_a": "float64",
    "gamma_deg": "float64",
    "thickness_a": "float64",
    "area_a2": "float64",
}

# Columns that a source may know; anything unknown is null. Energies of band edges are against the
# mean of both vacuum levels, masses those of the density of states, √(m_x m_y), `_split` that of
# an edge in which two branches meet, were it split by spin–orbit coupling (see
# `dft.electronic.branch_at`), mobilities those of deformation-potential theory (longitudinal
# acoustic phonons only: upper estimates) in the better direction, the binding energy that of two
# equal layers in their strongest bound stacking, positive when bound. Stiffness and deformation
# potentials are those along x; `_x` and `_y` are known where the directions differ.
PROPERTIES = {
    "is_metal": "boolean",
    "gap_ev": "float64",
    "gap_is_direct": "boolean",
    "vbm_ev": "float64",
    "cbm_ev": "float64",
    "work_function_ev": "float64",
    "vacuum_step_ev": "float64",
    "electron_mass_m0": "float64",
    "hole_mass_m0": "float64",
    "electron_mass_split_m0": "float64",
    "hole_mass_split_m0": "float64",
    "stiffness_n_m": "float64",
    "deformation_potential_cbm_ev": "float64",
    "deformation_potential_vbm_ev": "float64",
    "electron_mobility_cm2_vs": "float64",
    "hole_mobility_cm2_vs": "float64",
    "electron_mass_x_m0": "float64",
    "electron_mass_y_m0": "float64",
    "hole_mass_x_m0": "float64",
    "hole_mass_y_m0": "float64",
    "stiffness_y_n_m": "float64",
    "deformation_potential_cbm_y_ev": "float64",
    "deformation_potential_vbm_y_ev": "float64",
    "electron_mobility_x_cm2_vs": "float64",
    "electron_mobility_y_cm2_vs": "float64",
    "hole_mobility_x_cm2_vs": "float64",
    "hole_mobility_y_cm2_vs": "float64",
    "cohesive_energy_ev_atom": "float64",
    "hull_distance_ev_atom": "float64",
    "heat_of_formation_ev_atom": "float64",
    "polarizability_in_plane_a": "float64",
    "polarizability_out_of_plane_a": "float64",
    "binding_energy_mev_a2": "float64",
}

# Values outside are in another unit, or no values.
PLAUSIBLE = {
    "gap_ev": (0.0, 25.0),
    "vbm_ev": (-25.0, 5.0),
    "cbm_ev": (-25.0, 10.0),
    "work_function_ev": (0.0, 15.0),
    "vacuum_step_ev": (-20.0, 20.0),
    "stiffness_n_m": (0.0, 2000.0),
    "deformation_potential_cbm_ev": (-50.0, 50.0),
    "deformation_potential_vbm_ev": (-50.0, 50.0),
    "electron_mobility_cm2_vs": (0.0, 1e8),
    "hole_mobility_cm2_vs": (0.0, 1e8),
    "stiffness_y_n_m": (0.0, 2000.0),
    "deformation_potential_cbm_y_ev": (-50.0, 50.0),
    "deformation_potential_vbm_y_ev": (-50.0, 50.0),
    "electron_mobility_x_cm2_vs": (0.0, 1e8),
    "electron_mobility_y_cm2_vs": (0.0, 1e8),
    "hole_mobility_x_cm2_vs": (0.0, 1e8),
    "hole_mobility_y_cm2_vs": (0.0, 1e8),
    "cohesive_energy_ev_atom": (-20.0, 20.0),
    "hull_distance_ev_atom": (-5.0, 20.0),
    "heat_of_formation_ev_atom": (-20.0, 20.0),
    "polarizability_in_plane_a": (0.0, 1e5),
    "polarizability_out_of_plane_a": (0.0, 1e5),
    "binding_energy_mev_a2": (-1000.0, 1000.0),
}

ORIGIN = {"source": "string", "protocol": "string"}


@dataclass(frozen=True)
class Library:
    """Monolayers and a table about them, in the same order.

    Attributes:
        monolayers: by identifier, each in its primitive, reduced cell.
        table: indexed by `monolayer_id`, with the columns of GEOMETRY, PROPERTIES and ORIGIN.
    """

    monolayers: dict[str, Monolayer]
    table: pd.DataFrame

    def __post_init__(self) -> None:
        if list(self.monolayers) != list(self.table.index):
            raise InputError("library: structures and table do not hold the same monolayers")

    def __len__(self) -> int:
        return len(self.monolayers)

    @property
    def relaxed(self) -> frozenset[str]:
        """Names of the layers whose lattice constants are of this project's DFT."""
        return frozenset(self.table.index[self.table["protocol"].isin(protocol_names())])


def table_of(monolayers: Mapping[str, Monolayer], known: Mapping[str, Mapping]) -> pd.DataFrame:
    """Table of a library, indexed by `monolayer_id`.

    Args:
        monolayers: by identifier.
        known: per identifier, values of PROPERTIES and ORIGIN; what is missing is null.
    """
    rows = []
    for name, layer in monolayers.items():
        row = {
            "monolayer_id": name,
            "formula": layer.formula,
            "prototype": layer.prototype,
            "layer_group": layer.layer_group,
            "number_of_atoms": len(layer.species),
            "a_a": layer.a,
            "b_a": layer.b,
            "gamma_deg": layer.gamma_deg,
            "thickness_a": layer.thickness_a,
            "area_a2": layer.area_a2,
        }
        rows.append(row | {key: known.get(name, {}).get(key) for key in PROPERTIES | ORIGIN})
    columns = GEOMETRY | PROPERTIES | ORIGIN
    frame = pd.DataFrame(rows, columns=["monolayer_id", *columns])
    frame = frame.astype({"monolayer_id": "string"} | columns)
    # A gap is known to close or not, so being a metal is known with it.
    unknown = frame["is_metal"].isna() & frame["gap_ev"].notna()
    frame.loc[unknown, "is_metal"] = frame.loc[unknown, "gap_ev"] <= 0
    return frame.set_index("monolayer_id")


def write_library(structures_path: str | Path, table_path: str | Path, library: Library) -> None:
    """Write the structures as extended XYZ and the table as parquet or CSV."""
    write_frames(structures_path, [layer.to_atoms() for layer in library.monolayers.values()])
    write_table(table_path, library.table.reset_index())


def read_library(structures_path: str | Path, table_path: str | Path) -> Library:
    """Read what `write_library` wrote.

    Raises:
        InputError: a file is missing or unreadable, or the two do not belong together.
    """
    monolayers = {}
    for atoms in read_frames(structures_path):
        layer = Monolayer.from_atoms(atoms)
        monolayers[layer.name] = layer
    columns = GEOMETRY | PROPERTIES | ORIGIN
    table = read_table(table_path, columns=["monolayer_id", *GEOMETRY])
    # A table of an older version lacks the properties that have come since.
    table = table.reindex(columns=["monolayer_id", *columns])
    table = table.astype({"monolayer_id": "string"} | columns).set_index("monolayer_id")
    if list(monolayers) != list(table.index):
        raise InputError(
            f"{structures_path} and {table_path} do not hold the same monolayers in the same order"
        )
    return Library(monolayers, table)
