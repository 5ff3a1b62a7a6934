"""What a decoder can pick from: oriented monolayers, and the commensurate cells of their pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd

from heteroforge.graphs import GraphStore, atom_graph
from heteroforge.structures import Layer, Monolayer, Stack, StructureError
from heteroforge.structures.defects import as_monolayer, repeated
from heteroforge.structures.matching import Match, stack_layers, van_der_waals_gap_a
from heteroforge.structures.plane import integer_rows

__all__ = ["Catalogue", "StackCode", "MATCH_FEATURES", "has_mirror_plane"]

MATCH_FEATURES = 8
# Columns of the library's table that help to place a monolayer; each with a flag for unknown.
PROPERTY_COLUMNS = ("gap_ev", "vbm_ev", "cbm_ev", "stiffness_n_m")
PROPERTY_SCALES = ((1.5, 1.5), (-6.0, 1.2), (-4.0, 1.2), (80.0, 60.0))
ONE_CELL = np.eye(2, dtype=int)
# Largest multiple of a cell that is tried to bring a further layer onto it.
LARGEST_MULTIPLE = 12


@dataclass(frozen=True)
class StackCode:
    """A stack in the catalogue's terms.

    Attributes:
        entries: oriented monolayer per layer.
        matches: candidate cell per interface, index into `Catalogue.candidates`.
        registries: per interface, fraction of the lower layer's cell.
        gap_excess_a: per interface, gap minus the van der Waals gap of the pair in Å.
    """

    entries: tuple[int, ...]
    matches: tuple[int, ...]
    registries: tuple[tuple[float, float], ...]
    gap_excess_a: tuple[float, ...]


def has_mirror_plane(monolayer: Monolayer) -> bool:
    """Whether turning the layer upside down (z → −z) gives the layer itself, not a turned one."""
    if monolayer.symmetry is None:
        return False
    rotations = np.asarray(monolayer.symmetry.rotations)
    translations = np.asarray(monolayer.symmetry.translations)
    mirror = np.all(rotations == np.diag([1, 1, -1]), axis=(1, 2))
    shift = translations[:, :2] - np.round(translations[:, :2])
    return bool(np.any(mirror & (np.abs(shift).max(axis=1) < 1e-3)))


class Catalogue:
    """Oriented monolayers of a library and the cells that their pairs share.

    Args:
        monolayers: the library, in order.
        matches: table `matches.parquet` (bottom, top, supercell_bottom, supercell_top, twist_deg,
            mismatch_percent, area_a2, number_of_atoms); a pair is listed in one order.
        properties: the library's table, indexed by monolayer_id; unknown values are null.
        defective: layers with point defects by names of their own, upright. Each is one more
            monolayer here, in the cell that its defects repeat in, and `matches` lists it so.
    """

    def __init__(
        self,
        monolayers: Mapping[str, Monolayer],
        matches: pd.DataFrame,
        properties: pd.DataFrame | None = None,
        defective: Mapping[str, Layer] | None = None,
    ) -> None:
        if len(monolayers) == 0:
            raise StructureError("the library holds no monolayer")
        self.defective = dict(defective or {})
        self.monolayers = dict(monolayers) | {
            name: as_monolayer(layer, name) for name, layer in self.defective.items()
        }
        self.names = list(self.monolayers)
        self.properties = properties
        # (monolayer, flipped). A layer with equal faces is listed once: upside down it is itself
        # or itself turned in the plane, and turns are the business of the cells.
        self.entries: list[tuple[str, bool]] = []
        for name, monolayer in self.monolayers.items():
            self.entries.append((name, False))
            if not monolayer.has_equal_faces:
                self.entries.append((name, True))
        self._index = {entry: i for i, entry in enumerate(self.entries)}
        self._matches: dict[tuple[str, str], list[Match]] = {}
        for row in matches.itertuples(index=False):
            if row.bottom not in self.monolayers or row.top not in self.monolayers:
                continue
            bottom, top = _integers(row.supercell_bottom), _integers(row.supercell_top)
            shared = (row.mismatch_percent, row.area_a2, int(row.number_of_atoms))
            self._matches.setdefault((row.bottom, row.top), []).append(
                Match(bottom, top, float(row.twist_deg), *shared)
            )
            if row.bottom != row.top:
                self._matches.setdefault((row.top, row.bottom), []).append(
                    Match(top, bottom, float(-row.twist_deg % 360.0), *shared)
                )
        self._gaps: dict[tuple[int, int], float] = {}
        self._features: dict[tuple[str, str], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.entries)

    # --- entries ------------------------------------------------------------------------------

    def entry(self, layer: Layer) -> int:
        """Index of a layer's oriented monolayer.

        Raises:
            StructureError: its monolayer is not in the library, its defects are none of the
                catalogue's as those describe them (see `defects_as_layers`), or it is upside
                down and so a turned layer, to be given as such.
        """
        if layer.defects:
            raise StructureError("a layer with such defects is not in the catalogue")
        name = layer.monolayer.name
        if name not in self.monolayers:
            raise StructureError(f"monolayer {layer.monolayer.key()!r} is not in the library")
        if (name, layer.flipped) in self._index:
            return self._index[(name, layer.flipped)]
        if not has_mirror_plane(self.monolayers[name]):
            raise StructureError(f"{name} upside down is {name} turned: give its supercell turned")
        return self._index[(name, False)]

    @cached_property
    def graphs(self) -> GraphStore:
        """Graphs of the oriented monolayers."""
        graphs = []
        for name, flipped in self.entries:
            atoms = self.monolayers[name].to_atoms()
            if flipped:
                atoms.positions[:, 2] *= -1
            graphs.append(atom_graph(atoms))
        return GraphStore(graphs)

    @cached_property
    def entry_features(self) -> np.ndarray:
        """Lattice, symmetry and known properties of the oriented monolayers (entries, features)."""
        rows = []
        for name, _ in self.entries:
            layer = self.monolayers[name]
            row = [
                (layer.a - 3.7) / 0.7,
                (layer.b - 3.7) / 0.7,
                (layer.gamma_deg - 105.0) / 15.0,
                (layer.thickness_a - 3.5) / 1.5,
                np.log(layer.area_a2 / 12.0),
                # Polymorphs such as cis and trans AlS differ in hardly anything else.
                float(has_mirror_plane(layer)),
            ]
            known = None
            if self.properties is not None and name in self.properties.index:
                known = self.properties.loc[name]
            for column, (middle, scale) in zip(PROPERTY_COLUMNS, PROPERTY_SCALES, strict=True):
                value = np.nan if known is None or column not in known else known[column]
                value = np.nan if value is None or pd.isna(value) else float(value)
                row += [0.0, 0.0] if np.isnan(value) else [(value - middle) / scale, 1.0]
            rows.append(row)
        return np.array(rows, dtype=np.float32)

    def stiffness_n_m(self, name: str) -> float | None:
        """In-plane stiffness of a monolayer where the table knows it, of its perfect layer."""
        if name in self.defective:
            name = self.defective[name].monolayer.name
        return self._stiffness_n_m.get(name)

    @cached_property
    def _stiffness_n_m(self) -> dict[str, float]:
        if self.properties is None or "stiffness_n_m" not in self.properties:
            return {}
        return self.properties["stiffness_n_m"].dropna().astype(float).to_dict()

    def perfect(self, entry: int) -> tuple[Monolayer, np.ndarray]:
        """The monolayer of an entry without its defects, and the entry's cell in units of its.

        The cell is a matrix of integer rows (2, 2), the identity for an entry without defects.
        """
        name = self.entries[entry][0]
        if name not in self.defective:
            return self.monolayers[name], ONE_CELL
        layer = self.defective[name]
        return layer.monolayer, np.array(layer.supercell)

    # --- pairs --------------------------------------------------------------------------------

    def candidates(self, lower: int, upper: int) -> list[Match]:
        """Cells that two entries share, the lower one as bottom; may be empty."""
        return self._matches.get((self.entries[lower][0], self.entries[upper][0]), [])

    @cached_property
    def stackable(self) -> np.ndarray:
        """Whether entry j fits on entry i (entries, entries)."""
        index = {name: i for i, name in enumerate(self.names)}
        pairs = np.zeros((len(self.names), len(self.names)), dtype=bool)
        for bottom, top in self._matches:
            pairs[index[bottom], index[top]] = True
        owner = np.array([index[name] for name, _ in self.entries])
        return pairs[np.ix_(owner, owner)]

    def match_features(self, lower: int, upper: int) -> np.ndarray:
        """Features (candidates, MATCH_FEATURES) of the cells that two entries share."""
        names = (self.entries[lower][0], self.entries[upper][0])
        if names not in self._features:
            rows = []
            for match in self._matches.get(names, []):
                twist = np.radians(match.twist_deg)
                cells = abs(np.linalg.det(np.array(match.supercell_bottom)))
                rows.append(
                    [
                        np.cos(twist),
                        np.sin(twist),
                        np.cos(3 * twist),
                        np.cos(6 * twist),
                        np.sin(6 * twist),
                        match.mismatch_percent / 3.0,
                        np.log(match.area_a2 / 12.0),
                        np.log(cells),
                    ]
                )
            self._features[names] = np.array(rows, dtype=np.float32).reshape(-1, MATCH_FEATURES)
        return self._features[names]

    @cached_property
    def most_candidates(self) -> int:
        return max((len(found) for found in self._matches.values()), default=0)

    def gap_a(self, lower: int, upper: int) -> float:
        """Van der Waals gap of two entries in Å: where the generated gap starts from."""
        if (lower, upper) not in self._gaps:
            flipped_lower, flipped_upper = self.entries[lower][1], self.entries[upper][1]
            # Of the perfect layers: the estimate takes both faces on the lower one's lattice.
            self._gaps[(lower, upper)] = van_der_waals_gap_a(
                self.perfect(lower)[0], self.perfect(upper)[0], (flipped_lower, flipped_upper)
            )
        return self._gaps[(lower, upper)]

    # --- stacks -------------------------------------------------------------------------------

    def defects_as_layers(self, stack: Stack) -> Stack:
        """The stack made of the catalogue's own monolayers: each layer with defects as one."""
        return replace(stack, layers=tuple(self._as_own(layer) for layer in stack.layers))

    def _as_own(self, layer: Layer) -> Layer:
        if not layer.defects:
            return layer
        for name, known in self.defective.items():
            multiple = np.array(layer.supercell) @ np.linalg.inv(np.array(known.supercell))
            whole = np.round(multiple).astype(int)
            if (
                known.monolayer == layer.monolayer
                and np.abs(multiple - whole).max() < 1e-6
                and repeated(known, whole, layer.flipped) == layer
            ):
                supercell = tuple(tuple(int(x) for x in row) for row in whole)
                return Layer(self.monolayers[name], supercell, layer.flipped)
        return layer

    def layers_as_defects(self, stack: Stack) -> Stack:
        """The inverse of `defects_as_layers`: layers of the library, with their defects."""
        if not self.defective or not any(
            layer.monolayer.name in self.defective for layer in stack.layers
        ):
            return stack
        layers = tuple(
            repeated(self.defective[layer.monolayer.name], layer.supercell, layer.flipped)
            if layer.monolayer.name in self.defective
            else layer
            for layer in stack.layers
        )
        return replace(stack, layers=layers)

    def encode(self, stack: Stack) -> StackCode:
        """A stack in the catalogue's terms.

        Raises:
            StructureError: a layer is not in the catalogue, or the cell is none of the candidates.
        """
        stack = self.defects_as_layers(stack)
        entries = tuple(self.entry(layer) for layer in stack.layers)
        matches = []
        for i, (lower, upper) in enumerate(zip(entries[:-1], entries[1:], strict=True)):
            relation = _relation(stack.layers[i].supercell, stack.layers[i + 1].supercell)
            for k, match in enumerate(self.candidates(lower, upper)):
                candidate = _relation(match.supercell_bottom, match.supercell_top)
                if np.abs(relation - candidate).max() < 1e-6:
                    matches.append(k)
                    break
            else:
                raise StructureError(
                    f"{stack.formula}: the cell of interface {i + 1} is not among the matches"
                )
        return StackCode(
            entries=entries,
            matches=tuple(matches),
            registries=tuple(stack.registry(i) for i in range(len(entries) - 1)),
            gap_excess_a=tuple(
                interface.gap_a - self.gap_a(lower, upper)
                for interface, lower, upper in zip(
                    stack.interfaces, entries[:-1], entries[1:], strict=True
                )
            ),
        )

    def decode(self, code: StackCode, at_contact: bool = False) -> Stack:
        """The stack of a code.

        Args:
            code: what to build.
            at_contact: gaps at which the layers' spheres touch, instead of the code's own.

        Raises:
            StructureError: the layers share no small cell.
        """
        layers = [self.monolayers[self.entries[entry][0]] for entry in code.entries]
        flipped = [self.entries[entry][1] for entry in code.entries]
        supercells = [integer_rows(ONE_CELL)]
        gaps: list[float | None] = []
        for i, (lower, upper) in enumerate(zip(code.entries[:-1], code.entries[1:], strict=True)):
            match = self.candidates(lower, upper)[code.matches[i]]
            if i == 0:
                supercells = [match.supercell_bottom, match.supercell_top]
            else:
                onto = _onto(supercells[-1], match.supercell_bottom, match.supercell_top)
                if onto is None:
                    raise StructureError(
                        f"no shared cell within {LARGEST_MULTIPLE} times the lower layers' cell"
                    )
                form, top = onto
                supercells = [_product(form, supercell) for supercell in supercells] + [top]
            own = None if at_contact else self.gap_a(lower, upper) + code.gap_excess_a[i]
            gaps.append(own)
        stack = stack_layers(
            layers,
            supercells=supercells,
            registries=list(code.registries),
            gaps_a=gaps,
            flipped=flipped,
            stiffness_n_m=[self.stiffness_n_m(layer.name) for layer in layers],
        )
        return self.layers_as_defects(stack)


