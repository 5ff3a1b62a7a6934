"""One description per physical stack, whatever cell, origin or side it was described from.

A layer with supercell S (rows) and origin ω holds sites at u S⁻¹ + ω, in fractions of the stack's
cell, for its own fractional coordinates u. Changing the stack's cell by a unimodular U changes all
S to U S, so T = S_lower⁻¹ S_upper and the registry ρ = (ω_upper − ω_lower) S_lower do not depend on
the cell. A symmetry operation u → u W + τ of a layer leaves the layer as it is and changes
S → S W⁻¹, ω → ω + τ S⁻¹, that is

    T → W_lower T W_upper⁻¹,    ρ → (ρ + τ_upper T⁻¹ − τ_lower) W_lower⁻¹,

and exchanges the layer's faces if the operation does. ρ is defined up to both layers' lattices.
The canonical description is the smallest over all operations, found interface by interface.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import floor, gcd, inf
from typing import TYPE_CHECKING

import numpy as np

from heteroforge.structures.monolayer import Monolayer, Operations
from heteroforge.structures.plane import reduce_cell

if TYPE_CHECKING:
    from heteroforge.structures.stack import Layer, Stack

__all__ = ["canonical_description", "prototype_key", "stack_key"]

# Planes of atoms are further apart; sites that are not have one height, whatever the relaxation.
SAME_HEIGHT_A = 0.3
# A layer without a name as its prototype: parts of the cell that sites are put on, lattice constant
# and distance of planes.
PLACES, IDEAL_A, PLANES_APART_A = 24, 3.5, 1.5
DEFECT_GAP_A = 3.0  # at which defects in different layers are placed to each other
DEFECT_REACH_A = 5.0
DEFECT_STEP_A = 0.2718  # no simple fraction of a lattice constant, as distances on its edge are
# Nearest defects of a defect by which their lattice is told, and cells that these are sought in.
DEFECT_NEIGHBOURS = 6
DEFECT_IMAGES = 6


@dataclass(frozen=True, eq=False)
class _Descriptions:
    """All pairs of operations of two layers on each other (n pairs), whatever the layers' sizes.

    One is another than any other, as `_placed` keeps what it found by them.

    Attributes:
        forms: discrete part (faces and T) of each description, as an index into `names` (n).
        names: the discrete parts as text.
        first, first_moves: descriptions of the smallest form, and their part of `moves`.
        moves: registry in grid steps (i, j, 1) → (i, j, 1) moves, modulo `steps` (3, 2, n).
        lower, upper: index of the operation of each layer (n).
        number_of_upper: how many operations the upper layer has.
        basis: of the lattice up to which the registry is defined, in parts of the lower layer's
            cell (2, 2).
        parts: into how many the lower layer's cell is divided.
        inverse: T⁻¹ times the number of cells of the upper layer (2, 2).
    """

    forms: np.ndarray
    names: tuple[str, ...]
    first: np.ndarray
    first_moves: np.ndarray
    moves: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    number_of_upper: int
    basis: np.ndarray
    parts: int
    inverse: np.ndarray
    steps: int


@dataclass(frozen=True)
class _Junction:
    """Two layers on each other.

    Attributes:
        pairs: of their operations.
        to_grid: from the lower layer's fractional coordinates to grid steps (2, 2).
        reduced, reduced_integers: reduced basis of the grid (2, 2), in Å and in grid steps;
            to_reduced: inverse of the latter.
        origin: registry of the layers' symmetry origins where that of their own ones is 0 (2).
    """

    pairs: _Descriptions
    to_grid: list[list[float]]
    reduced: list[list[float]]
    reduced_integers: list[list[int]]
    to_reduced: list[list[float]]
    origin: list[float]

    def grid(self, registry: tuple[float, float]) -> tuple[int, int]:
        """The grid point nearest in the plane to a registry of the layers' own origins."""
        # Plain numbers: arrays of two are many times slower, and every sample comes by here.
        place = _times((registry[0] + self.origin[0], registry[1] + self.origin[1]), self.to_grid)
        # In the reduced basis, so that the choice does not depend on the description.
        u, v = _times(place, self.to_reduced)
        nearest, least = (0, 0), inf
        for corner in ((i, j) for i in (floor(u), floor(u) + 1) for j in (floor(v), floor(v) + 1)):
            x, y = _times((corner[0] - u, corner[1] - v), self.reduced)
            distance = round(x * x + y * y, 9)
            if distance < least:
                nearest, least = corner, distance
        x, y = _times(nearest, self.reduced_integers)
        return round(x), round(y)


def _times(row: Sequence[float], matrix: Sequence[Sequence[float]]) -> tuple[float, float]:
    """A row (2) times a matrix (2, 2)."""
    (a, b), (c, d) = matrix
    return row[0] * a + row[1] * c, row[0] * b + row[1] * d


