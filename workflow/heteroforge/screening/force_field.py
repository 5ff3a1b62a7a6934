"""The rung between screening and DFT: do the layers of a stack stay layers?

Candidates are relaxed with a universal force field, CHGNet (B. Deng et al., Nat. Mach. Intell. 5,
1031 (2023)), and D3 dispersion, which its training data (PBE) lack. What falls apart or bonds
across a gap is not what the models predicted, and gets no DFT. Gaps and energies found on the way
are not handed on: docs/learning.md says how far they are off.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import BFGS
from ase.units import Bohr, Hartree

from heteroforge.screening.selection import select_candidates
from heteroforge.structures import Monolayer, Stack, build
from heteroforge.structures.compare import (
    closest_contact,
    interlayer_gaps_a,
    layer_deformation_a,
    registry_shift_a,
)
from heteroforge.structures.matching import other_registries

__all__ = [
    "COLUMNS",
    "ForceField",
    "Limits",
    "fill_slots",
    "judge_drawn",
    "relax",
    "relax_with_others",
]

COLUMNS = [
    "stack_id", "formula", "outcome", "reason", "steps", "force_ev_a", "energy_drop_ev",
    "start_gap_a", "interlayer_gap_a", "contact_ratio", "layer_deformation_a", "registry_shift_a",
    "energy_ev", "only_drawn",
]  # fmt: skip
# CHGNet knows the elements up to Pu; its training data, MPtrj, have none of these.
_WITHOUT_PARAMETERS = {"Po", "At", "Rn", "Fr", "Ra"}
_HIGHEST_NUMBER = 94
_VACUUM_A = 15.0  # further than CHGNet sees (6 Å)
_LONGEST_STEP_A = 0.1


@dataclass(frozen=True)
class Limits:
    """When a relaxation ends, and which relaxed stacks are rejected.

    Attributes:
        force_threshold_ev_a: largest force on an atom at the end, in eV/Å.
        maximum_steps: ionic steps; what needs more is set aside.
        minimum_contact_ratio: shortest distance between atoms of two layers over the sum of their
            covalent radii; below it they are bonded.
        maximum_interlayer_gap_a: beyond it (Å) layers have come apart.
        maximum_deformation_a: how far (Å) an atom may move within its layer.
    """

    force_threshold_ev_a: float
    maximum_steps: int
    minimum_contact_ratio: float
    maximum_interlayer_gap_a: float
    maximum_deformation_a: float


class ForceField(Calculator):
    """CHGNet 0.3.0 and D3 for PBE (zero damping, three-body terms), periodic as the atoms are.

    D3: S. Grimme et al., J. Chem. Phys. 132, 154104 (2010). With this damping gaps are nearer to
    those of DFT than with that of Becke and Johnson. Energy in eV, forces (n, 3) in eV/Å.

    Raises:
        ValueError: on calculation, an element without parameters.
    """

    implemented_properties = ["energy", "forces"]

    def __init__(self) -> None:
        super().__init__()
        # Imported here: it takes seconds, which those who do not relax should not wait.
        from chgnet.model import CHGNet

        self._model = CHGNet.load(use_device="cpu", verbose=False)
        # A stack may have atoms with no neighbour: that is for `relax` to judge.
        self._model.graph_converter.set_isolated_atom_response("ignore")

    def calculate(
        self, atoms: Atoms | None = None, properties=("energy",), system_changes=all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        from pymatgen.core import Structure

        unknown = {
            symbol
            for symbol, number in zip(atoms.get_chemical_symbols(), atoms.numbers, strict=True)
            if symbol in _WITHOUT_PARAMETERS or number > _HIGHEST_NUMBER
        }
        if unknown:
            raise ValueError(f"the force field has no parameters for {', '.join(sorted(unknown))}")
        # Periodic in z as well, as it was trained; images are beyond its reach.
        structure = Structure(
            atoms.cell.array, atoms.numbers, atoms.positions, coords_are_cartesian=True
        )
        with warnings.catch_warnings():
            # Of CHGNet's own code, and nothing that a user could mend.
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")
            found = self._model.predict_structure(structure, task="ef")
        dispersion, forces = _dispersion(atoms)
        self.results = {
            "energy": float(found["e"]) * len(atoms) + dispersion,
            "forces": np.asarray(found["f"], dtype=float) + forces,
        }


def _dispersion(atoms: Atoms) -> tuple[float, np.ndarray]:
    """D3 energy in eV and forces (n, 3) in eV/Å."""
    from dftd3.interface import DispersionModel, ZeroDampingParam

    model = DispersionModel(
        atoms.numbers, atoms.positions / Bohr, atoms.cell.array / Bohr, np.array(atoms.pbc)
    )
    found = model.get_dispersion(ZeroDampingParam(method="pbe", atm=True), grad=True)
    return found["energy"] * Hartree, -found["gradient"] * Hartree / Bohr


def relax(stack: Stack, calculator: Calculator, limits: Limits) -> dict:
    """Relax the positions of a stack in its cell, and judge what becomes of it.

    Returns:
        `outcome` "kept", "rejected" (it falls apart or bonds) or "failed" (nothing can be said);
        `reason`, empty when kept; `steps`, `force_ev_a` (largest at the end), `energy_drop_ev`,
        `start_gap_a` and `interlayer_gap_a` (means over interfaces), `contact_ratio` (shortest
        distance across a gap over the sum of covalent radii), `layer_deformation_a`,
        `registry_shift_a`, `energy_ev` at the end; these None where the force field failed. No
        exception of the force field leaves this function.
    """
    start = build(stack, vacuum_a=_VACUUM_A)
    atoms = start.copy()
    atoms.calc = calculator
    optimiser = BFGS(atoms, maxstep=_LONGEST_STEP_A, logfile=None)
    try:
        first = atoms.get_potential_energy()
        for _ in optimiser.irun(fmax=limits.force_threshold_ev_a, steps=limits.maximum_steps):
            forces = atoms.get_forces()
            if not np.isfinite(forces).all():
                raise ValueError(f"forces are not numbers after {optimiser.nsteps} steps")
        drop = first - atoms.get_potential_energy()
    except Exception as error:  # of whatever kind: one stack must not stop the others
        lines = str(error).splitlines()
        reason = lines[0] if lines else type(error).__name__
        return dict.fromkeys(COLUMNS[4:-1]) | {"outcome": "failed", "reason": reason}
    gaps = interlayer_gaps_a(atoms)
    ratio, contact = closest_contact(atoms)
    found = {
        "steps": optimiser.nsteps,
        "force_ev_a": float(np.linalg.norm(forces, axis=1).max()),
        "energy_drop_ev": float(drop),
        "start_gap_a": float(np.mean(interlayer_gaps_a(start))) if gaps else None,
        "interlayer_gap_a": float(np.mean(gaps)) if gaps else None,
        "contact_ratio": ratio,
        "layer_deformation_a": layer_deformation_a(start, atoms),
        "registry_shift_a": registry_shift_a(start, atoms),
        "energy_ev": float(atoms.get_potential_energy()),
    }
    if ratio is not None and ratio < limits.minimum_contact_ratio:
        fault = f"bonds across a gap: {contact}, {ratio:.2f} of the sum of covalent radii"
    elif max(gaps, default=0.0) > limits.maximum_interlayer_gap_a:
        fault = f"layers come apart: gap {max(gaps):.1f} Å"
    elif found["layer_deformation_a"] > limits.maximum_deformation_a:
        fault = f"a layer falls apart: an atom moves {found['layer_deformation_a']:.1f} Å within it"
    elif found["force_ev_a"] > limits.force_threshold_ev_a:
        fault = f"forces of {found['force_ev_a']:.2f} eV/Å after {optimiser.nsteps} steps"
        return found | {"outcome": "failed", "reason": fault}
    else:
        return found | {"outcome": "kept", "reason": ""}
    return found | {"outcome": "rejected", "reason": fault}


def relax_with_others(stack: Stack, calculator: Calculator, limits: Limits) -> dict:
    """`relax`, and whether the layers bond in the registry that they slide into.

    No barrier of a few meV/Å² keeps layers from sliding, so that the registry of lowest energy
    decides: where it bonds the stack is rejected, whatever it is itself, with that `contact_ratio`;
    where it does not, a stack that bonds itself is kept.
    """
    found = relax(stack, calculator, limits)
    if found["energy_ev"] is None:
        return found
    lowest, where = found, ""
    for other in other_registries(stack):
        slid = relax(other, calculator, limits)
        if slid["energy_ev"] is not None and slid["energy_ev"] < lowest["energy_ev"]:
            lowest, where = slid, other.stacking(0)
    if lowest is found:
        return found
    if was_rejected_as_bonded(lowest, limits):
        reason = f"slides into {where}: {lowest['reason']}"
        return found | {
            "outcome": "rejected",
            "reason": reason,
            "contact_ratio": lowest["contact_ratio"],
        }
    if was_rejected_as_bonded(found, limits):
        return found | {"outcome": "kept", "reason": ""}
    return found


def was_rejected_as_bonded(found: Mapping, limits: Limits) -> bool:
    """Whether a stack that was relaxed was rejected as bonded."""
    ratio = found["contact_ratio"]
    rejected = found["outcome"] == "rejected" and ratio is not None
    return rejected and ratio < limits.minimum_contact_ratio


def fill_slots(
    ranked: pd.DataFrame,
    slots: int,
    monolayers: Mapping[str, Monolayer],
    calculator: Callable[[], Calculator] | None,
    limits: Limits,
    most_per_slot: int,
    *,
    slides: bool,
    **choice,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Candidates for the DFT slots that hold together when relaxed.

    Candidates are chosen, relaxed, and chosen anew without those that were rejected or set aside,
    until all chosen ones were kept: a rejected one is replaced by the one that would have had its
    slot without it. After `most_per_slot` relaxations per slot no more are tried, and slots
    stay empty.

    Args:
        ranked: as for `select_candidates`, with `specification`.
        slots: how many are wanted.
        monolayers: of the library.
        calculator: makes the force field; None: candidates are not relaxed.
        limits: criteria.
        most_per_slot: candidates relaxed per slot at most.
        slides: whether layers slide into their lowest registry before DFT. Then a stack is relaxed
            in all of them, and those that slide into each other have one slot.
        choice: further arguments of `select_candidates`.

    Returns:
        The selection, and one row of COLUMNS per stack relaxed, in the order they were.
    """
    rows: dict[str, dict] = {}
    judge = relax_with_others if slides else relax
    force_field = None
    open_to = ranked
    while True:
        selected = select_candidates(open_to, slots, one_registry_each=slides, **choice)
        new = selected[~selected["stack_id"].isin(rows.keys())]
        if calculator is None or new.empty:
            break
        if len(rows) >= most_per_slot * slots:
            selected = selected[selected["stack_id"].isin(rows.keys())].reset_index(drop=True)
            selected["slot"] = np.arange(len(selected))
            break
        force_field = force_field or calculator()
        for row in new.head(most_per_slot * slots - len(rows)).to_dict("records"):
            stack = Stack.from_json(row["specification"], monolayers)
            names = {"stack_id": row["stack_id"], "formula": stack.formula}
            outcome = judge(stack, force_field, limits)
            rows[row["stack_id"]] = names | outcome | {"only_drawn": False}
        faulty = [name for name, found in rows.items() if found["outcome"] != "kept"]
        out = ranked["stack_id"].isin(faulty)
        if slides:
            # What a stack slides into, those slide into that differ from it in registry alone.
            bonded = [name for name, found in rows.items() if was_rejected_as_bonded(found, limits)]
            families = ranked.loc[ranked["stack_id"].isin(bonded), "sliding_family"]
            out |= ranked["sliding_family"].isin(set(families))
        open_to = ranked[~out]
    return selected, pd.DataFrame(list(rows.values()), columns=COLUMNS)


