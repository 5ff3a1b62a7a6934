"""From a stack to verified numbers: what each step computes and how they are put together."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from heteroforge.dft.calculations import (
    Bands,
    Calculator,
    cell_for_truncation,
    with_height,
)
from heteroforge.dft.electronic import (
    METAL_BELOW_EV,
    BandEdges,
    alignment_from_weights,
    anderson_alignment,
    band_edges,
    dipole_e_a,
)
from heteroforge.dft.outputs import PwResult
from heteroforge.dft.protocols import unfolded_mesh
from heteroforge.dft.scan import SCAN_ROOM_A, lowest_point, opened
from heteroforge.dft.strain import STRAIN_UNITS, strain_response, strained, without_mobilities
from heteroforge.dft.valleys import rotations_of
from heteroforge.features import facing_levels
from heteroforge.io import read_json, write_json
from heteroforge.structures import Stack, build
from heteroforge.structures.compare import (
    SLID_A,
    closest_contact,
    deformation_a,
    interlayer_gaps_a,
    layer_deformation_a,
    registry_shift_a,
)
from heteroforge.structures.matching import share_one_cell, stack_layers
from heteroforge.structures.plane import is_hexagonal

__all__ = [
    "EDGES",
    "Density",
    "UNITS",
    "assemble",
    "compute_bands",
    "compute_density",
    "compute_strain_response",
    "edges_and_metal",
    "relax_layer",
    "relax_stack",
    "start_structure",
]

_VACUUM = ("vacuum_bottom_ev", "vacuum_top_ev", "vacuum_step_ev", "vacuum_flatness_ev")
# Where those of layers alone are looked for, and that their place is told.
EDGES = "mesh, own path, folded points; on_path"
RECONSTRUCTED_A = 0.1  # beyond, a layer in the stack is no longer the layer that was put there

_EDGE_UNITS = {
    **{
        f"{carrier}_mass{kind}_m0": "m₀"
        for carrier in ("electron", "hole")
        for kind in ("", "_light", "_heavy", "_split")
    },
    "mass_fit_residual_ev": "eV",
    **{
        f"{carrier}_{place}_ev": "eV"
        for carrier in ("electron", "hole")
        for place in ("next_valley", "saddle")
    },
}
UNITS = {
    "gap_ev": "eV",
    "gap_is_direct": "",
    "vbm_ev": "eV",
    "cbm_ev": "eV",
    "vbm_k_fractional": "",
    "cbm_k_fractional": "",
    "edges_off_path_ev": "eV",
    "ionization_energy_ev": "eV",
    "electron_affinity_ev": "eV",
    "work_function_ev": "eV",
    "vacuum_bottom_ev": "eV",
    "vacuum_top_ev": "eV",
    "vacuum_step_ev": "eV",
    "vacuum_flatness_ev": "eV",
    "dipole_e_a": "e Å",
    "alignment": "",
    "vbm_layer_weights": "",
    "cbm_layer_weights": "",
    "anderson_gap_ev": "eV",
    "anderson_alignment": "",
    "binding_energy_mev_a2": "meV/Å²",
    "strain_energy_mev_a2": "meV/Å²",
    "net_energy_mev_a2": "meV/Å²",
    "registry": "",
    "registry_gain_mev_a2": "meV/Å²",
    "closest_contact_ratio": "",
    "interlayer_gap_a": "Å",
    "interlayer_gaps_a": "Å",
    **_EDGE_UNITS,
    "magnetisation_bohr": "μB",
    "registry_shift_a": "Å",
    "layer_deformation_a": "Å",
    "ionic_steps": "",
    "energy_drop_ev": "eV",
    **STRAIN_UNITS,
}


def start_structure(stack: Stack) -> Atoms:
    """Atoms of a stack in a cell fit for the two-dimensional truncation, layers marked."""
    return cell_for_truncation(build(stack))


def relax_stack(
    calculator: Calculator, atoms: Atoms, scan: bool = True, gained_ev: float = 0.0
) -> dict:
    """Interlayer scan (for two or more layers), then relaxation of the positions.

    Args:
        calculator: of the folder.
        atoms: of `start_structure`.
        scan: whether to look for the best distance first; False where it is known.
        gained_ev: by sliding and at another distance before, where these were looked for elsewhere.

    Returns:
        `atoms` (relaxed, in a cell of the height it needs), `registry_shift_a` (how far a layer
        slid over the one below it at most), `layer_deformation_a` (how far an atom moved within
        its layer at most), `ionic_steps`, `energy_drop_ev` (from the start structure to the
        relaxed one), `scan` (shift in Å, energy in eV, slope in eV/Å).
    """
    start = atoms
    layers = int(atoms.arrays["layer"].max()) + 1
    points: list = []
    if scan and layers > 1:
        # One height for all energies of the scan and the relaxation after it.
        height = cell_for_truncation(opened(atoms, SCAN_ROOM_A)).cell.array[2, 2]
        start = with_height(atoms, height)
        points = calculator.scan_gap(start)
        start = with_height(opened(start, lowest_point(points)[0]), height)
    result = calculator.relax(start)
    before = next((e for shift, e, _ in points if shift == 0.0), result.first_energy_ev)
    return {
        "atoms": result.atoms,
        "registry_shift_a": registry_shift_a(start, result.atoms),
        "layer_deformation_a": layer_deformation_a(start, result.atoms),
        "ionic_steps": result.ionic_steps,
        "energy_drop_ev": None if before is None else gained_ev + before - result.energy_ev,
        "scan": points,
        "converged": result.converged,
    }


def edges_against_vacuum(result: PwResult, vacuum_ev: float) -> BandEdges:
    """Band edges over the k-points of a run, against the mean vacuum level."""
    return band_edges(result.energies_ev - vacuum_ev, result.electrons, result.magnetisation)


@dataclass
class Density:
    """What a self-consistent density tells; energies against the mean vacuum level.

    Attributes:
        numbers: energy, vacuum levels, band edges on the mesh, moment.
        potential: (n, 2) planar potential, z in Å and eV.
        states: (n, 1 + layers) energy in eV and density of states per eV and cell on each layer.
    """

    numbers: dict
    potential: np.ndarray
    states: np.ndarray


def compute_density(
    calculator: Calculator, atoms: Atoms, relaxed_in: Path | None = None
) -> Density:
    """Self-consistent density of fixed atoms, vacuum levels, band edges and states on the mesh.

    Args:
        calculator: of the folder.
        atoms: relaxed.
        relaxed_in: folder of their relaxation, whose density is the start where it is still there.
    """
    result = calculator.scf(atoms, relaxed_in=relaxed_in)
    levels, (z, potential) = calculator.vacuum(atoms)
    vacuum = levels["vacuum_ev"]
    edges = edges_against_vacuum(result, vacuum)
    numbers = {
        "energy_ev": result.energy_ev,
        "electrons": result.electrons,
        "magnetisation_bohr": result.magnetisation,
        "fermi_ev": None if result.fermi_ev is None else result.fermi_ev - vacuum,
        "mesh_vbm_ev": edges.vbm_ev,
        "mesh_cbm_ev": edges.cbm_ev,
        "mesh_is_metal": edges.is_metal,
        **levels,
    }
    energies, states = calculator.density_of_states(atoms, result, vacuum)
    return Density(
        numbers,
        np.column_stack([z, potential - vacuum]),
        np.column_stack([energies, *states]),
    )


def compute_bands(
    calculator: Calculator,
    atoms: Atoms,
    density: dict,
    layers: Sequence[Mapping] = (),
    with_masses: bool = True,
) -> tuple[Bands, dict]:
    """Bands, layer weights and effective masses from the density in the calculator's folder.

    Beside the masses of a semiconductor's edges, how far behind them other valleys lie.

    Args:
        calculator: of the folder.
        atoms: relaxed.
        density: of `compute_density`.
        layers: of `relax_layer`, of a stack.
        with_masses: False: masses are not asked for.
    """
    vacuum, moment = density["vacuum_ev"], density["magnetisation_bohr"]
    bands = calculator.bands(atoms, vacuum, moment, layers)
    if not with_masses or bands.edges.is_metal:
        return bands, {}
    masses = calculator.masses(atoms, bands)
    return bands, masses | calculator.valleys(atoms, bands, masses)


def compute_strain_response(
    calculator: Callable[[str], Calculator], atoms: Atoms, bands: Mapping, density: Mapping
) -> dict:
    """Stiffness, deformation potentials and mobilities of a relaxed stack.

    Args:
        calculator: gives a calculator for a subfolder.
        atoms: relaxed, in the cell without strain.
        bands: content of `bands.json`.
        density: of `compute_density`.

    Returns:
        The quantities of STRAIN_UNITS and `attempts`; no quantity for a metal, which has no edges,
        and for two spin channels, of which nothing was compared with published values.
    """
    hexagonal = is_hexagonal(atoms.cell.array[:2, :2])
    if edges_and_metal(bands, density)[2] or calculator("x_+1").is_spin_polarised(atoms):
        return {"attempts": []}
    attempts: list[dict] = []

    def strain(axis: int, sign: int, opposite: Mapping | None) -> dict:
        run = calculator(f"{'xy'[axis]}_{sign:+d}")
        found = strained(run, atoms, {**bands, **bands["masses"]}, axis, sign, opposite)
        attempts.extend(found["attempts"])
        return found

    rotations = rotations_of(atoms)
    response = strain_response(strain, bands, bands["masses"], hexagonal, rotations)
    return {**without_mobilities(response, atoms.numbers, False), "attempts": attempts}


def relax_layer(
    calculator: Callable[[str], Calculator],
    atoms: Atoms,
    layer: int,
    stack: Stack,
    shared: Path | None = None,
    espresso: str | None = None,
) -> dict:
    """One layer alone: relaxed in the stack's cell, and as it is when free.

    Args:
        calculator: gives a calculator for a subfolder.
        atoms: the relaxed stack, layers marked.
        layer: index from the bottom.
        stack: specification of the stack.
        shared: folder of energies that candidates share: a layer is computed once per cell.
        espresso: version of Quantum ESPRESSO of the stack's energy; None: any is taken.

    Returns:
        `layer`, key of the `monolayer`, largest strain in the stack (`strain_percent`); energy in
        the stack's cell and free (for the same number of atoms) in eV, band edges against vacuum
        and where on the layer's own path they lie (`vbm_on_path`, `cbm_on_path`: 0 to 1, None: not
        on it), `is_metal`, `vacuum_step_ev`; `reused`: how many of the two energies came from
        `shared`; `espresso_versions` of both.
    """
    # The stack's height: the same basis on both sides of the difference.
    height = atoms.cell.array[2, 2]
    start = atoms[atoms.arrays["layer"] == layer]
    ideal = build(stack)
    ideal = ideal[ideal.arrays["layer"] == layer]
    # A layer that keeps its shape in the stack starts from the shape all its stacks share; one that
    # the stack has changed might have found a deeper minimum, which it must be allowed to keep.
    if deformation_a(ideal, start) < RECONSTRUCTED_A:
        start = ideal
    # And as many spin channels: a layer may find a moment in the stack that it must find alone.
    with_spin = calculator("in_stack").is_spin_polarised(atoms)
    energies = LayerEnergies(
        lambda name: replace(calculator(name), with_spin=with_spin), shared, espresso
    )
    found = energies.of(with_height(start, height), "in_stack")
    numbers = {
        "layer": layer,
        "monolayer": stack.layers[layer].monolayer.key(),
        "energy_in_stack_cell_ev": found["energy_ev"],
        "energy_free_ev": None,
        "vbm_ev": found["vbm_ev"],
        "cbm_ev": found["cbm_ev"],
        "vbm_on_path": found["vbm_on_path"],
        "cbm_on_path": found["cbm_on_path"],
        "is_metal": found["is_metal"],
        "vacuum_step_ev": found["vacuum_step_ev"],
        "strain_percent": 100 * float(np.abs(np.linalg.eigvalsh(stack.strain(layer))).max()),
    }
    if not stack.layers[layer].defects:
        own = stack.layers[layer]
        free, cells = own.monolayer.to_atoms(), own.number_of_cells
        # The same k-points on both sides of the difference.
        stack_mesh = calculator("free").mesh(start)
        mesh = unfolded_mesh(own.supercell, stack_mesh)
        if mesh is None:
            free, cells, mesh = build(stack_layers([own.monolayer], [own.supercell])), 1, stack_mesh
        alone = energies.of(with_height(free, height), "free", mesh, with_edges=False)
        energy = alone["energy_ev"]
        numbers["energy_free_ev"] = energy * cells
    return numbers | {
        "attempts": energies.attempts,
        "reused": energies.reused,
        "espresso_versions": sorted(energies.versions),
    }


class LayerEnergies:
    """Isolated layers, each computed once per cell and kept in a folder that candidates share.

    Files are named by a checksum of geometry, protocol and pseudopotentials, so that nothing else
    can be taken for it; two jobs that need one at the same time both compute it. Where a version of
    Quantum ESPRESSO is given, energies of another one are computed anew.
    """

    def __init__(
        self,
        calculator: Callable[[str], Calculator],
        folder: Path | None,
        espresso: str | None = None,
    ) -> None:
        self.calculator = calculator
        self.folder = folder
        self.espresso = espresso
        self.attempts: list[dict] = []
        self.reused = 0
        self.versions: set[str] = set()

    def of(
        self,
        atoms: Atoms,
        name: str,
        mesh: tuple[int, int, int] | None = None,
        with_edges: bool = True,
    ) -> dict:
        """Energy in eV of a layer alone, relaxed from `atoms`, its edges and vacuum step.

        Args:
            atoms: the layer in its cell.
            name: of the subfolder.
            mesh: None: the one of the protocol.
            with_edges: False: the energy alone is asked for.
        """
        run = self.calculator(name)
        file = self.folder and self.folder / f"{layer_fingerprint(atoms, run, mesh)}.json"
        with contextlib.suppress(OSError, ValueError):
            if file is not None:
                found = read_json(file)
                version = found.get("quantum_espresso")
                told = {version, self.espresso} - {None, "unknown"}
                if len(told) < 2 and (not with_edges or found.get("edges") == EDGES):
                    self.versions |= {version} - {None}
                    self.reused += 1
                    return found
        result = run.relax(atoms, mesh=mesh)
        found = {"energy_ev": result.energy_ev, "formula": atoms.get_chemical_formula()}
        if with_edges:
            found |= self._edges(run, result)
        found["quantum_espresso"] = run.provenance(atoms.get_chemical_symbols())["quantum_espresso"]
        self.versions.add(found["quantum_espresso"])
        run.clean()
        self.attempts += run.attempts
        if file is not None:
            write_json(file, found)
        return found

    @staticmethod
    def _edges(run: Calculator, result: PwResult) -> dict:
        """Edges against vacuum over the mesh, the layer's own path and points folded off these.

        Both edges of a metal are its Fermi energy.
        """
        levels, _ = run.vacuum(result.atoms)
        vacuum = levels["vacuum_ev"]
        (path,) = run.own_paths(result.atoms)
        points = np.concatenate([path, run.folded_points(result.atoms, path)])
        more = run.energies_at(result.atoms, points, "edges")
        # A remedy may have given one of the runs more bands.
        bands, mesh = min(result.energies_ev.shape[2], more.shape[2]), result.energies_ev.shape[1]
        energies = np.concatenate([result.energies_ev[..., :bands], more[..., :bands]], axis=1)
        edges = edges_against_vacuum(replace(result, energies_ev=energies), vacuum)
        on_path = {
            name: (k - mesh) / (len(path) - 1) if mesh <= k < mesh + len(path) else None
            for name, k in (("vbm_on_path", edges.vbm_k), ("cbm_on_path", edges.cbm_k))
        }
        vbm, cbm = edges.vbm_ev, edges.cbm_ev
        if edges.is_metal and result.fermi_ev is not None:
            vbm = cbm = result.fermi_ev - vacuum
        return {
            "vbm_ev": vbm,
            "cbm_ev": cbm,
            **(dict.fromkeys(on_path) if edges.is_metal else on_path),
            "is_metal": edges.is_metal,
            "vacuum_step_ev": levels["vacuum_step_ev"],
            "edges": EDGES,
        }


def layer_fingerprint(
    atoms: Atoms, calculator: Calculator, mesh: tuple[int, int, int] | None = None
) -> str:
    """Checksum of a layer and how it is computed, the same however it is shifted or turned in its
    plane, or mirrored in it; upside down differs, for the sign of the vacuum step.

    From cell area and height, heights of the elements, and the distances of all pairs within 8 Å,
    to 10⁻³ Å.
    """
    first, second, distance, step = neighbor_list("ijdD", atoms, 8.0)
    pairs = np.column_stack([atoms.numbers[first], atoms.numbers[second], distance, step[:, 2]])
    z = atoms.positions[:, 2] - (atoms.positions[:, 2].max() + atoms.positions[:, 2].min()) / 2
    sites = np.column_stack([atoms.numbers, z])
    digest = hashlib.sha256()
    mesh = mesh or calculator.mesh(atoms)
    for table in (sites, pairs):
        table = table.round(3) + 0.0
        digest.update(table[np.lexsort(table.T)].tobytes())
    area = abs(np.linalg.det(atoms.cell.array[:2, :2]))
    how = [
        # Of one lattice another cell may have another mesh, and so another energy; the longer
        # vector's number first.
        [n for _, n in sorted(zip(-atoms.cell.lengths()[:2].round(2), mesh[:2], strict=True))],
        round(area, 3),
        round(atoms.cell.array[2, 2], 3),
        calculator.protocol.to_dict(),
        calculator.pseudopotentials.checksums(atoms.get_chemical_symbols()),
    ]
    if calculator.with_spin:
        how.append("two spin channels")
    digest.update(json.dumps(how, sort_keys=True).encode())
    return digest.hexdigest()[:20]


def _states(bands: dict) -> tuple[np.ndarray, np.ndarray]:
    """Energies (nk, bands) and weights (layers, nk, bands) of the path and of folded points."""
    energies, weights = np.array(bands["energies_ev"]), np.array(bands["layer_weights"])
    folded = bands.get("folded") or {"energies_ev": []}
    if not folded["energies_ev"]:
        return energies, weights
    return (
        np.concatenate([energies, folded["energies_ev"]]),
        np.concatenate([weights, folded["layer_weights"]], axis=1),
    )


def layer_edges(bands: dict) -> list[tuple[float | None, float | None]]:
    """(VBM, CBM) of each layer inside the stack: states with more than half their weight on it.

    None of an edge beyond the bands that were computed, or shared with other layers.
    """
    energies, weights = _states(bands)
    occupied = energies <= bands["vbm_ev"] + 1e-3
    found = []
    for layer in weights:
        own = layer > 0.5
        below, above = energies[own & occupied], energies[own & ~occupied]
        found.append(
            (
                float(below.max()) if below.size else None,
                float(above.min()) if above.size else None,
            )
        )
    return found


def _edge_weights(bands: dict) -> tuple[list[float], list[float]]:
    energies, weights = _states(bands)
    found = []
    for edge in ("vbm_ev", "cbm_ev"):
        k, b = np.unravel_index(np.abs(energies - bands[edge]).argmin(), energies.shape)
        found.append(weights[:, k, b].round(3).tolist())
    return found[0], found[1]


def assemble(
    stack: Stack,
    atoms: Atoms,
    relaxation: dict,
    density: dict,
    bands: dict,
    layers: list[dict],
    response: dict | None = None,
    registries: list[dict] | None = None,
) -> dict:
    """All numbers of a verified stack; units in UNITS.

    Binding energy = (Σ E(layer alone, in the stack's cell) − E(stack)) / area, positive when
    bound; strain energy = Σ (E(layer in the stack's cell) − E(layer free)) / area; net = binding −
    strain. Band edges are the extremes over mesh and path, against the mean of both vacuum levels;
    what tells where they lie, how they are shared and how heavy carriers are is read at those of
    the path, `edges_off_path_ev` above the VBM or below the CBM of which the mesh has another.
    Of the response to strain and of other registries, where they were not computed, nothing is
    known.
    """
    area = stack.area_a2
    vbm, cbm, is_metal = edges_and_metal(bands, density)
    binding = (
        1e3 * (sum(la["energy_in_stack_cell_ev"] for la in layers) - density["energy_ev"]) / area
    )
    free = [la["energy_free_ev"] for la in layers]
    strain = None
    if all(e is not None for e in free):
        strain = 1e3 * sum(
            la["energy_in_stack_cell_ev"] - e for la, e in zip(layers, free, strict=True)
        )
        strain /= area
    vbm_weights, cbm_weights = _edge_weights(bands)
    masses = {} if is_metal else bands.get("masses", {})
    tops, bottoms = zip(*layer_edges(bands), strict=True)
    offsets = _nearest_apart([None if v is None else -v for v in tops]), _nearest_apart(bottoms)
    off_path = max(vbm - bands["vbm_ev"], bands["cbm_ev"] - cbm)
    shifts = facing_levels([la["vacuum_step_ev"] for la in layers])
    anderson, anderson_gap = anderson_alignment(
        [(la["vbm_ev"] + s, la["cbm_ev"] + s) for la, s in zip(layers, shifts, strict=True)]
    )
    gaps = interlayer_gaps_a(atoms)
    return {
        "gap_ev": 0.0 if is_metal else cbm - vbm,
        "gap_is_direct": _is_direct(stack, bands, is_metal),
        "vbm_ev": None if is_metal else vbm,
        "cbm_ev": None if is_metal else cbm,
        "vbm_k_fractional": None if is_metal else bands["vbm_k_fractional"],
        "cbm_k_fractional": None if is_metal else bands["cbm_k_fractional"],
        "edges_off_path_ev": None if is_metal else off_path,
        "ionization_energy_ev": None if is_metal else -vbm,
        "electron_affinity_ev": None if is_metal else -cbm,
        "work_function_ev": -density["fermi_ev"] if is_metal and density["fermi_ev"] else None,
        **{name: density[name] for name in _VACUUM},
        "dipole_e_a": dipole_e_a(density["vacuum_step_ev"], stack.area_a2),
        "alignment": alignment_from_weights(
            np.array(vbm_weights), np.array(cbm_weights), is_metal, *offsets
        )
        if len(layers) > 1
        else ("metal" if is_metal else "I"),
        "vbm_layer_weights": vbm_weights,
        "cbm_layer_weights": cbm_weights,
        "anderson_gap_ev": anderson_gap,
        "anderson_alignment": anderson,
        "binding_energy_mev_a2": binding if len(layers) > 1 else None,
        "strain_energy_mev_a2": strain,
        "net_energy_mev_a2": None if strain is None or len(layers) < 2 else binding - strain,
        **_registry(stack, registries if relaxation["registry_shift_a"] <= SLID_A else None),
        "closest_contact_ratio": closest_contact(atoms)[0],
        "interlayer_gap_a": float(np.mean(gaps)) if gaps else None,
        "interlayer_gaps_a": [round(g, 4) for g in gaps],
        **{name: masses.get(name) for name in _EDGE_UNITS},
        "magnetisation_bohr": density["magnetisation_bohr"],
        "registry_shift_a": relaxation["registry_shift_a"],
        "layer_deformation_a": relaxation["layer_deformation_a"],
        "ionic_steps": relaxation["ionic_steps"],
        "energy_drop_ev": relaxation["energy_drop_ev"],
        **{name: None if is_metal else (response or {}).get(name) for name in STRAIN_UNITS},
    }


def edges_and_metal(bands: Mapping, density: Mapping) -> tuple[float, float, bool]:
    """VBM and CBM in eV against vacuum over mesh, path and points folded off these, and whether
    there is no gap between them.

    Args:
        bands: of `compute_bands`.
        density: of `compute_density`.
    """
    vbm = max(bands["vbm_ev"], density["mesh_vbm_ev"])
    cbm = min(bands["cbm_ev"], density["mesh_cbm_ev"])
    return (
        vbm,
        cbm,
        bool(bands["is_metal"] or density["mesh_is_metal"] or cbm - vbm < METAL_BELOW_EV),
    )


def _is_direct(stack: Stack, bands: dict, is_metal: bool) -> bool | None:
    """None where the edges lie at one k-point of a cell larger than that of a layer.

    It folds valleys that the layer has apart onto one point, K onto Γ of √3 × √3 cells.
    """
    direct = bool(bands["gap_is_direct"]) and not is_metal
    folds = any(abs(np.linalg.det(layer.supercell)) > 1.5 for layer in stack.layers)
    return None if direct and folds else direct


def _nearest_apart(edges_ev: Sequence[float | None]) -> float | None:
    """From the lowest edge of a layer to the next, in eV; None where fewer than two are known."""
    known = sorted(edge for edge in edges_ev if edge is not None)
    return known[1] - known[0] if len(known) > 1 else None


def _registry(stack: Stack, registries: list[dict] | None) -> dict:
    """Name of the verified registry, and how far it lies below the one that was asked for.

    Neither is known where registries were not compared, and of a stack that slid on relaxation.
    """
    name = gain = None
    if registries and share_one_cell(*stack.layers):
        name = stack.stacking(0)
        energies = {entry["is_asked"]: entry["energy_mev_a2"] for entry in registries}
        verified = [e for e in registries if np.allclose(e["offset"], stack.interfaces[0].offset)]
        if energies.get(True) is not None and verified:
            gain = energies[True] - verified[0]["energy_mev_a2"]
    return {"registry": name, "registry_gain_mev_a2": gain}