def _integers(given: object) -> tuple[tuple[int, int], tuple[int, int]]:
    """A 2×2 integer matrix from JSON text or nested sequences."""
    return integer_rows(json.loads(given) if isinstance(given, str) else given)


def _product(first: tuple, second: tuple) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of two integer matrices (2, 2), given as rows."""
    (a, b), (c, d) = first
    (p, q), (r, s) = second
    return (a * p + b * r, a * q + b * s), (c * p + d * r, c * q + d * s)


def _relation(bottom: Sequence, top: Sequence) -> np.ndarray:
    """S_bottom⁻¹ S_top: equal for all choices of the shared cell."""
    return np.linalg.inv(np.array(bottom, dtype=float)) @ np.array(top, dtype=float)


@lru_cache(maxsize=20000)
def _onto(last: tuple, bottom: tuple, top: tuple) -> tuple[tuple, tuple] | None:
    """How a further layer goes onto a stack whose last layer has the supercell `last`.

    The cell grows by the smallest multiple that makes the new layer's supercell integer.

    Args:
        last: integer rows (2, 2), as the others.
        bottom, top: supercells of the match of the last layer and the new one.

    Returns:
        What all supercells are multiplied by from the left, and the new layer's supercell; None
        where no small multiple does.
    """
    relation = _relation(bottom, top)
    for multiple in range(1, LARGEST_MULTIPLE + 1):
        for rows in range(1, multiple + 1):
            if multiple % rows:
                continue
            for shear in range(multiple // rows):
                # Hermite normal forms are all the superlattices of this multiple.
                form = np.array([[rows, shear], [0, multiple // rows]])
                new = form @ np.array(last) @ relation
                if np.abs(new - np.round(new)).max() < 1e-6:
                    return integer_rows(form), integer_rows(np.round(new))
    return None
