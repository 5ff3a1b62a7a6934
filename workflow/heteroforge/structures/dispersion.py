"""Dispersion energy by D3, as this project's DFT and as published predictors take it."""

from __future__ import annotations

import os

import numpy as np
from ase import Atoms
from ase.units import Bohr, Hartree

__all__ = ["dispersion_ev"]


def dispersion_ev(atoms: Atoms, zero_damping: bool = False) -> float:
    """D3 energy with PBE in eV, by the reference implementation `dftd3`.

    Args:
        atoms: periodic where they say so.
        zero_damping: as D3 was published first, with three-body terms (S. Grimme et al., J. Chem.
            Phys. 132, 154104 (2010)); else Becke–Johnson damping and pairwise terms only, as in
            this project's DFT (S. Grimme et al., J. Comput. Chem. 32, 1456 (2011)).
    """
    # One thread: these are thousands of tiny calculations, and processes already fill the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from dftd3.interface import DispersionModel, RationalDampingParam, ZeroDampingParam

    model = DispersionModel(
        atoms.numbers,
        atoms.positions / Bohr,
        atoms.cell.array / Bohr,
        np.array(atoms.pbc),
    )
    damping = (
        ZeroDampingParam(method="pbe", atm=True)
        if zero_damping
        else RationalDampingParam(method="pbe", atm=False)
    )
    return model.get_dispersion(damping, grad=False)["energy"] * Hartree