def judge_drawn(
    given: pd.DataFrame,
    relaxed: pd.DataFrame,
    monolayers: Mapping[str, Monolayer],
    calculator: Callable[[], Calculator] | None,
    limits: Limits,
    *,
    slides: bool,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the force field says of stacks that were drawn at random, by the limits of the others.

    They keep their slots whatever it says: the draw is the space as it is. But selected stacks have
    passed this rung, so that only with its verdicts the worth of the models can be told from its.

    Args:
        given: of `add_control`.
        relaxed: of `fill_slots`.
        monolayers, calculator, limits, slides: as for `fill_slots`.

    Returns:
        `given` with `force_field` (the outcome; empty where nothing was relaxed) and
        `force_field_reason`, and `relaxed` with rows of the drawn stacks, marked `only_drawn`.
    """
    # One that was turned away as a candidate may have been drawn, too.
    new = given["role"].eq("control").fillna(False) & ~given["stack_id"].isin(
        set(relaxed["stack_id"])
    )
    if calculator is not None and new.any():
        judge = relax_with_others if slides else relax
        rows = []
        for row in given[new.astype(bool)].to_dict("records"):
            stack = Stack.from_json(row["specification"], monolayers)
            names = {"stack_id": row["stack_id"], "formula": stack.formula}
            rows.append(names | judge(stack, calculator(), limits) | {"only_drawn": True})
        parts = [relaxed, pd.DataFrame(rows, columns=COLUMNS)]
        relaxed = pd.concat([part for part in parts if len(part)], ignore_index=True)
    said = relaxed.set_index("stack_id")
    verdicts = {
        "force_field": given["stack_id"].map(said["outcome"]),
        "force_field_reason": given["stack_id"].map(said["reason"]),
    }
    return given.assign(**verdicts), relaxed
