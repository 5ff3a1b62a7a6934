"""An ASE database in the style of C2DB (S. Haastrup et al., 2D Mater. 5, 042002 (2018))."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ase.db

from heteroforge.io import InputError
from heteroforge.sources.candidates import Candidate

__all__ = ["read_candidates"]

# Our column, and the keys it goes by in databases of different years (PBE values). Tensor
# components along x are taken for the stiffness and the deformation potentials.
KEYS = {
    "gap_ev": ("gap", "gap_pbe"),
    "work_function_ev": ("workfunction", "work_function"),
    "vacuum_step_ev": ("evacdiff",),
    "electron_mass_m0": ("emass_cb_dir1", "emass1"),
    "hole_mass_m0": ("emass_vb_dir1", "hmass1"),
    "stiffness_n_m": ("c_11",),
    "deformation_potential_cbm_ev": ("D_cbm", "deformation_potential_cbm"),
    "deformation_potential_vbm_ev": ("D_vbm", "deformation_potential_vbm"),
}


def read_candidates(path: str | Path) -> Iterator[Candidate]:
    """Candidates of an ASE database, one per row.

    Band edges are turned to the vacuum level (`evac`), and left unknown where it is not given.

    Raises:
        InputError: the file is no ASE database.
    """
    path = Path(path)
    try:
        rows = ase.db.connect(path).select()
        first = next(iter(rows), None)
    except Exception as error:  # ase.db raises whatever its back ends raise
        raise InputError(f"{path}: not an ASE database: {error}") from None
    if first is None:
        raise InputError(f"{path}: the database is empty")
    for row in ase.db.connect(path).select():
        keys = row.key_value_pairs
        atoms = row.toatoms()
        # Older rows say that they are periodic in z, too; layers never are.
        atoms.pbc = (True, True, False) if atoms.cell.rank == 3 else atoms.pbc
        atoms.info.clear()
        names = (keys.get(key) for key in ("uid", "olduid", "name"))
        yield Candidate(
            material=str(next(filter(None, names), f"{row.formula}-{row.id}")),
            atoms=atoms,
            properties=_properties(keys),
            source=path.stem,
            protocol=str(keys.get("protocol", "C2DB PBE")),
            file=f"{path.name}, row {row.id}",
        )


def _properties(keys: dict) -> dict:
    found = {}
    for column, names in KEYS.items():
        value = next((keys[name] for name in names if name in keys), None)
        if value is not None:
            found[column] = value
    if "gap_dir" in keys and "gap_ev" in found:
        found["gap_is_direct"] = abs(keys["gap_dir"] - found["gap_ev"]) < 1e-3
    elif "is_dir_gap" in keys:
        found["gap_is_direct"] = bool(keys["is_dir_gap"])
    if "vacuum_step_ev" in found:
        # C2DB's is that of the electrostatic potential; here levels are energies of electrons.
        found["vacuum_step_ev"] = -found["vacuum_step_ev"]
    vacuum = keys.get("evac")
    for column, name in (("vbm_ev", "vbm"), ("cbm_ev", "cbm")):
        if name in keys and vacuum is not None:
            found[column] = keys[name] - vacuum
    # Valence bands bend down: older rows give the hole's mass as the band's, negative one.
    if "hole_mass_m0" in found:
        found["hole_mass_m0"] = abs(found["hole_mass_m0"])
    return found
