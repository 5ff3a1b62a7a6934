"""Stiffness, deformation potentials and mobility from uniaxial strain with relaxed positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from ase import Atoms, units

from heteroforge.dft.calculations import Calculator
from heteroforge.dft.outputs import PwResult
from heteroforge.dft.valleys import SAME_K, images
from heteroforge.sources.mobility import mobility_cm2_vs
from heteroforge.structures.plane import is_hexagonal, turned

__all__ = [
    "STRAIN",
    "STRAIN_UNITS",
    "deformation_potential_ev",
    "stiffness_of_metal",
    "strain_response",
    "strained",
    "turned_valleys",
    "without_mobilities",
]

STRAIN = 0.01
EDGE_OF = {"electron": "cbm", "hole": "vbm"}
METAL_SMEARING_RY = 0.02
# By as much the mean of an edge at both strains may lie beside the edge without strain, where one
# band has it: further, another band has come between, or strain moves the extremum off the point.
SAME_BAND_EV = 0.01
RESOLVED_EV = 0.5  # deformation potentials below are not told from noise: no mobility
# 2 kT at room temperature: as far behind the edge a kind of valley that there is three times as
# often, twice as heavy, holds as many carriers.
NEXT_VALLEY_EV = 0.05
COUPLING_DECIDES_FROM = 81  # thallium: p states are split by an eV from here on
SADDLE_EV = 0.025  # kT: a valley that kT lifts a carrier out of has no parabola
STRAIN_UNITS = {
    "stiffness_n_m": "N/m",
    "deformation_potential_cbm_ev": "eV",
    "deformation_potential_vbm_ev": "eV",
    "electron_mobility_cm2_vs": "cm²/(V s)",
    "hole_mobility_cm2_vs": "cm²/(V s)",
    # Where x and y differ; the three without a direction above are those along x.
    "stiffness_y_n_m": "N/m",
    "deformation_potential_cbm_y_ev": "eV",
    "deformation_potential_vbm_y_ev": "eV",
    "electron_mobility_x_cm2_vs": "cm²/(V s)",
    "electron_mobility_y_cm2_vs": "cm²/(V s)",
    "hole_mobility_x_cm2_vs": "cm²/(V s)",
    "hole_mobility_y_cm2_vs": "cm²/(V s)",
}


def strained(
    run: Calculator,
    atoms: Atoms,
    bands: Mapping,
    axis: int,
    sign: int,
    opposite: Mapping | None = None,
    thickening: float = 0.0,
) -> dict:
    """One strained cell: its stress, and the unstrained band edges' valleys against vacuum.

    At the extrema that `Calculator.masses` found, where it did: a band's shift differs from one
    point to another, and the path meets some extrema beside them (Q of WSe2).

    Args:
        run: of a folder of its own.
        atoms: relaxed, in the cell without strain.
        bands: `vbm_k_fractional`, `vbm_band`, `vbm_spin` and the same for the CBM, without strain;
            `hole_k_fractional` and that of electrons where there are masses.
        axis: 0 or 1, along x or y.
        sign: +1 stretched, −1 compressed by STRAIN.
        opposite: what this gave for the other sign, if it was computed.
        thickening: what is known before of the relative change of thickness per strain.

    Returns:
        `stress_n_m` along the axis (positive when it pulls), `vbm_ev`, `cbm_ev`,
        `displacements_a` (n, 3) on relaxation, beyond the uniform strain, and `attempts`.
    """
    result, displacements = _relaxed_under_strain(run, atoms, axis, sign, opposite, thickening)
    levels, _ = run.vacuum(result.atoms)
    # The same valley and band as without strain; the lowest of all might be another one.
    places = {}
    for carrier, edge in EDGE_OF.items():
        k = bands.get(f"{carrier}_k_fractional", bands[f"{edge}_k_fractional"])
        places[edge] = [k, *turned_valleys(atoms, k)]
    energies = run.energies_at(result.atoms, places["vbm"] + places["cbm"], "edges")
    energies = energies - levels["vacuum_ev"]
    run.clean()
    at_vbm, at_cbm = np.split(energies, [len(places["vbm"])], axis=1)
    vbm = at_vbm[bands.get("vbm_spin", 0), :, bands["vbm_band"]].tolist()
    cbm = at_cbm[bands.get("cbm_spin", 0), :, bands["cbm_band"]].tolist()
    return {
        "stress_n_m": _stress_n_m(result, axis),
        "vbm_ev": vbm[0],
        "cbm_ev": cbm[0],
        "vbm_turned_ev": vbm[1:],
        "cbm_turned_ev": cbm[1:],
        "displacements_a": displacements,
        "attempts": run.attempts,
    }


def _relaxed_under_strain(
    run: Calculator,
    atoms: Atoms,
    axis: int,
    sign: int,
    opposite: Mapping | None,
    thickening: float,
) -> tuple[PwResult, list]:
    """A strained cell with relaxed positions, and their displacements beyond the uniform strain.

    To first order in the strain atoms move by the opposite of what they moved under the opposite
    one, which is where the relaxation starts; the first one where the layer is as thick as it is
    expected to be.
    """
    deformed = _deformed(atoms, axis, sign)
    uniform = deformed.positions.copy()
    if opposite is not None and "displacements_a" in opposite:
        deformed.positions -= opposite["displacements_a"]
    else:
        heights = deformed.positions[:, 2]
        middle = (heights.max() + heights.min()) / 2
        deformed.positions[:, 2] += thickening * sign * STRAIN * (heights - middle)
    # The mesh of the unstrained cell: strain breaks the symmetry that K on the mesh relies on.
    result = run.relax(deformed, mesh=run.mesh(atoms), stress=True)
    return result, (result.atoms.positions - uniform).tolist()


def _deformed(atoms: Atoms, axis: int, sign: int) -> Atoms:
    deformed = atoms.copy()
    cell = deformed.cell.array.copy()
    cell[:, axis] *= 1 + sign * STRAIN
    deformed.set_cell(cell, scale_atoms=True)
    return deformed


def _stress_n_m(result: PwResult, axis: int) -> float:
    """Of a layer along an axis, positive when it pulls."""
    stress = result.stress_ev_a3[axis, axis] * result.atoms.cell.array[2, 2]
    return float(stress * units.m**2 / units.J)


def stiffness_of_metal(
    calculator: Callable[[str], Calculator],
    keep: Callable[[str, Callable[[], dict]], dict],
    atoms: Atoms,
    hexagonal: bool,
    thickening: Sequence[float] = (0.0, 0.0),
) -> dict:
    """Stiffness of a layer without a gap, from the stress at ±1 % strain.

    Strain moves the Fermi points of a semimetal off the mesh, which falsifies the stress at the
    smearing of insulators (graphene in `quick`: 293 instead of 346 N/m); `METAL_SMEARING_RY` takes
    the mean over their surroundings (349 N/m; docs/dft.md).

    Args:
        calculator: gives a calculator for a subfolder.
        keep: gives what a function computes, from the file of that name where it is there.
        atoms: relaxed, in the cell without strain.
        hexagonal: one direction stands for all.
        thickening: relative change of thickness per strain along x and y, as far as it is known.

    Returns:
        `stiffness_n_m`, where not hexagonal `stiffness_y_n_m`, and `attempts`.
    """

    def stress(axis: int, sign: int, opposite: Mapping | None = None) -> dict:
        run = calculator(f"stress_{'xy'[axis]}_{sign:+d}")
        run.protocol = replace(run.protocol, smearing_ry=METAL_SMEARING_RY)
        result, displacements = _relaxed_under_strain(
            run, atoms, axis, sign, opposite, thickening[axis]
        )
        run.clean()
        return {
            "stress_n_m": _stress_n_m(result, axis),
            "displacements_a": displacements,
            "attempts": run.attempts,
        }

    found: dict = {"attempts": []}
    for axis in (0,) if hexagonal else (0, 1):
        name = f"stress_{'xy'[axis]}"
        low = keep(f"{name}_-1", partial(stress, axis, -1))
        high = keep(f"{name}_+1", partial(stress, axis, 1, low))
        key = "stiffness_y_n_m" if axis == 1 else "stiffness_n_m"
        found[key] = (high["stress_n_m"] - low["stress_n_m"]) / (2 * STRAIN)
        found["attempts"] += low["attempts"] + high["attempts"]
    return found


def without_mobilities(response: Mapping, numbers: Sequence[int], is_polarised: bool) -> dict:
    """A response without mobilities, where they would be of no real layer.

    Of two spin channels, of which nothing was compared with published mobilities, and of elements
    whose p states spin–orbit coupling splits by as much as gaps are: it inverts the bands of
    bismuthene, with which its masses go.

    Args:
        response: of `strain_response`.
        numbers: of the atoms.
    """
    if not is_polarised and max(numbers) < COUPLING_DECIDES_FROM:
        return dict(response)
    return {name: value for name, value in response.items() if "mobility" not in name}


def turned_valleys(atoms: Atoms, k_fractional: Sequence[float]) -> list[list[float]]:
    """The valleys (0 or 2) that turning a hexagonal layer by ±120° makes of one at k.

    None of Γ and K, which it leaves where they are, and none for other cells.
    """
    cell = atoms.cell.array[:2, :2]
    if not is_hexagonal(cell):
        return []
    found = []
    for angle_deg in (120.0, -120.0):
        image = turned(k_fractional, cell, angle_deg)
        moved = image - np.array(k_fractional[:2])
        if np.abs(moved - np.round(moved)).max() > 1e-3:
            found.append([*(float(x) for x in image), 0.0])
    return found


def strain_response(
    strain: Callable[[int, int, Mapping | None], dict],
    bands: Mapping,
    masses: Mapping,
    hexagonal: bool,
    rotations: np.ndarray | None = None,
) -> dict:
    """Stiffness, deformation potentials and mobilities by uniaxial strain.

    The stiffness is the slope of the stress between −ε and +ε. Energies would do at an infinite
    cutoff; at a finite one every cell has its own plane waves, whose number jumps, and a second
    difference of energies takes the jumps for curvature (fluorographene at 60 Ry: 192 to 286 N/m,
    depending on the height of the cell).

    Two branches that meet in an edge of a hexagonal layer are taken as spin–orbit coupling leaves
    them, with the mass of both (`_split`) and the shift of both; where the mass of both is not
    known, or directions differ, they have the root mean square of their slopes: see
    `deformation_potential_ev`. Of an edge that one band has, and that strain does not move alike
    to either side (`SAME_BAND_EV`), no deformation potential is known.

    Args:
        strain: gives what `strained` does, for (axis, sign, opposite).
        bands: `vbm_ev`, `cbm_ev` at the valleys that `strain` follows; `vbm_k_fractional` and that
            of the CBM where these are not told with the masses.
        masses: as `Calculator.masses` gives them, with the edges that they are of.
        hexagonal: one direction stands for all.
        rotations: of the cell's symmetry (n, 3, 3), on fractional coordinates; None: those of a
            layer with a threefold axis where it is hexagonal, and with none elsewhere.

    Returns:
        The quantities of STRAIN_UNITS, those with a direction only where not `hexagonal`; the
        mobility without one is that of the better direction. Mobilities are missing along
        directions in which a deformation potential is below 0.5 eV, which numerical noise could
        make, of carriers without a mass, or of branches that meet without that of both, of
        those that another kind of valley may hold as many of, or that kT lifts over a saddle, and
        of those whose equal valleys conduct unlike along x (X and Y of a square layer).
    """
    found: dict[str, float] = {}
    for axis in (0,) if hexagonal else (0, 1):
        along = "_y" if axis == 1 else ""
        low = strain(axis, -1, None)
        high = strain(axis, 1, low)
        stiffness = (high["stress_n_m"] - low["stress_n_m"]) / (2 * STRAIN)
        found[f"stiffness{along}_n_m"] = stiffness
        for carrier, edge in EDGE_OF.items():
            name = f"{edge}_ev"
            unstrained = masses.get(f"{carrier}_edge_ev", bands[name])
            split = masses.get(f"{carrier}_mass_split_m0") if hexagonal else None
            branches_meet = f"{carrier}_mass_split_m0" in masses
            places = [(low[name], high[name])]
            if hexagonal and (rotations is None or has_threefold_axis(rotations)):
                ends = (end.get(f"{edge}_turned_ev", []) for end in (low, high))
                places += zip(*ends, strict=True)
            potential = _over_valleys(
                places, unstrained, "one" if not branches_meet else "both" if split else "either"
            )
            if potential is None:
                continue
            found[f"deformation_potential_{edge}{along}_ev"] = potential
            # Carriers of branches that meet are not those of the heavier one.
            unknown = hexagonal and branches_meet and split is None
            k = masses.get(f"{carrier}_k_fractional", bands.get(f"{edge}_k_fractional"))
            if not hexagonal and rotations is not None and k is not None:
                unknown |= has_unlike_images(np.array(k), rotations)
            for place, least in (("next_valley", NEXT_VALLEY_EV), ("saddle", SADDLE_EV)):
                behind = masses.get(f"{carrier}_{place}_ev")
                unknown |= behind is not None and behind < least
            if unknown or abs(potential) < RESOLVED_EV:
                continue
            mass, dos_mass = split, split
            if split is None:
                mass, dos_mass = _transport_masses(masses, carrier, None if hexagonal else axis)
            if mass is None:
                continue
            mobility = mobility_cm2_vs(stiffness, mass, dos_mass, potential)
            if not hexagonal:
                found[f"{carrier}_mobility_{'xy'[axis]}_cm2_vs"] = mobility
            key = f"{carrier}_mobility_cm2_vs"
            found[key] = max(mobility, found.get(key, 0.0))
    return found


def _transport_masses(
    masses: Mapping, carrier: str, axis: int | None
) -> tuple[float | None, float | None]:
    """Mass for transport along an axis (None: any) and density-of-states mass, in m₀, if any."""
    if masses.get(f"{carrier}_mass_m0") is None:
        return None, None
    mass = masses.get(f"{carrier}_mass_{'xy'[axis or 0]}_m0")
    if axis is None:
        # Valleys that symmetry repeats conduct alike in all directions.
        light, heavy = (masses[f"{carrier}_mass_{kind}_m0"] for kind in ("light", "heavy"))
        mass = 2 / (1 / light + 1 / heavy)
    return mass, masses[f"{carrier}_mass_m0"]


def has_unlike_images(k_fractional: np.ndarray, rotations: np.ndarray) -> bool:
    """Whether symmetry makes other valleys of one, whose masses along x and y are not the same.

    Operations that leave the axes of the cell apart do not: those of a rectangular cell.

    Args:
        k_fractional: (3) in reciprocal vectors.
        rotations: (n, 3, 3) of the cell's symmetry, on fractional coordinates of atoms.
    """
    keeps_axes = (rotations[:, 0, 1] == 0) & (rotations[:, 1, 0] == 0)
    alike = images(k_fractional, rotations[keeps_axes])
    apart = images(k_fractional, rotations[~keeps_axes])[:, None] - alike
    return bool((np.abs(apart - np.round(apart)).max(axis=-1) > SAME_K).all(axis=1).any())


def has_threefold_axis(rotations: np.ndarray) -> bool:
    """Whether turning by 120° is among the rotations (n, 3, 3) of a structure's symmetry."""
    in_plane = rotations[:, :2, :2]
    return bool(
        ((np.linalg.det(in_plane) > 0) & (np.trace(in_plane, axis1=1, axis2=2) == -1)).any()
    )


