"""The two-dimensional data set of JARVIS-DFT.

K. Choudhary et al., npj Comput. Mater. 6, 173 (2020). Its file, `dft_2d`, is a JSON list; where to
get it: https://jarvis-materials-design.github.io/dbdocs.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ase import Atoms

from heteroforge.io import InputError
from heteroforge.sources.candidates import Candidate

__all__ = ["read_candidates"]

# Values of the OptB88vdW functional; "na" stands for unknown ones.
KEYS = {
    "gap_ev": "optb88vdw_bandgap",
    "hull_distance_ev_atom": "ehull",
    "heat_of_formation_ev_atom": "formation_energy_peratom",
}


def read_candidates(path: str | Path) -> Iterator[Candidate]:
    """Candidates of a JSON file (or the zip it comes in), one per entry.

    Raises:
        InputError: the file is no such list.
    """
    path = Path(path)
    try:
        entries = json.loads(_text(path))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a JSON list of JARVIS-DFT: {error}") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: not a JSON list of JARVIS-DFT: entries with `jid` expected")
    for number, entry in enumerate(entries):
        name = str(entry.get("jid") or f"entry {number}")
        try:
            atoms, reason = _atoms(entry["atoms"]), ""
        except (KeyError, TypeError, ValueError) as error:
            atoms, reason = None, f"unreadable: {type(error).__name__}: {error}"
        values = {key: entry.get(name) for key, name in KEYS.items()}
        yield Candidate(
            material=name,
            atoms=atoms,
            properties={key: value for key, value in values.items() if _is_number(value)},
            source="JARVIS-DFT",
            protocol="JARVIS OptB88vdW",
            file=f"{path.name}, {name}",
            reason=reason,
        )


def _text(path: Path) -> str:
    if path.suffix != ".zip":
        return path.read_text(encoding="utf-8")
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".json")]
        return archive.read(name).decode("utf-8")


def _atoms(entry: Mapping) -> Atoms:
    places = "positions" if entry.get("cartesian") else "scaled_positions"
    # The vacuum is along c.
    return Atoms(
        [str(symbol).strip() for symbol in entry["elements"]],
        cell=entry["lattice_mat"],
        pbc=(True, True, False),
        **{places: entry["coords"]},
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
