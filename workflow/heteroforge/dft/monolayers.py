"""A monolayer for the library: lattice, band edges, masses, stiffness, deformation potentials."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from heteroforge.dft.calculations import Calculator, cell_for_truncation
from heteroforge.dft.prototypes import starting_structure
from heteroforge.dft.strain import (
    STRAIN,
    stiffness_of_metal,
    strain_response,
    strained,
    without_mobilities,
)
from heteroforge.dft.valleys import rotations_of
from heteroforge.dft.verification import compute_bands, compute_density, edges_and_metal
from heteroforge.io import write_json
from heteroforge.structures import Monolayer
from heteroforge.structures.plane import is_hexagonal

__all__ = ["cached", "compute_monolayer", "fit_lattice", "thickening_of"]

FLAT_BELOW_A = 0.05  # a buckling that forces of this size do not tell from none
_FARTHEST = 8  # steps of STRAIN that a lattice constant may move from the seed's
# Per strain at most, for a start: a strained cell begins within 1.5 % of the thickness. Buckled
# layers of two atoms thicken more, and begin part of the way.
_THICKENS_BY = 3.0
_LONGEST_LEAP = 6  # steps of STRAIN at once: further off a parabola tells little


def cached(path: Path, compute: Callable[[], dict]) -> dict:
    """What `compute` gives, kept in a file so that it is computed once."""
    if path.exists():
        return json.loads(path.read_text())
    result = compute()
    write_json(path, result)
    return result


def compute_monolayer(seed: Mapping, calculator: Callable[[str], Calculator], folder: Path) -> dict:
    """Relax a monolayer and compute what the library holds of it.

    Lattice constant from energies at the protocol's cutoff, band edges, masses, stiffness and
    deformation potentials from ±1 % uniaxial strain with relaxed positions, mobility by
    deformation-potential theory; of metals lattice and stiffness alone. Layers that are not
    hexagonal are strained along x and y, and have masses, stiffness, deformation potentials and
    mobilities along both.

    Args:
        seed: entry of seeds.yaml.
        calculator: gives a calculator for a subfolder of `folder`.
        folder: where finished steps are kept.

    Returns:
        `row` (of monolayers.csv), `monolayer`, `provenance`, `core_seconds`.
    """

    def lattice() -> dict:
        run = calculator("lattice")
        rough = starting_structure(seed["prototype"], seed["elements"], seed["a"], seed.get("b"))
        atoms, scan = fit_lattice(run, cell_for_truncation(rough))
        if np.ptp(atoms.positions[:, 2]) < FLAT_BELOW_A:
            atoms.positions[:, 2] = atoms.positions[:, 2].mean()
        # Lying as the library has it, so that the density after it is of the same atoms.
        start, _ = Monolayer.from_atoms(atoms).standardised()
        result = run.relax(cell_for_truncation(start.to_atoms()))
        layer, _ = Monolayer.from_atoms(result.atoms, name=seed["id"]).standardised()
        return {"monolayer": layer.to_dict(), "scan": scan, "attempts": run.attempts}

    relaxed = cached(folder / "lattice.json", lattice)
    layer = Monolayer.from_dict(relaxed["monolayer"])
    atoms = cell_for_truncation(layer.to_atoms())

    def electronic() -> dict:
        run = calculator("electronic")
        density = compute_density(run, atoms, folder / "lattice").numbers
        bands, masses = compute_bands(run, atoms, density)
        found = {
            **density,
            **masses,
            "provenance": run.provenance(layer.species),
            "attempts": run.attempts,
        }
        summary = bands.to_dict()
        for long in ("k_distance", "labels", "energies_ev", "layer_weights", "folded"):
            summary.pop(long)
        run.clean()
        return found | summary

    states = cached(folder / "electronic.json", electronic)
    thickening = thickening_of(relaxed["scan"])
    vbm, cbm, is_metal = edges_and_metal(states, states)
    row = {
        "monolayer_id": seed["id"],
        "is_metal": is_metal,
        "gap_ev": 0.0 if is_metal else cbm - vbm,
        "gap_is_direct": states["gap_is_direct"] and not is_metal,
        "vbm_ev": vbm,
        "cbm_ev": cbm,
        "work_function_ev": -states["fermi_ev"] if is_metal and states["fermi_ev"] else None,
        "vacuum_step_ev": states["vacuum_step_ev"],
        **{
            f"{carrier}_mass{kind}_m0": None if is_metal else states.get(f"{carrier}_mass{kind}_m0")
            for carrier in ("electron", "hole")
            for kind in ("", "_split", *(() if is_hexagonal(layer.cell) else ("_x", "_y")))
        },
        "energy_ev": states["energy_ev"],
        "source": "computed by heteroforge.dft.compute_library",
        "protocol": states["provenance"]["protocol"]["name"],
    }
    if is_metal:
        # Without a gap there is no band edge to strain; both edges are the Fermi energy.
        row["vbm_ev"] = row["cbm_ev"] = states["fermi_ev"]
    runs = [relaxed, states]

    def strain(axis: int, sign: int, opposite: Mapping | None) -> dict:
        name = f"strain_{'xy'[axis]}_{sign:+d}"
        runs.append(
            cached(
                folder / f"{name}.json",
                lambda: strained(
                    calculator(name), atoms, states, axis, sign, opposite, thickening[axis]
                ),
            )
        )
        return runs[-1]

    if is_metal:
        stiffness = stiffness_of_metal(
            calculator,
            lambda name, compute: cached(folder / f"{name}.json", compute),
            atoms,
            is_hexagonal(layer.cell),
            thickening,
        )
        runs.append({"attempts": stiffness.pop("attempts")})
        row |= stiffness
    else:
        response = strain_response(
            strain, states, states, is_hexagonal(layer.cell), rotations_of(atoms)
        )
        is_polarised = calculator("electronic").is_spin_polarised(atoms)
        row |= without_mobilities(response, atoms.numbers, is_polarised)
    return {
        "row": row,
        "monolayer": relaxed["monolayer"],
        "provenance": states["provenance"],
        "core_seconds": round(sum(a["core_seconds"] for run in runs for a in run["attempts"]), 1),
    }


def fit_lattice(run: Calculator, atoms: Atoms) -> tuple[Atoms, list]:
    """In-plane cell of lowest energy at the cutoff given, positions relaxed at every cell.

    A relaxation of the cell keeps the plane waves it started with and so follows a stress that the
    cutoff falsifies, most of all for oxygen and fluorine; energies at one cutoff have their minimum
    where later energies of strained cells have it. Cells with a = b (hexagonal, square, and centred
    rectangular ones) are scaled, others along x and y: the parabola through the lowest cell and its
    neighbours gives the minimum. Atoms start where they would be if they moved linearly with the
    strain of the cells computed.

    Args:
        run: relaxes; one file per cell stays in its folder.
        atoms: start, in a cell of sufficient height; only multiples of `STRAIN` from it are tried.

    Returns:
        The atoms in the cell of lowest energy, and (strains, energy in eV, thickness in Å) per cell
        computed.

    Raises:
        ValueError: no minimum within 8 % of the start.
    """
    lengths = atoms.cell.lengths()
    axes = 1 if abs(lengths[0] / lengths[1] - 1) < 1e-3 else 2
    mesh = run.mesh(atoms)
    found: dict[tuple[int, ...], tuple[float, Atoms]] = {}

    def start(place: np.ndarray) -> Atoms:
        result = atoms.copy()
        factors = np.ones(3)
        factors[:2] = 1 + STRAIN * np.resize(place, 2)
        result.set_cell(result.cell.array * factors, scale_atoms=True)
        if found:
            result.set_scaled_positions(_along_strain(found, place))
        return result

    def energy(place: np.ndarray) -> float:
        key = tuple(int(p) for p in place)
        if key not in found:
            name = "lattice" + "".join(f"_{p:+d}" for p in key)
            relaxed = start(place)
            outcome = run.kept(relaxed, "relax", name, mesh)
            relaxed.positions = outcome["positions_a"]
            found[key] = (outcome["energy_ev"], relaxed)
        return found[key][0]

    steps = np.eye(axes, dtype=int)
    middle, lower = None, np.zeros(axes, dtype=int)
    while lower is not middle:
        middle, centre = lower, energy(lower)
        # The smaller cell first: dispersion pulls most layers together.
        neighbours = [place for s in steps for place in (middle - s, middle + s)]
        lower = next((p for p in neighbours if energy(p) < centre), middle)
        if all(tuple(int(x) for x in place) in found for place in neighbours):
            lower = min((lower, *_further(energy, middle)), key=energy)
        if np.abs(lower).max() > _FARTHEST:
            raise ValueError(
                f"{atoms.get_chemical_formula()}: no minimum of the energy within {_FARTHEST} % of "
                f"the start, a = {lengths[0]:.2f} Å: give a better one"
            )
    # No cell around it is lower: further off than one of them a parabola only follows noise.
    lowest = _parabola(energy, middle)
    best = middle if lowest is None else middle + (lowest - middle).clip(-1.0, 1.0)
    scan = [
        [[STRAIN * p for p in key], energy_ev, float(np.ptp(relaxed.positions[:, 2]))]
        for key, (energy_ev, relaxed) in sorted(found.items())
    ]
    return start(best), scan


def thickening_of(scan: Sequence) -> tuple[float, float]:
    """Relative change of a layer's thickness per strain along x and y, from `fit_lattice`.

    Of a layer that was strained along both at once half of it is due to either.

    Args:
        scan: strains, energy in eV and thickness in Å of cells; the three (with two axes five) of
            lowest energy count. Without as many cells, or thickness, it is taken to stay.
    """
    axes = len(scan[0][0]) if scan else 0
    lowest = sorted(scan, key=lambda cell: cell[1])[: 2 * axes + 1]
    if len(lowest) <= axes or min(thickness for *_, thickness in lowest) < FLAT_BELOW_A:
        return 0.0, 0.0
    design = [[1.0, *strains] for strains, *_ in lowest]
    _, *slopes = np.linalg.lstsq(design, np.log([t for *_, t in lowest]), rcond=None)[0]
    # A layer that begins to buckle thickens far from linearly.
    slopes = np.clip(slopes, -_THICKENS_BY, _THICKENS_BY)
    return (slopes[0] / 2, slopes[0] / 2) if axes == 1 else tuple(slopes)


def _parabola(energy: Callable[[np.ndarray], float], middle: np.ndarray) -> np.ndarray | None:
    """Place of the lowest energy by the parabola through a place and its neighbours; None: none.

    Of a saddle, along each axis alone.
    """
    steps = np.eye(len(middle), dtype=int)
    gradient = np.array([(energy(middle + s) - energy(middle - s)) / 2 for s in steps])
    own = [energy(middle + s) + energy(middle - s) - 2 * energy(middle) for s in steps]
    if min(own) <= 0.0:
        return None
    hessian = np.diag(own)
    if len(steps) == 2:
        corner = energy(middle + steps.sum(axis=0)) + energy(middle)
        mixed = corner - energy(middle + steps[0]) - energy(middle + steps[1])
        if mixed**2 < np.prod(own):
            hessian[0, 1] = hessian[1, 0] = mixed
    return middle - np.linalg.solve(hessian, gradient)


def _further(energy: Callable[[np.ndarray], float], middle: np.ndarray) -> list[np.ndarray]:
    """Places beyond the neighbours along the axes at which the energy may be lower.

    The one nearest to the parabola's lowest point, where that is several steps away: so a start
    that is far off costs few cells. And the corner that is known.
    """
    found = [middle + 1] if len(middle) == 2 else []
    best = _parabola(energy, middle)
    if best is not None and np.abs(best - middle).max() >= 1.5:
        leap = np.round(best - middle).clip(-_LONGEST_LEAP, _LONGEST_LEAP)
        found.append((middle + leap).clip(-_FARTHEST, _FARTHEST).astype(int))
    return found


def _along_strain(
    found: Mapping[tuple[int, ...], tuple[float, Atoms]], place: np.ndarray
) -> np.ndarray:
    """Fractional positions (n, 3) of atoms in a cell, linear in its strain, from cells computed.

    Args:
        found: energy and relaxed atoms by place, in steps of strain; all of one height.
        place: of the cell asked for. Along directions in which no other cell was computed, atoms
            stay where they are in the nearest one.
    """
    keys = sorted(found, key=lambda key: np.abs(np.subtract(key, place)).sum())
    chosen = keys[:1]
    for key in keys[1:]:
        directions = np.subtract([*chosen[1:], key], chosen[0])
        if np.linalg.matrix_rank(directions) == len(directions):
            chosen.append(key)
    nearest, *others = (found[key][1].get_scaled_positions(wrap=False) for key in chosen)
    if not others:
        return nearest
    moved = np.subtract(others, nearest)
    moved -= np.round(moved)  # an atom may have been put into the next cell
    directions = np.subtract(chosen[1:], chosen[0]).T
    shares = np.linalg.pinv(directions) @ np.subtract(place, chosen[0])
    return nearest + np.tensordot(shares, moved, axes=1)