def stack_key(stack: Stack) -> str:
    """Twelve hexadecimal digits of the canonical description."""
    return hashlib.sha256(canonical_description(stack).encode()).hexdigest()[:12]


def prototype_key(stack: Stack) -> str:
    """As `stack_key`, with layers that have no name told by what they are: see `Stack`."""
    if all(layer.monolayer.name for layer in stack.layers):
        return stack.key()
    return stack_key(replace(stack, layers=tuple(_as_prototype(layer) for layer in stack.layers)))


def _as_prototype(layer: Layer) -> Layer:
    """A layer without a name, as its prototype with its elements, described one way up."""
    own = layer.monolayer
    if own.name:
        return layer
    heights = np.array(own.heights)
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order], prepend=heights[order][0]) > SAME_HEIGHT_A
    level = np.empty(len(order), dtype=int)
    level[order] = np.cumsum(steps)
    top = int(level.max())
    planes = [
        "".join(sorted(own.species[site] for site in np.flatnonzero(level == k)))
        for k in range(top + 1)
    ]
    flipped = layer.flipped
    if planes[::-1] < planes:
        # Upside down twice: the same atoms.
        planes, level, flipped = planes[::-1], top - level, not flipped
    # Of a layer and its relaxed self spglib may choose other origins, of which several are
    # equivalent: it is shown one geometry of both.
    places = np.round(np.array(own.positions) * PLACES) % PLACES / PLACES
    # Tells trigonal prisms from octahedra of Janus layers, whose groups are one.
    columns = len(np.unique(places, axis=0))
    ratio = round(own.b / own.a, 1)
    ideal = replace(
        own,
        positions=tuple((float(x), float(y)) for x, y in places),
        heights=tuple(float(PLANES_APART_A * (k - top / 2)) for k in level),
        a=IDEAL_A,
        b=IDEAL_A * ratio,
        gamma_deg=float(round(own.gamma_deg)),
        name=f"{own.prototype}-{columns}c-{'|'.join(planes)}",
    )
    return replace(layer, monolayer=ideal, flipped=flipped)


def canonical_description(stack: Stack) -> str:
    """Text that is equal for equal stacks: see `Stack.key`."""
    layers, offsets = stack.layers, [interface.offset for interface in stack.interfaces]
    first, last = layers[0].monolayer.key() + "|", layers[-1].monolayer.key() + "|"
    # A text begins with its lowest layer's name: where the ends differ, that alone decides.
    undecided = first.startswith(last) or last.startswith(first)
    texts = []
    if undecided or first < last:
        texts.append(_chain([(la.monolayer, la.supercell, la.flipped) for la in layers], offsets))
    if undecided or last < first:
        # As `Stack.reversed` has it.
        upside_down = [(la.monolayer, la.supercell, not la.flipped) for la in layers[::-1]]
        texts.append(_chain(upside_down, [(-x, -y) for x, y in offsets[::-1]]))
    text = min(texts)
    return text + _defects(stack) if any(layer.defects for layer in layers) else text


def _chain(
    layers: Sequence[tuple[Monolayer, tuple, bool]], offsets: Sequence[tuple[float, float]]
) -> str:
    """The canonical description from one side.

    Args:
        layers: monolayer, supercell and whether it is upside down, from one end to the other.
        offsets: per interface, as `Interface.offset`.
    """
    parts = []
    allowed = None
    for lower, upper, offset in zip(layers[:-1], layers[1:], offsets, strict=True):
        junction = _junction(*lower, *upper)
        x, y = junction.grid(_times(offset, lower[1]))
        steps = junction.pairs.steps
        text, allowed = _placed(junction.pairs, x % steps, y % steps, allowed)
        parts.append(lower[0].key() + text)
    return "".join(parts) + layers[-1][0].key()


@lru_cache(maxsize=32768)
def _placed(
    pairs: _Descriptions, x: int, y: int, allowed: bytes | None
) -> tuple[str, bytes | None]:
    """The smallest description of two layers at a grid point, which stacks of all elements share.

    Args:
        pairs: of the layers' operations.
        x, y: registry in grid steps.
        allowed: which operations of the lower layer are left, one byte each; None: all.

    Returns:
        The text, and which operations of the upper layer are left.
    """
    steps = pairs.steps
    candidates, moves = pairs.first, pairs.first_moves
    if allowed is not None:
        candidates = np.flatnonzero(np.frombuffer(allowed, dtype=bool)[pairs.lower])
        forms = pairs.forms[candidates]
        candidates = candidates[forms == forms.min()]
        moves = pairs.moves[:, :, candidates]
    place = (x * moves[0] + y * moves[1] + moves[2]) % steps
    codes = place[0] * steps + place[1]
    least = int(codes.min())
    candidates = candidates[codes == least]
    left = np.zeros(pairs.number_of_upper, dtype=bool)
    left[pairs.upper[candidates]] = True
    return f"|{pairs.names[pairs.forms[candidates[0]]]}@{least}/{steps}|", left.tobytes()


