"""Which registry do the layers of a stack prefer? The one that is verified, found by DFT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ase import Atoms

from heteroforge.dft.calculations import cell_for_truncation, with_height
from heteroforge.dft.running import CalculationFailed
from heteroforge.dft.scan import SCAN_ROOM_A, lowest_point, opened
from heteroforge.structures import Stack, build
from heteroforge.structures.matching import contact_gap_a, other_registries

__all__ = ["compare_registries", "preferred"]

# Nearer than this, DFT of this kind does not tell which of two registries is lower.
RESOLVED_MEV_A2 = 1.0


def compare_registries(scan: Callable[[str, Atoms], dict], stack: Stack) -> list[dict] | None:
    """Energies of a bilayer in its own registry and in the others, each at its best distance.

    Layers are held as they are when free, so that a registry in which they buckle towards each
    other binds still more than this tells.

    Args:
        scan: scans the gap of a structure, under a name; returns `scan` (of `Calculator.scan_gap`)
            and `attempts`, or `reason` and `attempts` where the calculation failed.
        stack: as it was asked for.

    Returns:
        Lowest first, per registry `stack_id`, `stacking`, `offset` (fractions of the stack's cell),
        `is_asked`, `gap_a` in Å, `energy_mev_a2` above the lowest, `scan` and `attempts`. One whose
        calculation failed comes last, with `reason` and None for both numbers. Empty where there
        are no others: layers without a common cell, or one layer. None for more than two layers,
        whose others are not looked for.

    Raises:
        CalculationFailed: all registries failed.
    """
    if stack.number_of_layers > 2:
        return None
    others = other_registries(stack)
    if not others:
        return []
    family = [stack, *others]
    # One height, so that all energies have one basis.
    height = max(
        cell_for_truncation(opened(build(one), SCAN_ROOM_A)).cell.array[2, 2] for one in family
    )
    found: list[dict] = []
    further = 0.0
    for one in family:
        # How much further than touching spheres the first one lies is a start for the others; not
        # how much nearer where it bonds.
        gap = max(1.0, one.interfaces[0].gap_a + (0.0 if one is stack else max(further, -0.5)))
        at_gap = replace(one, interfaces=(replace(one.interfaces[0], gap_a=gap),))
        outcome = scan(one.key(), with_height(build(at_gap), height))
        entry = {
            "stack_id": one.key(),
            "stacking": one.stacking(0),
            "offset": list(one.interfaces[0].offset),
            "is_asked": one is stack,
            "gap_a": None,
            "energy_ev": None,
            "attempts": outcome["attempts"],
        }
        if "scan" in outcome:
            moved, entry["energy_ev"] = lowest_point(outcome["scan"])
            entry |= {"scan": outcome["scan"], "gap_a": gap + moved}
            if one is stack:
                further = entry["gap_a"] - contact_gap_a(stack, 0)
        else:
            entry["reason"] = outcome["reason"]
            print(f"registry {entry['stacking']}: {outcome['reason']}")
        found.append(entry)
    known = [entry["energy_ev"] for entry in found if entry["energy_ev"] is not None]
    if not known:
        attempts = [attempt for entry in found for attempt in entry["attempts"]]
        raise CalculationFailed(f"no registry: {found[0]['reason']}", attempts)
    for entry in found:
        energy = entry.pop("energy_ev")
        above = None if energy is None else 1e3 * (energy - min(known)) / stack.area_a2
        entry["energy_mev_a2"] = above
    return sorted(found, key=lambda e: (e["energy_mev_a2"] is None, e["energy_mev_a2"] or 0.0))


def preferred(stack: Stack, registries: Sequence[dict]) -> Stack:
    """The stack in the registry that its layers slide into, at its best distance.

    The one that was asked for stays where no other is lower by more than DFT resolves.

    Args:
        stack: as it was asked for.
        registries: of `compare_registries`.
    """
    asked = next((entry for entry in registries if entry["is_asked"]), None)
    if asked is None:
        return stack
    best = registries[0]
    if asked["energy_mev_a2"] is not None and asked["energy_mev_a2"] <= RESOLVED_MEV_A2:
        best = asked
    interface = replace(stack.interfaces[0], offset=tuple(best["offset"]), gap_a=best["gap_a"])
    return replace(stack, interfaces=(interface,))
