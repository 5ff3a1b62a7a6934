"""The steps of a verification: relaxation, density, potential, bands, projections, strain."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import spglib
from ase import Atoms
from ase.data import atomic_numbers

from heteroforge.dft.electronic import (
    BandEdges,
    EdgeFit,
    band_edges,
    broadened,
    vacuum_levels,
)
from heteroforge.dft.outputs import (
    PwResult,
    espresso_version,
    planar_average,
    read_projections,
    read_pw,
)
from heteroforge.dft.protocols import Protocol, Pseudopotentials, k_mesh
from heteroforge.dft.recovery import diagnose
from heteroforge.dft.running import (
    PREFIX,
    CalculationFailed,
    Launcher,
    OutOfMemory,
    fingerprint,
    run_program,
    run_pw,
)
from heteroforge.dft.scan import next_shift
from heteroforge.dft.scratch import remove_save
from heteroforge.dft.valleys import (
    AROUND,
    SAME_K,
    SYMMETRIC_WITHIN_A,
    Place,
    apart_per_a,
    images,
    other_bands,
    places_behind,
    rotations_of,
    stationary_point,
)
from heteroforge.io import InputError, read_json, write_json
from heteroforge.structures.build import cell_height_for_truncation_a
from heteroforge.structures.dispersion import dispersion_ev
from heteroforge.structures.plane import turned

__all__ = ["Bands", "Calculator", "cell_for_truncation"]

# Elements that order magnetically in layers, and open 4f shells: the largest moment of an atom in
# Bohr magnetons, of half a shell.
HIGHEST_MOMENT = dict.fromkeys(("V", "Cr", "Mn", "Fe", "Co", "Ni"), 5) | {
    s: 7 for s, z in atomic_numbers.items() if 58 <= z <= 70
}
LATTICE_WITHIN = 0.05  # a strained layer has the points of its lattice without strain
ON_ATOMS = 0.5  # less of a state than this on atomic orbitals tells nothing about its layer
# On either side of an edge, to fit its masses. In small gaps less, so much per eV: bands that repel
# each other across the gap, √(gap²/4 + ħ²v²q²), bend away from a quartic. With the ħv = 5.5 eV Å of
# graphene, the fastest there are, masses come out 1.4 % too heavy.
MASS_RANGE_PER_A = 0.06
MASS_RANGE_PER_A_EV = 0.07
MISPLACED = 1 / 12  # of that range, from an edge: masses change by less than the fit is right to
# Other valleys, and ways to equal ones, are looked for so far behind an edge.
BEHIND_EV = 0.1
FARTHEST = 2  # ranges of the masses' fit, that Newton's step goes without leading astray
SAME_ATOMS_A = 0.01  # for a start; cells are centred anew once a layer has changed its thickness
_VACUUM_WINDOW_A = 4.0  # beyond the least height, to read the vacuum level where it is flat
# Energies of a scan need 0.1 meV/Å²: this holds them to far less and their slopes to 0.5 meV/Å³
# (docs/dft.md), in a quarter less time than what a relaxation asks for.
_SCAN_CONVERGENCE_RY_ATOM = 1e-7
_TAKEN_OVER = 0.1  # of what is asked for: so far is a density that is taken over converged further
_HEIGHT_STEP_A = 2.0  # few heights, so that stacks share energies of layers alone
# For their cutoffs pw.x and the reference implementation of D3 differ by up to 0.2 %, and where
# atoms are far apart by 0.05 meV per atom.
_DISPERSION_WITHIN = 0.005
_DISPERSION_WITHIN_EV_ATOM = 1e-4


def cell_for_truncation(atoms: Atoms) -> Atoms:
    """The atoms centred in a cell high enough for the two-dimensional truncation (5.3 Å tails)."""
    thickness = float(np.ptp(atoms.positions[:, 2]))
    height = cell_height_for_truncation_a(thickness) + _VACUUM_WINDOW_A
    return with_height(atoms, _HEIGHT_STEP_A * np.ceil(height / _HEIGHT_STEP_A - 1e-6))


def with_height(atoms: Atoms, height_a: float) -> Atoms:
    """The atoms centred in a cell of the given height in Å."""
    result = atoms.copy()
    cell = result.cell.array.copy()
    cell[2] = (0.0, 0.0, height_a)
    result.set_cell(cell)
    heights = result.positions[:, 2]
    result.positions[:, 2] += height_a / 2 - (heights.max() + heights.min()) / 2
    result.pbc = (True, True, False)
    return result


@dataclass
class Bands:
    """Eigenvalues along a path and at points that layers fold elsewhere, against vacuum.

    Attributes:
        k_distance: (path) along the path in 1/Å.
        k_fractional: (nk, 3), those of the path first, then those of `folded_points`.
        labels: position on the path and name of its corners.
        energies_ev: (spins, nk, bands) against the mean vacuum level.
        layer_weights: (layers, spins, nk, bands), of `Calculator._layer_weights`.
        edges: band edges over all these points.
        vacuum_ev: the mean vacuum level, in the energies of pw.x.
        rotations: (n, 3, 3) of the cell's symmetry, on fractional coordinates of atoms.
    """

    k_distance: np.ndarray
    k_fractional: np.ndarray
    labels: list[tuple[float, str]]
    energies_ev: np.ndarray
    layer_weights: np.ndarray
    edges: BandEdges
    vacuum_ev: float
    rotations: np.ndarray = field(default_factory=lambda: np.eye(3, dtype=int)[None])

    @property
    def is_direct(self) -> bool:
        """Whether both edges lie at one k-point, or at those that symmetry makes of it."""
        vbm, cbm = (self.k_fractional[k] for k in (self.edges.vbm_k, self.edges.cbm_k))
        apart = images(vbm, self.rotations) - cbm
        meet = np.abs(apart - np.round(apart)).max(axis=1) < SAME_K
        return not self.edges.is_metal and bool(meet.any())

    def to_dict(self) -> dict:
        """For `bands.json`; of a spin-polarised calculation both channels are bands."""
        spins = self.energies_ev.shape[0]
        energies = np.concatenate([self.energies_ev[s] for s in range(spins)], axis=1).round(4)
        weights = np.concatenate([self.layer_weights[:, s] for s in range(spins)], axis=2).round(3)
        n = len(self.k_distance)
        return {
            "k_distance": self.k_distance.round(5).tolist(),
            "labels": [[round(x, 5), name] for x, name in self.labels],
            "energies_ev": energies[:n].tolist(),
            "layer_weights": weights[:, :n].tolist(),
            "folded": {
                "k_fractional": self.k_fractional[n:].round(5).tolist(),
                "energies_ev": energies[n:].tolist(),
                "layer_weights": weights[:, n:].tolist(),
            },
            "vbm_ev": self.edges.vbm_ev,
            "cbm_ev": self.edges.cbm_ev,
            "is_metal": self.edges.is_metal,
            "gap_is_direct": self.is_direct,
            "vbm_band": self.edges.vbm_band,
            "cbm_band": self.edges.cbm_band,
            "vbm_spin": self.edges.spin_vbm,
            "cbm_spin": self.edges.spin_cbm,
            "vbm_k_fractional": self.k_fractional[self.edges.vbm_k].round(5).tolist(),
            "cbm_k_fractional": self.k_fractional[self.edges.cbm_k].round(5).tolist(),
        }


def _layers(atoms: Atoms) -> list[Atoms]:
    index = atoms.arrays.get("layer", np.zeros(len(atoms), dtype=int))
    return [atoms[index == layer] for layer in np.unique(index)]


def _primitive(layer: Atoms) -> Atoms:
    """Primitive cell of a layer that was strained or relaxed a little, lying as it lies."""
    cell = (layer.cell.array, layer.get_scaled_positions(), layer.numbers)
    found = spglib.standardize_cell(
        cell, to_primitive=True, no_idealize=True, symprec=SYMMETRIC_WITHIN_A
    )
    if found is None:
        return layer
    lattice, places, numbers = found
    # spglib may name the axes anew: first those in the plane.
    order = np.argsort(np.abs(lattice[:, 2]), kind="stable")
    return Atoms(
        numbers, scaled_positions=places[:, order], cell=lattice[order], pbc=(True, True, False)
    )


def high_symmetry_points(atoms: Atoms) -> list[np.ndarray]:
    """Points (3) of high symmetry of each layer's primitive cell, in fractions of the cell.

    With those that turning a hexagonal layer by ±120°, a square one by 90° makes of them. Fractions
    of a strained primitive cell are those of the one without strain, so Dirac points that strain
    moves off K are met nearly, not exactly.
    """
    points = []
    for layer in _layers(atoms):
        primitive = _primitive(layer)
        reciprocal = np.linalg.inv(primitive.cell.array[:2, :2]).T
        plane = (True, True, False)
        path = primitive.cell.bandpath(pbc=plane, npoints=0, eps=LATTICE_WITHIN)
        lattice = primitive.cell.get_bravais_lattice(pbc=plane, eps=LATTICE_WITHIN).name
        turns = {"HEX2D": (0.0, 120.0, -120.0), "SQR": (0.0, 90.0)}
        for fractional in path.special_points.values():
            for angle_deg in turns.get(lattice, (0.0,)):
                image = turned(fractional, primitive.cell.array[:2, :2], angle_deg)
                if lattice in turns:
                    # All are multiples of a half or a third, in a strained cell as well.
                    image = np.round(6 * image) / 6
                cartesian = image @ reciprocal
                points.append(np.append(cartesian @ atoms.cell.array[:2, :2].T, 0.0))
    return points


def _are_same(atoms: Atoms, others: Atoms) -> bool:
    """Whether two structures are one, but for whole lattice vectors."""
    if list(atoms.numbers) != list(others.numbers):
        return False
    apart = others.get_scaled_positions() - atoms.get_scaled_positions()
    apart = (apart - np.round(apart)) @ atoms.cell.array
    cells = atoms.cell.array - others.cell.array
    return bool(max(np.abs(apart).max(), np.abs(cells).max()) < SAME_ATOMS_A)


def _to_extremum(atoms: Atoms, fit: EdgeFit, carrier: str, range_per_a: float) -> np.ndarray | None:
    """Step (3) to a band's extremum in fractions of the reciprocal vectors; None: it is there."""
    step = np.append(fit.to_extremum(carrier), 0.0)
    length = np.linalg.norm(step)
    if length < MISPLACED * range_per_a:
        return None
    return min(1.0, range_per_a / length) * step @ atoms.cell.array.T / (2 * np.pi)


