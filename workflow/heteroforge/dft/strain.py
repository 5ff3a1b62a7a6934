"""Stiffness, deformation potentials and mobility from uniaxial strain with relaxed positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ase import Atoms

from heteroforge.dft.calculations import Calculator
from heteroforge.dft.electronic import mobility_cm2_vs

__all__ = ["STRAIN", "STRAIN_UNITS", "deformation_potential_ev", "strain_response", "strained"]

STRAIN = 0.01
RESOLVED_EV = 0.5  # deformation potentials below are not told from noise: no mobility
EV_A2_TO_N_M = 16.02176634
STRAIN_UNITS = {
    "stiffness_n_m": "N/m",
    "deformation_potential_cbm_ev": "eV",
    "deformation_potential_vbm_ev": "eV",
    "electron_mobility_cm2_vs": "cm²/(V s)",
    "hole_mobility_cm2_vs": "cm²/(V s)",
}


def strained(run: Calculator, atoms: Atoms, bands: Mapping, axis: int, sign: int) -> dict:
    """One strained cell: its stress, and the unstrained band edges' valleys against vacuum.

    Args:
        run: of a folder of its own.
        atoms: relaxed, in the cell without strain.
        bands: `vbm_k_fractional`, `vbm_band` and the same for the CBM, without strain.
        axis: 0 or 1, along x or y.
        sign: +1 stretched, −1 compressed by STRAIN.

    Returns:
        `stress_n_m` along the axis (positive when it pulls), `vbm_ev`, `cbm_ev`, `attempts`.
    """
    deformed = atoms.copy()
    cell = deformed.cell.array.copy()
    cell[:, axis] *= 1 + sign * STRAIN
    deformed.set_cell(cell, scale_atoms=True)
    # The mesh of the unstrained cell: strain breaks the symmetry that K on the mesh relies on.
    result = run.relax(deformed, mesh=run.mesh(atoms), stress=True)
    levels, _ = run.vacuum(result.atoms)
    # The same valley and band as without strain; the lowest of all might be another one.
    places = [bands["vbm_k_fractional"], bands["cbm_k_fractional"]]
    energies = run.energies_at(result.atoms, places, "edges")[0] - levels["vacuum_ev"]
    run.clean()
    stress = result.stress_ev_a3[axis, axis] * atoms.cell.array[2, 2]
    return {
        "stress_n_m": float(EV_A2_TO_N_M * stress),
        "vbm_ev": float(energies[0, bands["vbm_band"]]),
        "cbm_ev": float(energies[1, bands["cbm_band"]]),
        "attempts": run.attempts,
    }


def strain_response(
    strain: Callable[[int, int], dict], bands: Mapping, masses: Mapping, hexagonal: bool
) -> dict:
    """Stiffness along x, deformation potentials along x, and mobilities of the better direction.

    The stiffness is the slope of the stress between −ε and +ε. Energies would do at an infinite
    cutoff; at a finite one every cell has its own plane waves, whose number jumps, and a second
    difference of energies takes the jumps for curvature (fluorographene at 60 Ry: 192 to 286 N/m,
    depending on the height of the cell).

    Args:
        strain: gives what `strained` does, for (axis, sign).
        bands: `vbm_ev`, `cbm_ev` at the valleys that `strain` follows.
        masses: as `Calculator.masses` gives them.
        hexagonal: one direction stands for all.

    Returns:
        The quantities of STRAIN_UNITS; mobilities are missing where a deformation potential is
        below 0.5 eV, which numerical noise could make.
    """
    found: dict[str, float] = {}
    for axis in (0,) if hexagonal else (0, 1):
        low, high = strain(axis, -1), strain(axis, 1)
        stiffness = (high["stress_n_m"] - low["stress_n_m"]) / (2 * STRAIN)
        found.setdefault("stiffness_n_m", stiffness)
        for carrier, edge in (("electron", "cbm"), ("hole", "vbm")):
            name = f"{edge}_ev"
            potential = deformation_potential_ev(low[name], bands[name], high[name])
            found.setdefault(f"deformation_potential_{edge}_ev", potential)
            if abs(potential) < RESOLVED_EV:
                continue
            # Valleys that symmetry repeats conduct alike in all directions.
            light, heavy = (masses[f"{carrier}_mass_{kind}_m0"] for kind in ("light", "heavy"))
            mass = 2 / (1 / light + 1 / heavy)
            if not hexagonal:
                mass = masses[f"{carrier}_mass_{'xy'[axis]}_m0"]
            mobility = mobility_cm2_vs(stiffness, mass, masses[f"{carrier}_mass_m0"], potential)
            key = f"{carrier}_mobility_cm2_vs"
            found[key] = max(mobility, found.get(key, 0.0))
    return found


def deformation_potential_ev(
    compressed_ev: float, unstrained_ev: float, stretched_ev: float, strain: float = STRAIN
) -> float:
    """Shift of a band edge per strain, in eV, from edges against vacuum at −ε, 0 and +ε.

    The one-sided slope of larger magnitude: where strain splits a degenerate edge the slopes
    differ, and their mean would make carriers look as if they did not scatter.
    """
    slopes = (unstrained_ev - compressed_ev) / strain, (stretched_ev - unstrained_ev) / strain
    return max(slopes, key=abs)
