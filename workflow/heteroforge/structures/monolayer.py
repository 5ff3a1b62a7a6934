"""A monolayer: sites in a plane cell, with z open."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import spglib
from ase import Atoms
from ase.data import atomic_numbers
from ase.formula import Formula

from heteroforge.structures.plane import (
    cell_from_parameters,
    cell_parameters,
    reduce_cell,
    wrap,
)

__all__ = ["Monolayer", "Operations", "StructureError", "in_plane"]


class StructureError(ValueError):
    """A structure that cannot be used, with the reason in the message."""


@dataclass(frozen=True)
class Operations:
    """Symmetry operations of a layer in its own cell, distinct in the plane and in the faces.

    Attributes:
        matrices: integer W (n, 2, 2) for rows: a site at v + origin has an equal one at
            v W + shift + origin.
        shifts: in-plane translations (n, 2), fractional, multiples of 1/2.
        exchanges_faces: which operations turn the layer upside down (n).
        origin: in-plane fractional position (2) of the standard origin of the layer group.
    """

    matrices: np.ndarray
    shifts: np.ndarray
    exchanges_faces: np.ndarray
    origin: np.ndarray


@dataclass(frozen=True)
class Monolayer:
    """One layer, periodic in two dimensions.

    Attributes:
        species: element per site (n).
        positions: in-plane fractional coordinates per site (n, 2).
        heights: z per site in Å, the outermost atoms at ±thickness/2 (n).
        a, b: lengths of the in-plane cell in Å.
        gamma_deg: angle between them in degrees.
        name: identifier in a library; empty for a layer that no library knows.
    """

    species: tuple[str, ...]
    positions: tuple[tuple[float, float], ...]
    heights: tuple[float, ...]
    a: float
    b: float
    gamma_deg: float
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        n = len(self.species)
        if n == 0:
            raise StructureError("a monolayer needs at least one atom")
        if len(self.positions) != n or len(self.heights) != n:
            raise StructureError(
                f"{n} species but {len(self.positions)} positions and {len(self.heights)} heights"
            )
        for symbol in self.species:
            if symbol not in atomic_numbers or atomic_numbers[symbol] == 0:
                raise StructureError(f"unknown element {symbol!r}")
        numbers = [self.a, self.b, self.gamma_deg, *self.heights, *np.ravel(self.positions)]
        if not np.all(np.isfinite(numbers)):
            raise StructureError("lattice or coordinates are not finite numbers")
        if min(self.a, self.b) <= 0 or not 0 < self.gamma_deg < 180:
            raise StructureError(
                f"impossible in-plane cell a={self.a} Å, b={self.b} Å, γ={self.gamma_deg}°"
            )

    # --- geometry -----------------------------------------------------------------------------

    @cached_property
    def cell(self) -> np.ndarray:
        """In-plane cell (2, 2) in Å, rows are vectors, the first along x."""
        return cell_from_parameters(self.a, self.b, self.gamma_deg)

    @property
    def area_a2(self) -> float:
        return float(abs(np.linalg.det(self.cell)))

    @property
    def thickness_a(self) -> float:
        """Distance between the outermost atoms in Å."""
        return float(max(self.heights) - min(self.heights))

    # --- composition and symmetry -------------------------------------------------------------

    @property
    def formula(self) -> str:
        return str(Formula.from_list(list(self.species)).reduce()[0].format("metal"))

    @property
    def stoichiometry(self) -> str:
        """Formula with anonymous elements, e.g. AB2."""
        return str(
            Formula.from_list(list(self.species)).reduce()[0].stoichiometry()[0].format("abc")
        )

    @cached_property
    def symmetry(self):
        """spglib's layer-group dataset (z aperiodic), or None where spglib finds none."""
        atoms = self.to_atoms()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return spglib.get_symmetry_layerdataset(
                    (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers),
                    aperiodic_dir=2,
                    symprec=0.01,
                )
            except Exception:  # spglib raises different types across versions
                return None

    @property
    def layer_group(self) -> int:
        """Layer-group number (1–80); 0 when the symmetry search failed."""
        return 0 if self.symmetry is None else int(self.symmetry.number)

    @property
    def prototype(self) -> str:
        """Stoichiometry, sites per cell and layer group, e.g. AB2-3-lg78 for 2H-MoS2."""
        return f"{self.stoichiometry}-{len(self.species)}-lg{self.layer_group}"

    @cached_property
    def has_equal_faces(self) -> bool:
        """Whether an operation exchanges the two faces; False for Janus layers."""
        if self.symmetry is None:
            return False
        return bool(np.any(np.asarray(self.symmetry.rotations)[:, 2, 2] == -1))

    @cached_property
    def operations(self) -> Operations:
        """The layer's symmetry operations; the identity alone where they are unknown."""
        return _operations(self)

    # --- conversion ---------------------------------------------------------------------------

    def to_atoms(self, vacuum_a: float = 15.0) -> Atoms:
        """Atoms with `vacuum_a` Å of empty space in z, the layer in the middle."""
        height = self.thickness_a + vacuum_a
        cell = np.zeros((3, 3))
        cell[:2, :2] = self.cell
        cell[2, 2] = height
        xyz = np.column_stack([np.array(self.positions) @ self.cell, self.heights])
        xyz[:, 2] += height / 2
        atoms = Atoms(self.species, positions=xyz, cell=cell, pbc=(True, True, False))
        if self.name:
            atoms.info["monolayer_id"] = self.name
        return atoms

    @classmethod
    def from_atoms(cls, atoms: Atoms, name: str = "") -> Monolayer:
        """Take the atoms as one layer, as they stand (no reduction of the cell).

        Raises:
            StructureError: no in-plane cell, or coordinates that are not finite.
        """
        cell, fractional, heights = in_plane(atoms)
        a, b, gamma = cell_parameters(cell)
        middle = (heights.max() + heights.min()) / 2
        return cls(
            species=tuple(atoms.get_chemical_symbols()),
            positions=tuple(map(tuple, wrap(fractional).tolist())),
            heights=tuple((heights - middle).tolist()),
            a=a,
            b=b,
            gamma_deg=gamma,
            name=name or str(atoms.info.get("monolayer_id", "")),
        )

    def standardised(self, tolerance_a: float = 0.005) -> tuple[Monolayer, np.ndarray]:
        """The primitive, reduced form of this layer and its supercell matrix.

        Returns:
            The layer in its primitive cell (|a| ≤ |b|, 90° ≤ γ ≤ 120°), sites ordered by height,
            element and position, the first site at the in-plane origin; and the integer matrix
            S (2, 2), det > 0, with `self.cell ≈ S @ primitive.cell` up to a rotation.
        """
        primitive = _primitive_cell(self, tolerance_a)
        primitive = reduce_cell(primitive) @ primitive
        supercell = np.round(self.cell @ np.linalg.inv(primitive)).astype(int)
        xy = np.array(self.positions) @ self.cell
        heights = np.array(self.heights)
        fractional = wrap(xy @ np.linalg.inv(primitive), 1e-4)
        count = int(round(np.linalg.det(supercell)))
        kept = _one_per_site(fractional, heights, self.species, primitive, 4 * tolerance_a)
        if len(kept) * count != len(self.species):
            kept, primitive, supercell = list(range(len(xy))), self.cell, np.eye(2, dtype=int)
            fractional = np.array(self.positions)
        order = sorted(
            kept,
            key=lambda i: (
                round(heights[i], 2),
                self.species[i],
                *np.round(wrap(fractional[i], 1e-3), 3),
            ),
        )
        origin = fractional[order[0]]
        a, b, gamma = cell_parameters(primitive)
        layer = replace(
            self,
            species=tuple(self.species[i] for i in order),
            positions=tuple(map(tuple, wrap(fractional[order] - origin, 1e-7).tolist())),
            heights=tuple(heights[order].tolist()),
            a=a,
            b=b,
            gamma_deg=gamma,
        )
        return layer, supercell

    def to_dict(self) -> dict:
        return {
            "name": self.name,
            "species": list(self.species),
            "positions": [[round(x, 6) + 0.0 for x in p] for p in self.positions],
            # Adding zero turns −0.0 into 0.0.
            "heights": [round(h, 5) + 0.0 for h in self.heights],
            "a": round(self.a, 6),
            "b": round(self.b, 6),
            "gamma_deg": round(self.gamma_deg, 5),
        }

    @classmethod
    def from_dict(cls, data: dict) -> Monolayer:
        return cls(
            species=tuple(data["species"]),
            positions=tuple(tuple(p) for p in data["positions"]),
            heights=tuple(data["heights"]),
            a=data["a"],
            b=data["b"],
            gamma_deg=data["gamma_deg"],
            name=data.get("name", ""),
        )

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Stacks are looked up by their monolayers all the time.
        return hash((self.species, self.positions, self.heights, self.a, self.b, self.gamma_deg))

    def key(self) -> str:
        """Name in a library, or a hash of the geometry for a layer without one."""
        return self.name or self._geometry_key

    @cached_property
    def _geometry_key(self) -> str:
        text = f"{self.formula}{self.a:.2f}{self.b:.2f}{self.gamma_deg:.1f}"
        text += ",".join(f"{s}{h:.2f}" for s, h in zip(self.species, self.heights, strict=True))
        text += str(np.round(np.array(self.positions), 2).tolist())
        return f"{self.formula}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def in_plane(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """In-plane cell (2, 2), fractional coordinates (n, 2) and unwrapped heights (n) in Å.

    The layer may be cut by the cell boundary in z: the largest empty interval is taken as the
    vacuum. The in-plane vectors may point anywhere; they are turned into the xy plane.

    Raises:
        StructureError: no atoms, no in-plane cell, or coordinates that are not finite.
    """
    if len(atoms) == 0:
        raise StructureError("no atoms")
    cell = atoms.cell.array.copy()
    if not np.all(np.isfinite(cell)) or not np.all(np.isfinite(atoms.positions)):
        raise StructureError("cell or positions are not finite numbers")
    normal = np.cross(cell[0], cell[1])
    if np.linalg.norm(normal) < 1e-3:
        raise StructureError("no in-plane cell: the first two cell vectors are missing or parallel")
    normal /= np.linalg.norm(normal)
    if cell[2] @ normal < -1e-8:
        # a × b points against c: exchange a and b rather than mirror the layer.
        cell[[0, 1]] = cell[[1, 0]]
        normal = -normal
    heights = atoms.positions @ normal
    x = cell[0] / np.linalg.norm(cell[0])
    frame = np.array([x, np.cross(normal, x)])
    plane_cell = cell[:2] @ frame.T
    xy = atoms.positions @ frame.T
    period = cell[2] @ normal
    if period > 1e-3:
        phase = (heights % period) / period
        ordered = np.sort(phase)
        gaps = np.diff(np.append(ordered, ordered[0] + 1.0))
        start = ordered[(int(np.argmax(gaps)) + 1) % len(ordered)]
        unwrapped = (phase - start + 1e-9) % 1.0
        # An atom moved along c moves in the plane too when c is tilted.
        turns = np.round(
            (unwrapped * period - heights - (unwrapped * period - heights)[0]) / period
        )
        xy = xy + turns[:, None] * (cell[2] @ frame.T)
        heights = unwrapped * period
    fractional = xy @ np.linalg.inv(plane_cell)
    return plane_cell, fractional, heights


def _operations(layer: Monolayer) -> Operations:
    identity = Operations(
        np.eye(2, dtype=int)[None], np.zeros((1, 2)), np.zeros(1, dtype=bool), np.zeros(2)
    )
    dataset = layer.symmetry
    if dataset is None:
        return identity
    rotations = np.asarray(dataset.rotations)
    # Standard coordinates are x' = P x + p.
    origin = -np.linalg.solve(
        np.asarray(dataset.transformation_matrix)[:2, :2], np.asarray(dataset.origin_shift)[:2]
    )
    matrices = rotations[:, :2, :2].transpose(0, 2, 1)
    shifts = np.asarray(dataset.translations)[:, :2] + origin @ matrices - origin
    halves = np.round(2 * shifts) / 2
    # A centred or repeated cell has each rotation with several translations.
    _, first = np.unique(rotations.reshape(len(rotations), -1), axis=0, return_index=True)
    first = np.sort(first)
    if np.abs(shifts - halves)[first].max() > 0.05:
        return identity
    return Operations(
        matrices[first].astype(int),
        halves[first] % 1.0,
        rotations[first, 2, 2] == -1,
        origin,
    )


def _primitive_cell(layer: Monolayer, tolerance_a: float) -> np.ndarray:
    """Smallest in-plane cell whose translations carry every site onto an equal one."""
    fractional = np.array(layer.positions)
    heights = np.array(layer.heights)
    species = np.array(layer.species)
    symbols, counts = np.unique(species, return_counts=True)
    rare = np.flatnonzero(species == symbols[np.argmin(counts)])
    translations = []
    for other in rare[1:]:
        if abs(heights[other] - heights[rare[0]]) > tolerance_a:
            continue
        shift = fractional[other] - fractional[rare[0]]
        if _is_translation(shift, fractional, heights, species, layer.cell, tolerance_a):
            translations.append(shift - np.round(shift))
    if not translations:
        return layer.cell
    vectors = np.array([*translations, [1.0, 0.0], [0.0, 1.0]])
    vectors = np.concatenate([vectors, -vectors]) @ layer.cell
    vectors = vectors[np.argsort((vectors**2).sum(1))]
    target = layer.area_a2 / (len(translations) + 1)
    for i, first in enumerate(vectors):
        for second in vectors[i + 1 :]:
            area = first[0] * second[1] - first[1] * second[0]
            if area > 0 and abs(area - target) < 0.02 * target:
                # Exact: the layer cell must be an integer multiple of the primitive one.
                supercell = np.round(layer.cell @ np.linalg.inv(np.array([first, second])))
                if round(np.linalg.det(supercell)) == len(translations) + 1:
                    return np.linalg.inv(supercell) @ layer.cell
    return layer.cell


def _is_translation(shift, fractional, heights, species, cell, tolerance_a) -> bool:
    moved = fractional + shift
    difference = moved[:, None, :] - fractional[None, :, :]
    difference -= np.round(difference)
    distance = np.linalg.norm(difference @ cell, axis=-1)
    equal = (
        (distance < tolerance_a)
        & (np.abs(heights[:, None] - heights[None, :]) < tolerance_a)
        & (species[:, None] == species[None, :])
    )
    return bool(equal.any(axis=1).all())


def _one_per_site(fractional, heights, species, cell, tolerance_a) -> list[int]:
    kept: list[int] = []
    for i in range(len(fractional)):
        for j in kept:
            if species[i] != species[j] or abs(heights[i] - heights[j]) > tolerance_a:
                continue
            difference = fractional[i] - fractional[j]
            difference -= np.round(difference)
            if np.linalg.norm(difference @ cell) < tolerance_a:
                break
        else:
            kept.append(i)
    return kept
