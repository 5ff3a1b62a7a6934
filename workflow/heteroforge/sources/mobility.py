"""Mobility by deformation-potential theory."""

from __future__ import annotations

from scipy import constants

__all__ = ["SMALLEST_POTENTIAL_EV", "mobility_cm2_vs"]

# Below, scattering by other phonons decides, and the estimate grows without bound.
SMALLEST_POTENTIAL_EV = 0.25


def mobility_cm2_vs(
    stiffness_n_m: float,
    mass_m0: float,
    density_of_states_mass_m0: float,
    deformation_potential_ev: float,
    temperature_k: float = 300.0,
) -> float:
    """Phonon-limited mobility by deformation-potential theory in two dimensions, cm²/(V s).

    μ = e ħ³ C / (k_B T m* m_d E₁²) (Qiao et al., Nat. Commun. 5, 4475 (2014), equation 1): only
    longitudinal acoustic phonons scatter, so this is an upper estimate.
    """
    mass = mass_m0 * constants.m_e
    dos_mass = density_of_states_mass_m0 * constants.m_e
    energy = deformation_potential_ev * constants.e
    value = (
        constants.e
        * constants.hbar**3
        * stiffness_n_m
        / (constants.k * temperature_k * mass * dos_mass * energy**2)
    )
    return float(value * 1e4)
