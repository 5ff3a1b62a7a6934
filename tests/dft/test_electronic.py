"""Band edges, masses, mobility, alignment and vacuum levels against known answers."""

from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from scipy import constants

from heteroforge.dft import calculations
from heteroforge.dft.calculations import Calculator
from heteroforge.dft.electronic import (
    HBAR2_OVER_M0_EV_A2,
    EdgeFit,
    alignment_from_weights,
    anderson_alignment,
    band_curvature,
    band_edges,
    branch_at,
    broadened,
    curvature_tensor,
    dipole_e_a,
    tensor_masses,
    vacuum_levels,
)
from heteroforge.dft.running import CalculationFailed, Launcher, OutOfMemory
from heteroforge.sources.mobility import mobility_cm2_vs


def bands(*lines):
    return np.array(lines, dtype=float).T[None]


def test_edges_of_an_indirect_semiconductor():
    edges = band_edges(bands([-3, -1, -2], [2, 3, 1]), electrons=2)
    assert (edges.vbm_ev, edges.cbm_ev, edges.gap_ev) == (-1, 1, 2)
    assert (edges.vbm_k, edges.cbm_k) == (1, 2)
    assert not edges.is_metal


def test_bands_that_overlap_are_a_metal():
    edges = band_edges(bands([-3, 0.5, -2], [2, 3, 0.2]), electrons=2)
    assert edges.is_metal and edges.gap_ev == 0.0


def test_an_odd_electron_without_spin_is_a_metal():
    assert band_edges(bands([-3, -1], [2, 3], [5, 6]), electrons=3).is_metal


def test_spin_channels_are_filled_by_the_moment():
    up = [[-3, -2], [-1.0, -1.5], [4, 5]]
    down = [[-2, -2], [1.0, 2.0], [5, 6]]
    energies = np.stack([np.array(up, float).T, np.array(down, float).T])
    edges = band_edges(energies, electrons=3, magnetisation=1.0)
    assert (edges.vbm_ev, edges.cbm_ev) == (-1.0, 1.0)
    assert (edges.spin_vbm, edges.spin_cbm) == (0, 1)


def test_no_empty_band_is_an_error():
    with pytest.raises(ValueError, match="no empty band"):
        band_edges(bands([-1, -2]), electrons=2)


@pytest.mark.parametrize("mass", [0.1, 0.5, 3.0])
def test_curvature_of_a_free_electron_like_band(mass):
    q = np.linspace(-0.06, 0.06, 7)  # 1/Å
    energy = constants.hbar**2 * (q * 1e10) ** 2 / (2 * mass * constants.m_e) / constants.e
    curvature, slope, residual = band_curvature(q, 1.3 - energy)
    assert curvature == pytest.approx(-HBAR2_OVER_M0_EV_A2 / mass, rel=1e-6)
    assert residual < 1e-9 and abs(slope) < 1e-6


def test_curvature_survives_a_misplaced_and_nonparabolic_edge():
    q = np.linspace(-0.06, 0.06, 7)
    energy = 3.81 * (q - 0.004) ** 2 / 0.4 - 40 * q**4
    assert band_curvature(q, energy)[0] == pytest.approx(2 * 3.81 / 0.4, rel=0.02)


def luttinger(points, spin_orbit_ev):
    """Energies (n, 2) of p_x and p_y states that meet at Γ, with λ L_z; points in 1/Å."""
    x, y = np.asarray(points, dtype=float).T[:2]
    a, b = HBAR2_OVER_M0_EV_A2 / 2 / np.array([0.3, 0.7])
    mean, difference = (a + b) / 2, (a - b) / 2
    coupling = np.hypot(difference * np.hypot(x**2 - y**2, 2 * x * y), spin_orbit_ev)
    top = -mean * (x**2 + y**2)
    return np.stack([top - coupling, top + coupling], axis=-1)


def bands_at_gamma(vbm_band: int, gap_ev: float):
    """Bands whose edges lie at Γ, one band above the other."""
    valence = {"vbm_k": 0, "spin_vbm": 0, "vbm_band": vbm_band, "vbm_ev": 0.0}
    conduction = {"cbm_k": 0, "spin_cbm": 0, "cbm_band": vbm_band + 1, "cbm_ev": gap_ev}
    edges = SimpleNamespace(is_metal=False, **valence, **conduction)
    return SimpleNamespace(edges=edges, k_fractional=np.zeros((1, 3)), vacuum_ev=3.0)