def _over_valleys(
    places: Sequence[tuple[float, float]], unstrained_ev: float, branches: str
) -> float | None:
    """Deformation potential over the equal valleys of an edge: root mean square, sign of the mean.

    Strain along x moves valleys off Γ and K by Ξd + Ξu cos²θ of their directions θ. The mean square
    over three at 120° is that over all directions of the strain, and scattering goes with it.

    Args:
        places: energy at the valley that was followed, compressed and stretched, and at the others
            that symmetry makes of it.
        unstrained_ev: the edge without strain.
        branches: "one" band has the edge; two meet in it, and carriers are of "both" alike, or of
            "either".

    Returns:
        None where one band has the edge, and strain does not move it alike to either side.
    """
    found = []
    for compressed, stretched in places:
        beside = abs((compressed + stretched) / 2 - unstrained_ev)
        if branches == "one" and beside > SAME_BAND_EV:
            return None
        reference = unstrained_ev if branches == "either" else None
        found.append(deformation_potential_ev(compressed, stretched, reference))
    return float(np.copysign(np.sqrt(np.mean(np.square(found))), np.mean(found)))


def deformation_potential_ev(
    compressed_ev: float,
    stretched_ev: float,
    unstrained_ev: float | None = None,
    strain: float = STRAIN,
) -> float:
    """Shift of a band edge per strain, in eV, from the edge against vacuum at −ε and +ε.

    Where two branches meet, strain moves them by a ε ± b ε, and the edge is the outer one at either
    sign. Without spin–orbit coupling carriers scatter by both; with it they are p_x ± i p_y, which
    b only mixes (`electronic.branch_at`), and scatter by a.

    Args:
        unstrained_ev: the edge at ε = 0; None: a alone, else the root of a² + b², its sign that of
            a.
    """
    shift = (stretched_ev - compressed_ev) / (2 * strain)
    if unstrained_ev is None:
        return shift
    splitting = (stretched_ev + compressed_ev - 2 * unstrained_ev) / (2 * strain)
    return math.copysign(math.hypot(shift, splitting), shift)
