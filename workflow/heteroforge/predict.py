"""Properties of layers and stacks of layers from structure files.

    python -m heteroforge.predict FILES [--output predictions.csv]

FILES are CIF, extended XYZ or POSCAR files, or folders of them, of one to four layers. The table
has one row per structure: gap, band edges against vacuum, binding energy and interlayer distance
at the level of PBE with dispersion, each with its calibrated standard deviation; strain energy,
formation energy and vacuum step by physics from the layers; how many of the layers' gaps are known
rather than predicted; and what of the structure training has not seen. For layers alone it has
masses, mobilities, stiffness and heat of formation, too.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from heteroforge.io import InputError, table_suffix, write_table
from heteroforge.io.conventions import METAL_BELOW_EV
from heteroforge.labels import STACK_PROPERTIES
from heteroforge.models.from_layers import FROM_LAYERS, predict_from_layers
from heteroforge.models.monolayer_prediction import (
    MONOLAYER_UNITS,
    MonolayerPredictor,
    load_monolayer_predictor,
)
from heteroforge.models.property_prediction import (
    EDGES,
    WITHOUT_SPIN_ORBIT,
    KnownLayers,
    Predictor,
    by_level,
    load_predictor,
)
from heteroforge.models.structure_files import ReadStructure, read_structures
from heteroforge.sources import Candidate, bundled, read_library
from heteroforge.sources.published_tables import read_c2db, read_hetml
from heteroforge.structures import Monolayer, StructureError

__all__ = ["MODEL", "known_layers", "main", "predict_structures"]

RESOURCES = Path(__file__).parents[2] / "resources"
MODEL = RESOURCES / "models" / "bilayers.pt"
MONOLAYER_MODEL = RESOURCES / "models" / "monolayers.pt"
# Folder of the published tables of monolayers, where a user has them.
VARIABLE = "HETEROFORGE_PUBLISHED_TABLES"
TABLES = RESOURCES / "downloads" / "tables"
BLOCK = 2000
# What a metal has none of; beginnings of columns.
OF_CARRIERS = (
    *(f"{carrier}_{of}" for carrier in ("electron", "hole") for of in ("mass", "mobility")),
    "deformation_potential",
)


def known_layers(libraries: Sequence[str | Path]) -> KnownLayers:
    """What is known of layers: of libraries of campaigns, and of folders of published tables.

    Args:
        libraries: folders with `monolayers.extxyz` and `monolayers.parquet` (or `.csv`), as
            `results/<campaign>/library`, or folders with the published tables that
            resources/sources/tables.csv lists. Earlier ones come first.

    Raises:
        InputError: a folder is neither.
    """
    monolayers: dict[str, Monolayer] = {}
    rows: dict[str, dict] = {}
    order: dict[str, int] = {}
    for place, folder in enumerate(map(Path, libraries)):
        for name, layer, row in _layers_of(folder):
            # Names of different sources may be equal.
            key = f"{folder}:{name}"
            monolayers[key], rows[key], order[key] = layer, row, place
    return KnownLayers(monolayers, pd.DataFrame.from_dict(rows, orient="index"), order)


def _layers_of(folder: Path):
    if (folder / "monolayers.parquet").is_file():
        library = read_library(folder / "monolayers.extxyz", folder / "monolayers.parquet")
        for name, layer in library.monolayers.items():
            yield name, layer, by_level(library.table.loc[name].to_dict())
    elif (folder / "monolayers.csv").is_file():
        yield from _usable(bundled.read_candidates(folder))
    elif (folder / "c2db").is_dir() or (folder / "hetml").is_dir():
        yield from _usable(read_hetml(folder))
        yield from _usable(read_c2db(folder))
    else:
        raise InputError(f"{folder}: neither a library (monolayers.extxyz) nor published tables")


def _usable(candidates: Iterable[Candidate]):
    for candidate in candidates:
        if candidate.atoms is None or candidate.properties.get("gap_ev") is None:
            continue
        try:
            layer = Monolayer.from_atoms(candidate.atoms)
        except StructureError:
            continue
        row = dict(candidate.properties) | {"protocol": candidate.protocol}
        yield candidate.material, layer, by_level(row, candidate.without_spin_orbit)


def predict_structures(
    structures: Sequence[ReadStructure],
    predictor: Predictor,
    known: KnownLayers | None,
    of_layers: MonolayerPredictor | None = None,
) -> pd.DataFrame:
    """One row per structure, in the order given; without a prediction, the reason and no numbers.

    Args:
        structures: as read.
        predictor: of stacks.
        known: what is known of their layers.
        of_layers: predicts what is not known of layers alone and of those of a stack; without it
            nothing is said that follows from the layers.
    """
    stacks = [s.stack for s in structures if s.stack is not None and s.stack.number_of_layers > 1]
    alone = [s.stack for s in structures if s.stack is not None and s.stack.number_of_layers == 1]
    blocks = [predictor.predict(stacks[i : i + BLOCK], known) for i in range(0, len(stacks), BLOCK)]
    together = pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame()
    if blocks and of_layers is not None:
        together = together.join(predict_from_layers(stacks, together, known, of_layers))
    of_stacks = iter(together.to_dict("records"))
    found = iter(())
    if alone and of_layers is not None:
        monolayers = [stack.layers[0].monolayer for stack in alone]
        layers = of_layers.predict(monolayers)
        rows = zip(monolayers, layers.to_dict("records"), strict=True)
        found = (_with_known(row, {} if known is None else known.values(m)) for m, row in rows)
    rows = []
    for structure in structures:
        row = {"file": structure.file, "name": structure.name, "reason": structure.reason}
        if (stack := structure.stack) is not None:
            row |= {
                "formula": stack.formula,
                "number_of_layers": stack.number_of_layers,
                "number_of_atoms": stack.number_of_atoms,
                **next(of_stacks if stack.number_of_layers > 1 else found, {}),
            }
            if stack.number_of_layers == 1 and of_layers is None:
                row["reason"] = "one layer only, and no model of layers was given"
        rows.append(row)
    columns = ["file", "name", "formula", "number_of_layers", "number_of_atoms"]
    names = [*STACK_PROPERTIES, *(FROM_LAYERS if blocks and of_layers is not None else ())]
    columns += [f"{name}{end}" for name in names for end in ("", "_std")]
    if alone and of_layers is not None:
        columns += [
            column
            for column in layers.columns
            if column not in columns and column.startswith(tuple(MONOLAYER_UNITS))
        ]
    columns += ["layers_known", "spin_orbit", "outside_training", "reason"]
    return pd.DataFrame(rows, columns=columns)


def _with_known(predicted: dict, known: Mapping) -> dict:
    """Predictions of a layer alone with what a library knows of it in their place, without errors.

    Gap and edges are predicted as C2DB publishes them, with spin–orbit coupling; a library's are
    taken without it where it has no others (`by_level`). Edges that it does not know are moved to
    lie the known gap apart. Masses are those of split branches, where there are any, as those
    that are published with the coupling. What is known to be a metal has no masses, deformation
    potentials and mobilities.
    """
    facts = {name: value for name, value in known.items() if value is not None and pd.notna(value)}
    without = {name: facts[own] for name, own in WITHOUT_SPIN_ORBIT.items() if own in facts}
    spin_orbit = "gap_ev" in facts or "gap_ev" not in without
    if not spin_orbit:
        facts |= {name: without.get(name) for name in WITHOUT_SPIN_ORBIT}
    for carrier in ("electron", "hole"):
        if (split := facts.get(f"{carrier}_mass_split_m0")) is not None:
            facts[f"{carrier}_mass_m0"] = split
    row = dict(predicted)
    for name in MONOLAYER_UNITS:
        if (value := facts.get(name)) is not None:
            spread = f"{name}_std" if f"{name}_std" in row else f"{name}_factor"
            row |= {name: float(value), spread: float("nan")}
    if is_known := facts.get("gap_ev") is not None:
        vbm, cbm = (row[edge] if facts.get(edge) is not None else None for edge in EDGES[1:])
        if vbm is None and cbm is None:
            vbm = (row["vbm_ev"] + row["cbm_ev"] - row["gap_ev"]) / 2
        row["vbm_ev"] = cbm - row["gap_ev"] if vbm is None else vbm
        row["cbm_ev"] = row["vbm_ev"] + row["gap_ev"] if cbm is None else cbm
        if row["gap_ev"] < METAL_BELOW_EV:
            row |= {name: float("nan") for name in row if name.startswith(OF_CARRIERS)}
    return row | {"spin_orbit": spin_orbit, "layers_known": float(is_known)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m heteroforge.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILES", help="structure files, or folders")
    parser.add_argument("--output", type=Path, help="CSV or parquet (default: CSV to the screen)")
    parser.add_argument("--model", type=Path, default=MODEL, help="default: %(default)s")
    parser.add_argument(
        "--layer-model", type=Path, default=MONOLAYER_MODEL, help="default: %(default)s"
    )
    parser.add_argument(
        "--layers",
        action="append",
        metavar="FOLDER",
        help="what is known of layers: the library of a campaign, or the folder of the published "
        f"tables (default: that of {VARIABLE}, or resources/downloads/tables where it is, then the "
        "bundled library); may be repeated",
    )
    options = parser.parse_args(arguments)
    tables = os.environ.get(VARIABLE) or (TABLES if TABLES.is_dir() else None)
    libraries = options.layers or [*([tables] if tables else []), RESOURCES / "library"]
    if not options.layers and not tables:
        print(
            "layers are known from the bundled library alone: errors are smaller with published "
            "tables of layers, see docs/prediction.md",
            file=sys.stderr,
        )
    try:
        predictor = load_predictor(options.model)
        known = known_layers(libraries)
        of_layers = load_monolayer_predictor(options.layer_model)
        structures = list(tqdm(read_structures(options.files), unit=" structures", mininterval=5))
        if options.output is not None:
            table_suffix(options.output)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    table = predict_structures(structures, predictor, known, of_layers)
    if options.output is None:
        table.to_csv(sys.stdout, index=False, float_format="%.4f")
    else:
        write_table(options.output, table)
    failed = table["reason"] != ""
    print(f"{len(table)} structures, {int(failed.sum())} set aside", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
