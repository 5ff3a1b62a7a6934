"""Commensurate cells of two layers, and stacks made on them.

The superlattices of each layer are those that pymatgen's `ZSLGenerator` enumerates (A. Zur,
T. C. McGill, J. Appl. Phys. 55, 378 (1984)). Its comparison of reduced vectors is replaced by one
that is exact in the strain and keeps handedness: a pair of superlattices is compared in every
basis (which is where the variants turned by 60° or 90° come from), and pairs that a symmetry of
the layers makes equal are merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.vdw import vdw_radii as bondi_radii
from ase.data.vdw_alvarez import vdw_radii as alvarez_radii

from heteroforge.structures.build import layer_sites
from heteroforge.structures.monolayer import Monolayer, StructureError
from heteroforge.structures.plane import (
    cell_from_parameters,
    cell_parameters,
    integer_rows,
    polar_decomposition,
    reduce_cell,
)
from heteroforge.structures.stack import Interface, Layer, Stack

__all__ = [
    "HALF_TURN",
    "UNTURNED",
    "Match",
    "contact_gap_a",
    "enumerate_registries",
    "find_matches",
    "nearest_registry",
    "other_registries",
    "rotation_axes",
    "share_one_cell",
    "shared_cell",
    "stack_from_match",
    "stack_layers",
    "turn_between",
    "van_der_waals_gap_a",
]

# Alvarez's radii are larger than Bondi's by about this factor where both exist.
ALVAREZ_TO_BONDI = 0.95
# Atoms this far below the outermost one still can touch the next layer.
FACE_DEPTH_A = 1.0
# Of a cell, itself among them.
NEIGHBOURS = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)])


@dataclass(frozen=True)
class Match:
    """A cell that two layers share.

    Attributes:
        supercell_bottom, supercell_top: integer rows (2, 2), det > 0, in units of each layer's
            cell.
        twist_deg: rotation of the top layer against the bottom one, in [0, 360) degrees.
        mismatch_percent: largest principal strain of either layer, shared equally between them.
        area_a2: area of the shared cell in Å².
        number_of_atoms: atoms of both layers.
    """

    supercell_bottom: tuple[tuple[int, int], tuple[int, int]]
    supercell_top: tuple[tuple[int, int], tuple[int, int]]
    twist_deg: float
    mismatch_percent: float
    area_a2: float
    number_of_atoms: int


def find_matches(
    bottom: Monolayer,
    top: Monolayer,
    maximum_area_a2: float = 100.0,
    maximum_mismatch_percent: float = 3.0,
    maximum_atoms: int = 60,
) -> list[Match]:
    """Distinct commensurate cells of two layers, smallest first.

    Complete up to the limits. Not listed a second time: multiples of a smaller match, matches
    that differ by an operation of either layer which keeps its faces, and mirror images where
    both layers have a mirror plane normal to them (equal in energy; the twist of the one kept is
    the smallest). A stack with a layer turned upside down uses the same matches.

    Raises:
        StructureError: a limit that is not positive.
    """
    for name, limit in (
        ("maximum_area_a2", maximum_area_a2),
        ("maximum_mismatch_percent", maximum_mismatch_percent),
        ("maximum_atoms", maximum_atoms),
    ):
        if not limit > 0:
            raise StructureError(f"{name} = {limit}: must be positive")
    strain = maximum_mismatch_percent / 100.0
    bottoms, tops = _matching_supercells(bottom, top, maximum_area_a2, strain, maximum_atoms)
    if len(bottoms) == 0:
        return []
    bottoms, tops = _drop_multiples(bottoms, tops)
    bottoms, tops = _merge_equivalent(bottoms, tops, bottom, top)
    matches = []
    for supercell_bottom, supercell_top in zip(bottoms, tops, strict=True):
        match = _describe_match(supercell_bottom, supercell_top, bottom, top)
        if match.mismatch_percent <= maximum_mismatch_percent and match.area_a2 <= maximum_area_a2:
            matches.append(match)
    return sorted(
        matches,
        key=lambda m: (m.number_of_atoms, round(m.mismatch_percent, 6), round(m.twist_deg, 4)),
    )


def shared_cell(
    monolayers: Sequence[Monolayer],
    supercells: Sequence,
    stiffness_n_m: Sequence[float | None] = (),
) -> tuple[float, float, float]:
    """Cell (a, b in Å, γ in degrees) that layers settle on: the stiffness-weighted mean.

    Minimises Σ ½ C₂D ε² over the layers for equal shapes of the strain; equal weights unless the
    stiffness of every layer is known.
    """
    whole = tuple(integer_rows(supercell) for supercell in supercells)
    return _shared_cell(tuple(monolayers), whole, tuple(stiffness_n_m))


@lru_cache(maxsize=20000)
def _shared_cell(
    monolayers: tuple[Monolayer, ...], supercells: tuple, stiffness_n_m: tuple
) -> tuple[float, float, float]:
    """As `shared_cell`: every stack of a pair asks for it."""
    known = len(stiffness_n_m) == len(monolayers) and all(
        s is not None and np.isfinite(s) and s > 0 for s in stiffness_n_m
    )
    weights = np.array(stiffness_n_m, dtype=float) if known else np.ones(len(monolayers))
    parameters = [
        cell_parameters(np.array(supercell) @ monolayer.cell)
        for monolayer, supercell in zip(monolayers, supercells, strict=True)
    ]
    a, b, gamma = np.average(np.array(parameters), axis=0, weights=weights)
    return float(a), float(b), float(gamma)


def stack_from_match(
    bottom: Monolayer,
    top: Monolayer,
    match: Match,
    registry: tuple[float, float] = (0.0, 0.0),
    gap_a: float | None = 3.3,
    flipped: tuple[bool, bool] = (False, False),
    stiffness_n_m: tuple[float | None, float | None] = (None, None),
) -> Stack:
    """Bilayer on a commensurate cell.

    Args:
        bottom, top: the layers that `match` was found for, in this order.
        match: the shared cell.
        registry: shift of the top layer's origin as a fraction of the bottom layer's own cell.
        gap_a: Å between the facing outermost atoms; None: `contact_gap_a`.
        flipped: which layers are upside down.
        stiffness_n_m: in-plane stiffness of both, by which the strain is shared.
    """
    return stack_layers(
        (bottom, top),
        supercells=(match.supercell_bottom, match.supercell_top),
        registries=(registry,),
        gaps_a=(gap_a,),
        flipped=flipped,
        stiffness_n_m=stiffness_n_m,
    )


def stack_layers(
    monolayers: Sequence[Monolayer],
    supercells: Sequence | None = None,
    registries: Sequence[tuple[float, float]] | None = None,
    gaps_a: Sequence[float | None] | None = None,
    flipped: Sequence[bool] | None = None,
    stiffness_n_m: Sequence[float | None] = (),
    maximum_mismatch_percent: float | None = None,
) -> Stack:
    """Stack of layers, bottom to top, on one cell.

    Args:
        monolayers: the layers.
        supercells: integer rows (2, 2) per layer; 1×1 for all by default.
        registries: per interface, shift of the upper layer's origin as a fraction of the lower
            layer's own cell; (0, 0) by default.
        gaps_a: per interface in Å; None (the default) stands for `contact_gap_a`.
        flipped: per layer; none by default.
        stiffness_n_m: per layer, by which the strain is shared; equal shares by default.
        maximum_mismatch_percent: largest principal strain allowed; no limit by default.

    Raises:
        StructureError: lists of different lengths, or a mismatch above the limit.
    """
    count = len(monolayers)
    supercells = [((1, 0), (0, 1))] * count if supercells is None else list(supercells)
    registries = [(0.0, 0.0)] * (count - 1) if registries is None else list(registries)
    gaps_a = [None] * (count - 1) if gaps_a is None else list(gaps_a)
    flipped = [False] * count if flipped is None else list(flipped)
    for name, values, expected in (
        ("supercells", supercells, count),
        ("registries", registries, count - 1),
        ("gaps_a", gaps_a, count - 1),
        ("flipped", flipped, count),
    ):
        if len(values) != expected:
            raise StructureError(f"{count} layers need {expected} {name}, got {len(values)}")
    whole = tuple(integer_rows(supercell) for supercell in supercells)
    layers = tuple(
        _as_layer(monolayer, monolayer.name, supercell, bool(turned))
        for monolayer, supercell, turned in zip(monolayers, whole, flipped, strict=True)
    )
    cell = _shared_cell(tuple(monolayers), whole, tuple(stiffness_n_m))
    interfaces = []
    for i, (registry, gap_a) in enumerate(zip(registries, gaps_a, strict=True)):
        # Plain numbers: arrays of two are many times slower, and every sample comes by here.
        (p, q), (r, s) = whole[i]
        x, y = (float(part) / layers[i].number_of_cells for part in registry)
        place = (x * s - y * r, y * p - x * q)
        if gap_a is None:
            gap_a = _contact_gap_a(layers[i], layers[i + 1], place, *cell)
        interfaces.append(Interface(place, float(gap_a)))
    stack = Stack(layers, tuple(interfaces), *cell)
    if maximum_mismatch_percent is not None and stack.mismatch_percent > maximum_mismatch_percent:
        raise StructureError(
            f"{stack.formula}: layers differ by {stack.mismatch_percent:.2f} % on this cell, "
            f"more than {maximum_mismatch_percent} %"
        )
    return stack


@lru_cache(maxsize=20000)
def _as_layer(monolayer: Monolayer, name: str, supercell: tuple, flipped: bool) -> Layer:
    """A layer without defects, which many stacks share.

    Its name is asked for because monolayers of equal geometry are equal, whatever their names.
    """
    return Layer(monolayer, supercell, flipped)


def van_der_waals_gap_a(
    lower: Monolayer, upper: Monolayer, flipped: tuple[bool, bool] = (False, False)
) -> float:
    """Interlayer gap (Å) at which hard spheres of the two faces touch, averaged over registries.

    Radii are van der Waals radii of A. Bondi (J. Phys. Chem. 68, 441 (1964)), scaled ones of
    S. Alvarez (Dalton Trans. 42, 8617 (2013)) for elements that Bondi has not. The mean runs over
    lateral shifts of the two faces, so the estimate needs no registry and no common cell; see
    `contact_gap_a` for a known registry.
    """
    first = _face(lower, top=not flipped[0])
    second = _face(upper, top=flipped[1])
    steps = np.arange(6) / 6
    shifts = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    return float(_contact_gaps(_Faces.of(first, second, lower.cell), shifts @ lower.cell).mean())


def contact_gap_a(stack: Stack, index: int) -> float:
    """Gap (Å) at which hard spheres of layers `index` and `index + 1` touch in their registry.

    As `van_der_waals_gap_a`, for the atoms as they sit in the stack's cell.
    """
    below, above = stack.layers[index : index + 2]
    offset = stack.interfaces[index].offset
    return _contact_gap_a(below, above, offset, stack.a, stack.b, stack.gamma_deg)


def _contact_gap_a(
    below: Layer, above: Layer, offset: tuple[float, float], a: float, b: float, gamma_deg: float
) -> float:
    """As `contact_gap_a`, for layers that need not be in a stack yet."""
    faces = _faces_in_cell(below, above, a, b, gamma_deg)
    return float(_contact_gaps(faces, np.array(offset)[None] @ faces.cell)[0])


@lru_cache(maxsize=20000)
def rotation_axes(monolayer: Monolayer, order: int) -> np.ndarray:
    """In-plane positions (n, 2), fractional, of axes of at least this order normal to the layer."""
    if monolayer.symmetry is None:
        return np.zeros((0, 2))
    places = []
    rotations = np.asarray(monolayer.symmetry.rotations)
    translations = np.asarray(monolayer.symmetry.translations)
    images = np.array([[i, j] for i in range(-2, 3) for j in range(-2, 3)], dtype=float)
    for rotation, translation in zip(rotations, translations, strict=True):
        plane = rotation[:2, :2]
        if rotation[2, 2] != 1 or np.linalg.det(plane) < 0:
            continue
        if np.array_equal(plane, np.eye(2)) or _order(plane) != order:
            continue
        # Fixed points of x → R x + t + lattice vector.
        shifts = translation[:2] + images
        fixed = np.linalg.solve(np.eye(2) - plane, shifts.T).T % 1.0
        places.append(fixed)
    if not places:
        return np.zeros((0, 2))
    return _distinct(np.concatenate(places))


UNTURNED, HALF_TURN = ((1, 0), (0, 1)), ((-1, 0), (0, -1))


def turn_between(lower_supercell: Sequence, upper_supercell: Sequence) -> tuple:
    """U (2, 2) with S_upper = S_lower U where two layers share one cell, else `UNTURNED`."""
    return _turn_between(integer_rows(lower_supercell), integer_rows(upper_supercell))


@lru_cache(maxsize=20000)
def _turn_between(lower_supercell: tuple, upper_supercell: tuple) -> tuple:
    change = np.linalg.inv(np.array(lower_supercell)) @ np.array(upper_supercell)
    whole = np.round(change).astype(int)
    if np.abs(change - whole).max() > 1e-6 or abs(round(float(np.linalg.det(whole)))) != 1:
        return UNTURNED
    return tuple(tuple(row) for row in whole.tolist())


def enumerate_registries(
    lower: Monolayer, upper: Monolayer, turn: tuple = UNTURNED
) -> list[tuple[float, float]]:
    """High-symmetry registries of two layers with equal cells, as fractions of the lower cell.

    Registries that put a rotation axis of the upper layer on one of the lower layer: three for
    hexagonal layers (AA, AB, BA where the layers' origins lie on the axes), four for square,
    rectangular and all other ones, whose two-fold axes lie half a cell apart. Layers without
    axes get the four half-cell shifts. The first is (0, 0) wherever that is one of them. Some of
    them may be equal by symmetry: `Stack.key` tells.

    Args:
        turn: of `turn_between`, by which the upper layer's axes are turned where its origin is
            not on one of them.
    """
    return list(_registries(lower, upper, turn))


@lru_cache(maxsize=20000)
def _registries(lower: Monolayer, upper: Monolayer, turn: tuple) -> tuple[tuple[float, float], ...]:
    """As `enumerate_registries`: every stack of a pair asks for them."""
    halves = np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5], [0.5, 0.5]])
    found = halves
    for order in (3, 4, 2):
        first, second = rotation_axes(lower, order), rotation_axes(upper, order)
        if len(first) == 0 or len(second) == 0:
            continue
        if order == 4:
            # Two-fold axes of square layers lie between the four-fold ones.
            first = np.concatenate([first, rotation_axes(lower, 2)])
        # From the upper layer's cell to the lower one's: p C_upper = p U⁻¹ C_lower.
        second = second @ np.linalg.inv(np.array(turn))
        found = _distinct((first[:, None, :] - second[None, :, :]).reshape(-1, 2))
        break
    return tuple(sorted(tuple(float(x) for x in row) for row in np.round(found, 6)))


def nearest_registry(
    lower: Monolayer, upper: Monolayer, turn: tuple, registry: Sequence[float]
) -> tuple[tuple[float, float], float]:
    """The registry of high symmetry that is nearest to a given one, as it is or beyond the cell.

    Args:
        lower, upper, turn: as in `enumerate_registries`.
        registry: fraction of the lower layer's cell.

    Returns:
        That registry, moved by whole cells next to the given one, and by how much they differ:
        the larger of both fractions.
    """
    x, y = registry
    nearest, least = (0.0, 0.0), inf
    for u, v in _registries(lower, upper, turn):
        # Whole cells between them; plain numbers, as every sample comes by here.
        i, j = round(x - u), round(y - v)
        distance = max(abs(x - u - i), abs(y - v - j))
        if distance < least:
            nearest, least = (u + i, v + j), distance
    return nearest, least


def share_one_cell(below: Layer, above: Layer) -> bool:
    """Whether the lattices of two layers coincide in the stack: one registry for all cells."""
    if below.number_of_cells != above.number_of_cells:
        return False
    # U with S_above = S_below U takes one lattice to the other; its determinant is one here.
    change = np.linalg.inv(np.array(below.supercell)) @ np.array(above.supercell)
    return bool(np.abs(change - np.round(change)).max() < 1e-6)


def other_registries(stack: Stack) -> list[Stack]:
    """A bilayer slid into its other registries of high symmetry, at the gap where layers touch.

    Those that are equal by symmetry come once. None for layers without a common cell, which meet
    in all registries at once, and for more than two layers.
    """
    if stack.number_of_layers != 2 or not share_one_cell(*stack.layers):
        return []
    below, above = stack.layers
    found: dict[str, Stack] = {stack.key(): stack}
    turn = turn_between(below.supercell, above.supercell)
    for registry in enumerate_registries(below.monolayer, above.monolayer, turn):
        x, y = np.array(registry) @ np.linalg.inv(np.array(below.supercell))
        interface = replace(stack.interfaces[0], offset=(float(x), float(y)))
        slid = replace(stack, interfaces=(interface,))
        slid = replace(slid, interfaces=(replace(interface, gap_a=contact_gap_a(slid, 0)),))
        found.setdefault(slid.key(), slid)
    return list(found.values())[1:]


# --- superlattices --------------------------------------------------------------------------------


def _unimodular() -> np.ndarray:
    grid = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 4, indexing="ij"), -1).reshape(-1, 2, 2)
    determinant = grid[:, 0, 0] * grid[:, 1, 1] - grid[:, 0, 1] * grid[:, 1, 0]
    return grid[determinant == 1]


UNIMODULAR = _unimodular()


@lru_cache(maxsize=20000)
def _superlattices(a: float, b: float, gamma_deg: float, multiple: int):
    """Reduced superlattices of `multiple` cells: integers (n, 2, 2) and lengths (n, 2) in Å."""
    # Imported here: pymatgen takes a second to load, and only matching needs it.
    from pymatgen.analysis.interfaces.zsl import gen_sl_transform_matrices

    matrices = np.round(np.array(gen_sl_transform_matrices(multiple))).astype(int)
    cell = cell_from_parameters(a, b, gamma_deg)
    reduced = _reduce(matrices, cell)
    return reduced, np.linalg.norm(reduced @ cell, axis=2)


def _reduce(matrices: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Lagrange–Gauss reduction of many superlattices (n, 2, 2) at once; keeps det > 0."""
    matrices = matrices.copy()
    for _ in range(100):
        vectors = matrices @ cell
        squares = (vectors**2).sum(-1)
        swap = squares[:, 0] > squares[:, 1] * (1 + 1e-9)
        matrices[swap] = np.stack([matrices[swap][:, 1], -matrices[swap][:, 0]], axis=1)
        vectors = matrices @ cell
        squares = (vectors**2).sum(-1)
        shift = np.floor((vectors[:, 0] * vectors[:, 1]).sum(-1) / squares[:, 0] + 0.5 - 1e-9)
        matrices[:, 1] -= shift.astype(int)[:, None] * matrices[:, 0]
        if not shift.any() and not swap.any():
            break
    return matrices


def _matching_supercells(bottom, top, maximum_area_a2, strain, maximum_atoms):
    """All pairs of supercells (n, 2, 2) whose shapes agree within twice the strain limit."""
    # Each layer takes half of the strain between them; the final test is exact.
    between = 2.0 * strain * (1 + 2 * strain) + 1e-6
    limit = maximum_area_a2 * (1 + 2 * strain) ** 2 * (1 + 1e-9)
    most_bottom = int(limit // bottom.area_a2)
    most_top = int(limit // top.area_a2)
    found_bottom, found_top = [], []
    for i in range(1, most_bottom + 1):
        room = maximum_atoms - i * len(bottom.species)
        ratio = i * bottom.area_a2 / top.area_a2
        low = int(np.ceil(ratio / (1 + between) ** 2 - 1e-9))
        high = int(np.floor(ratio * (1 + between) ** 2 + 1e-9))
        for j in range(max(1, low), min(high, most_top, room // len(top.species)) + 1):
            first, first_lengths = _superlattices(bottom.a, bottom.b, bottom.gamma_deg, i)
            second, second_lengths = _superlattices(top.a, top.b, top.gamma_deg, j)
            # Both successive minima change by at most the strain.
            ratios = first_lengths[:, None, :] / second_lengths[None, :, :]
            near = np.all((ratios < 1 + between) & (ratios > 1 / (1 + between)), axis=2)
            pairs = np.argwhere(near)
            if len(pairs) == 0:
                continue
            chosen_bottom = first[pairs[:, 0]]
            chosen_top = np.einsum("uij,pjk->puik", UNIMODULAR, second[pairs[:, 1]])
            free_bottom = chosen_bottom @ bottom.cell
            free_top = chosen_top @ top.cell
            deformation = np.linalg.inv(free_top) @ free_bottom[:, None]
            values = _principal_stretches(deformation)
            fits = np.all((values < 1 + between) & (values > 1 / (1 + between)), axis=-1)
            p, u = np.nonzero(fits)
            found_bottom.append(chosen_bottom[p])
            found_top.append(chosen_top[p, u])
    if not found_bottom:
        return np.zeros((0, 2, 2), dtype=int), np.zeros((0, 2, 2), dtype=int)
    return np.concatenate(found_bottom), np.concatenate(found_top)


def _principal_stretches(deformation: np.ndarray) -> np.ndarray:
    """Singular values (…, 2) of 2×2 matrices in closed form."""
    e = (deformation[..., 0, 0] + deformation[..., 1, 1]) / 2
    f = (deformation[..., 0, 0] - deformation[..., 1, 1]) / 2
    g = (deformation[..., 1, 0] + deformation[..., 0, 1]) / 2
    h = (deformation[..., 1, 0] - deformation[..., 0, 1]) / 2
    q, r = np.hypot(e, h), np.hypot(f, g)
    return np.stack([q + r, np.abs(q - r)], axis=-1)


def _drop_multiples(bottoms: np.ndarray, tops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the primitive pairs: the 2 × 2 minors of (S_bottom | S_top) have no common divisor."""
    rows = np.concatenate([bottoms, tops], axis=2)
    divisor = np.zeros(len(rows), dtype=int)
    for i in range(4):
        for j in range(i + 1, 4):
            minor = rows[:, 0, i] * rows[:, 1, j] - rows[:, 0, j] * rows[:, 1, i]
            divisor = np.gcd(divisor, np.abs(minor))
    return bottoms[divisor == 1], tops[divisor == 1]


def _face_keeping_operations(monolayer: Monolayer) -> np.ndarray:
    """In-plane parts (n, 2, 2) of the layer's operations that do not exchange its faces.

    As integers W for rows: the operation takes the cell P to W P.
    """
    if monolayer.symmetry is None:
        return np.eye(2, dtype=int)[None]
    rotations = np.asarray(monolayer.symmetry.rotations)
    plane = rotations[rotations[:, 2, 2] == 1][:, :2, :2].transpose(0, 2, 1)
    return np.unique(plane, axis=0).astype(int)


def _merge_equivalent(bottoms, tops, bottom: Monolayer, top: Monolayer):
    """One pair of supercells per class of symmetry-equivalent ones, that of smallest twist."""
    first, second = _face_keeping_operations(bottom), _face_keeping_operations(top)
    same_parity = (
        np.round(np.linalg.det(first))[:, None] * np.round(np.linalg.det(second))[None, :] > 0
    )
    i, j = np.nonzero(same_parity)
    first, second = first[i], second[j]
    # A change of the stack's cell, S → U S of both, leaves adj(S_bottom) S_top as it is.
    adjugate = np.empty_like(bottoms)
    adjugate[:, 0, 0], adjugate[:, 1, 1] = bottoms[:, 1, 1], bottoms[:, 0, 0]
    adjugate[:, 0, 1], adjugate[:, 1, 0] = -bottoms[:, 0, 1], -bottoms[:, 1, 0]
    relation = adjugate @ tops
    inverse_first = np.round(np.linalg.inv(first)).astype(int)
    images = inverse_first[None] @ relation[:, None] @ second[None]
    base = 2 * int(np.abs(images).max()) + 1
    digits = images.reshape(len(bottoms), -1, 4) + base // 2
    codes = digits @ (base ** np.arange(4, dtype=np.int64))
    cells = np.round(np.linalg.det(bottoms)).astype(np.int64)
    counts = np.round(np.linalg.det(tops)).astype(np.int64)
    identity = np.column_stack([cells, counts, codes.min(axis=1)])
    _, unique = np.unique(identity, axis=0, return_index=True)
    kept_bottom, kept_top = [], []
    for k in np.sort(unique):
        deformation = np.linalg.inv(images[k] / cells[k] @ top.cell) @ bottom.cell
        twist = np.degrees(
            np.arctan2(
                deformation[:, 0, 1] - deformation[:, 1, 0],
                deformation[:, 0, 0] + deformation[:, 1, 1],
            )
        )
        # Smallest in size, the positive one of two, then the first by its integers.
        best = np.lexsort((codes[k], -np.round(twist, 6), np.round(np.abs(twist), 6)))[0]
        kept_bottom.append(bottoms[k] @ first[best])
        kept_top.append(tops[k] @ second[best])
    return np.array(kept_bottom), np.array(kept_top)


def _describe_match(supercell_bottom, supercell_top, bottom: Monolayer, top: Monolayer) -> Match:
    if np.linalg.det(supercell_bottom) < 0:
        supercell_bottom, supercell_top = supercell_bottom[::-1], supercell_top[::-1]
    transformation = reduce_cell(supercell_bottom @ bottom.cell)
    transformation = _least_turned(transformation @ supercell_bottom, bottom) @ transformation
    supercells = (transformation @ supercell_bottom, transformation @ supercell_top)
    a, b, gamma = shared_cell((bottom, top), supercells)
    cell = cell_from_parameters(a, b, gamma)
    strains, rotations = zip(
        *(
            polar_decomposition(np.linalg.inv(supercell @ layer.cell) @ cell)
            for supercell, layer in zip(supercells, (bottom, top), strict=True)
        ),
        strict=True,
    )
    mismatch = max(float(np.abs(np.linalg.eigvalsh(strain)).max()) for strain in strains)
    twist = (rotations[1] - rotations[0]) % 360.0
    counts = [int(round(np.linalg.det(supercell))) for supercell in supercells]
    as_tuple = [tuple(tuple(int(x) for x in row) for row in s) for s in supercells]
    return Match(
        supercell_bottom=as_tuple[0],
        supercell_top=as_tuple[1],
        twist_deg=0.0 if 360.0 - twist < 1e-6 else float(twist),
        mismatch_percent=100.0 * mismatch,
        area_a2=float(np.linalg.det(cell)),
        number_of_atoms=counts[0] * len(bottom.species) + counts[1] * len(top.species),
    )


def _least_turned(supercell: np.ndarray, layer: Monolayer) -> np.ndarray:
    """Change of basis (2, 2), det +1, to the equal-shaped cell that turns the layer least."""
    cell = supercell @ layer.cell
    candidates = UNIMODULAR @ cell
    metric = candidates @ candidates.transpose(0, 2, 1)
    equal = np.abs(metric - cell @ cell.T).max(axis=(1, 2)) < 1e-3 * np.trace(cell @ cell.T)
    first = candidates[equal][:, 0]
    angle = np.round(np.degrees(np.arctan2(first[:, 1], first[:, 0])), 4)
    best = np.lexsort((-angle, np.abs(angle)))[0]
    return UNIMODULAR[equal][best]


# --- axes and faces -------------------------------------------------------------------------------


def _order(plane: np.ndarray) -> int:
    power = plane
    for order in range(1, 7):
        if np.array_equal(power, np.eye(2, dtype=int)):
            return order
        power = power @ plane
    raise StructureError(f"operation {plane.tolist()} is no crystallographic rotation")


def _distinct(fractional: np.ndarray, tolerance: float = 1e-3) -> np.ndarray:
    kept: list[np.ndarray] = []
    for place in fractional % 1.0:
        place = np.where(1.0 - place < tolerance, 0.0, place)
        for other in kept:
            difference = place - other
            if np.abs(difference - np.round(difference)).max() < tolerance:
                break
        else:
            kept.append(place)
    return np.array(kept)


def _face(monolayer: Monolayer, top: bool):
    """As `_outermost`, for a free layer."""
    xy = np.array(monolayer.positions) @ monolayer.cell
    return _outermost(monolayer.species, xy, np.array(monolayer.heights), top)


@dataclass(frozen=True)
class _Faces:
    """Two faces, n and m atoms, as they meet: what is left is by how much one is shifted.

    Attributes:
        difference: from an atom of the first to one of the second (n, m, 2) in Å.
        reach_squared: of the sum of their radii (n, m), in Å².
        depths: below the faces, of either (n, 1) and (1, m), in Å.
        cell, inverse: of the lattice on which lateral distances are taken (2, 2).
    """

    difference: np.ndarray
    reach_squared: np.ndarray
    depths: tuple[np.ndarray, np.ndarray]
    cell: np.ndarray
    inverse: np.ndarray

    @classmethod
    def of(cls, first: tuple, second: tuple, cell: np.ndarray) -> _Faces:
        """Of two faces as `_outermost` gives them."""
        (places, depths, radii), (others, depths_of_others, radii_of_others) = first, second
        return cls(
            difference=others[None, :, :] - places[:, None, :],
            reach_squared=(radii[:, None] + radii_of_others[None, :]) ** 2,
            depths=(depths[:, None], depths_of_others[None, :]),
            cell=cell,
            inverse=np.linalg.inv(cell),
        )


@lru_cache(maxsize=20000)
def _faces_in_cell(below: Layer, above: Layer, a: float, b: float, gamma_deg: float) -> _Faces:
    """Facing faces of two layers as they sit in a stack's cell: many registries share one."""
    cell = cell_from_parameters(a, b, gamma_deg)
    faces = []
    for layer, top in ((below, True), (above, False)):
        species, fractional, heights = layer_sites(layer)
        faces.append(_outermost(species, fractional @ cell, heights, top))
    return _Faces.of(*faces, cell)


def _outermost(species, xy: np.ndarray, heights: np.ndarray, top: bool):
    """Atoms near a face: in-plane positions (n, 2) in Å, depths (n) below it, radii (n) in Å."""
    depth = heights.max() - heights if top else heights - heights.min()
    near = np.flatnonzero(depth < FACE_DEPTH_A)
    return xy[near], depth[near], np.array([_radius(species[i]) for i in near])


def _radius(symbol: str) -> float:
    """Van der Waals radius in Å."""
    number = atomic_numbers[symbol]
    if number < len(bondi_radii) and np.isfinite(bondi_radii[number]):
        return float(bondi_radii[number])
    if number < len(alvarez_radii) and np.isfinite(alvarez_radii[number]):
        return float(ALVAREZ_TO_BONDI * alvarez_radii[number])
    # Neither table has it: a van der Waals radius is about 0.9 Å above the covalent one.
    return float(covalent_radii[number] + 0.9)


def _contact_gaps(faces: _Faces, shifts: np.ndarray) -> np.ndarray:
    """Gaps (m) in Å at which two faces touch, the second moved by each of `shifts` (m, 2) in Å.

    Lateral distances are taken on the lattice of the first face: the second face's own lattice
    need not fit it.
    """
    fractional = (faces.difference[None] + shifts[:, None, None, :]) @ faces.inverse
    fractional -= fractional.round()
    lateral = (((fractional[..., None, :] + NEIGHBOURS) @ faces.cell) ** 2).sum(-1).min(-1)
    # Spheres that pass each other touch nowhere: those count at the level of their centres.
    vertical = np.sqrt(np.maximum(faces.reach_squared - lateral, 0.0))
    gaps = vertical - faces.depths[0] - faces.depths[1]
    return gaps.max(axis=(1, 2))
