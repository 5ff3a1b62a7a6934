"""What latents can be asked for beside windows of numbers: layers, alignment, elements."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from heteroforge.structures import Stack
from heteroforge.structures.stack import MAXIMUM_LAYERS

__all__ = ["ALIGNMENTS", "Traits"]

ALIGNMENTS = ("I", "II", "III")
SHARE_HIDDEN = 0.5


@dataclass(frozen=True)
class Traits:
    """Traits of three kinds as zeros and ones: number of layers, alignment, elements.

    Attributes:
        elements: those that training stacks hold.
    """

    elements: tuple[str, ...]

    @classmethod
    def among(cls, stacks: Sequence[Stack]) -> Traits:
        """With the elements of some stacks."""
        return cls(tuple(sorted({symbol for stack in stacks for symbol in stack.species})))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many traits there are of each kind, in order."""
        return MAXIMUM_LAYERS, len(ALIGNMENTS), len(self.elements)

    def of(self, stacks: Sequence[Stack], alignments: Sequence[str | None]) -> np.ndarray:
        """All traits of stacks (n, traits); one not in `ALIGNMENTS` is not told."""
        return np.array(
            [
                self.wanted(stack.number_of_layers, alignment or "any", set(stack.species))
                for stack, alignment in zip(stacks, alignments, strict=True)
            ],
            dtype=np.float32,
        ).reshape(len(stacks), sum(self.sizes))

    def known(self, traits: np.ndarray) -> np.ndarray:
        """Which of the traits (n, traits) of stacks are known to be there or not to be."""
        known = np.ones_like(traits)
        start, end = MAXIMUM_LAYERS, MAXIMUM_LAYERS + len(ALIGNMENTS)
        known[:, start:end] = traits[:, start:end].any(axis=1, keepdims=True)
        return known

    def wanted(
        self, number_of_layers: int = 0, alignment: str = "any", elements: Collection[str] = ()
    ) -> np.ndarray:
        """A request (traits): 0 layers, alignment `any` and no elements ask for nothing.

        Elements that no training stack holds cannot be asked for and are left out.
        """
        count = [float(n + 1 == number_of_layers) for n in range(MAXIMUM_LAYERS)]
        kind = [float(name == alignment) for name in ALIGNMENTS]
        return np.array(count + kind + [float(e in elements) for e in self.elements])

    def random_requests(self, traits: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Requests (n, traits) that stacks with these traits meet: kinds left out, elements too."""
        shown = generator.random((len(traits), len(self.sizes))) >= SHARE_HIDDEN
        requests = traits * np.repeat(shown, self.sizes, axis=1)
        some = slice(len(traits[0]) - len(self.elements), None)
        requests[:, some] *= generator.random(requests[:, some].shape) >= SHARE_HIDDEN
        return requests.astype(np.float32)
