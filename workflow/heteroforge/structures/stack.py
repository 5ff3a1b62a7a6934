"""The stack: an invertible description of a van der Waals heterostructure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from math import gcd, isfinite, lcm

import numpy as np
from ase.data import atomic_numbers
from ase.formula import Formula

from heteroforge.structures.identity import prototype_key, stack_key
from heteroforge.structures.monolayer import Monolayer, StructureError
from heteroforge.structures.plane import cell_from_parameters, polar_decomposition

__all__ = ["Defect", "Interface", "Layer", "Stack", "MAXIMUM_LAYERS"]

MAXIMUM_LAYERS = 4


@dataclass(frozen=True)
class Defect:
    """A point defect at one site of a layer's supercell.

    Attributes:
        kind: "vacancy" or "substitution" (a dopant is a substitution by a foreign element).
        site: index in the order in which `build` writes the perfect layer.
        species: element put there by a substitution.
    """

    kind: str
    site: int
    species: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("vacancy", "substitution"):
            raise StructureError(f"defect kind {self.kind!r}: expected vacancy or substitution")
        if self.kind == "substitution" and self.species not in atomic_numbers:
            raise StructureError(f"substitution by unknown element {self.species!r}")


@dataclass(frozen=True)
class Layer:
    """A monolayer as it sits in a stack.

    Attributes:
        monolayer: what the layer is when free.
        supercell: integer rows (2, 2), det > 0: the stack's cell in units of the monolayer's.
        flipped: upside down (z → −z about the layer's middle).
        defects: point defects in the supercell.
    """

    monolayer: Monolayer
    supercell: tuple[tuple[int, int], tuple[int, int]] = ((1, 0), (0, 1))
    flipped: bool = False
    defects: tuple[Defect, ...] = ()

    def __post_init__(self) -> None:
        cells = self.number_of_cells
        if cells < 1:
            raise StructureError(f"supercell {self.supercell} has determinant {cells}: must be > 0")
        sites = cells * len(self.monolayer.species)
        taken = set()
        for defect in self.defects:
            if not 0 <= defect.site < sites:
                raise StructureError(f"defect at site {defect.site} of a layer with {sites} sites")
            if defect.site in taken:
                raise StructureError(f"two defects at site {defect.site}")
            taken.add(defect.site)
            if defect.species == self.monolayer.species[defect.site % len(self.monolayer.species)]:
                raise StructureError(
                    f"substitution by {defect.species} at site {defect.site}, which is "
                    f"{defect.species} already"
                )
        vacancies = sum(d.kind == "vacancy" for d in self.defects)
        if vacancies == sites:
            raise StructureError("every atom of the layer is a vacancy")

    @property
    def number_of_cells(self) -> int:
        (a, b), (c, d) = self.supercell
        return int(a * d - b * c)

    @property
    def number_of_atoms(self) -> int:
        """Atoms in the supercell with the defects made."""
        vacancies = sum(defect.kind == "vacancy" for defect in self.defects) if self.defects else 0
        return self.number_of_cells * len(self.monolayer.species) - vacancies

    @property
    def species(self) -> list[str]:
        """Elements in the supercell with the defects made."""
        species = list(self.monolayer.species) * self.number_of_cells
        for defect in self.defects:
            if defect.kind == "substitution":
                species[defect.site] = defect.species
        gone = {d.site for d in self.defects if d.kind == "vacancy"}
        return [s for i, s in enumerate(species) if i not in gone]


@dataclass(frozen=True)
class Interface:
    """How a layer sits on the one below it.

    Attributes:
        offset: in-plane shift of the upper layer's origin against the lower layer's, as a
            fraction of the stack's cell.
        gap_a: Å between the facing outermost atoms.
    """

    offset: tuple[float, float] = (0.0, 0.0)
    gap_a: float = 3.3

    def __post_init__(self) -> None:
        if not all(isfinite(x) for x in (*self.offset, self.gap_a)):
            raise StructureError(f"offset {self.offset} or gap {self.gap_a} Å is not finite")


@dataclass(frozen=True)
class Stack:
    """Layers from bottom to top in one in-plane cell.

    The cell (a, b in Å, gamma in degrees) and the supercells fix how each layer is turned and
    strained, so neither is stored a second time: see `rotation_deg` and `strain`.
    """

    layers: tuple[Layer, ...]
    interfaces: tuple[Interface, ...]
    a: float
    b: float
    gamma_deg: float
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.layers) <= MAXIMUM_LAYERS:
            raise StructureError(f"{len(self.layers)} layers: expected 1 to {MAXIMUM_LAYERS}")
        if len(self.interfaces) != len(self.layers) - 1:
            raise StructureError(
                f"{len(self.layers)} layers need {len(self.layers) - 1} interfaces, "
                f"got {len(self.interfaces)}"
            )
        if not all(isfinite(x) for x in (self.a, self.b, self.gamma_deg)) or not (
            min(self.a, self.b) > 0 and 0 < self.gamma_deg < 180
        ):
            raise StructureError(
                f"impossible in-plane cell a={self.a} Å, b={self.b} Å, γ={self.gamma_deg}°"
            )

    # --- derived properties -------------------------------------------------------------------

    @property
    def cell(self) -> np.ndarray:
        """In-plane cell (2, 2) in Å, first vector along x."""
        return cell_from_parameters(self.a, self.b, self.gamma_deg)

    @property
    def area_a2(self) -> float:
        return _area_a2(self.a, self.b, self.gamma_deg)

    @property
    def number_of_layers(self) -> int:
        return len(self.layers)

    @property
    def species(self) -> list[str]:
        return [s for layer in self.layers for s in layer.species]

    @property
    def number_of_atoms(self) -> int:
        return sum(layer.number_of_atoms for layer in self.layers)

    @property
    def thickness_a(self) -> float:
        """Distance between the outermost atoms of the stack in Å (perfect layers)."""
        return sum(layer.monolayer.thickness_a for layer in self.layers) + sum(
            interface.gap_a for interface in self.interfaces
        )

    @property
    def formula(self) -> str:
        return "/".join(layer.monolayer.formula for layer in self.layers)

    @property
    def stoichiometry(self) -> str:
        """Formula of the whole stack with anonymous elements, e.g. AB2 or ABC4."""
        reduced = Formula.from_list(self.species).reduce()[0]
        return str(reduced.stoichiometry()[0].format("abc"))

    @property
    def layer_group(self) -> int:
        """Layer-group number (1–80) of the stack as built; 0 when the symmetry search failed."""
        # Imported here: build reads stacks.
        from heteroforge.structures.build import build

        return Monolayer.from_atoms(build(self)).layer_group

    def deformation(self, index: int) -> np.ndarray:
        """F (2, 2) that takes the free layer's supercell to the stack's cell (rows: x' = x F)."""
        return _deformation(self.layers[index], self.a, self.b, self.gamma_deg)[0].copy()

    def strain(self, index: int) -> np.ndarray:
        """Symmetric in-plane strain (2, 2) of a layer, in its own frame, dimensionless."""
        return _deformation(self.layers[index], self.a, self.b, self.gamma_deg)[1].copy()

    def rotation_deg(self, index: int) -> float:
        """Angle from the stack's x axis to the layer's a axis, in degrees."""
        return _deformation(self.layers[index], self.a, self.b, self.gamma_deg)[2]

    def twist_deg(self, index: int) -> float:
        """Rotation of layer `index + 1` against layer `index`, in [0, 360) degrees."""
        twist = (self.rotation_deg(index + 1) - self.rotation_deg(index)) % 360.0
        return 0.0 if 360.0 - twist < 1e-6 else twist

    def least_twist_deg(self, index: int) -> float:
        """The smallest of all angles that describe the same turn, in degrees.

        Turning a layer by one of its own rotations gives the same layer: of 3-fold layers 300° and
        60° are one turn. Positive where both signs are as small. Mirror images keep their sign.
        """
        orders = (self._rotation_order(index), self._rotation_order(index + 1))
        period = 360.0 / lcm(*orders)
        twist = self.twist_deg(index) % period
        twist -= period if twist > period / 2 + 1e-6 else 0.0
        return 0.0 if abs(twist) < 1e-6 else twist

    def _rotation_order(self, index: int) -> int:
        """Rotations about z that leave a layer as it sits in the stack unchanged."""
        layer = self.layers[index]
        if layer.defects:
            return 1
        operations = layer.monolayer.operations
        turns = np.round(np.linalg.det(operations.matrices)).astype(int) == 1
        order = int((turns & ~operations.exchanges_faces).sum())
        # A strain that differs by direction leaves a twofold axis, if there is one, and no other.
        return order if np.ptp(np.linalg.eigvalsh(self.strain(index))) < 1e-3 else gcd(order, 2)

    @property
    def mismatch_percent(self) -> float:
        """Largest principal strain of any layer, in percent."""
        cell = (self.a, self.b, self.gamma_deg)
        return 100.0 * max(_largest_strain(layer, *cell) for layer in self.layers)

    def registry(self, index: int) -> tuple[float, float]:
        """Offset at an interface as a fraction of the lower layer's own cell, in [0, 1)."""
        # Plain numbers: arrays of two are many times slower, and every sample comes by here.
        (x, y), ((p, q), (r, s)) = self.interfaces[index].offset, self.layers[index].supercell
        shift = (x * p + y * r) % 1.0, (x * q + y * s) % 1.0
        return tuple(0.0 if 1.0 - part < 1e-4 else float(part) for part in shift)

    def stacking(self, index: int) -> str:
        """Label of an interface: AA, AB, BA, SP where the registry has a name, else its numbers.

        Primed when the upper layer is turned by 60° or 180°; `twisted` for other angles. A and B
        follow the layers' origins (the first site of each monolayer).
        """
        twist = self.twist_deg(index)
        near = [abs((twist - t + 180) % 360 - 180) < 0.5 for t in (0, 60, 120, 180, 240, 300)]
        if not any(near):
            return f"twisted {twist:.2f}°"
        prime = "'" if near[1] or near[3] or near[5] else ""
        named = {
            "AA": (0.0, 0.0),
            "AB": (1 / 3, 2 / 3),
            "BA": (2 / 3, 1 / 3),
            "SP": (0.5, 0.0),
        }
        registry = np.array(self.registry(index))
        for label, place in named.items():
            difference = registry - np.array(place)
            if np.abs(difference - np.round(difference)).max() < 0.02:
                return label + prime
        return f"({registry[0]:.2f}, {registry[1]:.2f}){prime}"

    def reversed(self) -> Stack:
        """The same stack seen from below (mirrored in z), layers in the opposite order."""
        return replace(
            self,
            layers=tuple(replace(la, flipped=not la.flipped) for la in self.layers[::-1]),
            interfaces=tuple(
                replace(i, offset=(-i.offset[0], -i.offset[1])) for i in self.interfaces[::-1]
            ),
        )

    # --- identity and text --------------------------------------------------------------------

    def key(self) -> str:
        """Short identifier of the physical stack (12 hexadecimal digits).

        Equal for all descriptions of one stack: another cell or a multiple of it, another
        in-plane origin, upside down, layers or the whole stack turned by a symmetry operation of
        the layers; mirror images, which have equal energies, have one key too. The registry is
        resolved to about 1/24 of the lower layer's cell. Gap and strain do not enter: they follow
        from layers and registry once a stack is relaxed. Layers are told apart by their names,
        unnamed ones by their geometry as described.
        """
        return self._key

    def prototype_key(self) -> str:
        """As `key`, with layers that no library knows told by prototype and elements.

        That is their symmetry, sites above each other, and elements in order of height: not
        lattice constants and bond lengths, which are a guess until DFT relaxes them. Equal to `key`
        where all layers have a name. In the plane a layer must lie as it was proposed: sites turned
        by half a turn make another key.
        """
        return prototype_key(self)

    @cached_property
    def _key(self) -> str:
        return stack_key(self)

    def to_dict(self, inline_monolayers: bool = True) -> dict:
        def monolayer(layer: Layer):
            if inline_monolayers or not layer.monolayer.name:
                return layer.monolayer.to_dict()
            return layer.monolayer.name

        return {
            "layers": [
                {
                    "monolayer": monolayer(layer),
                    "supercell": [list(row) for row in layer.supercell],
                    "flipped": layer.flipped,
                    "defects": [[d.kind, d.site, d.species] for d in layer.defects],
                }
                for layer in self.layers
            ],
            "interfaces": [
                {"offset": [round(x, 6) + 0.0 for x in i.offset], "gap_a": round(i.gap_a, 5)}
                for i in self.interfaces
            ],
            "cell": [round(self.a, 6), round(self.b, 6), round(self.gamma_deg, 5)],
        }

    @classmethod
    def from_dict(cls, data: dict, monolayers: Mapping[str, Monolayer] | None = None) -> Stack:
        """Inverse of `to_dict`; `monolayers` resolves layers that are given by name.

        Raises:
            StructureError: the data are not those of a stack, or a layer names a monolayer that
                `monolayers` does not hold.
        """
        try:
            layers = tuple(_layer(entry, monolayers) for entry in data["layers"])
            interfaces = tuple(
                Interface(offset=tuple(i["offset"]), gap_a=i["gap_a"]) for i in data["interfaces"]
            )
            a, b, gamma = data["cell"]
            return cls(layers=layers, interfaces=interfaces, a=a, b=b, gamma_deg=gamma)
        except StructureError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise StructureError(
                f"specification {str(data)[:80]}: {type(error).__name__} {error}; expected layers, "
                "interfaces and cell as Stack.to_dict gives them"
            ) from error

    def to_json(self, inline_monolayers: bool = False) -> str:
        """One line of JSON; library layers by name unless `inline_monolayers`."""
        return json.dumps(self.to_dict(inline_monolayers), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, monolayers: Mapping[str, Monolayer] | None = None) -> Stack:
        """Inverse of `to_json`; `monolayers` resolves layers that are given by name.

        Raises:
            StructureError: as `from_dict`, or the text is no JSON.
        """
        try:
            data = json.loads(text)
        except (TypeError, json.JSONDecodeError) as error:
            raise StructureError(
                f"specification {str(text)[:80]!r} is no JSON ({error}); expected what "
                "Stack.to_json writes"
            ) from error
        return cls.from_dict(data, monolayers)


@lru_cache(maxsize=20000)
def _deformation(
    layer: Layer, a: float, b: float, gamma_deg: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Deformation, strain and rotation in degrees of a layer in a cell, which many stacks share."""
    free = np.array(layer.supercell) @ layer.monolayer.cell
    deformation = np.linalg.inv(free) @ cell_from_parameters(a, b, gamma_deg)
    return deformation, *polar_decomposition(deformation)


@lru_cache(maxsize=20000)
def _area_a2(a: float, b: float, gamma_deg: float) -> float:
    """Area of a cell in Å²."""
    return float(np.linalg.det(cell_from_parameters(a, b, gamma_deg)))


@lru_cache(maxsize=20000)
def _largest_strain(layer: Layer, a: float, b: float, gamma_deg: float) -> float:
    """Magnitude of the largest principal strain of a layer in a cell."""
    return float(np.abs(np.linalg.eigvalsh(_deformation(layer, a, b, gamma_deg)[1])).max())


def _layer(entry: Mapping, monolayers: Mapping[str, Monolayer] | None) -> Layer:
    """A layer as `Stack.to_dict` gives it."""
    given = entry["monolayer"]
    if not isinstance(given, str):
        monolayer = Monolayer.from_dict(given)
    elif monolayers is not None and given in monolayers:
        monolayer = monolayers[given]
    else:
        raise StructureError(f"stack names monolayer {given!r}, which is not known")
    return Layer(
        monolayer=monolayer,
        supercell=tuple(tuple(int(x) for x in row) for row in entry["supercell"]),
        flipped=bool(entry["flipped"]),
        defects=tuple(Defect(k, int(s), e) for k, s, e in entry.get("defects", [])),
    )