def test_two_branches_that_meet_have_one_mass_once_they_are_split(monkeypatch):
    q = np.linspace(-0.06, 0.06, 7)
    split = luttinger([[x, 0.0] for x in q], spin_orbit_ev=0.1)
    with_coupling = [HBAR2_OVER_M0_EV_A2 / abs(band_curvature(q, split[:, k])[0]) for k in (0, 1)]
    assert with_coupling == pytest.approx([0.42, 0.42], rel=0.01)  # 2 / (1/0.3 + 1/0.7)
    run = Calculator(None, None, None, None)
    atoms = Atoms("C", cell=[3, 3, 20], pbc=(True, True, False))

    def energies_at(atoms, points, name):
        cartesian = points @ (atoms.cell.reciprocal().array * 2 * np.pi)
        pair = luttinger(cartesian, spin_orbit_ev=0.0)
        alone = 1.0 + HBAR2_OVER_M0_EV_A2 / 2 * (cartesian**2).sum(axis=1, keepdims=True)
        return np.concatenate([pair - 5.0, pair, alone], axis=1)[None]

    monkeypatch.setattr(run, "energies_at", energies_at)
    found = run.masses(atoms, bands_at_gamma(3, 1.0))
    assert found["hole_mass_m0"] == pytest.approx(0.7)
    assert found["hole_mass_split_m0"] == pytest.approx(0.42)
    assert found["electron_mass_m0"] == pytest.approx(1.0)
    assert "electron_mass_split_m0" not in found


def free_electrons_but(hole, monkeypatch, gap_ev=1.0):
    """Masses of a layer whose valence band is a function of Cartesian k (n, 2), found at k = 0."""
    run = Calculator(None, None, None, None)
    atoms = Atoms("C", cell=[3, 3, 20], pbc=(True, True, False))

    def energies_at(atoms, points, name):
        cartesian = (points @ (atoms.cell.reciprocal().array * 2 * np.pi))[:, :2]
        electron = 1.0 + HBAR2_OVER_M0_EV_A2 / 2 * (cartesian**2).sum(axis=1)
        return np.stack([hole(cartesian), electron], axis=-1)[None]

    monkeypatch.setattr(run, "energies_at", energies_at)
    return run.masses(atoms, bands_at_gamma(0, gap_ev))


@pytest.mark.parametrize(
    ("gap_ev", "beside"),
    [(0.06, 0.0), (0.1, 0.02), (0.28, 0.0), (0.28, 0.04), (0.8, 0.0), (0.8, 0.04), (1.5, 0.0)],
)
def test_bands_that_repel_across_a_small_gap_have_their_mass(gap_ev, beside, monkeypatch):
    """Massive Dirac electrons as fast as graphene's: m = gap / (2 v²)."""
    velocity_ev_a = 5.5

    def band(k):
        k2 = ((k - [0.0, beside]) ** 2).sum(axis=1)
        return -np.sqrt((gap_ev / 2) ** 2 + velocity_ev_a**2 * k2)

    found = free_electrons_but(band, monkeypatch, gap_ev)
    mass = HBAR2_OVER_M0_EV_A2 * (gap_ev / 2) / velocity_ev_a**2
    assert found["hole_mass_m0"] == pytest.approx(mass, rel=0.02)


def test_masses_are_those_of_the_extremum_beside_the_path(monkeypatch):
    def band(k):
        x, y = (k - [0.025, -0.03]).T
        return -HBAR2_OVER_M0_EV_A2 / 2 * (x**2 / 0.3 + y**2 / 0.9) + 400 * x**4

    found = free_electrons_but(band, monkeypatch)
    assert found["hole_mass_light_m0"] == pytest.approx(0.3, rel=1e-3)
    assert found["hole_mass_heavy_m0"] == pytest.approx(0.9, rel=1e-3)
    assert found["electron_mass_m0"] == pytest.approx(1.0)
    # Strained cells are looked at where that is; cell of 3 Å, vacuum at 3 eV.
    place = np.array(found["hole_k_fractional"]) * 2 * np.pi / 3
    assert place[:2] == pytest.approx([0.025, -0.03], abs=calculations.MISPLACED * 0.06)
    assert found["hole_edge_ev"] == pytest.approx(-3.0, abs=1e-3)
    assert found["electron_edge_ev"] == pytest.approx(1.0 - 3.0)


@pytest.mark.parametrize("beside", [-0.04, -0.01, 0.0, 0.02, 0.04])
def test_a_ring_of_maxima_has_no_mass(beside, monkeypatch):
    """The valence band of gallium chalcogenides, wherever the path meets the ring."""
    radius, depth = 0.28, 0.1

    def band(k):
        k2 = ((k + [radius + beside, 0.0]) ** 2).sum(axis=1)
        return -depth * (1 - k2 / radius**2) ** 2

    found = free_electrons_but(band, monkeypatch)
    assert not [name for name in found if name.startswith("hole")]
    assert found["electron_mass_m0"] == pytest.approx(1.0)


