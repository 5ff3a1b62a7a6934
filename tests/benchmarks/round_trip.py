"""Round trip of published structures: parse → build must give the structure back.

Run from the project's folder:

    nice -n 19 python tests/benchmarks/round_trip.py --data ../shared/data --output exceptions.csv
"""

import argparse
import csv
import gzip
import re
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from ase import Atoms

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.structures import StructureError, build, parse, split_layers
from heteroforge.structures.compare import periodic_rmsd_a
from heteroforge.structures.monolayer import in_plane

SETS = {
    "c2db": ("c2db/monolayers.extxyz.gz", 1),
    "bidb": ("bidb/bilayers.extxyz.gz", 2),
}
LIMIT_A = 0.01
VACUUM_FOR_MATCHER_A = 8.0
LARGEST_FOR_MATCHER = 12  # atoms: its cost grows steeply with the cell


def read(path: Path, sample: int | None = None, seed: int = 0) -> list[Atoms]:
    """Frames of a gzipped extended XYZ file of layers; all of them or a random sample.

    Reads `Lattice`, `name`, elements and positions, which is all these files have: twenty times
    as fast as the general reader.
    """
    with gzip.open(path, "rt") as stream:
        lines = stream.read().splitlines()
    starts, line = [], 0
    while line < len(lines):
        starts.append(line)
        line += int(lines[line]) + 2
    if sample is not None and sample < len(starts):
        chosen = np.random.default_rng(seed).choice(len(starts), sample, replace=False)
        starts = [starts[i] for i in sorted(chosen)]
    frames = []
    for start in starts:
        header = lines[start + 1]
        cell = np.array(re.search(r'Lattice="([^"]+)"', header)[1].split(), dtype=float)
        rows = [row.split() for row in lines[start + 2 : start + 2 + int(lines[start])]]
        atoms = Atoms(
            [row[0] for row in rows],
            positions=np.array([row[1:4] for row in rows], dtype=float),
            cell=cell.reshape(3, 3),
            pbc=(True, True, False),
        )
        atoms.info["name"] = re.search(r"name=(\S+)", header)[1]
        frames.append(atoms)
    return frames


def round_trip(atoms: Atoms, number_of_layers: int | None) -> tuple[float, str, Atoms | None]:
    """RMSD (Å) of build(parse(atoms)) against atoms, the reason of a failure, what is built."""
    try:
        built = build(parse(atoms, number_of_layers=number_of_layers))
    except StructureError as error:
        return float("inf"), str(error), None
    rmsd = periodic_rmsd_a(atoms, built)
    if not np.isfinite(rmsd):
        return rmsd, "sites of the built structure do not correspond", built
    return rmsd, "" if rmsd < LIMIT_A else f"differs by {rmsd:.4f} Å", built


def matcher_rmsd_a(first: Atoms, second: Atoms) -> float:
    """RMSD (Å) by pymatgen's StructureMatcher at one fixed cell height; infinity for no match."""
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.io.ase import AseAtomsAdaptor

    height = np.ptp(in_plane(first)[2]) + VACUUM_FOR_MATCHER_A
    structures = []
    for atoms in (first, second):
        fixed = atoms.copy()
        cell = fixed.cell.array.copy()
        cell[2] = [0, 0, height]
        fixed.set_cell(cell)
        fixed.center(axis=2)
        fixed.pbc = True
        structures.append(AseAtomsAdaptor.get_structure(fixed))
    matcher = StructureMatcher(
        ltol=0.05,
        stol=0.1,
        angle_tol=1,
        primitive_cell=False,
        scale=False,
        attempt_supercell=False,
    )
    found = matcher.get_rms_dist(*structures)
    if found is None:
        return float("inf")
    return float(found[0] * (structures[0].volume / len(structures[0])) ** (1 / 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with c2db/ and bidb/")
    parser.add_argument("--output", type=Path, required=True, help="CSV of the exceptions")
    parser.add_argument("--matcher-sample", type=int, default=0, help="check so many by pymatgen")
    parser.add_argument("--sample", type=int, default=None, help="structures per set (all)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    exceptions = []
    for name, (file, number_of_layers) in SETS.items():
        frames = read(options.data / file, options.sample, options.seed)
        small = np.flatnonzero([len(atoms) <= LARGEST_FOR_MATCHER for atoms in frames])
        size = min(options.matcher_sample, len(small))
        generator = np.random.default_rng(options.seed)
        checked = set(generator.choice(small, size, replace=False).tolist())
        distances, layers, disagree, matched, unusable = [], Counter(), 0, 0, 0
        spent = 0.0
        for i, atoms in enumerate(frames):
            start = time.perf_counter()
            rmsd, reason, built = round_trip(atoms, number_of_layers)
            spent += time.perf_counter() - start
            distances.append(rmsd)
            layers[len(split_layers(atoms))] += 1
            if reason:
                exceptions.append([name, atoms.info["name"], len(atoms), rmsd, reason])
            if i in checked and built is not None:
                try:
                    independent = matcher_rmsd_a(atoms, built)
                    matched += 1
                    disagree += (independent < LIMIT_A) != (rmsd < LIMIT_A)
                except ValueError:  # Niggli reduction fails on some cells
                    unusable += 1
            if (i + 1) % 2000 == 0:
                print(f"{name}: {i + 1}/{len(frames)}", file=sys.stderr, flush=True)
        distances = np.array(distances)
        good = int((distances < LIMIT_A).sum())
        finite = distances[np.isfinite(distances)]
        print(
            f"{name}: {good}/{len(frames)} = {100 * good / len(frames):.3f} % below {LIMIT_A} Å; "
            f"median {np.median(finite):.1e} Å, 99th percentile {np.quantile(finite, 0.99):.1e} Å; "
            f""
            f"{1000 * spent / len(frames):.1f} ms per structure"
        )
        told = 100 * layers[number_of_layers] / len(frames)
        print(
            f"{name}: number of layers found without being told in {told:.2f} %: "
            f"{dict(sorted(layers.items()))}"
        )
        if size:
            print(
                f"{name}: StructureMatcher on {matched} of them: {disagree} other verdicts, "
                f"{unusable} where it fails (Niggli reduction)"
            )
    with options.output.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["set", "name", "number_of_atoms", "rmsd_a", "reason"])
        writer.writerows(exceptions)
    print(f"{len(exceptions)} exceptions in {options.output}")


if __name__ == "__main__":
    main()
