"""Layers that no library knows, on the lattice constants that DFT finds for them.

Generation proposes them with bond lengths guessed from covalent radii, which can be off by several
percent. A stack on such a cell would be strained by as much, and only its positions relax.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from heteroforge.dft.calculations import Calculator, cell_for_truncation
from heteroforge.dft.monolayers import fit_lattice
from heteroforge.dft.verification import layer_fingerprint
from heteroforge.io import read_json, write_json
from heteroforge.structures import Monolayer, Stack
from heteroforge.structures.matching import shared_cell

__all__ = ["free_monolayer", "on_free_lattices"]


def free_monolayer(run: Calculator, proposed: Monolayer, shared: Path | None = None) -> dict:
    """A layer alone, its cell and positions those of lowest energy.

    The angle of the cell and the symmetry stay as they were proposed.

    Args:
        run: of a folder of its own.
        proposed: the layer with a guessed geometry.
        shared: folder of results that candidates share: a layer is computed once.

    Returns:
        `monolayer` (of `Monolayer.to_dict`), `scan` (strains and energies in eV), `attempts`.

    Raises:
        ValueError: no minimum of the energy within 8 % of the proposed cell.
    """
    start = cell_for_truncation(proposed.to_atoms())
    file = shared and shared / f"{layer_fingerprint(start, run)}-lattice.json"
    with contextlib.suppress(OSError, ValueError):
        if file is not None:
            return read_json(file) | {"attempts": []}
    atoms, scan = fit_lattice(run, start)
    result = run.relax(cell_for_truncation(atoms))
    run.clean()
    found = {"monolayer": Monolayer.from_atoms(result.atoms).to_dict(), "scan": scan}
    if file is not None:
        write_json(file, found)
    return found | {"attempts": run.attempts}


def on_free_lattices(
    stack: Stack,
    find: Callable[[str, Monolayer], dict],
    maximum_mismatch_percent: float,
) -> tuple[Stack, list[dict]]:
    """A stack with its unknown layers as they are when free, on the cell that follows from that.

    All layers share the strain equally, as in every stack in which the stiffness of one is unknown.
    Registry, turn and gaps stay.

    Args:
        stack: as it was asked for; layers without a name are those that no library knows.
        find: gives what `free_monolayer` does, for a name within the stack and a layer.
        maximum_mismatch_percent: largest strain of a layer that the campaign admits.

    Returns:
        The stack, and per unknown layer `formula`, `proposed` (a, b in Å) and `found` (a, b in Å).

    Raises:
        ValueError: on the lattices found the layers do not fit on each other.
    """
    free: dict[Monolayer, Monolayer] = {}
    for layer in stack.layers:
        own = layer.monolayer
        if not own.name and own not in free:
            free[own] = Monolayer.from_dict(find(str(len(free)), own)["monolayer"])
    layers = tuple(
        replace(layer, monolayer=free.get(layer.monolayer, layer.monolayer))
        for layer in stack.layers
    )
    cell = shared_cell([layer.monolayer for layer in layers], [la.supercell for la in layers])
    rebuilt = Stack(layers, stack.interfaces, *cell, name=stack.name)
    lattices = [
        {"formula": own.formula, "proposed": [own.a, own.b], "found": [new.a, new.b]}
        for own, new in free.items()
    ]
    if rebuilt.mismatch_percent > maximum_mismatch_percent + 1e-6:
        told = ", ".join(
            f"{lattice['formula']} a = {lattice['found'][0]:.3f} Å (proposed with "
            f"{lattice['proposed'][0]:.3f} Å)"
            for lattice in lattices
        )
        raise ValueError(
            f"layers do not fit: DFT finds {told}, which strains a layer by "
            f"{rebuilt.mismatch_percent:.1f} %, more than {maximum_mismatch_percent:g} %"
        )
    return rebuilt, lattices