def test_a_band_that_is_flat_along_one_axis_has_a_mass_by_its_magnitude(monkeypatch):
    """Black phosphorus: along zigzag the maximum lies 0.4 meV above Γ."""

    def band(k):
        x, y = k.T
        return 0.4 * x**2 - 70 * x**4 - HBAR2_OVER_M0_EV_A2 / 2 * y**2 / 0.12

    found = free_electrons_but(band, monkeypatch)
    assert found["hole_mass_light_m0"] == pytest.approx(0.12)
    assert found["hole_mass_y_m0"] == pytest.approx(0.12)
    assert found["hole_mass_heavy_m0"] == pytest.approx(HBAR2_OVER_M0_EV_A2 / 0.8)


def test_a_ring_with_maxima_of_its_own_has_their_mass(monkeypatch):
    """Gallium selenide: 6 meV between the directions, from beside the ring."""

    def band(k):
        x, y = (k + [0.25, 0.0]).T
        radius, angle = np.hypot(x, y), np.arctan2(y, x)
        return -0.1 * (1 - radius**2 / 0.28**2) ** 2 + 0.003 * np.cos(6 * angle)

    found = free_electrons_but(band, monkeypatch)
    # Curvature along the ring 36 × 3 meV / (0.28 1/Å)².
    assert found["hole_mass_heavy_m0"] == pytest.approx(
        HBAR2_OVER_M0_EV_A2 / (36 * 0.003 / 0.28**2), rel=0.1
    )


def test_light_branches_that_nothing_crosses_keep_their_mass():
    """Two bands that a gap of 0.5 eV makes non-parabolic."""
    q = np.linspace(-0.06, 0.06, 7)
    light = 0.25 - np.sqrt(0.25**2 + 0.25 * 2 * HBAR2_OVER_M0_EV_A2 / 2 * q**2 / 0.06)
    line = np.stack([light, -HBAR2_OVER_M0_EV_A2 / 2 * q**2 / 0.4], axis=-1)
    fit = EdgeFit.of(q, np.stack([np.concatenate([line[:, :1] - 3, line], axis=-1)] * 3), 2, "hole")
    assert fit.masses("hole")["_split"] == pytest.approx(2 / (1 / 0.06 + 1 / 0.4), rel=0.1)


def test_numbers_of_plane_waves_are_no_crossing():
    """The energy of fluorographene at Γ lies a quarter of a meV beside those around it."""
    q = np.linspace(-0.06, 0.06, 7)
    scatter = 2.5e-4 * np.array([0, 0, 0, 1, 0, 0, 0])
    heavy, light = (-HBAR2_OVER_M0_EV_A2 / 2 * q**2 / mass + scatter for mass in (1.2, 0.4))
    fit = EdgeFit.of(q, np.stack([np.stack([light - 3, light, heavy], axis=-1)] * 3), 2, "hole")
    assert fit.masses("hole")["_split"] == pytest.approx(0.6, rel=0.05)


@pytest.mark.parametrize("below", [0.005, 0.02, 0.05, 0.3])
def test_two_branches_that_a_third_band_crosses_have_no_common_mass(below):
    q = np.linspace(-0.06, 0.06, 7)
    heavy, light, third = (
        -HBAR2_OVER_M0_EV_A2 / 2 * q**2 / mass - depth
        for mass, depth in ((0.6, 0.0), (0.12, 0.0), (1.5, below))
    )
    line = np.sort(np.stack([heavy, light, third], axis=-1), axis=-1)
    fit = EdgeFit.of(q, np.stack([line] * 3), 2, "hole")
    found = fit.masses("hole")
    assert found[""] == pytest.approx(0.6, rel=0.15 if below < 0.01 else 1e-3)
    if below < 0.1:
        assert found["_split"] is None
    else:
        assert found["_split"] == pytest.approx(0.2, rel=1e-3)


@pytest.mark.parametrize("moment", [0.0, 0.06, -0.02])
def test_an_odd_electron_without_a_moment_makes_a_metal(moment):
    """Half of NbS2's highest band is filled, in either channel."""
    channel = bands([-2.0, -2.1], [-0.2, 0.3], [2.0, 2.1])[0]
    edges = band_edges(np.stack([channel, channel]), electrons=3, magnetisation=moment)
    assert edges.is_metal
    polarised = band_edges(np.stack([channel - 1.0, channel + 1.0]), 3, magnetisation=1.0)
    assert not polarised.is_metal


