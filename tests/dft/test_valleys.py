"""Other valleys behind a band edge, in bands whose valleys are known."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from heteroforge.dft.calculations import Bands, Calculator
from heteroforge.dft.electronic import HBAR2_OVER_M0_EV_A2, band_edges
from heteroforge.dft.valleys import (
    AROUND,
    apart_per_a,
    images,
    other_bands,
    places_behind,
    stationary_point,
)

A = 3.0
LAYER = Atoms(
    "BN",
    scaled_positions=[(0, 0, 0.5), (1 / 3, 2 / 3, 0.5)],
    cell=[[A, 0, 0], [-A / 2, A * 3**0.5 / 2, 0], [0, 0, 20]],
    pbc=(True, True, False),
)
RECIPROCAL = LAYER.cell.reciprocal().array * 2 * np.pi
K = np.array([1 / 3, 1 / 3, 0])
THREEFOLD = np.array([[[0, -1, 0], [1, -1, 0], [0, 0, 1]]])
THREEFOLD = np.concatenate([np.eye(3, dtype=int)[None], THREEFOLD, THREEFOLD @ THREEFOLD])

EXTREMA = {"electron_edge_ev": 0.0, "hole_edge_ev": -1.0}  # which the path passes beside


def far(k: np.ndarray, places: np.ndarray, reciprocal: np.ndarray) -> np.ndarray:
    """Squared distance in 1/Å² from the nearest of some places, all in fractions."""
    return apart_per_a(k, places, reciprocal) ** 2


def valley(k, place, mass=0.5, atoms=LAYER):
    """Energies of parabolas at all images of a place by a sixfold axis and mirrors."""
    reciprocal = atoms.cell.reciprocal().array * 2 * np.pi
    mirror = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    star = np.concatenate([images(place, THREEFOLD), images(place @ mirror, THREEFOLD)])
    return HBAR2_OVER_M0_EV_A2 / (2 * mass) * far(k, star, reciprocal)


def found_behind(electron, monkeypatch, atoms=LAYER, more=(), masses=None, above=()):
    """`Calculator.valleys` of a conduction band, a function of k (n, 3) in fractions.

    Holes are in the same band upside down. `more`: points off the path; `above`: further bands at
    these energies above the band.
    """

    def energies(k):
        line = electron(np.asarray(k))[:, None]
        others = np.concatenate([line + e for e in (0.0, *above)], axis=1)
        return np.concatenate([-1.0 - others[:, ::-1], others], axis=1)[None]

    path = atoms.cell.bandpath(pbc=(True, True, False), density=10)
    k = np.concatenate([path.kpts, np.reshape(more, (-1, 3))])
    distance, _, _ = path.get_linear_kpoint_axis()
    edges = band_edges(energies(k), 2 * (1 + len(above)))
    bands = Bands(distance, k, [], energies(k), np.zeros(0), edges, 2.0)
    run = Calculator(None, None, None, None)
    monkeypatch.setattr(run, "energies_at", lambda atoms, points, name: energies(points) + 2.0)
    found = run.valleys(atoms, bands, masses or {})
    for place in ("next_valley", "saddle"):
        assert found[f"hole_{place}_ev"] == pytest.approx(found[f"electron_{place}_ev"])
    return found["electron_next_valley_ev"], found["electron_saddle_ev"]


def test_a_gap_between_equal_points_is_direct():
    """Edges found at two points that symmetry makes of one: M and M′ of a hexagonal layer."""
    k = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])
    energies = np.array([[[-3.0, 1.0], [-1.0, 0.5], [-1.0 - 1e-6, 0.5 - 1e-6]]])
    edges = band_edges(energies, 2)
    bands = Bands(np.zeros(3), k, [], energies, np.zeros(0), edges, 0.0)
    assert (edges.vbm_k, edges.cbm_k) == (1, 2)
    assert not bands.is_direct
    assert replace(bands, rotations=THREEFOLD).is_direct


def test_another_kind_of_valley_is_told_from_its_own_minimum(monkeypatch):
    """K, and 30 meV behind it Q half-way to Γ, beside the points of the path."""

    def band(k):
        return np.minimum(valley(k, K), 0.03 + valley(k, 0.513 * K))

    following, saddle = found_behind(band, monkeypatch)
    assert following == pytest.approx(0.03, abs=1e-6) and saddle is None


def test_one_kind_of_valley_has_no_other(monkeypatch):
    assert found_behind(lambda k: valley(k, K), monkeypatch) == (None, None)
    assert found_behind(lambda k: valley(k, 0 * K), monkeypatch) == (None, None)
    # The other two M, which meshes of odd numbers do not hold.
    turned = [(0.0, 0.5, 0.0), (0.5, -0.5, 0.0)]
    middle = np.array([0.5, 0.0, 0.0])
    assert found_behind(lambda k: valley(k, middle), monkeypatch, more=turned) == (None, None)


def test_without_its_symmetry_equal_valleys_are_of_several_kinds(monkeypatch):
    skewed = LAYER.copy()
    skewed += Atoms("H", positions=[(1.2, 0.3, 11.0)])
    turned = [(0.0, 0.5, 0.0), (0.5, -0.5, 0.0)]
    middle = np.array([0.5, 0.0, 0.0])
    following, _ = found_behind(lambda k: valley(k, middle), monkeypatch, atoms=skewed, more=turned)
    assert following == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("height_ev", "radius_per_a"), [(0.006, 0.45), (0.045, 0.45), (0.005, 0.16)]
)
def test_a_ring_has_saddles_between_its_extrema(monkeypatch, height_ev, radius_per_a):
    """Gallium selenide, blue phosphorus, lead iodide: extrema towards K, saddles towards M."""

    def band(k):
        x, y, _ = (k @ RECIPROCAL).T
        angle = np.arctan2(y, x) - np.arctan2(*(K @ RECIPROCAL)[1::-1])
        radius = np.hypot(x, y)
        inside = np.minimum(radius / (0.7 * radius_per_a), 1) ** 6
        around = height_ev / 2 * (1 - np.cos(6 * angle)) * inside
        return 5 * (radius - radius_per_a) ** 2 + around

    following, saddle = found_behind(band, monkeypatch, masses=EXTREMA)
    assert following is None
    assert saddle == pytest.approx(height_ev, abs=1.5e-3)


def test_the_flank_of_a_valley_is_not_another_one(monkeypatch):
    """A valley on Γ–X of a rectangle, long towards the diagonal Γ–S."""
    atoms = Atoms("BN", positions=[(0, 0, 10), (1.2, 0.7, 10)], cell=[4, 3, 20], pbc=(1, 1, 0))
    reciprocal = atoms.cell.reciprocal().array * 2 * np.pi

    def band(k):
        x, y, _ = ((k - np.round(k)) @ reciprocal).T
        return HBAR2_OVER_M0_EV_A2 / 2 * ((np.abs(x) - 0.25) ** 2 / 0.3 + y**2 / 2.5)

    following, _ = found_behind(band, monkeypatch, atoms=atoms)
    assert following is None


def test_it_is_counted_from_the_extremum_beside_the_path(monkeypatch):
    def band(k):
        return np.minimum(valley(k, K), 0.03 + valley(k, 0.513 * K))

    beside = {f"{c}_edge_ev": e for c, e in (("electron", -0.008), ("hole", -0.992))}
    following, _ = found_behind(band, monkeypatch, masses=beside)
    assert following == pytest.approx(0.038, abs=1e-6)


@pytest.mark.parametrize(
    ("above", "expected"), [([0.02], 0.02), ([0.0, 0.01], 0.01), ([1e-3], None)]
)
def test_another_band_at_the_edge_counts_unless_it_meets_it(monkeypatch, above, expected):
    following, _ = found_behind(lambda k: valley(k, K), monkeypatch, above=above)
    assert following == pytest.approx(expected)


def test_bands_on_the_other_side_of_the_gap_are_none():
    assert [p.behind_ev for p in other_bands(np.array([-1.5, 0.0, 0.001, 0.03, 3.0]), 1, 0.1)] == [
        0.03
    ]


def test_images_are_those_of_reciprocal_space():
    """Half-way to K, which is no half-way to M, and K′ by time reversal."""
    found = images(K / 2, THREEFOLD)
    assert np.linalg.norm(found @ RECIPROCAL, axis=1) == pytest.approx(
        np.linalg.norm(K / 2 @ RECIPROCAL)
    )
    assert apart_per_a(np.array([[1 / 6, -1 / 3, 0]]), found, RECIPROCAL) == pytest.approx(0)
    assert apart_per_a(-K[None], images(K, THREEFOLD[:1]), RECIPROCAL) == pytest.approx(0)


def test_the_nearest_of_oblique_cells_is_found():
    rng = np.random.default_rng(1)
    one, other = rng.uniform(-1, 1, (50, 3)) * [1, 1, 0], np.zeros((1, 3))
    steps = np.array([[i, j, 0] for i in range(-3, 4) for j in range(-3, 4)])
    expected = np.linalg.norm((one[:, None] + steps) @ RECIPROCAL, axis=-1).min(axis=1)
    assert apart_per_a(one, other, RECIPROCAL) == pytest.approx(expected)


def test_starts_are_minima_along_any_branch_of_the_path():
    """From Γ the band rises towards M and falls towards K."""
    k = np.array([[0, 0, 0], [0.25, 0, 0], [0.5, 0, 0], [0.4, 0.2, 0], K, K / 2, [0, 0, 0]])
    behind = np.array([0.04, 0.06, 0.08, 0.05, 0.0, 0.03, 0.04])
    own = images(K, THREEFOLD)
    assert places_behind(behind, k, 7, own, RECIPROCAL, 0.1) == [0]
    assert places_behind(behind, k, 7, own, RECIPROCAL, 0.02) == []
    behind[5] = 0.05  # along both: once
    assert places_behind(behind, k, 7, own, RECIPROCAL, 0.1) == [0]
    assert places_behind(behind, k, 3, own, RECIPROCAL, 0.1) == [0, 3, 5]  # and off the path


@pytest.mark.parametrize("half_apart", [0.12, 0.3])
def test_the_saddle_of_two_valleys_beside_gamma(monkeypatch, half_apart):
    """A double well on Γ–X: along Γ–Y and the diagonal Γ is a minimum."""
    atoms = Atoms("BN", positions=[(0, 0, 10), (1.2, 0.7, 10)], cell=[4, 3, 20], pbc=(1, 1, 0))
    reciprocal = atoms.cell.reciprocal().array * 2 * np.pi

    def band(k):
        x, y, _ = ((k - np.round(k)) @ reciprocal).T
        return 0.02 * ((x / half_apart) ** 2 - 1) ** 2 + 6 * y**2

    following, saddle = found_behind(band, monkeypatch, atoms=atoms, masses=EXTREMA)
    assert following is None and saddle == pytest.approx(0.02, abs=3e-3)


@pytest.mark.parametrize("angle_deg", [0.0, 20.0, 45.0])
def test_newton_s_step_finds_where_a_band_is_level(angle_deg):
    place, angle = np.array([0.03, -0.02]), np.radians(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def level(curvatures):
        q = (0.06 * AROUND[:, :2] - place) @ turn
        return stationary_point(0.02 + (q**2 * curvatures).sum(axis=1) / 2, 0.06)

    for curvatures, is_saddle in (((8.0, 20.0), False), ((-3.0, 20.0), True)):
        found = level(curvatures)
        assert found.step_per_a == pytest.approx([*place, 0.0])
        assert found.behind_ev == pytest.approx(0.02)
        assert found.is_saddle is is_saddle
    # On a flat floor the way to the nearest of its points.
    assert level((0.0, 20.0)).behind_ev == pytest.approx(0.02)
