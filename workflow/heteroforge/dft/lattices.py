"""Layers whose lattice constants are not of this project's DFT, on those that it finds for them.

Generation proposes layers with bond lengths guessed from covalent radii, which can be off by
several percent; other libraries have them by other functionals, PBE without dispersion is 1 % above
PBE-D3. A stack on such a cell would be strained by as much, and only its positions relax.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from heteroforge.dft.calculations import Calculator, cell_for_truncation
from heteroforge.dft.monolayers import fit_lattice
from heteroforge.dft.running import fingerprint
from heteroforge.io import read_json, write_json
from heteroforge.structures import Layer, Monolayer, Stack
from heteroforge.structures.matching import shared_cell

__all__ = ["described", "free_monolayer", "on_free_lattices"]


def free_monolayer(run: Calculator, proposed: Monolayer, shared: Path | None = None) -> dict:
    """A layer alone, its cell and positions those of lowest energy.

    The symmetry stays as it was proposed, and so does the angle of cells with a = b and rectangular
    ones. Of oblique ones no shear is looked for.

    Args:
        run: of a folder of its own.
        proposed: the layer with a guessed geometry, or that of another library.
        shared: folder of results that candidates share: a layer is computed once.

    Returns:
        `monolayer` (of `Monolayer.to_dict`), `scan` (strains, energy in eV, thickness in Å), and
        `attempts`.

    Raises:
        ValueError: no minimum of the energy within 8 % of the proposed cell.
    """
    start = cell_for_truncation(proposed.to_atoms())
    # As it lies: found geometries replace proposed ones, a turned or mirrored one would be another.
    how = [run.protocol.to_dict(), run.pseudopotentials.checksums(proposed.species)]
    file = shared and shared / f"{fingerprint(start, how)[:20]}-lattice.json"
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
    known: Collection[str] = frozenset(),
    stiffness_n_m: Sequence[float | None] = (),
) -> tuple[Stack, list[dict]]:
    """A stack with its unknown layers as they are when free, on the cell that follows from that.

    Layers share the strain by their stiffness, equally where that of one is unknown, as in every
    stack. Registry, turn and gaps stay.

    Args:
        stack: as it was asked for; layers without a name are those that no library knows.
        find: gives what `free_monolayer` does, for a name within the stack and a layer.
        maximum_mismatch_percent: largest strain of a layer that the campaign admits.
        known: names of the layers whose lattice constants are of this project's DFT.
        stiffness_n_m: of every layer, from the bottom.

    Returns:
        The stack, and per layer that is not known `formula`, `in_library`, `proposed` (a, b in Å;
        where it is in a library those that it has there) and `found` (a, b in Å).

    Raises:
        ValueError: on the lattices found the layers do not fit on each other.
    """
    free: dict[Monolayer, Monolayer] = {}
    for layer in stack.layers:
        own = layer.monolayer
        if own.name not in known and own not in free:
            found = Monolayer.from_dict(find(str(len(free)), own)["monolayer"])
            free[own] = replace(found, name=own.name)
    layers = tuple(
        replace(layer, monolayer=free.get(layer.monolayer, layer.monolayer))
        for layer in stack.layers
    )
    rebuilt = _on_shared_cell(stack, layers, stiffness_n_m)
    lattices = [
        {
            "formula": own.formula,
            "in_library": bool(own.name),
            "proposed": [own.a, own.b],
            "found": [new.a, new.b],
        }
        for own, new in free.items()
    ]
    if rebuilt.mismatch_percent > maximum_mismatch_percent + 1e-6:
        told = ", ".join(
            f"{lattice['formula']} a = {lattice['found'][0]:.3f} Å "
            f"({'its library has' if lattice['in_library'] else 'proposed with'} "
            f"{lattice['proposed'][0]:.3f} Å)"
            for lattice in lattices
        )
        raise ValueError(
            f"layers do not fit: DFT finds {told}, which strains a layer by "
            f"{rebuilt.mismatch_percent:.1f} %, more than {maximum_mismatch_percent:g} %"
        )
    return rebuilt, lattices


def described(asked: Stack, verified: Stack) -> Stack:
    """What was verified in the words of the library: what predictions and later campaigns read.

    Layers with a name are as the library has them, others as DFT relaxed them, on the cell that
    these share; faces, registry and gaps are those verified. Where the library's lattice constants
    are of this project's DFT that is the stack that was verified.

    Args:
        asked: as the screen described it.
        verified: of the same layers.
    """
    layers = tuple(
        known if known.monolayer.name else found
        for known, found in zip(asked.layers, verified.layers, strict=True)
    )
    if layers == verified.layers:
        return verified
    if layers == asked.layers:
        return replace(asked, interfaces=verified.interfaces)
    return _on_shared_cell(verified, layers)


def _on_shared_cell(
    stack: Stack, layers: tuple[Layer, ...], stiffness_n_m: Sequence[float | None] = ()
) -> Stack:
    """The stack with these layers in place of its own, on the cell that they share."""
    own, supercells = zip(*((layer.monolayer, layer.supercell) for layer in layers), strict=True)
    cell = shared_cell(own, supercells, stiffness_n_m)
    return Stack(layers, stack.interfaces, *cell, name=stack.name)
