"""Point defects in the layers of a library: one vacancy or one foreign atom in a supercell.

Geometry is that of the perfect layer: relaxation follows. Which site of those that symmetry makes
equal is taken does not matter, so one of each set stands for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import zip_longest

import numpy as np

from heteroforge.structures import Defect, Layer, Monolayer, StructureError
from heteroforge.structures.defects import as_monolayer

__all__ = ["DEFECT_KINDS", "propose_defects"]

DEFECT_KINDS = ("vacancy", "substitution")


def propose_defects(
    library: Mapping[str, Monolayer],
    number: int,
    supercell: Sequence[int] = (2, 2),
    kinds: Sequence[str] = DEFECT_KINDS,
    dopants: Collection[str] = (),
    elements_allowed: Collection[str] = (),
    elements_excluded: Collection[str] = (),
) -> dict[str, Layer]:
    """Layers with one defect in a supercell, shared out over the library.

    Names tell them, as `MoS2-2H:2x2:S-vacancy` and `MoS2-2H:2x2:Nb-on-Mo`; where the element has
    unequal sites the number of the site follows.

    Args:
        library: layers by name.
        number: how many at most.
        supercell: cells along both vectors in which there is one defect.
        kinds: of `DEFECT_KINDS`.
        dopants: elements put in; empty: neighbours in the period of the one that goes, which
            bring an electron or a hole.
        elements_allowed: no dopant but these; empty: any.
        elements_excluded: none of these.

    Raises:
        StructureError: a supercell of one cell.
    """
    if number == 0:
        return {}
    along_a, along_b = (int(cells) for cells in supercell)
    if along_a * along_b < 2:
        raise StructureError(
            f"samples.defects.supercell {list(supercell)}: expected two cells at least; a defect "
            "in every cell makes another material (samples.new_monolayers)"
        )

    def allowed(element: str) -> bool:
        within = not elements_allowed or element in elements_allowed
        return within and element not in elements_excluded

    def of_kind(name: str, layer: Monolayer, kind: str) -> Iterator[tuple[str, Layer]]:
        sites = _unequal_sites(layer)
        for site in sites:
            own = layer.species[site]
            foreign = [s for s in dopants or _neighbours_in_period(own) if allowed(s) and s != own]
            for species in foreign if kind == "substitution" else [""]:
                label = f"{name}:{along_a}x{along_b}:"
                label += f"{species}-on-{own}" if species else f"{own}-vacancy"
                if sum(layer.species[other] == own for other in sites) > 1:
                    label += f"-{site}"
                cells = ((along_a, 0), (0, along_b))
                made = Layer(layer, cells, defects=(Defect(kind, site, species),))
                try:
                    as_monolayer(made, label)
                except StructureError:
                    continue
                yield label, made

    # Layers begin with one kind and with the other by turns, so that a few hold both.
    queues = [
        _by_turns([of_kind(name, layer, kinds[(i + j) % len(kinds)]) for j in range(len(kinds))])
        for i, (name, layer) in enumerate(library.items())
    ]
    proposed: dict[str, Layer] = {}
    while queues and len(proposed) < number:
        for queue in list(queues):
            found = next(queue, None)
            if found is None:
                queues.remove(queue)
            elif len(proposed) < number:
                proposed[found[0]] = found[1]
    return proposed


def _by_turns(queues: Sequence[Iterator]) -> Iterator:
    """One from each in turn, until all are at their end."""
    missing = object()
    for row in zip_longest(*queues, fillvalue=missing):
        yield from (item for item in row if item is not missing)


def _unequal_sites(layer: Monolayer) -> list[int]:
    """One site of each set that the layer's symmetry makes equal."""
    if layer.symmetry is None:
        return list(range(len(layer.species)))
    return np.unique(np.asarray(layer.symmetry.equivalent_atoms)).tolist()


def _neighbours_in_period(symbol: str) -> list[str]:
    """Elements one group to the left and to the right in the periodic table."""
    # Imported here: pymatgen takes a second to load.
    from pymatgen.core.periodic_table import Element

    own = Element(symbol)
    if own.is_lanthanoid or own.is_actinoid:
        return []
    found = []
    for step in (-1, 1):
        group = own.group + step
        # Groups 3 to 12 are missing in the second and third period.
        if own.row <= 3 and 3 <= group <= 12:
            group = 13 if step > 0 else 2
        found += [
            str(other)
            for other in (Element.from_Z(z) for z in range(1, 87))
            if (other.row, other.group) == (own.row, group)
            and group != 18
            and not (other.is_lanthanoid or other.is_radioactive)
        ]
    return found
