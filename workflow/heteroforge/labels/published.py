"""Published DFT bilayers as labelled stacks, from a folder that holds copies of the tables.

The tables, their public homes and checksums are in resources/sources/tables.csv.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from ase import units

from heteroforge.features.elements import element_data
from heteroforge.io import InputError, read_table
from heteroforge.structures import Monolayer, Stack, StructureError, parse
from heteroforge.structures.matching import HALF_TURN, UNTURNED, stack_layers

__all__ = [
    "PLACES",
    "PublishedStack",
    "elastic_energy_mev_a2",
    "half_turned",
    "read_bidb_stacks",
    "read_hetml_stacks",
]

# Beyond these a bilayer has not been relaxed to a bound one.
BINDING_MEV_A2 = (0.0, 100.0)
INTERLAYER_DISTANCE_A = (1.5, 5.5)
BIDB_COLUMNS = {
    "gap_ev": "Band gap",
    "interlayer_gap_a": "Interlayer distance",
    "binding_energy_mev_a2": "Binding energy",
}
# Of the lowest atom of HetML's upper layers, fractions of the cell.
PLACES = {"AA": (1 / 3, 2 / 3), "AB": (0.0, 0.0)}
FLAT_A = 0.01


@dataclass(frozen=True)
class PublishedStack:
    """A stack and what was published of it.

    Attributes:
        name: of the entry.
        stack: as published; layers without names.
        values: properties under the project's names and in its units.
        layers: published names of the layers, from the bottom.
        layer_gap_ev: gap of the layers where the entry itself tells, else NaN.
        source: of the values.
    """

    name: str
    stack: Stack
    values: dict[str, float]
    layers: tuple[str, ...]
    source: str
    layer_gap_ev: float = float("nan")


def read_hetml_stacks(
    folder: str | Path, places: Mapping[str, tuple[float, float]] = PLACES
) -> Iterator[PublishedStack]:
    """DFT heterobilayers of HetML, in the registry that each entry's label means.

    The table does not say what AA and AB mean. Here the lower layer stands as it is listed, and the
    upper one, as listed or turned (`_is_listed_turned`), with its lowest atom at `places`. In AA
    that lies on the lower layer's face as a rule, and on its second atoms where the face lies
    elsewhere (buckled layers). So layers and labels give the registry, no published value of the
    stack does; docs/prediction.md says what this reading rests on. Metals have no edges in the
    table; their gap is zero. Layers are named by their `uid`.

    The table's energies of layers are those of free ones, so what it calls binding is
    `net_energy_mev_a2` here; `binding_energy_mev_a2` is that plus the elastic energy of the layers
    in the common cell, and missing where a stiffness is.

    Args:
        folder: holds `hetml/`.
        places: of the upper layers' lowest atoms per label, fractions of the cell.

    Raises:
        InputError: a table is missing or lacks a column, or a label is neither AA nor AB.
    """
    folder = Path(folder) / "hetml"
    frames = _frames(folder / "monolayers.extxyz")
    layers = {
        int(atoms.info["hetml_id"]): (str(atoms.info["uid"]), Monolayer.from_atoms(atoms))
        for atoms in frames
    }
    constants = read_table(folder / "monolayers.csv", columns=["hetml_id", "c_11", "c_12"])
    constants = constants.apply(pd.to_numeric, errors="coerce").set_index("hetml_id")
    biaxial_n_m = constants["c_11"].where(constants["c_11"] > 0) + constants["c_12"]
    numbers = ["uid_bot", "uid_top", "ILD", "Egap", "IE", "EA", "Ebind"]
    columns = ["huid", "stacktype", "is_metal", *numbers]
    table = read_table(folder / "bilayers.csv", columns=columns)
    for row in table.to_dict("records"):
        if row["stacktype"] not in places:
            raise InputError(
                f"{folder / 'bilayers.csv'}: {row['huid']}: stacktype {row['stacktype']!r}, "
                f"not one of {', '.join(places)}"
            )
        number = {c: pd.to_numeric(row[c], errors="coerce") for c in numbers}
        pair = (int(number["uid_bot"]), int(number["uid_top"]))
        strain = elastic_energy_mev_a2([layers[i][1].a for i in pair], biaxial_n_m.loc[list(pair)])
        values = {
            "gap_ev": 0.0 if str(row["is_metal"]) == "True" else number["Egap"],
            "vbm_ev": -number["IE"],
            "cbm_ev": -number["EA"],
            "interlayer_gap_a": number["ILD"],
            "net_energy_mev_a2": number["Ebind"],
            "binding_energy_mev_a2": number["Ebind"] + strain,
        }
        yield PublishedStack(
            name=str(row["huid"]),
            stack=_stacked(*(layers[i][1] for i in pair), places[row["stacktype"]]),
            values=_plausible(values),
            layers=(layers[pair[0]][0], layers[pair[1]][0]),
            source="HetML",
        )


def half_turned(stack: Stack) -> Stack:
    """A bilayer on 1×1 cells, its upper layer turned by 180° about its lowest atom.

    Where that is the only one near the face, faces meet as before, and what lies behind is moved.
    """
    lower, upper = (layer.monolayer for layer in stack.layers)
    is_turned = stack.layers[1].supercell != UNTURNED
    moved = 2 * np.array(upper.positions[_lowest_site(upper)])
    place = np.array(stack.interfaces[0].offset) + (-moved if is_turned else moved)
    return _placed(lower, upper, UNTURNED if is_turned else HALF_TURN, place)


def _lowest_site(layer: Monolayer) -> int:
    """The lowest atom of a layer, of several within 0.01 Å the most electronegative."""
    heights = np.array(layer.heights)
    lowest = np.flatnonzero(heights < heights.min() + FLAT_A)
    return max(lowest, key=lambda i: element_data(layer.species[i]).electronegativity)


def _stacked(lower: Monolayer, upper: Monolayer, place: Sequence[float]) -> Stack:
    """Two layers of HetML, with the lowest atom of the upper one at a place."""
    first = np.array(upper.positions[_lowest_site(upper)])
    if _is_listed_turned(upper):
        return _placed(lower, upper, HALF_TURN, np.array(place) + first)
    return _placed(lower, upper, UNTURNED, np.array(place) - first)


def _is_listed_turned(upper: Monolayer) -> bool:
    """Three planes of which the outer ones lie beside each other: a 1T layer.

    Those stand in HetML's stacks turned by 180° against the list, which for a layer with a centre
    of inversion is the same as turned over.
    """
    order = np.argsort(upper.heights)
    apart = np.array(upper.positions[order[0]]) - upper.positions[order[-1]]
    return len(order) == 3 and bool(np.abs(apart - np.round(apart)).max() > 0.1)


def _placed(lower: Monolayer, upper: Monolayer, turn: tuple, place: np.ndarray) -> Stack:
    x, y = place % 1.0
    return stack_layers([lower, upper], [UNTURNED, turn], [(float(x), float(y))])


def read_bidb_stacks(
    folder: str | Path, names: Sequence[str] | None = None
) -> Iterator[PublishedStack]:
    """DFT homobilayers of BiDB; layers are named as C2DB's folders are.

    Args:
        folder: holds `bidb/`.
        names: entries to read; by default all, which takes some minutes.

    Raises:
        InputError: a table is missing or lacks a column.
    """
    folder = Path(folder) / "bidb"
    columns = ["name", "monolayer_name", *BIDB_COLUMNS.values(), "Monolayer band gap"]
    table = read_table(folder / "bilayers.csv", columns=columns).set_index("name")
    wanted = None if names is None else set(names)
    for atoms in _frames(folder / "bilayers.extxyz.gz"):
        name = str(atoms.info["name"])
        if name not in table.index or (wanted is not None and name not in wanted):
            continue
        try:
            stack = parse(atoms, number_of_layers=2)
        except StructureError:
            continue
        row = table.loc[name]
        values = {
            key: float(pd.to_numeric(row[column], errors="coerce"))
            for key, column in BIDB_COLUMNS.items()
        }
        yield PublishedStack(
            name=name,
            stack=stack,
            values=_plausible(values),
            layers=(str(row["monolayer_name"]),) * 2,
            source="BiDB",
            layer_gap_ev=float(pd.to_numeric(row["Monolayer band gap"], errors="coerce")),
        )


def elastic_energy_mev_a2(lattice_a: Sequence[float], biaxial_n_m: Sequence[float]) -> float:
    """Elastic energy of two hexagonal layers in the 1×1 cell that costs least, meV/Å² of the cell.

    To second order K₁ K₂ / (K₁ + K₂) (a₁ − a₂)² / a², the minimum over a of Σ Kᵢ (a / aᵢ − 1)² per
    area with K = C₁₁ + C₁₂ (L. D. Landau, E. M. Lifshitz, Theory of Elasticity, § 10).

    Args:
        lattice_a: lattice constants of the free layers, Å.
        biaxial_n_m: their K, N/m; NaN where unknown, and then the energy is NaN.
    """
    (first, second), (one, other) = lattice_a, np.asarray(biaxial_n_m, dtype=float)
    cell = (one * first + other * second) / (one + other)
    energy = one * other / (one + other) * ((first - second) / cell) ** 2
    return float(1e3 * energy * units.J / units.m**2)


def _plausible(values: dict[str, float]) -> dict[str, float]:
    """Known values; nothing of a bilayer that is not bound."""
    values = {key: float(v) for key, v in values.items() if np.isfinite(v)}
    limits = {
        "net_energy_mev_a2": BINDING_MEV_A2,
        "binding_energy_mev_a2": BINDING_MEV_A2,
        "interlayer_gap_a": INTERLAYER_DISTANCE_A,
    }
    for key, (low, high) in limits.items():
        if key in values and not low < values[key] <= high:
            return {}
    return values


def _frames(path: Path) -> list[ase.Atoms]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; see resources/sources/tables.csv for its home")
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    with opened as handle:
        # In memory: the reader goes back and forth, which compressed files are slow at.
        text = io.StringIO(handle.read())
    return list(ase.io.iread(text, index=":", format="extxyz"))
