"""Our DFT beside published DFT: monolayers and stacks of a library, with tolerances set before.

Published: `monolayer_facts.csv` (C2DB, 2DMatPedia) and HetML for monolayers, HetML and BiDB for
stacks. Monolayers are one by formula, sites and space group; stacks when each pair of elements lies
above each other alike: the registry by where the atoms are, not by what it is called.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from ase.formula import Formula
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from heteroforge.dft.strain import RESOLVED_EV
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

__all__ = [
    "MONOLAYERS",
    "STACKS",
    "Quantity",
    "compare_monolayers",
    "compare_stacks",
    "library_size",
    "markdown",
    "outside",
    "summary",
]


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
    Quantity("b_a", "b", "Å", 3, 0.01, True),
    Quantity("gap_ev", "gap", "eV", 2, 0.1, False),
    Quantity("vbm_ev", "VBM", "eV", 2, 0.15, False),
    Quantity("cbm_ev", "CBM", "eV", 2, 0.15, False),
    Quantity("stiffness_n_m", "stiffness C₁₁", "N/m", 0, 0.1, True),
    Quantity("stiffness_y_n_m", "stiffness C₂₂", "N/m", 0, 0.1, True),
    Quantity("electron_mass_m0", "electron mass", "m₀", 2, None, True),
    Quantity("hole_mass_m0", "hole mass", "m₀", 2, None, True),
    Quantity("electron_mass_split_m0", "electron mass, branches split", "m₀", 2, None, True),
    Quantity("hole_mass_split_m0", "hole mass, branches split", "m₀", 2, None, True),
    *(
        Quantity(
            f"{carrier}_mass_{kind}_m0", f"{carrier} mass, {kind} direction", "m₀", 2, None, True
        )
        for carrier in ("electron", "hole")
        for kind in ("light", "heavy")
    ),
    # Published ones do not tell which face is up.
    Quantity("vacuum_step_ev", "vacuum step, magnitude", "eV", 2, None, False),
    Quantity("deformation_potential_cbm_ev", "D of the CBM", "eV", 2, None, False),
    Quantity("deformation_potential_vbm_ev", "D of the VBM", "eV", 2, None, False),
    Quantity("deformation_potential_cbm_y_ev", "D of the CBM along y", "eV", 2, None, False),
    Quantity("deformation_potential_vbm_y_ev", "D of the VBM along y", "eV", 2, None, False),
)
# Magnitudes in eV of one layer of black phosphorus: J. Qiao et al., Nat. Commun. 5, 4475 (2014),
# Table 2, whose y is the zigzag direction, which is x here.
MAGNITUDES = "Qiao 2014"
PHOSPHORENE = {
    "deformation_potential_cbm_ev": 7.11,
    "deformation_potential_cbm_y_ev": 2.72,
    "deformation_potential_vbm_ev": 0.15,
    "deformation_potential_vbm_y_ev": 2.50,
}
# Ours less what D3 pulls the layer together by, to first order: what the correction alone explains.
WITHOUT_DISPERSION = {
    f"{axis}_a": Quantity(f"{axis}_a", f"{axis} without dispersion", "Å", 3, None, True)
    for axis in "ab"
}
# Ours moved by its deformation potentials, to first order: what another lattice constant explains.
ON_PUBLISHED_LATTICE = {
    quantity.column: replace(
        quantity, title=f"{quantity.title} on the published lattice", tolerance=None
    )
    for quantity in MONOLAYERS
    if quantity.column in ("gap_ev", "vbm_ev", "cbm_ev")
}
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
EXPLAINING = (*WITHOUT_DISPERSION.values(), *ON_PUBLISHED_LATTICE.values(), ZERO_DAMPING)
# Of the lattice constant; layers of a heterobilayer are strained to a common one.
SAME_CELL = 0.02
# Deformation potentials of one valley with and without spin–orbit coupling differ by less.
SAME_VALLEY_EV = 0.5
# Where ours and a published one differ by more, the edges are of different valleys.
OTHER_VALLEY_EV = 6.0
SAME_EDGE_EV = 1.0  # where several valleys lie near each other, they are the same below this
POLAR_EV = 0.02  # smaller vacuum steps, ours and published, are none
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
    sources[MAGNITUDES] = {_identity("P", 4, 53): PHOSPHORENE}
    rows = []
    for name, layer in library.monolayers.items():
        ours = _ours(library.table.loc[name])
        key = _identity(layer.formula, len(layer.species), _space_group(layer))
        others = _of_other_valleys(ours, sources["HetML"].get(key, {}))
        for quantity in MONOLAYERS:
            if quantity.column.startswith(others):
                continue
            # The two edges of a metal are one energy, which is no band edge.
            if ours["is_metal"] and quantity.column not in ("a_a", "stiffness_n_m"):
                continue
            # Masses without spin–orbit coupling, as ours, before those with it.
            order = sorted(sources, key=lambda name: "_mass" in quantity.column and name != "HetML")
            for source in order:
                values = sources[source]
                theirs = values.get(key, {}).get(quantity.column)
                mine = ours.get(quantity.column)
                # An edge of two branches has no mass that published ones, which are split, tell of.
                split = quantity.column.replace("mass_m0", "mass_split_m0")
                coupled = values.get(key, {}).get(f"{quantity.column}_with_coupling", True)
                if coupled and split != quantity.column and pd.notna(ours.get(split)):
                    continue
                if pd.notna(theirs) and pd.notna(mine):
                    if quantity.column == "vacuum_step_ev" and max(mine, theirs) < POLAR_EV:
                        break
                    if source == MAGNITUDES:
                        theirs = math.copysign(theirs, mine)
                    rows.append(_row(name, quantity, mine, theirs, source))
                    explaining = _explaining(
                        quantity, rows[-1], layer, ours, values[key], bool(others)
                    )
                    if explaining is not None:
                        rows.append(_row(name, *explaining, theirs, source))
                    break
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_other_valleys(ours: Mapping, theirs: Mapping) -> tuple[str, ...]:
    """Beginnings of columns that cannot be compared: masses of edges that are other valleys.

    Or may be: where other valleys lie near, which is why a mobility is kept back of an edge with a
    mass and a deformation potential that is resolved (`strain_response`), and nothing published
    tells that the edge is the same.
    """
    found = []
    for carrier, edge in (("electron", "cbm"), ("hole", "vbm")):
        name = f"deformation_potential_{edge}_ev"
        mine, published = ours.get(name), theirs.get(name)
        known = pd.notna(ours.get(f"{carrier}_mobility_cm2_vs"))
        is_kept_back = pd.notna(mine) and abs(mine) >= RESOLVED_EV and not known
        if is_kept_back and (pd.isna(published) or abs(mine - published) > SAME_EDGE_EV):
            found.append(f"{carrier}_mass")
        if pd.notna(mine) and pd.notna(published) and abs(mine - published) > OTHER_VALLEY_EV:
            found.append(f"{carrier}_mass")
    return tuple(found)


def _explaining(
    quantity: Quantity,
    row: Mapping,
    layer: Monolayer,
    ours: Mapping,
    theirs: Mapping,
    other_valleys: bool,
) -> tuple[Quantity, float] | None:
    """What stands below a row to explain it, and its value: a lattice constant without dispersion,
    and, where a gap or an edge is outside, where it lies on the published lattice, unless the
    published edge is of another valley."""
    if quantity.column in WITHOUT_DISPERSION and pd.notna(ours["stiffness_n_m"]):
        stretch = _without_dispersion(layer, ours)["ab".index(quantity.title)]
        return WITHOUT_DISPERSION[quantity.column], row["ours"] * (1 + stretch)
    if quantity.column in ON_PUBLISHED_LATTICE and row["inside"] is False:
        shift = _shift_by_lattice_ev(quantity.column, ours, theirs)
        if pd.notna(shift) and not other_valleys:
            return ON_PUBLISHED_LATTICE[quantity.column], row["ours"] + shift
    return None


def _shift_by_lattice_ev(column: str, ours: Mapping, theirs: Mapping) -> float:
    """Shift of a gap or an edge from our lattice to the published one, to first order.

    By the deformation potentials, of uniaxial strain, along x and y: both are one in hexagonal
    layers. NaN where one is not known.
    """
    if column == "gap_ev":
        edges = (_shift_by_lattice_ev(edge, ours, theirs) for edge in ("cbm_ev", "vbm_ev"))
        return float(np.subtract(*edges))
    edge = column.removesuffix("_ev")
    directions = (("", "a_a"), ("", "a_a")) if ours["b_a"] is None else (("", "a_a"), ("_y", "b_a"))
    shift = 0.0
    for along, length in directions:
        potential = ours.get(f"deformation_potential_{edge}{along}_ev")
        published = theirs.get(length)
        if pd.isna(potential) or pd.isna(published):
            return math.nan
        shift += potential * (published / ours[length] - 1)
    return shift


def _without_dispersion(layer: Monolayer, ours: Mapping) -> np.ndarray:
    """Strain (2) along x and y by which a layer would be larger without D3, to first order.

    Its stress over the stiffness, of which C12 is not known: in proportion to C11 and C22.
    """
    along_x, along_y = ours["stiffness_n_m"], ours.get("stiffness_y_n_m")
    along_y = along_x if pd.isna(along_y) else along_y
    mixed = POISSON_RATIO * math.sqrt(along_x * along_y)
    stiffness = np.array([[along_x, mixed], [mixed, along_y]])
    return np.linalg.solve(stiffness, dispersion_stress_n_m(layer))


def _ours(row: pd.Series) -> dict:
    """Values of a monolayer; of one whose directions differ with b, and masses by their size."""
    found = row.to_dict() | {"vacuum_step_ev": abs(row["vacuum_step_ev"])}
    if pd.isna(found.get("stiffness_y_n_m")):
        return found | {"b_a": None}
    for carrier in ("electron", "hole"):
        both = sorted(found[f"{carrier}_mass_{axis}_m0"] for axis in "xy")
        found |= {
            f"{carrier}_mass_{k}_m0": m for k, m in zip(("light", "heavy"), both, strict=True)
        }
    return found


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
            "gap_ev": row["gap_pbe_nosoc_eV"],
            "vbm_ev": None if coupled else row["vbm_pbe_vs_vac_eV"],
            "cbm_ev": None if coupled else row["cbm_pbe_vs_vac_eV"],
            "vacuum_step_ev": abs(row["dVvac_eV"]),
        }
        for column, theirs in ((BINDING, "binding_meV_A2"), ("interlayer_gap_a", "gap_A")):
            found[key][f"bilayer_{column}"] = row.get(f"bilayer_{theirs}")
        # Ours has the shorter axis of a rectangular cell along x.
        axes = [(row["a_A"], row["C11_N_per_m"]), (row["b_A"], row["C22_N_per_m"])]
        for end, (length, stiffness) in zip(("", "_y"), sorted(axes), strict=True):
            found[key] |= {f"{'b' if end else 'a'}_a": length, f"stiffness{end}_n_m": stiffness}
        for carrier, letter in (("electron", "e"), ("hole", "h")):
            light, heavy = sorted((row[f"m{letter}_dir1"], row[f"m{letter}_dir2"]))
            kinds = {"": (light * heavy) ** 0.5, "_light": light, "_heavy": heavy}
            kinds["_split"] = kinds[""]
            found[key] |= {f"{carrier}_mass{kind}_m0": mass for kind, mass in kinds.items()}
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
            "vacuum_step_ev": abs(row["evacdiff"]),
        }
        for carrier, letter, edge in (("electron", "e", "cbm"), ("hole", "h", "vbm")):
            potentials = row[f"D_{edge}"], row[f"D_{edge}_nosoc"]
            # Without spin–orbit coupling, as ours; but where another valley is the edge without it,
            # and branches that meet without it are split with it.
            same = bool(abs(potentials[0] - potentials[1]) < SAME_VALLEY_EV)
            for kind, coupling in (("", "_nosoc" if same else ""), ("_split", "")):
                masses = [row[f"{letter}mass{i}{coupling}"] for i in (1, 2)]
                found[key][f"{carrier}_mass{kind}_m0"] = (masses[0] * masses[1]) ** 0.5
            found[key][f"{carrier}_mass_m0_with_coupling"] = not same
            found[key][f"deformation_potential_{edge}_ev"] = potentials[same]
    return found


# --- stacks ---------------------------------------------------------------------------------------


def compare_stacks(
    labels: pd.DataFrame,
    numbers: Mapping[str, Mapping],
    library: Library,
    folder: str | Path,
) -> pd.DataFrame:
    """Stacks of a library that HetML or BiDB has, too, and like layers of the table of facts.

    Args:
        labels: of the library's stacks, as in bilayers.csv.
        numbers: rows of stacks.csv by `stack_id`, of the stacks that have one: `anderson_alignment`
            and `net_energy_mev_a2`.
        library: their layers.
        folder: holds `hetml/` and `bidb/`, and `monolayer_facts.csv` or not.

    Returns:
        `COLUMNS`. The table of facts does not tell the stacking of two like layers: it stands
        beside the strongest bound one of ours, where BiDB has none of ours. An alignment is inside
        when it is the same, and `undetermined` is no answer.
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
    facts = {}
    if (folder / "monolayer_facts.csv").is_file():
        facts = _facts(folder / "monolayer_facts.csv")
    bound = labels[labels["property"] == BINDING].set_index("specification")["value"]
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
            rows += _rows_of_like_layers(stack, values, bound, facts)
            continue
        entry = entry or turned
        values[NET] = more.get(NET, float("nan"))
        anderson = more.get("anderson_alignment"), told.get(entry.name)
        found = _rows_of_stack(stack, values, entry, *anderson)
        if turned:
            found = [row | {"source": row["source"] + ", turned", "inside": None} for row in found]
        rows += found
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows_of_like_layers(
    stack: Stack, values: Mapping[str, float], bound: pd.Series, facts: Mapping[tuple, Mapping]
) -> list[dict]:
    lower, upper = (layer.monolayer for layer in stack.layers)
    key = _identity(lower.formula, len(lower.species), _space_group(lower))
    published = facts.get(key, {})
    # Each layer of a specification names its monolayer.
    strongest = bound[[text.count(f'"{lower.name}"') == 2 for text in bound.index]].max()
    if lower.name != upper.name or values.get(BINDING, 0.0) < strongest:
        return []
    name = f"{lower.name}/{upper.name} {stack.stacking(0)}"
    return [
        _row(name, q, values[q.column], published[f"bilayer_{q.column}"], "monolayer_facts.csv")
        for q in STACKS
        if pd.notna(published.get(f"bilayer_{q.column}")) and q.column in values
    ]


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