@lru_cache(maxsize=32768)
def _junction(
    lower: Monolayer,
    supercell_lower: tuple,
    flipped_lower: bool,
    upper: Monolayer,
    supercell_upper: tuple,
    flipped_upper: bool,
) -> _Junction:
    first, second = lower.operations, upper.operations
    pairs = _descriptions(
        _group(first), supercell_lower, flipped_lower,
        _group(second), supercell_upper, flipped_upper,
    )  # fmt: skip
    cells_top = _cells(supercell_upper)
    grid = pairs.basis @ lower.cell / pairs.parts
    reduced_integers = reduce_cell(grid)
    return _Junction(
        pairs=pairs,
        to_grid=(pairs.parts * np.linalg.inv(pairs.basis)).tolist(),
        reduced=(reduced_integers @ grid).tolist(),
        reduced_integers=reduced_integers.tolist(),
        to_reduced=np.linalg.inv(reduced_integers).tolist(),
        origin=(second.origin @ pairs.inverse / cells_top - first.origin).tolist(),
    )


def _group(operations: Operations) -> tuple:
    """Operations without their origin: many layers have the same."""
    parts = (operations.matrices, operations.shifts, operations.exchanges_faces)
    return tuple(part.tobytes() for part in parts)


def _cells(supercell: tuple) -> int:
    (a, b), (c, d) = supercell
    return round(a * d - b * c)


