"""Strain response of models whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms, units

from heteroforge.dft.protocols import Protocol
from heteroforge.dft.strain import (
    METAL_SMEARING_RY,
    STRAIN,
    deformation_potential_ev,
    has_threefold_axis,
    has_unlike_images,
    stiffness_of_metal,
    strain_response,
    strained,
    turned_valleys,
    without_mobilities,
)
from heteroforge.dft.valleys import rotations_of
from heteroforge.sources.mobility import mobility_cm2_vs

BANDS = {"vbm_ev": -6.0, "cbm_ev": -4.0}
MASSES = {
    f"{carrier}_mass{kind}_m0": value
    for carrier in ("electron", "hole")
    for kind, value in {"": 0.4, "_light": 0.2, "_heavy": 0.8, "_x": 0.2, "_y": 0.8}.items()
}


def _solid(stiffness, vbm_slopes, cbm_slopes):
    """Linear in strain: stress, and edges with one slope per axis."""

    def strain(axis, sign, opposite=None):
        return {
            "stress_n_m": 0.3 + sign * 0.01 * stiffness[axis],
            "vbm_ev": -6.0 + sign * 0.01 * vbm_slopes[axis],
            "cbm_ev": -4.0 + sign * 0.01 * cbm_slopes[axis],
        }

    return strain


def test_slopes_come_back_and_a_constant_stress_does_not_matter():
    found = strain_response(_solid([130.0], [-2.5], [-8.0]), BANDS, MASSES, hexagonal=True)
    assert found["stiffness_n_m"] == pytest.approx(130.0)
    assert found["deformation_potential_vbm_ev"] == pytest.approx(-2.5)
    assert found["deformation_potential_cbm_ev"] == pytest.approx(-8.0)
    # Valleys that symmetry repeats: conductivity mass 2 / (1/0.2 + 1/0.8) = 0.32.
    expected = mobility_cm2_vs(130.0, 0.32, 0.4, -8.0)
    assert found["electron_mobility_cm2_vs"] == pytest.approx(expected)


def test_valleys_that_strain_splits_scatter_by_their_mean_square():
    """Slopes Ξd + Ξu cos²θ at 0 and ±120°; and the mean square over all directions of strain."""
    dilation, shear = 0.7, -6.4
    angles = np.radians([0.0, 120.0, -120.0])
    slopes = dilation + shear * np.cos(angles) ** 2

    def strain(axis, sign, opposite=None):
        energies = -4.0 + sign * 0.01 * slopes
        return {
            "stress_n_m": sign * 1.3,
            "vbm_ev": -6.0,
            "cbm_ev": energies[0],
            "vbm_turned_ev": [],
            "cbm_turned_ev": energies[1:].tolist(),
        }

    found = strain_response(strain, BANDS, MASSES, hexagonal=True)["deformation_potential_cbm_ev"]
    everywhere = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    mean_square = ((dilation + shear * np.cos(everywhere) ** 2) ** 2).mean()
    assert found == pytest.approx(-np.sqrt(mean_square))

    def without_threefold_axis(axis, sign, opposite):
        return strain(axis, sign) | {"cbm_turned_ev": [-3.9, -3.9]}

    # Valleys that lie elsewhere without strain are none of the same.
    alone = strain_response(without_threefold_axis, BANDS, MASSES, True, np.eye(3)[None])
    assert alone["deformation_potential_cbm_ev"] == pytest.approx(slopes[0])


@pytest.mark.parametrize("gamma_deg", [60.0, 120.0])
def test_valleys_of_a_hexagonal_layer(gamma_deg):
    atoms = Atoms("C", cell=[2.5, 2.5, 20.0, 90.0, 90.0, gamma_deg])
    corner = (1 / 3, 2 / 3, 0.0) if gamma_deg == 60.0 else (1 / 3, 1 / 3, 0.0)
    assert turned_valleys(atoms, (0.0, 0.0, 0.0)) == turned_valleys(atoms, corner) == []
    images = [(0.5, 0.0, 0.0), *turned_valleys(atoms, (0.5, 0.0, 0.0))]
    folded = {tuple((np.round(k, 6) % 1.0).tolist()) for k in images}
    assert folded == {(0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.5, 0.5, 0.0)}
    square = Atoms("C", cell=[2.5, 2.5, 20.0])
    assert turned_valleys(square, (0.5, 0.0, 0.0)) == []


def test_without_hexagonal_symmetry_the_better_direction_counts():
    solid = _solid([30.0, 100.0], [-4.0, -4.0], [-2.0, -8.0])
    found = strain_response(solid, BANDS, MASSES, hexagonal=False)
    along_x = mobility_cm2_vs(30.0, 0.2, 0.4, -2.0)
    assert found["electron_mobility_cm2_vs"] == pytest.approx(along_x)
    along_y = mobility_cm2_vs(100.0, 0.8, 0.4, -4.0)
    assert found["hole_mobility_cm2_vs"] == pytest.approx(
        max(mobility_cm2_vs(30.0, 0.2, 0.4, -4.0), along_y)
    )
    assert (found["stiffness_n_m"], found["stiffness_y_n_m"]) == pytest.approx((30.0, 100.0))
    assert found["deformation_potential_cbm_y_ev"] == pytest.approx(-8.0)
    assert found["electron_mobility_x_cm2_vs"] == pytest.approx(along_x)
    assert found["hole_mobility_y_cm2_vs"] == pytest.approx(along_y)


def test_a_deformation_potential_like_noise_gives_no_mobility():
    found = strain_response(_solid([130.0], [-2.5], [0.4]), BANDS, MASSES, hexagonal=True)
    assert found["deformation_potential_cbm_ev"] == pytest.approx(0.4)
    assert "electron_mobility_cm2_vs" not in found and "hole_mobility_cm2_vs" in found


def test_deformation_potential_of_simple_and_of_degenerate_edges():
    assert deformation_potential_ev(-5.02, -4.98) == pytest.approx(2.0)
    # Strain splits a degenerate edge at −5 eV: the upper branch rises on both sides, by a ± b.
    assert deformation_potential_ev(-4.97, -4.96) == pytest.approx(0.5)
    assert deformation_potential_ev(-4.97, -4.96, -5.0) == pytest.approx(np.hypot(0.5, 3.5))
    assert deformation_potential_ev(-5.02, -4.98, -5.0) == pytest.approx(2.0)


def test_two_branches_that_meet_carry_as_spin_orbit_coupling_leaves_them():
    """Edge energies a ε ± b |ε| of two branches: shift a, and the mass of both."""
    a, b = 2.0, 3.0

    def strain(axis, sign, opposite=None):
        outer = -6.0 + sign * 0.01 * a + 0.01 * b
        return {"stress_n_m": sign * 1.3, "vbm_ev": outer, "cbm_ev": -4.0}

    found = strain_response(strain, BANDS, MASSES | {"hole_mass_split_m0": 0.1}, hexagonal=True)
    assert found["deformation_potential_vbm_ev"] == pytest.approx(a)
    assert found["hole_mobility_cm2_vs"] == pytest.approx(mobility_cm2_vs(130.0, 0.1, 0.1, a))


def test_the_second_strain_starts_where_the_first_says_atoms_move():
    """Atoms that move linearly with the strain are at rest where the second relaxation starts."""
    atoms = Atoms("SnS", positions=[[0, 0, 9.0], [1.0, 0.5, 10.5]], cell=[3.0, 3.0, 20.0])
    moved_per_strain = np.array([[0.4, 0.1, -2.0], [-0.2, 0.0, 1.5]])
    rest, starts = atoms.positions.copy(), {}

    class Run:
        attempts = ()

        def mesh(self, atoms):
            return (3, 3, 1)

        def relax(self, atoms, mesh, stress):
            strain = atoms.cell.array[0, 0] / 3.0 - 1
            relaxed = atoms.copy()
            relaxed.positions = rest * [1 + strain, 1, 1] + moved_per_strain * strain
            starts[round(strain, 4)] = np.abs(atoms.positions - relaxed.positions).max()
            return SimpleNamespace(atoms=relaxed, stress_ev_a3=np.eye(3) * strain)

        def vacuum(self, atoms):
            return {"vacuum_ev": 0.0}, None

        def energies_at(self, atoms, points, name):
            return np.zeros((1, len(points), 2))

        def clean(self):
            pass

    bands = {"vbm_k_fractional": (0, 0, 0), "cbm_k_fractional": (0, 0, 0)}
    bands |= {"vbm_band": 0, "cbm_band": 1}
    low = strained(Run(), atoms, bands, 0, -1)
    strained(Run(), atoms, bands, 0, 1, low)
    assert starts[-STRAIN] == pytest.approx(2.0 * STRAIN)
    assert starts[STRAIN] < 1e-9
    # Of a thickness of 1.5 Å that grows by 3.5 Å per strain atoms are left to move along the plane,
    # and together.
    strained(Run(), atoms, bands, 0, -1, thickening=3.5 / 1.5)
    assert starts[-STRAIN] == pytest.approx(0.4 * STRAIN)


def test_edges_of_a_spin_channel_are_followed_in_it():
    looked_at = []
    atoms = Atoms("SnS", positions=[[0, 0, 9.0], [1.0, 0.5, 10.5]], cell=[3.0, 3.0, 20.0])

    class Run:
        attempts = ()

        def mesh(self, atoms):
            return (3, 3, 1)

        def relax(self, atoms, mesh, stress):
            return SimpleNamespace(atoms=atoms, stress_ev_a3=np.eye(3))

        def vacuum(self, atoms):
            return {"vacuum_ev": 1.0}, None

        def energies_at(self, atoms, points, name):
            looked_at.append(points)
            return np.arange(2 * len(points) * 3.0).reshape(2, len(points), 3)

        def clean(self):
            pass

    bands = {"vbm_k_fractional": (0, 0, 0), "cbm_k_fractional": (0, 0, 0)}
    bands |= {"vbm_band": 1, "vbm_spin": 0, "cbm_band": 1, "cbm_spin": 1}
    found = strained(Run(), atoms, bands, 0, 1)
    assert (found["vbm_ev"], found["cbm_ev"]) == (1.0 - 1.0, 10.0 - 1.0)
    # At the extremum, where that was looked for.
    strained(Run(), atoms, bands | {"electron_k_fractional": [0.3, 0.0, 0.0]}, 0, 1)
    assert looked_at[-1] == [(0, 0, 0), [0.3, 0.0, 0.0]]


def test_splitting_is_told_from_the_edge_that_is_strained():
    """An extremum 4 meV off the edge of the path, which would seem 0.4 eV of splitting."""
    masses = MASSES | {"hole_edge_ev": -5.996}

    def strain(axis, sign, opposite=None):
        return _solid([130.0], [-2.5], [-8.0])(axis, sign) | {"vbm_ev": -5.996 - sign * 0.025}

    found = strain_response(strain, BANDS, masses, hexagonal=True)
    assert found["deformation_potential_vbm_ev"] == pytest.approx(-2.5)


@pytest.mark.parametrize("hexagonal", [True, False])
def test_a_metal_has_the_stiffness_of_its_stress_at_a_wide_smearing(hexagonal):
    atoms = Atoms("C", cell=[3.0, 4.0, 20.0], pbc=(True, True, False))
    smearings, starts = [], []

    class Run:
        protocol = Protocol("any", *[1e-3] * 7)
        attempts = ({"step": "relax"},)

        def mesh(self, atoms):
            return (9, 9, 1)

        def relax(self, strained, mesh, stress):
            smearings.append(self.protocol.smearing_ry)
            strain = strained.cell.lengths()[:2] / atoms.cell.lengths()[:2] - 1
            along = np.array([340.0, 30.0]) * strain / units.m**2 * units.J / 20.0
            relaxed = strained.copy()
            relaxed.positions[:, 2] = -5.0 * strain.sum()
            starts.append(abs(strained.positions[0, 2] - relaxed.positions[0, 2]))
            return SimpleNamespace(atoms=relaxed, stress_ev_a3=np.diag([*along, 0.0]))

        def clean(self):
            pass

    found = stiffness_of_metal(
        lambda name: Run(), lambda name, compute: compute(), atoms, hexagonal
    )
    assert found["stiffness_n_m"] == pytest.approx(340.0)
    assert found.get("stiffness_y_n_m") == (None if hexagonal else pytest.approx(30.0))
    assert len(found["attempts"]) == len(smearings) == (2 if hexagonal else 4)
    assert set(smearings) == {METAL_SMEARING_RY}
    # Stretched cells start where those compressed leave their atoms.
    assert starts[::2] == pytest.approx([5.0 * STRAIN] * (len(starts) // 2))
    assert starts[1::2] == pytest.approx([0.0] * (len(starts) // 2), abs=1e-9)


def test_bands_that_change_places_have_no_deformation_potential():
    """Second band 60 meV behind, with another slope: at −1 % it is the lower one, and no valley."""

    def strain(axis, sign, opposite=None):
        cbm = min(-4.0 - sign * 0.14, -3.94 - sign * 0.02)
        return {"stress_n_m": sign * 1.3, "vbm_ev": -6.0 - sign * 0.03, "cbm_ev": cbm}

    found = strain_response(strain, BANDS, MASSES, hexagonal=True)
    assert "deformation_potential_cbm_ev" not in found and "electron_mobility_cm2_vs" not in found
    assert found["deformation_potential_vbm_ev"] == pytest.approx(-3.0)
    assert found["stiffness_n_m"] == pytest.approx(130.0)


def test_bands_that_change_places_at_a_turned_valley_are_told_too():
    def strain(axis, sign, opposite=None):
        turned = min(-4.0 - sign * 0.14, -3.94 - sign * 0.02)
        return {"stress_n_m": sign * 1.3, "vbm_ev": -6.0, "cbm_ev": -4.0 - sign * 0.02,
                "vbm_turned_ev": [], "cbm_turned_ev": [turned, turned]}  # fmt: skip

    found = strain_response(strain, BANDS, MASSES, hexagonal=True)
    assert "deformation_potential_cbm_ev" not in found and "electron_mobility_cm2_vs" not in found


def test_of_one_band_the_even_part_of_the_shift_is_none_of_the_potential():
    """As of a gap between cones, √(Δ²/4 + f²), whose extremum strain moves off the point."""

    def strain(axis, sign, opposite=None):
        return {"stress_n_m": sign * 1.3, "vbm_ev": -5.995 - sign * 0.003, "cbm_ev": -4.0}

    found = strain_response(strain, BANDS, MASSES, hexagonal=True)
    assert found["deformation_potential_vbm_ev"] == pytest.approx(-0.3)
    assert "hole_mobility_cm2_vs" not in found  # no more than noise
    meeting = strain_response(strain, BANDS, MASSES | {"hole_mass_split_m0": None}, hexagonal=False)
    assert meeting["deformation_potential_vbm_ev"] == pytest.approx(-np.hypot(0.3, 0.5))


def test_unlike_valleys_of_a_square_layer_have_no_mobility():
    """X, of which a fourfold axis makes Y, with the masses along x and y exchanged."""
    square = Atoms("C", cell=[3.0, 3.0, 20.0], pbc=(True, True, False))
    rectangular = Atoms("C", cell=[3.0, 4.0, 20.0], pbc=(True, True, False))
    solid = _solid([130.0, 130.0], [-2.5, -2.5], [-8.0, -8.0])
    masses = MASSES | {"electron_k_fractional": [0.5, 0.0, 0.0], "hole_k_fractional": [0.0] * 3}
    found = strain_response(solid, BANDS, masses, False, rotations_of(square))
    assert not [name for name in found if name.startswith("electron_mobility")]
    assert found["deformation_potential_cbm_ev"] == pytest.approx(-8.0)
    assert found["hole_mobility_cm2_vs"] > 0  # at Γ
    known = strain_response(solid, BANDS, masses, False, rotations_of(rectangular))
    assert known["electron_mobility_cm2_vs"] > 0
    corner = strain_response(
        solid,
        BANDS,
        masses | {"electron_k_fractional": [0.5, 0.5, 0.0]},
        False,
        rotations_of(square),
    )
    assert corner["electron_mobility_cm2_vs"] > 0
    # On the diagonal mirrors make the same of a valley as what turns it.
    assert has_unlike_images(np.array([0.5, 0.0, 0.0]), rotations_of(square))
    assert not has_unlike_images(np.array([0.3, 0.3, 0.0]), rotations_of(square))
    assert has_unlike_images(np.array([0.3, 0.1, 0.0]), rotations_of(square))
    hexagonal = Atoms("C", cell=[3.0, 3.0, 20.0, 90, 90, 120], pbc=(True, True, False))
    assert has_threefold_axis(rotations_of(hexagonal))
    assert not has_threefold_axis(rotations_of(square))


def test_layers_whose_bands_the_coupling_decides_have_no_mobility():
    response = strain_response(_solid([130.0], [-2.5], [-8.0]), BANDS, MASSES, hexagonal=True)
    assert without_mobilities(response, [42, 16, 16], False) == response
    for numbers, is_polarised in (([82, 16], False), ([24, 16], True)):
        kept = without_mobilities(response, numbers, is_polarised)
        assert set(response) - set(kept) == {"electron_mobility_cm2_vs", "hole_mobility_cm2_vs"}


def test_branches_that_meet_without_a_known_mass_have_no_mobility():
    solid = _solid([130.0], [-2.5], [-8.0])
    known = strain_response(solid, BANDS, MASSES | {"hole_mass_split_m0": 0.3}, hexagonal=True)
    unknown = strain_response(solid, BANDS, MASSES | {"hole_mass_split_m0": None}, hexagonal=True)
    without = {k: v for k, v in MASSES.items() if not k.startswith("hole")}
    none = strain_response(solid, BANDS, without, hexagonal=True)
    assert known["hole_mobility_cm2_vs"] > 0
    assert "hole_mobility_cm2_vs" not in unknown and "hole_mobility_cm2_vs" not in none
    assert "electron_mobility_cm2_vs" in unknown and "stiffness_n_m" in none


@pytest.mark.parametrize("hexagonal", [True, False])
@pytest.mark.parametrize(
    ("place", "near", "far"), [("next_valley", 0.04, 0.06), ("saddle", 0.02, 0.03)]
)
def test_carriers_that_leave_their_valley_have_no_mobility(hexagonal, place, near, far):
    solid = _solid([130.0, 130.0], [-2.5, -2.5], [-8.0, -8.0])
    valleys = {f"electron_{place}_ev": near, f"hole_{place}_ev": far}
    found = strain_response(solid, BANDS, MASSES | valleys, hexagonal=hexagonal)
    assert found["deformation_potential_cbm_ev"] == pytest.approx(-8.0)
    assert not [name for name in found if name.startswith("electron_mobility")]
    assert "hole_mobility_cm2_vs" in found
    alone = strain_response(solid, BANDS, MASSES | dict.fromkeys(valleys), hexagonal=hexagonal)
    assert "electron_mobility_cm2_vs" in alone
