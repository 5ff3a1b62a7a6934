"""Our DFT beside published DFT: monolayers and stacks of a library, with tolerances set before.

Published: `monolayer_facts.csv` (C2DB, 2DMatPedia) and HetML for monolayers, HetML and BiDB for
stacks. Monolayers are one by formula, sites and space group; stacks when each pair of elements lies
above each other alike: the registry by where the atoms are, not by what it is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from ase.formula import Formula
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from heteroforge.io import read_table
from heteroforge.labels import dispersion_binding_mev_a2, dispersion_stress_n_m
from heteroforge.labels.published import (
    PublishedStack,
    half_turned,
    read_bidb_stacks,
    read_hetml_stacks,
)
from heteroforge.models.from_layers import POISSON_RATIO
from heteroforge.sources import Library
from heteroforge.structures import Monolayer, Stack
from heteroforge.structures.build import layer_sites
from heteroforge.structures.plane import minimum_image_distances

__all__ = ["MONOLAYERS", "STACKS", "Quantity", "compare_monolayers", "compare_stacks", "markdown"]


@dataclass(frozen=True)
class Quantity:
    """What is compared, and how far off it may be.

    Attributes:
        column: name of ours.
        title, unit: for people.
        digits: behind the point.
        tolerance: largest deviation; None where none was set.
        is_relative: whether deviations are shares of the published value.
    """

    column: str
    title: str
    unit: str
    digits: int
    tolerance: float | None
    is_relative: bool


MONOLAYERS = (
    Quantity("a_a", "a", "Å", 3, 0.01, True),
    Quantity("gap_ev", "gap", "eV", 2, 0.1, False),
    Quantity("vbm_ev", "VBM", "eV", 2, 0.15, False),
    Quantity("cbm_ev", "CBM", "eV", 2, 0.15, False),
    Quantity("stiffness_n_m", "stiffness C₁₁", "N/m", 0, 0.1, True),
    Quantity("electron_mass_m0", "electron mass", "m₀", 2, None, True),
    Quantity("hole_mass_m0", "hole mass", "m₀", 2, None, True),
    Quantity("electron_mass_split_m0", "electron mass, branches split", "m₀", 2, None, True),
    Quantity("hole_mass_split_m0", "hole mass, branches split", "m₀", 2, None, True),
    Quantity("deformation_potential_cbm_ev", "D of the CBM", "eV", 2, None, False),
    Quantity("deformation_potential_vbm_ev", "D of the VBM", "eV", 2, None, False),
)
# Ours less what D3 pulls the layer together by, to first order: what the correction alone explains.
WITHOUT_DISPERSION = Quantity("a_a", "a without dispersion", "Å", 3, None, True)
BINDING, NET = "binding_energy_mev_a2", "net_energy_mev_a2"
ANDERSON = "alignment by Anderson's rule"
STACKS = (
    Quantity(BINDING, "binding energy", "meV/Å²", 1, 0.25, True),
    Quantity(NET, "binding less strain energy", "meV/Å²", 1, 0.25, True),
    Quantity("interlayer_gap_a", "interlayer distance", "Å", 2, 0.15, False),
    Quantity("gap_ev", "gap", "eV", 2, 0.15, False),
)
# Ours with the D3 energy of another damping at our distance: what the correction alone explains.
ZERO_DAMPING = Quantity(BINDING, "the same with zero damping", "meV/Å²", 1, None, True)
# Of the lattice constant; layers of a heterobilayer are strained to a common one.
SAME_CELL = 0.02
FACE_A = 1.0  # what lies deeper does not face the other layer
COLUMNS = ["name", "quantity", "unit", "ours", "published", "difference", "inside", "source"]


# --- monolayers -----------------------------------------------------------------------------------


def compare_monolayers(library: Library, folder: str | Path) -> pd.DataFrame:
    """Monolayers of a library that published tables have, too.

    Args:
        library: with our values.
        folder: holds `hetml/`, and `monolayer_facts.csv` or not.

    Returns:
        `COLUMNS`: one row per monolayer and quantity; `difference` is a share where the tolerance
        is one, `inside` None where no tolerance was set.
    """
    folder = Path(folder)
    sources = {}
    if (folder / "monolayer_facts.csv").is_file():
        sources["monolayer_facts.csv"] = _facts(folder / "monolayer_facts.csv")
    sources["HetML"] = _hetml_layers(folder / "hetml")
    rows = []
    for name, layer in library.monolayers.items():
        ours = library.table.loc[name]
        key = _identity(layer.formula, len(layer.species), _space_group(layer))
        for quantity in MONOLAYERS:
            # The two edges of a metal are one energy, which is no band edge.
            if ours["is_metal"] and quantity.column != "a_a":
                continue
            for source, values in sources.items():
                theirs = values.get(key, {}).get(quantity.column)
                if theirs is not None and pd.notna(theirs) and pd.notna(ours[quantity.column]):
                    rows.append(_row(name, quantity, ours[quantity.column], theirs, source))
                    stiffness = ours["stiffness_n_m"]
                    if quantity.column == WITHOUT_DISPERSION.column and pd.notna(stiffness):
                        # A biaxial stress over C11 + C12, of which only C11 is known.
                        stretch = dispersion_stress_n_m(layer) / (stiffness * (1 + POISSON_RATIO))
                        value = ours[quantity.column] * (1 + stretch)
                        rows.append(_row(name, WITHOUT_DISPERSION, value, theirs, source))
                    break
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(name: str, quantity: Quantity, ours: float, theirs: float, source: str) -> dict:
    difference = ours - theirs
    if quantity.is_relative:
        difference /= theirs
    inside = None if quantity.tolerance is None else bool(abs(difference) <= quantity.tolerance)
    found = (name, quantity.title, quantity.unit, ours, theirs, difference, inside, source)
    return dict(zip(COLUMNS, found, strict=True))


def _identity(formula: str, atoms: int, space_group: int) -> tuple:
    counts = Formula(formula).reduce()[0].count()
    return tuple(sorted(counts.items())), atoms, space_group


def _space_group(monolayer: Monolayer) -> int:
    structure = AseAtomsAdaptor.get_structure(monolayer.to_atoms())
    return SpacegroupAnalyzer(structure, symprec=0.02).get_space_group_number()


def _facts(path: Path) -> dict[tuple, dict]:
    found = {}
    for row in pd.read_csv(path).to_dict("records"):
        # Spin–orbit coupling is in the published edges where it is in the gap: half of what it
        # takes from the gap is not known to be of which edge, so those edges are left out.
        coupled = abs(row["gap_pbe_soc_eV"] - row["gap_pbe_nosoc_eV"]) > 0.05
        key = _identity(row["formula_alphabetical"], row["natoms_cell"], row["sg_number"])
        found[key] = {
            "a_a": row["a_A"],
            "gap_ev": row["gap_pbe_nosoc_eV"],
            "vbm_ev": None if coupled else row["vbm_pbe_vs_vac_eV"],
            "cbm_ev": None if coupled else row["cbm_pbe_vs_vac_eV"],
            "stiffness_n_m": row["C11_N_per_m"],
        }
    return found


def _hetml_layers(folder: Path) -> dict[tuple, dict]:
    table = pd.read_csv(folder / "monolayers.csv").set_index("hetml_id")
    found = {}
    for atoms in ase.io.iread(folder / "monolayers.extxyz", index=":"):
        row = table.loc[int(atoms.info["hetml_id"])]
        layer = Monolayer.from_atoms(atoms)
        key = _identity(atoms.get_chemical_formula(), len(layer.species), _space_group(layer))
        found[key] = {
            "a_a": row["lattice_param"],
            "gap_ev": row["gap_nosoc"],
            "vbm_ev": row["vbm_nosoc"],
            "cbm_ev": row["cbm_nosoc"],
            "stiffness_n_m": row["c_11"],
            # Of the state density; with spin–orbit coupling, as the deformation potentials.
            # With spin–orbit coupling: branches that meet without it are split.
            **{
                f"{carrier}_mass{kind}_m0": (row[f"{letter}mass1"] * row[f"{letter}mass2"]) ** 0.5
                for carrier, letter in (("electron", "e"), ("hole", "h"))
                for kind in ("", "_split")
            },
            "deformation_potential_cbm_ev": row["D_cbm"],
            "deformation_potential_vbm_ev": row["D_vbm"],
        }
    return found


# --- stacks ---------------------------------------------------------------------------------------


def compare_stacks(
    labels: pd.DataFrame,
    numbers: Mapping[str, Mapping],
    library: Library,
    folder: str | Path,
) -> pd.DataFrame:
    """Stacks of a library that HetML or BiDB has, too.

    Args:
        labels: of the library's stacks, as in bilayers.csv.
        numbers: rows of stacks.csv by `stack_id`, of the stacks that have one: `anderson_alignment`
            and `net_energy_mev_a2`.
        library: their layers.
        folder: holds `hetml/` and `bidb/`.

    Returns:
        `COLUMNS`; an alignment is inside when it is the same, and `undetermined` is no answer.
        HetML's is Anderson's rule on its layers, so ours is the same on our layers.
        Where the library has a stack of HetML with the upper layer turned by 180° against
        `read_hetml_stacks`, and that moves nothing in its face, the source says so, and the row is
        not judged. What HetML published
        is binding less strain energy; that is compared, not the binding energy that was made of it.
    """
    folder = Path(folder)
    known, as_turned = {}, {}
    for entry in _published(folder):
        if entry.values:
            known.setdefault(pair_columns(entry.stack), []).append(entry)
            if entry.source == "HetML" and _has_one_site_in_its_face(
                entry.stack.layers[1].monolayer
            ):
                as_turned.setdefault(pair_columns(half_turned(entry.stack)), []).append(entry)
    table = read_table(folder / "hetml" / "bilayers.csv", columns=["huid", "band_alignment"])
    told = table.set_index("huid")["band_alignment"].to_dict()
    rows = []
    for text, group in labels.groupby("specification", sort=False):
        stack = Stack.from_json(text, library.monolayers)
        values = dict(zip(group["property"], group["value"], strict=True))
        more = numbers.get(group["stack_id"].iloc[0], {})
        entry = _only_one(stack, known)
        turned = None if entry else _only_one(stack, as_turned)
        if not (entry or turned):
            continue
        entry = entry or turned
        values[NET] = more.get(NET, float("nan"))
        anderson = more.get("anderson_alignment"), told.get(entry.name)
        found = _rows_of_stack(stack, values, entry, *anderson)
        if turned:
            found = [row | {"source": row["source"] + ", turned", "inside": None} for row in found]
        rows += found
    return pd.DataFrame(rows, columns=COLUMNS)


def _has_one_site_in_its_face(layer: Monolayer) -> bool:
    heights = np.array(layer.heights)
    return int((heights < heights.min() + FACE_A).sum()) == 1


def _only_one(
    stack: Stack, entries: Mapping[tuple | None, Sequence[PublishedStack]]
) -> PublishedStack | None:
    """The published stack that is the same, where there is one and not more."""
    mark = pair_columns(stack)
    if mark is None:
        return None
    near = [e for e in entries.get(mark, []) if abs(e.stack.a / stack.a - 1) < SAME_CELL]
    return near[0] if len(near) == 1 else None


def _rows_of_stack(
    stack: Stack,
    values: Mapping[str, float],
    entry: PublishedStack,
    alignment: str | None,
    published_alignment: str | None,
) -> list[dict]:
    layers = "/".join(layer.monolayer.name for layer in stack.layers)
    name, source = f"{layers} {stack.stacking(0)}", f"{entry.source} {entry.name}"
    rows = []
    for quantity in STACKS:
        mine, theirs = values.get(quantity.column), entry.values.get(quantity.column)
        made_of_net = quantity.column == BINDING and NET in entry.values
        if pd.isna(mine) or pd.isna(theirs) or made_of_net:
            continue
        rows.append(_row(name, quantity, mine, theirs, source))
        if quantity.column in (BINDING, NET):
            mine += dispersion_binding_mev_a2(stack, zero_damping=True)
            mine -= dispersion_binding_mev_a2(stack)
            rows.append(_row(name, ZERO_DAMPING, mine, theirs, source))
    if isinstance(alignment, str) and isinstance(published_alignment, str):
        inside = None if alignment == "undetermined" else alignment == published_alignment
        found = (name, ANDERSON, "", alignment, published_alignment, None, inside, source)
        rows.append(dict(zip(COLUMNS, found, strict=True)))
    return rows


def _published(folder: Path) -> Iterable[PublishedStack]:
    yield from read_hetml_stacks(folder)
    yield from read_bidb_stacks(folder)


def pair_columns(stack: Stack) -> tuple | None:
    """Which sites of both layers lie how far beside each other, in lattice constants.

    The same for a stack seen from below. None where the layers have more than one cell each.
    """
    if any(layer.number_of_cells != 1 for layer in stack.layers):
        return None
    shift = np.array(stack.interfaces[0].offset)
    (below, places, low), (above, others, high) = (layer_sites(la) for la in stack.layers)
    apart = minimum_image_distances(places, others + shift, stack.cell) / stack.a
    # Depths below the face that looks at the other layer.
    depths = np.round(low.max() - low), np.round(high - high.min())
    pairs = [
        sorted([(below[i], depths[0][i]), (above[j], depths[1][j])])
        + [round(float(apart[i, j]), 1)]
        for i in range(len(below))
        for j in range(len(above))
    ]
    return tuple(sorted(map(str, pairs)))


# --- for people -----------------------------------------------------------------------------------


def markdown(table: pd.DataFrame) -> str:
    """A comparison as a table of a page, and how many rows of each quantity are inside."""
    quantities = (*MONOLAYERS, WITHOUT_DISPERSION, *STACKS, ZERO_DAMPING)
    digits = {quantity.title: quantity.digits for quantity in quantities}
    lines = ["| | quantity | ours | published | difference | inside | source |", "|---" * 7 + "|"]
    relative = {quantity.title for quantity in quantities if quantity.is_relative}
    for row in table.itertuples(index=False):
        if row.quantity in digits:
            numbers = [f"{value:.{digits[row.quantity]}f}" for value in (row.ours, row.published)]
            off = f"{row.difference:+.2f}"
            if row.quantity in relative:
                off = f"{100 * row.difference:+.1f} %"
            title = f"{row.quantity} ({row.unit})"
        else:
            numbers, off, title = [row.ours, row.published], "–", row.quantity
        inside = "–" if row.inside is None else "yes" if row.inside else "**no**"
        cells = [row.name, title, *numbers, off, inside, row.source]
        lines.append(f"| {' | '.join(cells)} |")
    judged = table[table["inside"].notna()]
    counts = [
        f"{title} {int(rows.sum())} of {len(rows)}"
        for title, rows in judged.groupby("quantity", sort=False)["inside"]
    ]
    return "\n".join([*lines, "", f"Inside their tolerance: {', '.join(counts)}."])