@lru_cache(maxsize=16384)
def _descriptions(
    first: tuple,
    supercell_lower: tuple,
    flipped_lower: bool,
    second: tuple,
    supercell_upper: tuple,
    flipped_upper: bool,
) -> _Descriptions:
    matrices_first, shifts_first, faces_first = _ungrouped(first)
    matrices_second, shifts_second, faces_second = _ungrouped(second)
    bottom, top = np.array(supercell_lower), np.array(supercell_upper)
    cells_bottom, cells_top = _cells(supercell_lower), _cells(supercell_upper)
    relation = _adjugate(bottom) @ top  # T times cells_bottom
    inverse = _adjugate(top) @ bottom  # T⁻¹ times cells_top
    divisor = gcd(*(int(x) for x in relation.ravel()), cells_bottom)
    # Operations change both handednesses or none: the stack's cell is right-handed.
    parity_first = np.round(np.linalg.det(matrices_first)).astype(int)
    parity_second = np.round(np.linalg.det(matrices_second)).astype(int)
    i, j = np.nonzero(parity_first[:, None] == parity_second[None, :])
    inverse_first = np.round(np.linalg.inv(matrices_first)).astype(int)
    inverse_second = np.round(np.linalg.inv(matrices_second)).astype(int)
    relations = matrices_first[i] @ (relation // divisor) @ inverse_second[j]
    rows = np.column_stack(
        [
            faces_first[i] ^ flipped_lower,
            faces_second[j] ^ flipped_upper,
            np.full(len(i), cells_bottom // divisor),
            relations.reshape(-1, 4),
        ]
    ).astype(int)
    distinct, forms = np.unique(rows, axis=0, return_inverse=True)
    # The registry is defined up to the lattices of both layers together.
    generators = np.concatenate([cells_top * np.eye(2, dtype=int), inverse])
    basis = _hermite(generators)
    index = cells_top**2 // (basis[0, 0] * basis[1, 1])
    steps = 24 if index < 4 else 12 if index < 16 else 6
    matrices = np.empty((len(matrices_first), 2, 2), dtype=int)
    for k, turn in enumerate(inverse_first):
        canonical = _hermite(generators @ turn)
        matrices[k] = np.round(basis @ turn @ np.linalg.inv(canonical)).astype(int)
    to_grid = steps * cells_top * np.linalg.inv(basis)
    shifts = np.round((shifts_second[j] @ inverse / cells_top - shifts_first[i]) @ to_grid)
    moved = shifts.astype(int)[:, None, :] @ matrices[i]
    # Small numbers: products of two stay within 16 bits.
    moves = (np.concatenate([matrices[i], moved], axis=1) % steps).transpose(1, 2, 0)
    moves = np.ascontiguousarray(moves, dtype=np.int16)
    smallest = np.flatnonzero(forms.ravel() == forms.min())
    return _Descriptions(
        forms=forms.ravel().astype(np.int16),
        names=tuple(",".join(map(str, row)) for row in distinct.tolist()),
        first=smallest,
        first_moves=np.ascontiguousarray(moves[:, :, smallest]),
        moves=moves,
        lower=i.astype(np.int16),
        upper=j.astype(np.int16),
        number_of_upper=len(matrices_second),
        basis=basis,
        parts=steps * cells_top,
        inverse=inverse,
        steps=steps,
    )


def _ungrouped(group: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    matrices, shifts, faces = group
    return (
        np.frombuffer(matrices, dtype=int).reshape(-1, 2, 2),
        np.frombuffer(shifts, dtype=float).reshape(-1, 2),
        np.frombuffer(faces, dtype=bool),
    )


def _adjugate(matrix: np.ndarray) -> np.ndarray:
    return np.array([[matrix[1, 1], -matrix[0, 1]], [-matrix[1, 0], matrix[0, 0]]])


def _hermite(rows: np.ndarray) -> np.ndarray:
    """Hermite normal form (2, 2) of the lattice that integer rows (n, 2) generate.

    Upper triangular, positive diagonal, 0 ≤ h₀₁ < h₁₁.
    """
    pending = [(int(x), int(y)) for x, y in rows]
    first, second = (0, 0), 0
    for x, y in pending:
        # Euclid on the first column; what remains has x = 0.
        a, b = first, (x, y)
        while b[0]:
            quotient = a[0] // b[0]
            a, b = b, (a[0] - quotient * b[0], a[1] - quotient * b[1])
        first, second = a, gcd(second, b[1])
    if first[0] < 0:
        first = (-first[0], -first[1])
    return np.array([[first[0], first[1] % second], [0, second]])


def _defects(stack: Stack) -> str:
    """What surrounds each defect in the perfect stack: unchanged by any motion of the stack.

    Of every defect its kind, the atoms within 5 Å by element and distance, and the same of the
    middle between it and each of its nearest defects, periodic images among them: the lattice of
    the defects, and how it lies on the layers. In shares of the sites, so that a multiple of the
    cell makes no difference. Arrangements that agree in all of this are not told apart.
    """
    from heteroforge.structures.build import perfect_sites

    species, positions, cell, defects = perfect_sites(_at_grid(stack), gap_a=DEFECT_GAP_A)
    reduced = reduce_cell(cell) @ cell
    steps = np.arange(-DEFECT_IMAGES, DEFECT_IMAGES + 1)
    images = np.zeros((len(steps) ** 2, 3))
    images[:, :2] = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2) @ reduced

    def around(point: np.ndarray) -> str:
        distance = np.linalg.norm(positions[:, None] + images - point, axis=-1)
        atom, image = np.nonzero(distance < DEFECT_REACH_A)
        bins = np.round(distance[atom, image] / DEFECT_STEP_A).astype(int)
        return ",".join(sorted(f"{species[i]}{step}" for i, step in zip(atom, bins, strict=True)))

    labels = [f"{species[site]}>{defect.species or 'nothing'}" for site, defect in defects]
    places = positions[[site for site, _ in defects]]
    entries: Counter[str] = Counter()
    for label, place in zip(labels, places, strict=True):
        vectors = places[:, None] + images - place
        bins = np.round(np.linalg.norm(vectors, axis=-1) / DEFECT_STEP_A).astype(int)
        # Whole shells; the defect itself is the one at no distance.
        last = np.sort(bins, axis=None)[DEFECT_NEIGHBOURS]
        others = sorted(
            f"{labels[i]}{bins[i, j]}:{around(place + vectors[i, j] / 2)}"
            for i, j in np.argwhere((bins <= last) & (bins > 0))
        )
        entries[f"{label}:{around(place)};{';'.join(others)}"] += 1
    share = gcd(len(species), *entries.values())
    counted = sorted(f"{count // share}*{entry}" for entry, count in entries.items())
    return f"#{len(species) // share}" + "".join(counted)


def _at_grid(stack: Stack) -> Stack:
    """The stack with its registries rounded as its key rounds them, in a cell that strain leaves.

    That is the mean of the free layers' own.
    """
    from heteroforge.structures.matching import shared_cell

    a, b, gamma = shared_cell(
        [layer.monolayer for layer in stack.layers], [layer.supercell for layer in stack.layers]
    )
    interfaces = []
    for i, interface in enumerate(stack.interfaces):
        lower, upper = stack.layers[i], stack.layers[i + 1]
        junction = _junction(
            *(lower.monolayer, lower.supercell, lower.flipped),
            *(upper.monolayer, upper.supercell, upper.flipped),
        )
        place = junction.grid(_times(interface.offset, lower.supercell))
        registry = np.array(place) @ np.linalg.inv(junction.to_grid) - junction.origin
        offset = registry @ np.linalg.inv(np.array(lower.supercell))
        interfaces.append(replace(interface, offset=(float(offset[0]), float(offset[1]))))
    return replace(stack, interfaces=tuple(interfaces), a=a, b=b, gamma_deg=gamma)
