"""Band edges, effective masses, mobility and alignment from eigenvalues against vacuum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import constants

from heteroforge.io.conventions import METAL_BELOW_EV
from heteroforge.sources.candidates import LARGEST_MASS_M0

__all__ = [
    "BandEdges",
    "EdgeFit",
    "ANDERSON_AND_DFT",
    "METAL_BELOW_EV",
    "alignment_from_weights",
    "anderson_alignment",
    "band_curvature",
    "band_edges",
    "branch_at",
    "broadened",
    "curvature_tensor",
    "dipole_e_a",
    "tensor_masses",
    "vacuum_levels",
]

SAME_ENERGY_EV = 0.002  # bands nearer than this at a point of high symmetry are one level
FLAT_M0 = 5.0  # heavier than this, a band that bends the wrong way is flat at room temperature
# Residual of a fit by the range of energies, above which another band crosses within it.
CROSSED = 2e-3
# Smaller residuals are no crossing: each k-point has its own number of plane waves, by which the
# energy of fluorographene at Γ lies 0.3 meV beside those around it (3 % of a mass).
CROSSED_FROM_EV = 1e-4
# Stacks of the bundled library whose layers do not bond, without metals: rows by Anderson's rule
# from DFT of the layers alone, columns by the states of the stack; I, II, undetermined. Layers
# share states where they touch, which the rule cannot know.
ANDERSON_AND_DFT = ((13, 4, 4), (3, 43, 5), (10, 7, 21))
DENSITY_TAIL_A = 3.0
WINDOW_A = 0.4
SHARED_BELOW = 0.65  # weight on one layer, below which an edge state belongs to several
UNDETERMINED_BELOW_EV = 0.1
VACUUM_PERMITTIVITY_E_V_A = constants.epsilon_0 / constants.e * 1e-10  # ε₀ in e/(V Å)
HBAR2_OVER_M0_EV_A2 = (
    constants.hbar**2 / constants.m_e / constants.e * 1e20
)  # ħ²/m₀ in eV Å²: E'' = ħ²/m


@dataclass(frozen=True)
class BandEdges:
    """Valence band maximum and conduction band minimum over the k-points computed.

    Attributes:
        vbm_ev, cbm_ev: energies in eV; of a metal those of the bands that counting would fill and
            leave empty.
        vbm_k, cbm_k: index of the k-point.
        vbm_band, cbm_band: index of the band.
        spin_vbm, spin_cbm: index of the spin channel.
        is_metal: whether no gap above METAL_BELOW_EV separates them.
    """

    vbm_ev: float
    cbm_ev: float
    vbm_k: int
    cbm_k: int
    vbm_band: int
    cbm_band: int
    spin_vbm: int = 0
    spin_cbm: int = 0
    is_metal: bool = False

    @property
    def gap_ev(self) -> float:
        return 0.0 if self.is_metal else self.cbm_ev - self.vbm_ev


def band_edges(energies_ev: np.ndarray, electrons: float, magnetisation: float = 0.0) -> BandEdges:
    """Edges by counting electrons, so that smearing and Fermi energy play no role.

    Args:
        energies_ev: (spins, nk, bands) sorted eigenvalues in eV.
        electrons: number of valence electrons.
        magnetisation: total moment in Bohr magnetons (two spin channels).

    Raises:
        ValueError: fewer bands than occupied states plus one.
    """
    spins, _, bands = energies_ev.shape
    if spins == 1:
        occupied = [int(round(electrons / 2))]
        fractional = abs(electrons / 2 - occupied[0]) > 1e-3
    else:
        moment = round(magnetisation)
        occupied = [int(round((electrons + s * moment) / 2)) for s in (1, -1)]
        # No whole number of electrons in either channel: a band is partly filled.
        fractional = abs(magnetisation - moment) > 0.1 or (round(electrons) + moment) % 2 == 1
    if max(occupied) >= bands:
        raise ValueError(f"{bands} bands for {max(occupied)} occupied ones: no empty band computed")
    valence = [energies_ev[s, :, :n] for s, n in enumerate(occupied)]
    conduction = [energies_ev[s, :, n:] for s, n in enumerate(occupied)]
    tops = [v.max() if v.size else -np.inf for v in valence]
    bottoms = [c.min() for c in conduction]
    sv, sc = int(np.argmax(tops)), int(np.argmin(bottoms))
    # Of equal energies the last: bands are sorted, and the edge is the outer branch.
    kv, bv = np.argmax(valence[sv][:, -1]), occupied[sv] - 1
    kc, bc = np.unravel_index(np.argmin(conduction[sc]), conduction[sc].shape)
    gap = bottoms[sc] - tops[sv]
    return BandEdges(
        vbm_ev=float(tops[sv]),
        cbm_ev=float(bottoms[sc]),
        vbm_k=int(kv),
        cbm_k=int(kc),
        vbm_band=int(bv),
        cbm_band=int(bc) + occupied[sc],
        spin_vbm=sv,
        spin_cbm=sc,
        is_metal=bool(fractional or gap < METAL_BELOW_EV),
    )


def broadened(
    energies_ev: np.ndarray,
    weights: np.ndarray,
    k_weights: np.ndarray,
    width_ev: float = 0.1,
    step_ev: float = 0.05,
) -> tuple[np.ndarray, np.ndarray]:
    """Density of states from the states of a mesh, each a Gaussian.

    Args:
        energies_ev: (spins, nk, bands); one spin channel holds two electrons per state.
        weights: (parts, spins, nk, bands) share of each part in a state.
        k_weights: (nk), sum 1.
        width_ev: standard deviation of the Gaussians.
        step_ev: distance of the energies returned.

    Returns:
        Energies in eV (n), and states per eV and cell (parts, n). The bands end above: beyond the
        lowest of the highest band's energies the density is not complete, and is left out.
    """
    spins = len(energies_ev)
    grid = np.arange(energies_ev.min() - 5 * width_ev, energies_ev[..., -1].min(), step_ev)
    share = weights * k_weights[:, None] * (2 / spins)
    parts = np.zeros((len(weights), len(grid)))
    for band in range(energies_ev.shape[-1]):
        distance = (grid[:, None, None] - energies_ev[None, :, :, band]) / width_ev
        shape = np.exp(-0.5 * distance**2) / (width_ev * np.sqrt(2 * np.pi))
        parts += np.einsum("gsk,psk->pg", shape, share[..., band])
    return grid, parts


def vacuum_levels(
    z_a: np.ndarray, potential_ev: np.ndarray, bottom_a: float, top_a: float
) -> dict[str, float]:
    """Potential below and above a layer, where the truncated interaction makes it physical.

    The truncation at c/2 leaves the potential right only where all charge, tails included, is
    nearer than c/2. Going outwards from the surface the density's tail ends and, as far before
    c/2 − thickness, the truncation's edge begins: the potential is read halfway between.

    Args:
        z_a: heights of the planar average in Å (n).
        potential_ev: planar average in eV (n).
        bottom_a, top_a: heights of the outermost atoms in Å.

    Returns:
        `vacuum_bottom_ev`, `vacuum_top_ev`, `vacuum_ev` (their mean), `vacuum_step_ev`
        (top − bottom), `vacuum_flatness_ev` (largest spread inside a window).

    Raises:
        ValueError: the cell is too low for a window on both sides.
    """
    height = z_a[1] * len(z_a)
    far = height / 2 - (top_a - bottom_a)
    if far < 2 * DENSITY_TAIL_A:
        raise ValueError(
            f"cell of {height:.1f} Å is too low for a vacuum level of a layer "
            f"{top_a - bottom_a:.1f} Å thick"
        )
    windows = {}
    for side, distance in (
        ("bottom", (bottom_a - z_a) % height),
        ("top", (z_a - top_a) % height),
    ):
        windows[side] = potential_ev[np.abs(distance - far / 2) < WINDOW_A]
    bottom, top = (float(windows[s].mean()) for s in ("bottom", "top"))
    return {
        "vacuum_bottom_ev": bottom,
        "vacuum_top_ev": top,
        "vacuum_ev": (bottom + top) / 2,
        "vacuum_step_ev": top - bottom,
        "vacuum_flatness_ev": float(max(np.ptp(w) for w in windows.values())),
    }


def dipole_e_a(vacuum_step_ev: float, area_a2: float) -> float:
    """Dipole moment of a cell across the layers in e Å, positive from the bottom to the top.

    −ε₀ area × step: positive charge on top lowers the energy of electrons there (Helmholtz).
    """
    return -VACUUM_PERMITTIVITY_E_V_A * area_a2 * vacuum_step_ev


def band_curvature(distance_per_a: np.ndarray, energy_ev: np.ndarray) -> tuple[float, float, float]:
    """Second derivative of a band along a line of k-points through its edge, eV Å².

    Fits a polynomial of fourth order: terms besides the square take up non-parabolicity.

    Args:
        distance_per_a: q in 1/Å (n ≥ 6), 0 at the edge.
        energy_ev: band energy in eV (n).

    Returns:
        d²E/dq² in eV Å², dE/dq in eV Å, which an edge does not have, and the root mean square
        residual of the fit in eV.
    """
    coefficients = np.polynomial.polynomial.polyfit(distance_per_a, energy_ev, 4)
    fitted = np.polynomial.polynomial.polyval(distance_per_a, coefficients)
    residual = float(np.sqrt(np.mean((fitted - energy_ev) ** 2)))
    return float(2 * coefficients[2]), float(coefficients[1]), residual


def branch_at(energies_ev: np.ndarray, edge: int, carrier: str) -> int | None:
    """The other band of an edge where two branches meet; None where one band is alone.

    Without spin–orbit coupling the p_x and p_y states of a layer with a threefold axis meet at Γ:
    E = A q² ± B q². Coupling by λ L_z makes two states p_x ± i p_y of them, on which the terms in B
    have no mean: for B q² ≪ λ both have the curvature A, the mean of the two branches (as the
    Hamiltonian of J. M. Luttinger, Phys. Rev. 102, 1030 (1956), restricted to a plane). A third
    band at the edge is no such pair: None.

    Args:
        energies_ev: bands at the edge's k-point (n), ascending.
        edge: index of the band with the edge.
        carrier: hole or electron.
    """
    step = -1 if carrier == "hole" else 1
    return edge + step if bands_that_meet(energies_ev, edge) == 2 else None


def bands_that_meet(energies_ev: np.ndarray, edge: int) -> int:
    """How many bands (n energies at one k-point) have the energy of the edge, itself included."""
    return int(np.sum(np.abs(energies_ev - energies_ev[edge]) < SAME_ENERGY_EV))


def curvature_tensor(along_x: float, along_y: float, along_diagonal: float) -> np.ndarray:
    """(2, 2) second derivatives of a band in eV Å² from those along x, y and (x + y)/√2."""
    mixed = along_diagonal - (along_x + along_y) / 2
    return np.array([[along_x, mixed], [mixed, along_y]])


def tensor_masses(tensor: np.ndarray, carrier: str) -> dict[str, float]:
    """Effective masses in m₀ from the tensor of a band's curvatures at its edge.

    Args:
        tensor: (2, 2) in eV Å².
        carrier: hole or electron, of which curvatures are negative or positive.

    Returns:
        `""`: density-of-states mass √(m₁ m₂); `_light`, `_heavy`: principal masses m₁ ≤ m₂; `_x`,
        `_y`: masses for transport along the axes, 1 / (M⁻¹)_xx and 1 / (M⁻¹)_yy; all positive.
        Empty where the band bends by less than a mass of `LARGEST_MASS_M0` does, or the other way
        along some direction: a saddle, a ring or a flat band has no mass. One that bends the other
        way by less than a mass of `FLAT_M0` does, 3 meV at 0.06 1/Å, counts by its magnitude: the
        valence band of black phosphorus along zigzag.
    """
    tensor = -tensor if carrier == "hole" else tensor
    curvatures = np.linalg.eigvalsh(tensor)
    flat = np.abs(curvatures).min() < HBAR2_OVER_M0_EV_A2 / LARGEST_MASS_M0
    if flat or curvatures.min() < -HBAR2_OVER_M0_EV_A2 / FLAT_M0:
        return {}
    light, heavy = np.sort(HBAR2_OVER_M0_EV_A2 / np.abs(curvatures))
    with np.errstate(divide="ignore"):
        x, y = HBAR2_OVER_M0_EV_A2 / np.abs(np.diag(tensor))
    found = {"": np.sqrt(light * heavy), "_light": light, "_heavy": heavy, "_x": x, "_y": y}
    return {suffix: float(mass) for suffix, mass in found.items()}


@dataclass(frozen=True)
class EdgeFit:
    """A band, and the branch it meets in its edge, near a point of reciprocal space.

    Attributes:
        energy_ev: of the band at the point.
        tensor: (2, 2) curvatures of the band in eV Å².
        slope: (2) along x and y in eV Å, 0 where the point is the extremum.
        residual_ev: worst root mean square residual along the lines.
        branches_meet: whether another band meets this one at the point.
        is_envelope: whether more than two meet there: this one is the envelope of them all, as
            where a supercell folds three valleys onto one point, and its curvature that of none.
        split: (2, 2) mean curvatures of both branches in eV Å²; None where they do not meet, or
            where a third band crosses them.
    """

    energy_ev: float
    tensor: np.ndarray
    slope: np.ndarray
    residual_ev: float
    branches_meet: bool
    split: np.ndarray | None
    is_envelope: bool = False

    @classmethod
    def of(cls, steps: np.ndarray, lines: np.ndarray, band: int, carrier: str) -> EdgeFit:
        """From bands along x, y and their diagonal.

        Args:
            steps: distances from the point in 1/Å (n), 0 in their middle.
            lines: (3, n, bands) in eV.
            band: index of the edge's.
            carrier: hole or electron.
        """
        fits = [band_curvature(steps, line) for line in lines[..., band]]
        split = None
        at_point = lines[0, len(steps) // 2]
        other = branch_at(at_point, band, carrier)
        if other is not None:
            means = lines[..., [band, other]].mean(axis=-1)
            along = [band_curvature(steps, line) for line in means]
            # Bands are sorted: where a third one crosses them the mean has a kink.
            if all(
                fit[2] < max(CROSSED * np.ptp(mean), CROSSED_FROM_EV)
                for fit, mean in zip(along, means, strict=True)
            ):
                split = curvature_tensor(*(curvature for curvature, *_ in along))
        return cls(
            energy_ev=float(at_point[band]),
            tensor=curvature_tensor(*(curvature for curvature, *_ in fits)),
            slope=np.array([slope for _, slope, _ in fits[:2]]),
            residual_ev=max(residual for *_, residual in fits),
            branches_meet=other is not None,
            split=split,
            is_envelope=bands_that_meet(at_point, band) > 2,
        )

    def to_extremum(self, carrier: str) -> np.ndarray:
        """Newton's step (2) in 1/Å to the band's extremum, along axes that bend towards it.

        Of a ring of extrema that is the way to the ring.
        """
        sign = -1.0 if carrier == "hole" else 1.0
        curvatures, axes = np.linalg.eigh(sign * self.tensor)
        bends = curvatures > HBAR2_OVER_M0_EV_A2 / LARGEST_MASS_M0
        slopes = axes.T @ (sign * self.slope)
        steps = np.where(bends, -slopes / np.where(bends, curvatures, 1.0), 0.0)
        return axes @ steps

    def masses(self, carrier: str) -> dict[str, float | None]:
        """`tensor_masses`, and `_split` where branches meet, None where it is not known.

        Of an envelope none.
        """
        if self.is_envelope:
            return {}
        found: dict[str, float | None] = {**tensor_masses(self.tensor, carrier)}
        if self.branches_meet:
            split = {} if self.split is None else tensor_masses(self.split, carrier)
            found["_split"] = split.get("")
        return found


def anderson_alignment(layers: list[tuple[float, float]]) -> tuple[str, float]:
    """Alignment type and gap of layers that do not interact (Anderson's rule).

    Args:
        layers: (VBM, CBM) of each isolated layer against vacuum in eV.

    Returns:
        "I", "II", "III", "metal" (a layer without gap) or "undetermined" (an offset under 0.1 eV
        decides), and the gap in eV (0 when it is broken).
    """
    if any(c - v < METAL_BELOW_EV for v, c in layers):
        return "metal", 0.0
    vbm = np.array([v for v, _ in layers])
    cbm = np.array([c for _, c in layers])
    gap = float(cbm.min() - vbm.max())
    if gap <= 0:
        return "III", 0.0
    if len(layers) == 1:
        return "I", gap
    offsets = [np.diff(np.sort(vbm))[-1], np.diff(np.sort(cbm))[0]]
    if min(offsets) < UNDETERMINED_BELOW_EV:
        return "undetermined", gap
    return ("I" if vbm.argmax() == cbm.argmin() else "II"), gap


def alignment_from_weights(
    vbm_weights: np.ndarray,
    cbm_weights: np.ndarray,
    is_metal: bool,
    vbm_offset_ev: float | None,
    cbm_offset_ev: float | None,
) -> str:
    """Alignment type of a stack from where its edge states live.

    Args:
        vbm_weights, cbm_weights: share of the edge state on each layer (n).
        is_metal: a stack without gap has broken alignment or metallic layers: "metal".
        vbm_offset_ev, cbm_offset_ev: distance in energy to the next layer's edge in the stack, or
            None where unknown; under 0.1 eV the type is undetermined.

    Returns:
        "I" (both edges on one layer), "II" (on different ones), "metal", "undetermined" (an edge
        shared between layers, or offsets under 0.1 eV).
    """
    if is_metal:
        return "metal"
    # An edge state spread over layers belongs to none of them.
    if max(vbm_weights) < SHARED_BELOW or max(cbm_weights) < SHARED_BELOW:
        return "undetermined"
    for offset in (vbm_offset_ev, cbm_offset_ev):
        if offset is not None and abs(offset) < UNDETERMINED_BELOW_EV:
            return "undetermined"
    return "I" if int(np.argmax(vbm_weights)) == int(np.argmax(cbm_weights)) else "II"
