"""Named sets of numerical settings and the pseudopotentials that go with them."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from heteroforge.dft.pseudoatoms import check_soundness, with_orbitals
from heteroforge.io.conventions import PROTOCOLS, protocol_names, protocol_table

__all__ = ["Protocol", "Pseudopotentials", "k_mesh", "protocol_names", "unfolded_mesh"]

_ROOT = Path(__file__).resolve().parents[3]
DOWNLOADS = _ROOT / "resources" / "downloads" / "pseudopotentials"
CHECKSUMS = _ROOT / "resources" / "pseudopotentials" / "checksums.csv"
CONVERGENCE = CHECKSUMS.with_name("convergence.csv")  # errors by cutoff
_HEADER = re.compile(r"<PP_HEADER.*?>", re.DOTALL)
_ENTRY = re.compile(r'(\w+)\s*=\s*"\s*([^"]*?)\s*"')
_PBE = ["PBE"], ["SLA", "PW", "PBX", "PBC"], ["SLA-PW-PBX-PBC"], ["SLA+PW+PBX+PBC"]  # same thing
CUTOFFS = CHECKSUMS.with_name("cutoffs.csv")  # what follows from them


@cache
def _needed_cutoffs_ry() -> dict[tuple[str, str], dict[str, float]]:
    """Cutoff that each protocol needs by (family, element), of the elements studied."""
    with CUTOFFS.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    return {
        (row.pop("family"), row.pop("element")): {name: float(ry) for name, ry in row.items()}
        for row in rows
    }


@dataclass(frozen=True)
class Protocol:
    """Numerical settings of a calculation; units in the names, meaning in protocols.yaml."""

    name: str
    cutoff_ry: float
    k_spacing_per_a: float
    smearing_ry: float
    density_convergence_ry_atom: float
    force_convergence_ev_a: float
    energy_convergence_ev: float
    path_density_per_a: float

    @classmethod
    def named(
        cls, name: str, pseudopotentials: Pseudopotentials, elements: Iterable[str] = ()
    ) -> Protocol:
        """The protocol of that name, with the cutoff that pseudopotentials need.

        Args:
            name: one of `protocol_names()`.
            pseudopotentials: the family.
            elements: of everything whose energies are to be compared. Where one of them needs a
                higher cutoff than the protocol's, all get it. What an element needs is known from
                the convergence study; of one that was not studied, its pseudopotential tells the
                cutoff that it was made for.

        Raises:
            ValueError: no such protocol, or no cutoff for the family.
        """
        table, family = protocol_table(), pseudopotentials.family
        if name not in table:
            raise ValueError(f"dft.protocol: {name!r} is not known, expected one of {list(table)}")
        values = {k: v for k, v in table[name].items() if k != "description"}
        cutoffs = values.pop("cutoff_ry")
        if family not in cutoffs:
            raise ValueError(
                f"{PROTOCOLS.name}: protocol {name} has no cutoff for the pseudopotentials "
                f"{family!r}; add it under cutoff_ry"
            )
        needed = _needed_cutoffs_ry()
        studied = {protocol for row in needed.values() for protocol in row}
        # A protocol of the user's own has the cutoff that the user gave it.
        harder = [
            needed[family, e][name]
            if (family, e) in needed
            else pseudopotentials.design_cutoff_ry(e)
            for e in (elements if name in studied else ())
        ]
        return cls(name=name, cutoff_ry=float(max([cutoffs[family], *harder])), **values)

    def to_dict(self) -> dict:
        return asdict(self)


class Pseudopotentials:
    """A family of pseudopotential files `<Element>.upf` in one folder.

    Args:
        family: name of an installed family, or a folder (its last part is the family's name).
    """

    def __init__(self, family: str) -> None:
        folder = Path(family)
        self.folder = folder if folder.is_dir() else DOWNLOADS / family
        self.family = self.folder.name
        if not self.folder.is_dir():
            raise ValueError(
                f"dft.pseudopotentials: {family!r} is neither a folder nor installed under "
                f"{DOWNLOADS.relative_to(_ROOT)}; run `make setup`"
            )

    def has(self, element: str) -> bool:
        return self._path(element).is_file()

    def file(self, element: str) -> Path:
        """Raises ValueError where the family lacks the element."""
        if not self.has(element):
            raise ValueError(
                f"no pseudopotential for {element} in family {self.family}: "
                "dft.pseudopotentials may be a folder that has one"
            )
        return self._path(element)

    def _path(self, element: str) -> Path:
        return self.folder / f"{element}.upf"

    def valence(self, element: str) -> float:
        """Number of valence electrons, from the file's header."""
        with self.file(element).open(errors="replace") as handle:
            for line in handle:
                if "z_valence" in line:
                    return float(line.split("z_valence")[1].split('"')[1])
        raise ValueError(f"{self.file(element).name}: no z_valence in the header")

    def _header(self, element: str) -> dict[str, str]:
        header = _HEADER.search(self.file(element).read_text(errors="replace"))
        return dict(_ENTRY.findall(header[0])) if header else {}

    def check_kind(self, element: str) -> None:
        """Raises ValueError where a file is not norm-conserving, or not of PBE."""
        told = self._header(element)
        kind, functional = told.get("pseudo_type", ""), told.get("functional", "")
        if kind.upper() not in ("NC", "SL"):
            raise ValueError(
                f"pseudopotential {self.family}/{element}.upf: pseudo_type {kind!r}, expected a "
                "norm-conserving one (NC; ultrasoft and PAW files, as most of SSSP, cannot be used)"
            )
        if functional.upper().split() not in _PBE:
            raise ValueError(
                f"pseudopotential {self.family}/{element}.upf: functional {functional!r}, "
                "expected PBE"
            )

    def lacks_orbitals(self, element: str) -> bool:
        """Whether a file has no atomic orbitals, by which projwfc.x tells the layer of a state."""
        return self._header(element).get("number_of_wfc") == "0"

    def check(self, elements: Iterable[str]) -> None:
        """Whether files are fit for use: `verify`, sound, and with orbitals or what tells them.

        Half a second per element.

        Raises:
            ValueError: one is not.
        """
        elements = sorted(set(elements))
        self.verify(elements)
        for element in elements:
            check_soundness(self.file(element))
            if self.lacks_orbitals(element):
                with_orbitals(self.file(element))

    def for_pw(self, elements: Iterable[str], place: Path) -> Path:
        """Folder of the files `<Element>.upf` that pw.x reads.

        Args:
            elements: that it needs.
            place: for copies of their files, where one of them has no atomic orbitals: they are put
                into it.

        Raises:
            ValueError: a file has none, and does not tell what they would be.
        """
        elements = sorted(set(elements))
        lacking = [element for element in elements if self.lacks_orbitals(element)]
        if not lacking:
            return self.folder.resolve()
        place.mkdir(parents=True, exist_ok=True)
        for element in elements:
            if element in lacking:
                text = with_orbitals(self.file(element))
                (place / f"{element}.upf").write_text(text, encoding="utf-8")
            else:
                shutil.copy(self.file(element), place)
        return place.resolve()

    def design_cutoff_ry(self, element: str) -> float:
        """Cutoff that a pseudopotential was made for, in steps of 10 Ry; 0 where it is not told.

        Optimised norm-conserving pseudopotentials (D. R. Hamann, Phys. Rev. B 88, 085117 (2013))
        have the least kinetic energy beyond a wave vector `qcut` per angular momentum, which their
        files keep. The square of the largest, in Ry, is no less than what `quick` needs for any
        element of the convergence study, and up to twice as much (`tests/dft/test_convergence.py`).

        Raises:
            ValueError: the family lacks the element.
        """
        text = self.file(element).read_text(errors="replace")
        rows = re.search(r"#\s*l,\s*rc,\s*ep,.*qcut\s*\n(.*?)\n\s*#", text, re.DOTALL)
        if rows is None:
            return 0.0
        largest = max(float(row.split()[5]) for row in rows.group(1).strip().splitlines())
        return 10.0 * round(largest**2 / 10)

    def checksums(self, elements: Iterable[str]) -> dict[str, str]:
        """sha256 of the files of some elements."""
        return {
            e: hashlib.sha256(self.file(e).read_bytes()).hexdigest() for e in sorted(set(elements))
        }

    def verify(self, elements: Iterable[str]) -> None:
        """Whether files are of the kind computed with, and installed ones as the project knows.

        Raises:
            ValueError: a pseudopotential is ultrasoft or PAW, which need another cutoff of the
                density, or of another functional than PBE; or a file differs from the one the
                project was tested with.
        """
        for element in sorted(set(elements)):
            self.check_kind(element)
        with CHECKSUMS.open(newline="") as handle:
            known = {
                row["element"]: row["sha256"]
                for row in csv.DictReader(handle)
                if row["family"] == self.family
            }
        for element, checksum in self.checksums(elements).items():
            if self.folder.parent == DOWNLOADS and element not in known:
                raise ValueError(
                    f"pseudopotential {self.family}/{element}.upf is none of this family "
                    f"({CHECKSUMS.name}), or no longer: remove it"
                )
            if self.folder.parent == DOWNLOADS and known[element] != checksum:
                raise ValueError(
                    f"pseudopotential {self.family}/{element}.upf differs from the one in "
                    f"{CHECKSUMS.name}: run `make setup` to install it again"
                )


def k_mesh(cell: np.ndarray, spacing_per_a: float) -> tuple[int, int, int]:
    """Γ-centred mesh (n, m, 1) of an in-plane cell (2, 2) in Å.

    Hexagonal cells get multiples of three, so that K is on the mesh: there band edges and the
    Dirac point lie.
    """
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    lengths = np.linalg.norm(reciprocal, axis=1)
    mesh = np.maximum(1, np.ceil(lengths / spacing_per_a - 1e-6)).astype(int)
    a, b = np.linalg.norm(cell, axis=1)
    cosine = cell[0] @ cell[1] / (a * b)
    if abs(a / b - 1) < 0.01 and abs(abs(cosine) - 0.5) < 0.01:
        mesh = (np.ceil(mesh / 3) * 3).astype(int)
    return int(mesh[0]), int(mesh[1]), 1


def unfolded_mesh(supercell: Sequence, mesh: Sequence[int]) -> tuple[int, int, int] | None:
    """Mesh of a primitive cell with exactly the k-points that a mesh of its supercell has.

    A Γ-centred mesh is the set of points that are periodic in its Born–von Kármán cell, here
    diag(n, m) S with the supercell S. Some mesh of the primitive cell has that same cell where each
    of its columns holds a common divisor whose product is the determinant.

    Args:
        supercell: integer rows (2, 2) of the larger cell in vectors of the primitive one.
        mesh: (n, m, …) of the larger cell.

    Returns:
        (n, m, 1); None where there is none, as for √3 × √3 cells.
    """
    periodic = np.diag(mesh[:2]) @ np.array(supercell)
    found = np.gcd.reduce(np.abs(periodic), axis=0)
    if found[0] * found[1] != abs(round(np.linalg.det(periodic))):
        return None
    return int(found[0]), int(found[1]), 1