def test_a_branch_is_the_one_other_band_of_an_edge():
    levels = np.array([-3.0, -1.0, -1.0, 0.5, 0.5, 0.5])
    assert branch_at(levels, 2, "hole") == 1
    assert branch_at(levels, 3, "electron") is None  # three meet
    assert branch_at(levels[:5], 3, "electron") == 4
    assert branch_at(levels[1:], 1, "hole") == 0  # nothing below is no third band
    assert branch_at(np.array([-1.0, 0.5]), 0, "hole") is None


@pytest.mark.parametrize("angle_deg", [0.0, 30.0, 77.0])
def test_masses_of_a_valley_whose_axes_are_turned(angle_deg):
    light, heavy = 0.2, 3.0
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    turn = np.array([[c, -s], [s, c]])
    tensor = turn @ np.diag([HBAR2_OVER_M0_EV_A2 / light, HBAR2_OVER_M0_EV_A2 / heavy]) @ turn.T
    diagonal = np.array([1, 1]) @ tensor @ np.array([1, 1]) / 2
    assert curvature_tensor(tensor[0, 0], tensor[1, 1], diagonal) == pytest.approx(tensor)
    found = tensor_masses(tensor, "electron")
    assert tensor_masses(-tensor, "hole") == found and tensor_masses(-tensor, "electron") == {}
    assert found["_light"] == pytest.approx(light)
    assert found["_heavy"] == pytest.approx(heavy)
    assert found[""] == pytest.approx((light * heavy) ** 0.5)
    assert 1 / found["_x"] + 1 / found["_y"] == pytest.approx(1 / light + 1 / heavy)


def test_mobility_prefactor_at_room_temperature():
    # 21.30 cm²/(V s) for C = 1 N/m, all masses m₀, E₁ = 1 eV at 300 K (by hand, CODATA values).
    assert mobility_cm2_vs(1.0, 1.0, 1.0, 1.0) == pytest.approx(21.30, abs=0.02)


def test_mobility_of_phosphorene_from_published_inputs():
    # Qiao et al., Nat. Commun. 5, 4475 (2014), table 2, electrons along x: C = 28.94 J/m²,
    # E₁ = 2.72 eV, m_x = 0.17, m_y = 1.12; published 1100–1140.
    found = mobility_cm2_vs(28.94, 0.17, (0.17 * 1.12) ** 0.5, 2.72)
    assert found == pytest.approx(1120, rel=0.02)


def test_mobility_scales_as_the_formula_says():
    base = mobility_cm2_vs(100, 0.5, 0.5, 3.0)
    assert mobility_cm2_vs(200, 0.5, 0.5, 3.0) == pytest.approx(2 * base)
    assert mobility_cm2_vs(100, 0.5, 0.5, 6.0) == pytest.approx(base / 4)
    assert mobility_cm2_vs(100, 0.5, 0.5, 3.0, temperature_k=600) == pytest.approx(base / 2)


@pytest.mark.parametrize(
    ("layers", "kind", "gap"),
    [
        ([(-6.0, -3.0), (-5.0, -4.0)], "I", 1.0),
        ([(-6.0, -4.0), (-5.0, -3.0)], "II", 1.0),
        ([(-6.0, -5.5), (-5.0, -3.0)], "III", 0.0),
        ([(-6.0, -4.0), (-5.95, -3.0)], "undetermined", 1.95),
        ([(-6.0, -4.0)], "I", 2.0),
        ([(-6.0, -4.0), (-4.5, -4.5)], "metal", 0.0),
    ],
)
def test_anderson(layers, kind, gap):
    found = anderson_alignment(layers)
    assert found[0] == kind
    assert found[1] == pytest.approx(gap)


def test_alignment_from_where_the_states_live():
    on_first, on_second = np.array([0.95, 0.05]), np.array([0.1, 0.9])
    shared = np.array([0.5, 0.5])
    assert alignment_from_weights(on_first, on_first, False, 0.5, 0.5) == "I"
    assert alignment_from_weights(on_first, on_second, False, 0.5, 0.5) == "II"
    assert alignment_from_weights(on_first, shared, False, 0.5, 0.5) == "undetermined"
    assert alignment_from_weights(on_first, on_second, False, 0.05, 0.5) == "undetermined"
    assert alignment_from_weights(on_first, on_second, True, 0.5, 0.5) == "metal"


