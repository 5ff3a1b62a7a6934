"""Chemical formulas that stacks are asked to have."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import gcd
from textwrap import shorten

from ase.data import atomic_numbers
from ase.formula import Formula

from heteroforge.structures.monolayer import Monolayer, StructureError
from heteroforge.structures.stack import Stack

__all__ = ["StackFormula"]

LISTED = 300  # characters of the list of layers in a message
Counts = frozenset[tuple[str, int]]


@dataclass(frozen=True)
class StackFormula:
    """A formula that a stack is asked to have: of each layer, or of the whole.

    Attributes:
        text: as it was given.
        layers: reduced composition of each layer, in any order; empty where the whole is asked for.
        elements: all that it holds.
        whole: reduced composition of the whole; empty where layers are asked for.
    """

    text: str
    layers: tuple[Counts, ...]
    elements: frozenset[str]
    whole: Counts

    @classmethod
    def parse(cls, text: str) -> StackFormula:
        """`MoS2/WSe2` names the layers, in any order; `MoWS4` is of the whole.

        Raises:
            StructureError: no such formula.
        """
        parts = [_parsed(part.strip(), text) for part in text.split("/")]
        elements = frozenset(symbol for part in parts for symbol, _ in part)
        if len(parts) > 1:
            return cls(text, tuple(parts), elements, frozenset())
        return cls(text, (), elements, parts[0])

    def is_of(self, stack: Stack) -> bool:
        """Whether a stack has it: with its defects as a whole, without them in its layers."""
        if self.layers:
            own = Counter(_reduced(layer.monolayer.species) for layer in stack.layers)
            return own == Counter(self.layers)
        return _reduced(stack.species) == self.whole

    def allows(self, perfect: Monolayer, with_defects: Monolayer) -> bool:
        """Whether a layer may be part of such a stack.

        Args:
            perfect: the layer without its defects.
            with_defects: the layer with them; the same where there are none.
        """
        if self.layers:
            return _reduced(perfect.species) in self.layers
        return self.elements.issuperset(with_defects.species)

    def number_of_layers(self, fewest: int, most: int) -> tuple[int, int]:
        """The numbers of layers, of those given, that such a stack can have."""
        return (len(self.layers),) * 2 if self.layers else (fewest, most)

    def fault(
        self,
        layers: Iterable[Monolayer],
        number_of_layers: tuple[int, int],
        maximum_atoms: int,
        lowest: Iterable[Monolayer] | None = None,
    ) -> str:
        """Why no stack of some layers can have it; empty where one can, as far as atoms tell.

        Whether the layers share a cell is not asked.

        Args:
            layers: to pick from, with any number of cells.
            number_of_layers: fewest and most.
            maximum_atoms: of the stack.
            lowest: to pick the lowest layer from; `layers` by default.
        """
        layers = list(layers)
        lowest = layers if lowest is None else list(lowest)
        fewest, most = number_of_layers
        span = str(most) if fewest == most else f"{fewest} to {most}"
        if self.layers:
            if not fewest <= len(self.layers) <= most:
                return f"{len(self.layers)} layers, where stacks have {span}"
            known = {_reduced(layer.species) for layer in layers}
            names = self.text.split("/")
            for name, wanted in zip(names, self.layers, strict=True):
                if wanted not in known:
                    there = ", ".join(sorted({layer.formula for layer in layers}))
                    return f"no layer is {name.strip()}; there are {shorten(there, LISTED)}"
            if not any(_reduced(layer.species) in self.layers for layer in lowest):
                return "the lowest layer is to be another"
            return ""
        if self._adds_up(layers, lowest, fewest, most, maximum_atoms):
            return ""
        return f"no {span} layers with {maximum_atoms} atoms at most add up to it"

    def _adds_up(self, layers, lowest, fewest: int, most: int, maximum_atoms: int) -> bool:
        """Whether whole numbers of cells of so many layers have the formula together."""
        wanted = dict(self.whole)
        symbols = sorted(wanted)
        units = maximum_atoms // sum(wanted.values())
        room = tuple(units * wanted[symbol] for symbol in symbols)

        def parts(of: Iterable[Monolayer]) -> set[tuple[int, ...]]:
            """Atoms per element that one layer of any number of cells brings."""
            found = set()
            for layer in of:
                if not self.elements.issuperset(layer.species):
                    continue
                cell = [layer.species.count(symbol) for symbol in symbols]
                cells = min(most // one for most, one in zip(room, cell, strict=True) if one)
                found |= {tuple(k * one for one in cell) for k in range(1, cells + 1)}
            return found

        def is_it(atoms: tuple[int, ...]) -> bool:
            return all(
                atoms[0] * wanted[symbol] == count * wanted[symbols[0]]
                for symbol, count in zip(symbols, atoms, strict=True)
            )

        further, reached = parts(layers), parts(lowest)
        for number in range(1, most + 1):
            if number >= fewest and any(map(is_it, reached)):
                return True
            sums = (
                tuple(map(sum, zip(one, other, strict=True)))
                for one in reached
                for other in further
            )
            reached = {
                total for total in sums if all(t <= r for t, r in zip(total, room, strict=True))
            }
        return False


def _parsed(part: str, text: str) -> Counts:
    counts = {}
    # ASE reads sums of molecules, too.
    if part.replace("(", "").replace(")", "").isalnum():
        with contextlib.suppress(ValueError):
            counts = Formula(part).count()
    if not counts or any(symbol not in atomic_numbers or symbol == "X" for symbol in counts):
        raise StructureError(
            f"formula {text!r}: expected layers such as MoS2/WSe2, or a whole such as MoWS4"
        )
    return _reduced_counts(counts)


def _reduced(species: Iterable[str]) -> Counts:
    return _reduced_counts(Counter(species))


def _reduced_counts(counts: dict[str, int]) -> Counts:
    share = gcd(*counts.values())
    return frozenset((symbol, count // share) for symbol, count in counts.items())
