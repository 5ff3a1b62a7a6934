"""What every source's materials go through before they are part of a library."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from ase import Atoms
from ase.data import covalent_radii

from heteroforge.sources.library import PLAUSIBLE, PROPERTIES, Library, table_of
from heteroforge.structures import Monolayer, StructureError, split_layers

__all__ = ["LARGEST_MASS_M0", "Candidate", "Rejected", "collect", "is_disordered"]

# Atoms nearer than this share of the sum of their covalent radii lie on top of each other.
OVERLAP = 0.6
# Less empty space than this along z, and the layer touches its periodic image: a bulk crystal.
SMALLEST_VACUUM_A = 5.0
# Facing atoms of van der Waals layers are further apart than this, heights of bonded ones are not.
SMALLEST_INTERLAYER_GAP_A = 2.5
# More electrons' masses than this are those of flat or badly fitted bands.
LARGEST_MASS_M0 = 20.0


class Rejected(ValueError):
    """A material that cannot be part of a library, with the reason in the message."""


@dataclass(frozen=True)
class Candidate:
    """A material as a source gives it.

    Attributes:
        material: identifier in the source.
        atoms: its structure; None where the source could not make one.
        properties: values of `library.PROPERTIES` that the source knows.
        source: where it is from, as written into the library.
        protocol: how its properties were computed.
        without_spin_orbit: `gap_ev`, `vbm_ev`, `cbm_ev` without spin–orbit coupling, where those of
            `properties` include it and the source has both.
        file: where the material is found in the source.
        reason: why it cannot be used, where the source already knows.
    """

    material: str
    atoms: Atoms | None = None
    properties: Mapping[str, object] = field(default_factory=dict)
    source: str = ""
    protocol: str | None = None
    without_spin_orbit: Mapping[str, object] = field(default_factory=dict)
    file: str = ""
    reason: str = ""


def collect(
    candidates: Iterable[Candidate],
    maximum_atoms: int,
    elements_allowed: Collection[str] = (),
    elements_excluded: Collection[str] = (),
    elements_available: Collection[str] | None = None,
) -> tuple[Library, pd.DataFrame]:
    """Make a library of the candidates that can be used.

    Args:
        candidates: in any order; the first of equal materials is kept.
        maximum_atoms: per primitive cell.
        elements_allowed: a material with another one is rejected; empty: all are allowed.
        elements_excluded: a material with one of them is rejected.
        elements_available: elements that have a pseudopotential; None: not asked.

    Returns:
        The library, ordered as the candidates, and a table `material, reason, file` of those that
        were rejected. A duplicate gives the first one what that lacks, if both are of one protocol.
    """
    monolayers: dict[str, Monolayer] = {}
    known: dict[str, dict] = {}
    # Only equal compositions are compared: each against each would take hours for ten thousand.
    alike: dict[tuple, list[Monolayer]] = {}
    rejected = []
    for candidate in candidates:
        name = re.sub(r"[^A-Za-z0-9_.+()-]", "_", candidate.material)
        try:
            layer = _usable_layer(candidate, maximum_atoms)
            _check_elements(layer, elements_allowed, elements_excluded, elements_available)
            properties = _checked_properties(candidate.properties)
            if name in monolayers:
                raise Rejected(f"identifier {name} is taken by a material before it")
            same_composition = alike.setdefault(tuple(sorted(layer.species)), [])
            twin = _equal_layer(layer, same_composition)
            if twin is not None:
                found = _complete(known[twin], properties, candidate)
                raise Rejected(f"duplicate of {twin}{found}")
        except (Rejected, StructureError) as reason:
            rejected.append((candidate.material, str(reason), candidate.file))
            continue
        except Exception as error:  # odd structures make the libraries below raise many types
            told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            rejected.append((candidate.material, f"cannot be read: {told}", candidate.file))
            continue
        monolayers[name] = replace(layer, name=name)
        same_composition.append(monolayers[name])
        known[name] = properties | {"source": candidate.source, "protocol": candidate.protocol}
    library = Library(monolayers, table_of(monolayers, known))
    return library, pd.DataFrame(rejected, columns=["material", "reason", "file"])


def is_disordered(atoms: Atoms) -> bool:
    """Whether a CIF's sites are shared by elements or partly empty (as ASE's reader tells)."""
    occupancy = atoms.info.get("occupancy")
    if not occupancy:
        return False
    return any(len(site) > 1 or min(site.values()) < 0.999 for site in occupancy.values())


def _usable_layer(candidate: Candidate, maximum_atoms: int) -> Monolayer:
    if candidate.reason:
        raise Rejected(candidate.reason)
    atoms = candidate.atoms
    if is_disordered(atoms):
        raise Rejected("disordered: sites with partial occupancy")
    layer = Monolayer.from_atoms(atoms)
    period = abs(atoms.cell.volume) / layer.area_a2
    if atoms.pbc[2] and 0 < period < layer.thickness_a + SMALLEST_VACUUM_A:
        raise Rejected(
            f"no vacuum along z: {period - layer.thickness_a:.1f} Å empty, at least "
            f"{SMALLEST_VACUUM_A:.0f} Å expected (layers of a bulk crystal have to be cut first: "
            "docs/how-to/own-data.md)"
        )
    # Large cells are reduced before the count, and before the pairwise distances.
    layer, _ = layer.standardised()
    if len(layer.species) > maximum_atoms:
        raise Rejected(
            f"{len(layer.species)} atoms in the primitive cell, at most {maximum_atoms} expected"
        )
    _check_distances(layer)
    _check_one_layer(layer)
    return layer


def _check_one_layer(layer: Monolayer) -> None:
    """Parts without bonds between them are layers of their own only across an empty interval.

    In ionic layers bonds can be longer than covalent radii tell, so the bonds alone do not decide.
    """
    atoms = layer.to_atoms()
    parts = split_layers(atoms)
    for lower, upper in itertools.pairwise(parts):
        empty = atoms.positions[upper, 2].min() - atoms.positions[lower, 2].max()
        if empty > SMALLEST_INTERLAYER_GAP_A:
            raise Rejected(
                f"more than one layer: nothing within {empty:.2f} Å along z, one layer expected"
            )


def _check_distances(layer: Monolayer) -> None:
    xyz = np.column_stack([np.array(layer.positions) @ layer.cell, layer.heights])
    radii = covalent_radii[layer.to_atoms().numbers]
    images = np.array([[i, j] for i in (-1, 0, 1) for j in (-1, 0, 1)]) @ layer.cell
    shifts = np.column_stack([images, np.zeros(9)])
    difference = xyz[:, None, None, :] - xyz[None, :, None, :] + shifts[None, None]
    distance = np.linalg.norm(difference, axis=-1)
    n = len(xyz)
    distance[np.arange(n), np.arange(n), 4] = np.inf  # an atom and itself
    ratio = distance / (radii[:, None] + radii[None, :])[:, :, None]
    if ratio.min() < OVERLAP:
        i, j, image = np.unravel_index(np.argmin(ratio), ratio.shape)
        raise Rejected(
            f"overlapping atoms: {layer.species[i]} and {layer.species[j]} "
            f"{distance[i, j, image]:.2f} Å apart"
        )


def _check_elements(
    layer: Monolayer,
    allowed: Collection[str],
    excluded: Collection[str],
    available: Collection[str] | None,
) -> None:
    elements = sorted(set(layer.species))
    for element in elements:
        if allowed and element not in allowed:
            raise Rejected(f"element {element} is not one of library.elements_allowed")
        if element in excluded:
            raise Rejected(f"element {element} is excluded by library.elements_excluded")
        if available is not None and element not in available:
            raise Rejected(f"no pseudopotential for {element} in dft.pseudopotentials")


def _checked_properties(given: Mapping[str, object]) -> dict:
    values = {}
    for key, value in given.items():
        if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
            continue
        if PROPERTIES[key] == "boolean":
            values[key] = _as_boolean(key, value)
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise Rejected(f"{key} = {value!r}: a number expected") from None
        if not math.isfinite(number):
            raise Rejected(f"{key} = {value!r}: a finite number expected")
        low, high = PLAUSIBLE.get(key, (-math.inf, math.inf))
        if not low <= number <= high:
            raise Rejected(f"{key} = {number:g}: {low:g} to {high:g} expected; another unit?")
        values[key] = number
    for key in ("electron_mass_m0", "hole_mass_m0"):
        if key in values and not 0 < values[key] <= LARGEST_MASS_M0:
            del values[key]
    if {"vbm_ev", "cbm_ev"} <= set(values) and values["cbm_ev"] < values["vbm_ev"] - 1e-6:
        raise Rejected(
            f"cbm_ev = {values['cbm_ev']:.3f} lies below vbm_ev = {values['vbm_ev']:.3f}"
        )
    return values


def _as_boolean(key: str, value: object) -> bool:
    text = str(value).strip().lower()
    if text in ("true", "1", "1.0", "yes"):
        return True
    if text in ("false", "0", "0.0", "no"):
        return False
    raise Rejected(f"{key} = {value!r}: true or false expected")


def _complete(known: dict, properties: Mapping[str, object], candidate: Candidate) -> str:
    """Give what a duplicate knows more; the words for it."""
    if candidate.protocol is None or candidate.protocol != known["protocol"]:
        return ""
    gained = [key for key in properties if key not in known]
    known.update({key: properties[key] for key in gained})
    return f", which took from it: {', '.join(gained)}" if gained else ""


def _equal_layer(layer: Monolayer, others: Iterable[Monolayer]) -> str | None:
    """Name of a layer with the same structure, turned, mirrored or upside down.

    Args:
        layer: any layer.
        others: layers of the same composition.
    """
    near = [
        other
        for other in others
        if abs(other.area_a2 / layer.area_a2 - 1) < 0.02
        and abs(other.thickness_a - layer.thickness_a) < 0.1
    ]
    if not near:
        return None
    # Imported here: pymatgen takes a second to load.
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.io.ase import AseAtomsAdaptor

    # Both get the same vacuum, so the third direction does not weigh in. stol is in units of
    # (volume per atom)^(1/3), 3 to 5 Å here.
    matcher = StructureMatcher(ltol=0.02, stol=0.04, angle_tol=2, primitive_cell=False, scale=False)

    def crystal(monolayer: Monolayer):
        atoms = monolayer.to_atoms()
        # pymatgen's reduction of the cell wants three periodic directions.
        atoms.pbc = True
        return AseAtomsAdaptor.get_structure(atoms)

    mine = crystal(layer)
    for other in near:
        if matcher.fit(mine, crystal(other)):
            return other.name
    return None