def test_both_vacuum_levels_of_a_dipole_layer():
    height, bottom, top = 24.0, 10.0, 14.0
    z = np.arange(240) * height / 240
    potential = np.where(z < 12, -1.0, 1.0) - 20 * np.exp(-((z - 12) ** 2))
    # Beyond the truncation's reach the potential is nonsense, and must not be read.
    potential[(z < 1.0) | (z > 23.0)] = 50.0
    found = vacuum_levels(z, potential, bottom, top)
    assert found["vacuum_step_ev"] == pytest.approx(2.0, abs=1e-3)
    assert found["vacuum_ev"] == pytest.approx(0.0, abs=1e-3)
    assert found["vacuum_flatness_ev"] < 1e-3


def test_the_dipole_of_a_step_is_the_published_one():
    """Janus WSSe in C2DB: −0.037 e Å, and −0.730 eV of the electrostatic potential, whose sign is
    the opposite of that of an electron's energy, on 9.159 Å²."""
    assert dipole_e_a(0.730, 9.159) == pytest.approx(-0.037, abs=5e-4)


def test_a_cell_too_low_for_a_vacuum_level_is_an_error():
    z = np.arange(150) * 0.1
    with pytest.raises(ValueError, match="too low"):
        vacuum_levels(z, np.zeros(150), 5.0, 10.0)


def test_density_of_states_counts_electrons_and_splits_them_among_layers():
    # Two bands of three k-points, an empty one above; a quarter of each state on the first layer.
    energies = np.array([[[-6.0, -5.0, 2.0], [-6.2, -5.1, 2.2], [-6.4, -5.3, 2.4]]])
    weights = np.stack([np.full(energies.shape, 0.25), np.full(energies.shape, 0.75)])
    grid, states = broadened(energies, weights, np.array([0.2, 0.3, 0.5]))
    assert np.trapezoid(states[:, grid < 0], grid[grid < 0]) == pytest.approx([1.0, 3.0], rel=1e-4)
    assert states[:, np.abs(grid + 2.0) < 0.5].max() < 1e-12
    assert grid.max() <= 2.0
    spins = np.concatenate([energies, energies])
    both = broadened(spins, np.concatenate([weights] * 2, axis=1), np.array([0.2, 0.3, 0.5]))[1]
    assert both == pytest.approx(states)


def test_a_state_beside_the_atoms_belongs_to_no_layer(tmp_path, monkeypatch):
    """Nearly free electrons: a tenth on the orbitals of one layer is not that layer's state."""
    by_atom = np.array([[[[0.45, 0.45], [0.1, 0.0]]]])  # (spins, nk, bands, atoms)
    logs = iter(["", "JOB DONE", "", "", "", ""])  # killed once, and twice
    monkeypatch.setattr(calculations, "run_program", lambda *_: next(logs))
    monkeypatch.setattr(calculations, "read_projections", lambda *_: by_atom)
    run = Calculator(tmp_path, None, None, Launcher(ranks=1))
    atoms = Atoms("CC")
    atoms.set_array("layer", np.array([0, 1]))
    weights = run._layer_weights(atoms, 1)[:, 0, 0]
    assert weights[:, 0] == pytest.approx([0.5, 0.5]) and weights[:, 1] == pytest.approx([0.1, 0.0])
    bound = np.array([1.0, 0.0])
    assert alignment_from_weights(bound, weights[:, 1], False, None, None) == "undetermined"
    with pytest.raises(CalculationFailed, match="projwfc.x did not end well"):
        run._layer_weights(atoms, 1)
    run.launcher = Launcher(ranks=1, walltime_s=60.0)  # in a scheduler's job
    with pytest.raises(OutOfMemory, match="projwfc.x was killed twice"):
        run._layer_weights(atoms, 1)


def test_valleys_that_a_supercell_folds_onto_one_point_have_no_mass():
    """The envelope of three ellipses at 120° is no band, however well it is fitted."""
    q = np.linspace(-0.06, 0.06, 7)
    lines = np.zeros((3, 7, 4))
    lines[..., 0] = -3.0
    for line, direction in enumerate((0.0, 90.0, 45.0)):
        for valley, axis in enumerate((0.0, 120.0, 240.0)):
            angle = np.radians(direction - axis)
            inverse_mass = np.cos(angle) ** 2 / 0.28 + np.sin(angle) ** 2 / 1.87
            lines[line, :, 1 + valley] = HBAR2_OVER_M0_EV_A2 / 2 * q**2 * inverse_mass
    fit = EdgeFit.of(q, np.sort(lines, axis=-1), 1, "electron")
    assert fit.residual_ev < 1e-9 and fit.masses("electron") == {}
    alone = EdgeFit.of(q, lines[..., :2], 1, "electron")
    assert alone.masses("electron")[""] == pytest.approx((0.28 * 1.87) ** 0.5)