def library_size(labels: pd.DataFrame, library: Library) -> dict[str, int]:
    """Numbers of monolayers, of stacks, and of stacks of unlike layers."""
    texts = labels["specification"].unique()
    layers = [Stack.from_json(text, library.monolayers).layers for text in texts]
    unlike = sum(len({layer.monolayer.name for layer in stack}) > 1 for stack in layers)
    return {
        "number_of_monolayers": len(library),
        "number_of_stacks": len(layers),
        "number_of_heterostructures": unlike,
    }


def markdown(table: pd.DataFrame) -> str:
    """A comparison as a table of a page."""
    quantities = {quantity.title: quantity for quantity in (*MONOLAYERS, *STACKS, *EXPLAINING)}
    lines = ["| | quantity | ours | published | difference | inside | source |", "|---" * 7 + "|"]
    for row in table.itertuples(index=False):
        title, numbers, off = row.quantity, [row.ours, row.published], "–"
        if quantity := quantities.get(row.quantity):
            title = f"{quantity.title} ({quantity.unit})"
            numbers = [f"{value:.{quantity.digits}f}" for value in numbers]
            off = _told(row.difference, quantity)
        inside = "–" if row.inside is None else "yes" if row.inside else "**no**"
        cells = [row.name, title, *numbers, off, inside, row.source]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(tables: Sequence[pd.DataFrame]) -> str:
    """How many values of each quantity lie inside its tolerance, as a table of a page."""
    lines = ["| quantity | tolerance | inside | median deviation |", "|---" * 4 + "|"]
    for quantities, table in zip((MONOLAYERS, STACKS), tables, strict=True):
        known = {quantity.title: quantity for quantity in quantities}
        judged = table[table["inside"].notna()]
        for title, rows in judged.groupby("quantity", sort=False):
            cells = [title, "the same", f"{int(rows['inside'].sum())} of {len(rows)}", "–"]
            if quantity := known.get(title):
                off = (quantity.tolerance, rows["difference"].abs().median())
                unit = "" if quantity.is_relative else f" {quantity.unit}"
                cells[1], cells[3] = (_told(value, quantity).lstrip("+") + unit for value in off)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def outside(table: pd.DataFrame) -> pd.DataFrame:
    """Rows outside their tolerance, each with the one below it where that explains it."""
    off = table["inside"].map(lambda inside: inside is False)
    explains = table["quantity"].isin([quantity.title for quantity in EXPLAINING])
    return table[off | (explains & off.shift(fill_value=False))]


def _told(difference: float, quantity: Quantity) -> str:
    return f"{100 * difference:+.1f} %" if quantity.is_relative else f"{difference:+.2f}"