@dataclass
class Calculator:
    """Runs pw.x and its companions in one folder, with one protocol.

    The folder keeps inputs, logs and, in `save`, the last density and wave functions, so that
    later steps start from earlier ones. `attempts` collects a record of every run.
    `with_spin` gives two spin channels to what by itself would have one: a layer whose neighbour in
    the stack has two.
    """

    folder: Path
    protocol: Protocol
    pseudopotentials: Pseudopotentials
    launcher: Launcher
    maximum_attempts: int = 5
    attempts: list[dict] = field(default_factory=list)
    with_spin: bool = False

    # --- namelists ----------------------------------------------------------------------------

    def electrons(self, atoms: Atoms) -> float:
        return sum(self.pseudopotentials.valence(s) for s in atoms.get_chemical_symbols())

    def is_spin_polarised(self, atoms: Atoms) -> bool:
        """Magnetic elements and odd numbers of electrons get two spin channels.

        Odd in the cell or in the primitive cell of any layer: what is polarised alone is polarised
        in a stack and in any cell, or differences of energies would compare unequal things.
        """
        if self.with_spin or HIGHEST_MOMENT.keys() & set(atoms.get_chemical_symbols()):
            return True
        cells = [atoms, *map(_primitive, _layers(atoms))]
        return any(round(self.electrons(cell)) % 2 == 1 for cell in cells)

    def namelists(self, atoms: Atoms, calculation: str, stress: bool = False) -> dict[str, dict]:
        protocol = self.protocol
        occupied = int(np.ceil(self.electrons(atoms) / 2))
        system = {
            "ecutwfc": protocol.cutoff_ry,
            "ecutrho": 4 * protocol.cutoff_ry,
            "occupations": "smearing",
            "smearing": "gaussian",
            "degauss": protocol.smearing_ry,
            "nbnd": occupied + max(4, occupied // 5),
            "assume_isolated": "2D",
            "vdw_corr": "dft-d3",
            "dftd3_version": 4,
            "dftd3_threebody": False,
        }
        if self.is_spin_polarised(atoms):
            system["nspin"] = 2
            # Half of the electrons more in the majority channel for each unpaired one.
            moment = sum(HIGHEST_MOMENT.get(symbol, 0) for symbol in atoms.get_chemical_symbols())
            system["nbnd"] += -(-moment // 2)
        electrons = {
            "conv_thr": protocol.density_convergence_ry_atom * len(atoms),
            # With 0.5 charge sloshes between unlike layers in the first iterations (docs/dft.md).
            "mixing_beta": 0.3,
            "electron_maxstep": 80,
            # A wide subspace is cheap in small cells; the default of 2 takes twice the time.
            "diago_david_ndim": 4,
        }
        if calculation == "bands":
            # Eigenvalues to 10⁻⁶ eV: pw.x would go on to what a density of `conv_thr` asks for.
            electrons |= {"diago_thr_init": 1e-7, "diago_david_ndim": 8}
        rydberg_bohr = 25.71104  # eV/Å in one Ry/bohr
        return {
            "control": {
                "calculation": calculation,
                "tprnfor": calculation != "bands",
                "tstress": stress,
                "forc_conv_thr": protocol.force_convergence_ev_a / rydberg_bohr,
                "etot_conv_thr": protocol.energy_convergence_ev / 13.605693,
                "nstep": 60,
                "disk_io": "low",
            },
            "system": system,
            "electrons": electrons,
            # By default pw.x converges densities a hundred times further near the end: the forces
            # of `conv_thr` are right to a tenth of `forc_conv_thr` already (docs/dft.md).
            # Its steps begin with as many bohr as a force has Ry/bohr, a tenth of what soft layers
            # need, and grow threefold only after one that took the slope along it to `w_2` of what
            # it was, else by half; the default of 0.5 takes more steps (docs/dft.md).
            "ions": {"upscale": 1.0, "w_2": 2.0},
            "cell": {},
        }

    def _run(
        self,
        atoms: Atoms,
        calculation: str,
        k_points,
        name: str,
        stress: bool = False,
        from_density: bool = False,
    ) -> PwResult:
        """Run pw.x, with `from_density` once and from the density and states that are there."""
        if self.is_spin_polarised(atoms):
            # Whatever moment there is to find, a start without one would not find it.
            atoms = atoms.copy()
            symbols = atoms.get_chemical_symbols()
            atoms.set_initial_magnetic_moments(
                [0.5 if s in HIGHEST_MOMENT else 0.1 for s in symbols]
            )
        namelists = self.namelists(atoms, calculation, stress)
        if from_density:
            # Of a layer that is not polar the vacuum levels differ by 3 meV as the relaxation left
            # them (h-BN), by 0.2 meV then.
            finer = _TAKEN_OVER * namelists["electrons"]["conv_thr"]
            files = {"startingpot": "file", "startingwfc": "file"}
            namelists["electrons"] |= files | {"conv_thr": finer}
        try:
            result, attempts = run_pw(
                atoms,
                namelists,
                k_points,
                self.pseudopotentials,
                self.folder,
                self.launcher,
                name=name,
                maximum_attempts=1 if from_density else self.maximum_attempts,
            )
        except CalculationFailed as error:
            error.attempts = [*self.attempts, *error.attempts]  # what the step took until then
            raise
        self.attempts += attempts
        # A benchmark computes without it (tests/benchmarks/stiffness_without_dispersion.py).
        if calculation != "bands" and "vdw_corr" in namelists["system"]:
            self._check_dispersion(result, name)
        return result

    def _check_dispersion(self, result: PwResult, name: str) -> None:
        """Raise where this pw.x computes a D3 energy that is not that of the reference."""
        atoms = result.atoms.copy()
        atoms.pbc = True  # pw.x cuts off the Coulomb interaction alone
        expected = dispersion_ev(atoms)
        found = result.dispersion_ev or 0.0
        allowed = _DISPERSION_WITHIN * abs(expected) + _DISPERSION_WITHIN_EV_ATOM * len(atoms)
        if not abs(found - expected) <= allowed:  # nor if it is NaN
            known = ""
            if "Ba" in atoms.get_chemical_symbols():
                known = ". Versions 6.2.1 to 7.1 have a wrong coefficient of Ba: use 7.2 or later"
            raise CalculationFailed(
                f"{name}: this pw.x gives {atoms.get_chemical_formula()} a D3 energy of "
                f"{found:.4f} eV, the reference implementation gives {expected:.4f} eV{known}",
                self.attempts,
            )

    def mesh(self, atoms: Atoms) -> tuple[int, int, int]:
        return k_mesh(atoms.cell.array[:2, :2], self.protocol.k_spacing_per_a)

    # --- steps --------------------------------------------------------------------------------

    def scf(
        self, atoms: Atoms, name: str = "scf", mesh=None, relaxed_in: Path | None = None
    ) -> PwResult:
        """Density and energy of fixed atoms.

        Args:
            atoms: of which they are.
            name: of the files.
            mesh: of k-points; None: what the protocol takes for the cell.
            relaxed_in: folder of a relaxation. What it left is the start, where it ended at these
                atoms and has one spin channel; a moment is looked for anew. It is removed.
        """
        mesh = mesh or self.mesh(atoms)
        if relaxed_in is not None and self._take_over(relaxed_in, atoms):
            try:
                return self._run(atoms, "scf", mesh, name, from_density=True)
            except CalculationFailed:
                # The run below begins anew, and tells of this one as of an attempt before its own.
                log = self.folder / f"{name}.attempt-1.out"
                if log.exists():
                    log.replace(log.with_name(f"{name}.attempt-0.out"))
        return self._run(atoms, "scf", mesh, name)

    def _take_over(self, folder: Path, atoms: Atoms) -> bool:
        """Move density and states from another folder into this one, where they are of `atoms`."""
        states, target = folder / "save" / f"{PREFIX}.save", self.folder / "save"
        is_taken = False
        with contextlib.suppress(ValueError):
            left = read_pw(folder / "save" / f"{PREFIX}.xml").atoms
            is_taken = states.is_dir() and _are_same(left, atoms)
        if is_taken := is_taken and not self.is_spin_polarised(atoms):
            target.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(target / states.name, ignore_errors=True)
            shutil.move(states, target)
        remove_save(folder)
        return is_taken

    def relax(self, atoms: Atoms, name: str = "relax", mesh=None, stress: bool = False) -> PwResult:
        """Relax positions in the cell given, and with `stress` compute the stress at the end."""
        result = self._run(atoms, "relax", mesh or self.mesh(atoms), name, stress)
        layers = atoms.arrays.get("layer")
        if layers is not None:
            result.atoms.set_array("layer", layers)
        return result

    def kept(self, atoms: Atoms, calculation: str, name: str, mesh=None) -> dict:
        """One of many energies in this folder; kept, so that a job that ends does not lose it.

        Args:
            atoms: start structure.
            calculation: "scf" or "relax".
            name: of its files; the outcome is in `name`.json.
            mesh: of k-points; None: what the protocol takes for the cell.

        Returns:
            `energy_ev`, `positions_a` (n, 3), `forces_ev_a` (n, 3), `attempts`. Later steps find no
            density of it.
        """
        file = self.folder / f"{name}.json"
        mesh = mesh or self.mesh(atoms)
        checksums = self.pseudopotentials.checksums(atoms.get_chemical_symbols())
        namelists = self.namelists(atoms, calculation)
        if calculation != "relax":
            del namelists["ions"]  # of no effect
        how = [namelists, list(mesh), checksums]
        rests_on = fingerprint(atoms, how)
        with contextlib.suppress(InputError, KeyError):
            found = read_json(file)
            if found["rests_on_sha256"] == rests_on:
                self.attempts += found["attempts"]
                return found
        before = len(self.attempts)
        result = self._run(atoms, calculation, mesh, name)
        found = {
            "energy_ev": result.energy_ev,
            "positions_a": result.atoms.positions.tolist(),
            "forces_ev_a": result.forces_ev_a.tolist(),
            "attempts": self.attempts[before:],
            "rests_on_sha256": rests_on,
        }
        write_json(file, found)
        return found

    def scan_gap(self, atoms: Atoms, maximum_points: int = 9) -> list:
        """Energies and slopes over rigid shifts of the upper layers, until the lowest is known.

        Goes down the slope from the structure given (`next_shift`); every interface of the stack
        opens by the same shift.

        Args:
            atoms: with the array `layer`, in a cell high enough for all shifts.
            maximum_points: energies computed at most.

        Returns:
            (shift in Å, energy in eV, slope dE/dshift in eV/Å) per point, by shift.
        """
        accuracy = max(_SCAN_CONVERGENCE_RY_ATOM, self.protocol.density_convergence_ry_atom)
        coarse = replace(
            self, protocol=replace(self.protocol, density_convergence_ry_atom=accuracy)
        )
        height = atoms.cell.array[2, 2]
        layers = atoms.arrays["layer"]
        area = abs(np.linalg.det(atoms.cell.array[:2, :2]))
        points: list[tuple[float, float, float]] = []
        shift: float | None = 0.0
        while shift is not None and len(points) < maximum_points:
            moved = atoms.copy()
            moved.positions[:, 2] += shift * layers
            found = coarse.kept(with_height(moved, height), "scf", f"scan_{shift:+.2f}")
            slope = -float(np.array(found["forces_ev_a"])[:, 2] @ layers)
            points.append((shift, found["energy_ev"], slope))
            shift = next_shift(points, area)
        return sorted(points)

    def vacuum(self, atoms: Atoms) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray]]:
        """Vacuum levels of the last density, and the planar average they were read from."""
        text = (
            f"&inputpp\n prefix='{PREFIX}', outdir='./save', filplot='potential', plot_num=11\n/\n"
            "&plot\n iflag=3, output_format=6, fileout='potential.cube'\n/\n"
        )
        cube = self.folder / "potential.cube"
        cube.unlink(missing_ok=True)
        self._companion("pp.x", text, "potential")
        if not cube.exists():
            raise CalculationFailed("pp.x wrote no potential", self.attempts)
        z, potential = planar_average(cube)
        cube.unlink()
        (self.folder / "potential").unlink(missing_ok=True)
        # pw.x folds atoms into the cell, so heights are taken around its middle.
        heights = atoms.positions[:, 2]
        return vacuum_levels(z, potential, heights.min(), heights.max()), (z, potential)

    def bands(
        self,
        atoms: Atoms,
        vacuum_ev: float,
        magnetisation: float = 0.0,
        layers: Sequence[Mapping] = (),
    ) -> Bands:
        """Bands along the lattice's two-dimensional path, with the weights of the layers.

        And where a larger cell folds them off the path: at the points of high symmetry of the
        layers' own lattices (K of graphene in a rectangular cell), and where the layers alone have
        their band edges (a valley half-way along the path of a layer's own).

        Needs the density of an earlier `scf` or `relax` in the same folder.

        Args:
            atoms: relaxed, layers marked.
            vacuum_ev: mean vacuum level.
            magnetisation: of the cell in Bohr magnetons.
            layers: of `relax_layer`, where their edges are to be looked at.
        """
        path = atoms.cell.bandpath(
            pbc=(True, True, False), density=self.protocol.path_density_per_a
        )
        folded = self.folded_points(atoms, path.kpts, self.edge_points(atoms, layers))
        places = np.concatenate([path.kpts, folded])
        result = self._run(atoms, "bands", places, "bands")
        weights = self._layer_weights(atoms, len(result.k_points))
        distance, ticks, names = path.get_linear_kpoint_axis()
        energies = result.energies_ev - vacuum_ev
        return Bands(
            k_distance=distance,
            k_fractional=places,
            labels=[(float(t), "Γ" if n == "G" else n) for t, n in zip(ticks, names, strict=True)],
            energies_ev=energies,
            layer_weights=weights,
            edges=band_edges(energies, result.electrons, magnetisation),
            vacuum_ev=vacuum_ev,
            rotations=rotations_of(atoms),
        )

    def _companion(self, program: str, text: str, name: str, pools: int = 1) -> str:
        """Log of a program that reads what pw.x left; one that is killed is given another try."""
        for _ in range(2):
            log = run_program(self.launcher, program, text, self.folder, name, pools)
            if "JOB DONE" in log:
                return log
        if diagnose(log).name == "killed" and self.launcher.is_limited:
            raise OutOfMemory(f"{name}: {program} was killed twice")
        raise CalculationFailed(
            f"{program} did not end well: see {self.folder.name}/{name}.out", self.attempts
        )

    def _layer_weights(self, atoms: Atoms, points: int) -> np.ndarray:
        """(layers, spins, nk, bands) weights of the last run's states.

        Their sum over layers is 1; where less than half of a state is on atomic orbitals (nearly
        free electrons beside the layers) it is what there is, so that no layer has such a state.
        """
        text = (
            f"&projwfc\n prefix='{PREFIX}', outdir='./save', filproj='projections',"
            " lsym=.false.\n/\n"
        )
        log = self._companion("projwfc.x", text, "projections", self._pools_for(points))
        path = self.folder / "save" / f"{PREFIX}.save" / "atomic_proj.xml"
        by_atom = read_projections(path, log, len(atoms))
        for spare in self.folder.glob("*projections.p*"):
            spare.unlink()
        layers = atoms.arrays.get("layer", np.zeros(len(atoms), dtype=int))
        weights = np.stack([by_atom[..., layers == i].sum(-1) for i in range(layers.max() + 1)])
        total = weights.sum(axis=0)
        return weights / np.where(total < ON_ATOMS, 1.0, total)

    def density_of_states(
        self, atoms: Atoms, result: PwResult, vacuum_ev: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Density of states of the last `scf` or `relax` in this folder, by layer.

        Returns:
            Energies against vacuum in eV (n), and states per eV and cell (layers, n), both spins
            together: states of the mesh, each a Gaussian.
        """
        weights = self._layer_weights(atoms, len(result.k_points))
        return broadened(result.energies_ev - vacuum_ev, weights, result.k_weights)

    def _pools_for(self, points: int) -> int:
        return self.launcher.ranks if points >= self.launcher.ranks else 1

    def folded_points(
        self,
        atoms: Atoms,
        known: Sequence[Sequence[float]] = (),
        more: Sequence[Sequence[float]] = (),
    ) -> np.ndarray:
        """Points (n, 3) of high symmetry of the layers' primitive cells, in fractions of this one.

        And `more`; those that `known` hold are left out.
        """
        found: list[np.ndarray] = []
        for k in [*high_symmetry_points(atoms), *more]:
            others = np.array([*known, *found]).reshape(-1, 3)
            # k and −k have the same energies.
            apart = np.concatenate([others - k, others + k])
            if (np.abs(apart - np.round(apart)).max(axis=1) < SAME_K).any():
                continue
            found.append(k - np.round(k))
        return np.array(found).reshape(-1, 3)

    def edge_points(self, atoms: Atoms, layers: Sequence[Mapping]) -> list[np.ndarray]:
        """Points (3) where layers alone have band edges on their paths, in fractions of this cell.

        Args:
            atoms: the stack, layers marked.
            layers: of `relax_layer`.
        """
        found = []
        for path, layer in zip(self.own_paths(atoms) if layers else [], layers, strict=True):
            for name in ("vbm_on_path", "cbm_on_path"):
                if layer.get(name) is not None:  # of an earlier version nothing is told
                    found.append(path[round(layer[name] * (len(path) - 1))])
        return found

    def own_paths(self, atoms: Atoms) -> list[np.ndarray]:
        """Points (n, 3) on the path of each layer's primitive cell, in fractions of this cell."""
        found = []
        for layer in _layers(atoms):
            primitive = _primitive(layer)
            path = primitive.cell.bandpath(
                pbc=(True, True, False),
                density=self.protocol.path_density_per_a,
                eps=LATTICE_WITHIN,
            )
            cartesian = path.kpts @ primitive.cell.reciprocal().array
            found.append(cartesian @ atoms.cell.array.T * [1.0, 1.0, 0.0])
        return found

    def energies_at(self, atoms: Atoms, k_fractional, name: str) -> np.ndarray:
        """Eigenvalues (spins, nk, bands) in eV at given k-points, from the last density."""
        return self._run(atoms, "bands", np.asarray(k_fractional, float), name).energies_ev

    def masses(self, atoms: Atoms, bands: Bands) -> dict[str, float | list[float]]:
        """Effective masses at both band edges in m₀, and where these are; {} for a metal.

        From the tensor of curvatures, whose axes need not be x and y: lines of k-points along x, y
        and their diagonal, through the extremum that the band has near the path's edge. Per
        carrier: principal masses `_light` and `_heavy`, along the axes `_x` and `_y` (inverse of
        the tensor's diagonal), density-of-states mass √(m₁ m₂). Where two branches meet in the edge
        these are of the one that is nearer to the gap beside it, and `_split` is the
        density-of-states mass from the mean curvature of both: that of either where spin–orbit
        coupling, which is not in here, splits them by more than the energies of interest
        (`branch_at`). None of a carrier whose band has no mass (`tensor_masses`). The worst fit
        residual is in eV. Of carriers with masses `_k_fractional` is the extremum, `_edge_ev` its
        energy against vacuum.
        """
        if bands.edges.is_metal:
            return {}
        edges = bands.edges
        states = {
            "hole": (bands.k_fractional[edges.vbm_k], edges.spin_vbm, edges.vbm_band),
            "electron": (bands.k_fractional[edges.cbm_k], edges.spin_cbm, edges.cbm_band),
        }
        # Between points of the path an edge lies up to half their distance beside one.
        fits, places = self._at_extremum(atoms, states, "masses", MASS_RANGE_PER_A)
        smaller = MASS_RANGE_PER_A_EV * (edges.cbm_ev - edges.vbm_ev)
        if places and smaller < MASS_RANGE_PER_A:
            fits, places = self._at_extremum(atoms, places, "masses_near", smaller)
        found: dict[str, float | list[float]] = {}
        for carrier, fit in fits.items():
            masses = fit.masses(carrier)
            found |= {f"{carrier}_mass{suffix}_m0": mass for suffix, mass in masses.items()}
            if masses:
                found[f"{carrier}_k_fractional"] = places[carrier][0].tolist()
                found[f"{carrier}_edge_ev"] = fit.energy_ev - bands.vacuum_ev
        return found | {
            "mass_fit_residual_ev": max((fit.residual_ev for fit in fits.values()), default=None)
        }

    def valleys(self, atoms: Atoms, bands: Bands, masses: Mapping) -> dict[str, float | None]:
        """Where a carrier may get besides the valley of its edge.

        Minima of the path and points folded off it are looked at, up to 0.1 eV behind the edge.

        Args:
            atoms: of which the bands are.
            bands: of a semiconductor, from the density in this folder.
            masses: of `masses`.

        Returns:
            Per carrier, counted from the edge: `_next_valley_ev`, another kind of valley or the
            next band at the edge; `_saddle_ev`, the lowest saddle, over which equal valleys meet;
            None where there is nothing.
        """
        edges = bands.edges
        states = {
            "hole": (edges.spin_vbm, edges.vbm_k, edges.vbm_band),
            "electron": (edges.spin_cbm, edges.cbm_k, edges.cbm_band),
        }
        found: dict[str, float | None] = {}
        for carrier, state in states.items():
            places = self._places(atoms, bands, masses, carrier, *state)
            valleys = [place.behind_ev for place in places if not place.is_saddle]
            saddles = [place.behind_ev for place in places if place.is_saddle]
            found[f"{carrier}_next_valley_ev"] = min(valleys, default=None)
            found[f"{carrier}_saddle_ev"] = min(saddles, default=None)
        return found

    def _places(
        self,
        atoms: Atoms,
        bands: Bands,
        masses: Mapping,
        carrier: str,
        spin: int,
        k: int,
        band: int,
    ) -> list[Place]:
        """Stationary points of an edge's band that are not of its own valley, and other bands."""
        sign = -1 if carrier == "hole" else 1
        edge_ev = masses.get(f"{carrier}_edge_ev", bands.energies_ev[spin, k, band])
        edge = np.array(masses.get(f"{carrier}_k_fractional", bands.k_fractional[k]))
        behind = sign * (bands.energies_ev[spin] - edge_ev)
        found = other_bands(behind[k], band, BEHIND_EV)
        reciprocal = atoms.cell.reciprocal().array * 2 * np.pi
        rotations = rotations_of(atoms)
        starts = bands.k_fractional[
            places_behind(
                behind[:, band],
                bands.k_fractional,
                len(bands.k_distance),
                images(bands.k_fractional[k], rotations),
                reciprocal,
                BEHIND_EV,
            )
        ]
        if not len(starts):
            return found
        to_fractions = np.linalg.inv(reciprocal)
        gap = bands.edges.cbm_ev - bands.edges.vbm_ev
        range_per_a = min(MASS_RANGE_PER_A, MASS_RANGE_PER_A_EV * gap)
        points = starts[:, None] + range_per_a * AROUND @ to_fractions
        energies = self.energies_at(atoms, points.reshape(-1, 3), f"{carrier}_valleys")
        lines = sign * (energies[spin, :, band] - bands.vacuum_ev - edge_ev)
        for start, around in zip(starts, lines.reshape(len(starts), -1), strict=True):
            place = stationary_point(around, range_per_a)
            at = start + place.step_per_a @ to_fractions
            (apart,) = apart_per_a(at[None], images(edge, rotations), reciprocal)
            # Else the start lies on the flank of a valley elsewhere, or of the edge's own.
            is_near = np.linalg.norm(place.step_per_a) < FARTHEST * range_per_a
            if is_near and (place.is_saddle or apart > range_per_a):
                found.append(place)
        return found

    def _at_extremum(
        self,
        atoms: Atoms,
        states: Mapping[str, tuple[np.ndarray, int, int]],
        name: str,
        range_per_a: float,
    ) -> tuple[dict[str, EdgeFit], dict[str, tuple[np.ndarray, int, int]]]:
        """Fits at the extrema beside points, and these extrema, as `states` has the points.

        Newton's steps, two at most; without carriers that are still on their way then: flat bands.
        """
        fits: dict[str, EdgeFit] = {}
        places: dict[str, tuple[np.ndarray, int, int]] = {}
        left = dict(states)
        for again in ("", "_beside", "_beside_again"):
            fits |= self._edge_fits(atoms, left, f"{name}{again}", range_per_a)
            places |= left
            left = {
                carrier: (k + step, spin, band)
                for carrier, (k, spin, band) in left.items()
                if (step := _to_extremum(atoms, fits[carrier], carrier, range_per_a)) is not None
            }
            if not left:
                break
        for carrier in left:
            del fits[carrier], places[carrier]
        return fits, places

    def _edge_fits(
        self,
        atoms: Atoms,
        states: Mapping[str, tuple[np.ndarray, int, int]],
        name: str,
        range_per_a: float,
    ) -> dict[str, EdgeFit]:
        """Fits around points, within a range in 1/Å.

        Args:
            states: per carrier fractional k, spin channel and band.
        """
        reciprocal = atoms.cell.reciprocal().array * 2 * np.pi
        steps = np.linspace(-range_per_a, range_per_a, 7)
        directions = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5**0.5, 0.5**0.5, 0.0]])
        points = [
            k + step * direction @ np.linalg.inv(reciprocal)
            for k, _, _ in states.values()
            for direction in directions
            for step in steps
        ]
        # Lines of one edge meet in it, and a direct gap has both edges on the same lines.
        points, places = np.unique(np.round(points, 9), axis=0, return_inverse=True)
        energies = self.energies_at(atoms, points, name)[:, places.ravel()]
        lines = energies.reshape(len(energies), len(states), len(directions), len(steps), -1)
        return {
            carrier: EdgeFit.of(steps, lines[spin, i], band, carrier)
            for i, (carrier, (_, spin, band)) in enumerate(states.items())
        }

    def clean(self) -> None:
        """Remove density and wave functions."""
        remove_save(self.folder)

    def provenance(self, elements) -> dict:
        """Protocol, cutoffs, checksums and the version of pw.x, for results."""
        logs = sorted(self.folder.glob("*.out"), key=lambda log: log.stat().st_mtime, reverse=True)
        told = (espresso_version(log.read_text(errors="replace")) for log in logs)
        return {
            "protocol": self.protocol.to_dict(),
            "functional": "PBE-D3(BJ), two-body; no spin-orbit coupling",
            "pseudopotential_family": self.pseudopotentials.family,
            "pseudopotentials_sha256": self.pseudopotentials.checksums(elements),
            "quantum_espresso": next(filter(None, told), "unknown"),
        }
