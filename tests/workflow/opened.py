"""Whether other programs open what a finished campaign leaves: ASE, pymatgen, pandas, spreadsheets.

python tests/workflow/opened.py results/demo
"""

import json
import sys
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from ase import Atoms
from pymatgen.core import Structure

STAGES = (
    "library", "clustering", "stacks", "labels", "gvae", "gnn", "samples", "screening", "dft",
)  # fmt: skip
SAME_A = 0.01
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def check_campaign(folder: Path) -> dict[str, int]:
    """Open every file of a finished campaign; number of files by suffix.

    Raises:
        AssertionError: a file does not open or does not hold what another of the same thing does.
    """
    for stage in STAGES:
        pictures = sorted((folder / stage).glob("*.png"))
        assert (folder / stage / "README.md").read_text(encoding="utf-8").startswith("# "), stage
        assert pictures, f"{stage} has no picture"
        assert all(picture.with_suffix(".svg").is_file() for picture in pictures), stage
    opened: dict[str, int] = {}
    for path in sorted(folder.rglob("*")):
        check = CHECKS.get(path.suffix)
        # A calculation that failed leaves its files empty, and its reason in failed.csv.
        if check is None or not path.is_file() or path.stat().st_size == 0:
            continue
        try:
            check(path)
        except Exception as error:
            raise AssertionError(f"{path}: {error}") from error
        opened[path.suffix] = opened.get(path.suffix, 0) + 1
    return opened


def check_frames(path: Path) -> None:
    frames = ase.io.read(path, index=":")
    assert frames, "no frame"
    for atoms in frames:
        assert np.isfinite(atoms.positions).all() and len(atoms)
        assert tuple(atoms.pbc) == (True, True, False), f"periodic in {atoms.pbc}"
        # What pymatgen makes of it: the same atoms as far from each other.
        check_alike(atoms, Structure.from_ase_atoms(in_a_box(atoms)))


def check_cif(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that coordinates were rounded
        structure = Structure.from_file(path)
    check_alike(ase.io.read(path), structure)
    relaxed = path.with_suffix(".extxyz")
    if relaxed.is_file() and relaxed.stat().st_size:
        check_alike(ase.io.read(relaxed), structure)


def in_a_box(atoms: Atoms) -> Atoms:
    """With a third lattice vector, which some programs cannot do without."""
    boxed = atoms.copy()
    if abs(boxed.cell[2, 2]) < 1e-6:
        boxed.center(vacuum=7.5, axis=2)
    boxed.pbc = True
    return boxed


def check_alike(atoms: Atoms, structure: Structure) -> None:
    assert sorted(atoms.get_chemical_symbols()) == sorted(s.symbol for s in structure.species)
    lengths = np.sort(atoms.cell.lengths()[:2]) - np.sort(structure.lattice.abc[:2])
    assert np.abs(lengths).max() < SAME_A, "another cell"
    # Without periodic images in z: nearest images within the plane.
    flat = atoms.copy()
    flat.pbc = (True, True, False)
    own = np.sort(in_a_box(flat).get_all_distances(mic=True).ravel())
    other = np.sort(structure.distance_matrix.ravel())
    assert np.abs(own - other).max() < SAME_A, "other distances between atoms"


def check_csv(path: Path) -> None:
    content = path.read_bytes()
    # Spreadsheets read what is not ASCII rightly only where the file says that it is UTF-8.
    assert content.isascii() or content.startswith(BYTE_ORDER_MARK), "encoding not marked"
    check_columns(pd.read_csv(path))


def check_parquet(path: Path) -> None:
    check_columns(pd.read_parquet(path))


def check_columns(frame: pd.DataFrame) -> None:
    assert len(frame.columns) and frame.columns.is_unique
    assert all(str(name).isidentifier() for name in frame.columns), list(frame.columns)


def check_json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


CHECKS = {
    ".extxyz": check_frames,
    ".cif": check_cif,
    ".csv": check_csv,
    ".parquet": check_parquet,
    ".json": check_json,
}

if __name__ == "__main__":
    print(check_campaign(Path(sys.argv[1])))
