"""Descriptors of monolayers: composition, geometry, symmetry, and what is known of electrons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import pandas as pd

from heteroforge.features.elements import ElementData, element_data
from heteroforge.structures import Monolayer

__all__ = ["ELECTRONIC", "descriptor_table", "structural_descriptors"]

# Columns of a library that describe electrons and elasticity; they can be unknown.
ELECTRONIC = (
    "gap_ev",
    "vbm_ev",
    "cbm_ev",
    "vacuum_step_ev",
    "electron_mass_m0",
    "hole_mass_m0",
    "stiffness_n_m",
    "deformation_potential_cbm_ev",
    "deformation_potential_vbm_ev",
    "cohesive_energy_ev_atom",
    "hull_distance_ev_atom",
    "heat_of_formation_ev_atom",
    "polarizability_in_plane_a",
    "polarizability_out_of_plane_a",
)

BOND_SCALE = 1.2  # atoms closer than this times the sum of covalent radii are bonded
FACE_DEPTH_A = 0.5  # atoms this far below the outermost one belong to the face


def descriptor_table(monolayers: Mapping[str, Monolayer], table: pd.DataFrame) -> pd.DataFrame:
    """Descriptors of a library, indexed by `monolayer_id`.

    Args:
        monolayers: by identifier.
        table: of the library, indexed by `monolayer_id`: its ELECTRONIC columns are taken over.
    """
    rows = {name: structural_descriptors(layer) for name, layer in monolayers.items()}
    frame = pd.DataFrame.from_dict({k: dict(v) for k, v in rows.items()}, orient="index")
    frame.index = pd.Index(list(monolayers), name="monolayer_id", dtype="string")
    known = table.reindex(list(monolayers))[list(ELECTRONIC)].astype(float)
    known.index = frame.index
    return pd.concat([frame, known], axis=1).astype(float)


@lru_cache(maxsize=50000)
def structural_descriptors(monolayer: Monolayer) -> Mapping[str, float]:
    """What structure and composition alone tell; units are in the names.

    Statistics over sites are means, and `_spread` is largest minus smallest. Faces are the
    outermost 0.5 Å of each side. The packing is the share of the plane that the atoms' covalent
    discs would cover if they did not overlap. `electrons_left_by_anions` is per atom: what cations
    can give less what anions lack to closed shells; 0 for ZrS2 and SiC, 2/3 for MoS2 with its
    filled d band, negative where anions bond with each other or lack electrons. Anions are the
    atoms of groups 15 to 17, carbon with no other neighbours than cations, and heavier atoms of
    group 14 with none but metals of groups 1 to 12.
    """
    sites = [element_data(symbol) for symbol in monolayer.species]
    electronegativity = np.array([s.electronegativity for s in sites])
    radius = np.array([s.covalent_radius_a for s in sites])
    valence = np.array([s.valence_electrons for s in sites], dtype=float)
    heights = np.array(monolayer.heights)
    area, n = monolayer.area_a2, len(sites)
    bonds, coordination = _bonds(monolayer, radius, electronegativity)
    partner = np.array([abs(electronegativity[i] - electronegativity[j]) for i, j, _ in bonds])
    lengths = np.array([length for _, _, length in bonds])
    relative = np.array([length / (radius[i] + radius[j]) for i, j, length in bonds])
    top = _face_mean(electronegativity, heights.max() - heights)
    bottom = _face_mean(electronegativity, heights - heights.min())
    order, twofold = _rotations(monolayer)
    values = {
        "number_of_atoms": n,
        "number_of_elements": len(set(monolayer.species)),
        "atomic_number_mean": np.mean([s.atomic_number for s in sites]),
        "row_mean": np.mean([s.row for s in sites]),
        "row_spread": np.ptp([s.row for s in sites]),
        "electronegativity_mean": electronegativity.mean(),
        "electronegativity_spread": np.ptp(electronegativity),
        "electronegativity_across_bonds": partner.mean() if len(partner) else 0.0,
        "electronegativity_between_faces": abs(top - bottom),
        "electronegativity_of_faces": (top + bottom) / 2,
        "covalent_radius_mean_a": radius.mean(),
        "covalent_radius_spread_a": np.ptp(radius),
        "valence_electrons_mean": valence.mean(),
        "valence_electrons_spread": np.ptp(valence),
        "valence_electrons_per_area_a2": valence.sum() / area,
        "ionization_energy_mean_ev": np.mean([s.ionization_energy_ev for s in sites]),
        "electrons_left_by_anions": _electrons_left(sites, bonds) / n,
        "odd_number_of_electrons": valence.sum() % 2,
        "share_of_most_electronegative": np.mean(electronegativity == electronegativity.max()),
        "a_a": monolayer.a,
        "lattice_ratio": monolayer.b / monolayer.a,
        "gamma_deg": monolayer.gamma_deg,
        "area_per_atom_a2": area / n,
        "thickness_a": monolayer.thickness_a,
        "packing": float((np.pi * radius**2).sum() / area),
        "bond_length_mean_a": lengths.mean() if len(lengths) else 0.0,
        "bond_length_over_radii": relative.mean() if len(relative) else 0.0,
        "coordination_mean": coordination.mean(),
        "rotation_order": order,
        "has_twofold_or_inversion": twofold,
        "has_equal_faces": float(monolayer.has_equal_faces),
        "number_of_operations": _operations(monolayer),
    }
    return MappingProxyType({key: float(value) for key, value in values.items()})


def _bonds(monolayer: Monolayer, radius: np.ndarray, electronegativity: np.ndarray):
    """Bonds (i, j, length in Å), each from both its ends, and the number per site.

    Neighbours within 1.2 times the sum of covalent radii. Two sites that both have bonds to a
    more electronegative element (metals in MoS2) are bonded only where they are about as near,
    for their size, as those bonds (W–W in 1T' phases, Ga–Ga in GaSe).
    """
    xyz = np.column_stack([np.array(monolayer.positions) @ monolayer.cell, monolayer.heights])
    grid = np.array([[i, j] for i in range(-2, 3) for j in range(-2, 3)])
    shifts = np.column_stack([grid @ monolayer.cell, np.zeros(len(grid))])
    distance = np.linalg.norm(
        xyz[None, :, None, :] + shifts[None, None] - xyz[:, None, None, :], axis=-1
    )
    relative = distance / (radius[:, None] + radius[None, :])[:, :, None]
    near = (relative < BOND_SCALE) & (distance > 0.1)
    to_anion = near & (electronegativity[None, :] - electronegativity[:, None] > 0.3)[:, :, None]
    nearest_anion = np.where(to_anion, relative, np.inf).min(axis=(1, 2))
    # Infinite where a site has no such bond: then nothing is taken away.
    limit = 1.05 * np.maximum(nearest_anion[:, None], nearest_anion[None, :])
    bonded = near & (relative < limit[:, :, None])
    found = [(int(i), int(j), float(distance[i, j, k])) for i, j, k in np.argwhere(bonded)]
    return found, bonded.sum(axis=(1, 2))


def _electrons_left(sites: Sequence[ElementData], bonds: Sequence[tuple]) -> int:
    """What cations of a cell can give less what anions lack to closed shells.

    No electronegativity decides: on Pauling's scale lead would take electrons from silicon, and
    tungsten would give carbon none.
    """
    neighbours: dict[int, list[ElementData]] = {}
    for i, j, _ in bonds:
        neighbours.setdefault(i, []).append(sites[j])
    left = 0
    for i, site in enumerate(sites):
        if (
            site.group == 14
            and i in neighbours
            and all(_gives_to_group_14(site, other) for other in neighbours[i])
        ):
            left -= 8 - site.valence_electrons
        else:
            left += site.cation_electrons - site.anion_electrons
    return left


def _gives_to_group_14(site: ElementData, other: ElementData) -> bool:
    """Whether an element is a cation beside one of group 14, which could be either.

    Carbon takes electrons from all elements but itself and anions (SiC, Ti2CO2; not CF or CH);
    those below it from groups 1 to 12 without hydrogen (Mg2Si).
    """
    if site.symbol == "C":
        return other.symbol != "C" and not other.anion_electrons
    return other.group <= 12 and other.symbol != "H"


def _face_mean(values: np.ndarray, depth: np.ndarray) -> float:
    return float(values[depth < FACE_DEPTH_A].mean())


def _rotations(monolayer: Monolayer) -> tuple[int, float]:
    """Order of the highest rotation axis normal to the layer; whether r → −r keeps the layer."""
    if monolayer.symmetry is None:
        return 1, 0.0
    order, centred = 1, 0.0
    for rotation in np.asarray(monolayer.symmetry.rotations):
        plane = rotation[:2, :2]
        if rotation[2, 2] == 1 and round(np.linalg.det(plane)) == 1:
            # Trace 2 cos φ: 2, 1, 0, −1, −2 for axes of order 1, 6, 4, 3, 2.
            order = max(order, {2: 1, 1: 6, 0: 4, -1: 3, -2: 2}[int(np.trace(plane))])
        if np.array_equal(plane, -np.eye(2)):
            centred = 1.0
    return order, centred


def _operations(monolayer: Monolayer) -> int:
    if monolayer.symmetry is None:
        return 1
    return len(np.unique(np.asarray(monolayer.symmetry.rotations), axis=0))
