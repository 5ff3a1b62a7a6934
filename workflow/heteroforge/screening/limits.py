"""Hard limits: what gets no DFT slot, whatever is predicted of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import pandas as pd

from heteroforge.dft.cost import expected_core_min
from heteroforge.screening.layers_alone import LayersAlone
from heteroforge.structures import Stack

__all__ = ["HardLimits"]


@dataclass(frozen=True)
class HardLimits:
    """What a sample must keep to.

    Layers that no library knows must, besides, have oxidation states that balance, the positive
    ones on the less electronegative elements.

    Attributes:
        maximum_atoms: in the cell.
        maximum_mismatch_percent: largest principal strain.
        minimum_materials: different monolayers in a stack, 2 for heterostructures.
        elements_excluded: that no layer may hold.
        maximum_hull_distance_ev_atom: of each layer alone from the convex hull of its elements'
            phases, for how likely it is to stay what it is; None: any.
        minimum_mobility_cm2_vs: known or predicted of the layers alone that hold the carriers;
            None: any.
        mobility_of: carriers that must have it: "electrons", "holes", "either" or "both".
        maximum_dft_core_min: core-minutes that DFT is expected to take by the protocol `quick`
            and in one registry of high symmetry, whatever the protocol and the registry that were
            asked for: a measure of layers and cell; None: any.
        pseudopotentials: the family, needed where there is a limit to DFT.
    """

    maximum_atoms: int
    maximum_mismatch_percent: float
    minimum_materials: int = 1
    elements_excluded: Sequence[str] = ()
    maximum_hull_distance_ev_atom: float | None = None
    minimum_mobility_cm2_vs: float | None = None
    mobility_of: str = "either"
    maximum_dft_core_min: float | None = None
    pseudopotentials: str = ""

    def faults(
        self,
        samples: pd.DataFrame,
        stacks: Sequence[Stack],
        alone: LayersAlone | None = None,
    ) -> list[str]:
        """Why each sample breaks a limit; empty where it keeps to all.

        Args:
            samples: `number_of_atoms`, `mismatch_percent`.
            stacks: in the same order.
            alone: what is known or predicted of the layers; needed where there is a limit to hull
                distance or mobility.
        """
        rows = zip(samples["number_of_atoms"], samples["mismatch_percent"], stacks, strict=True)
        return [self._fault(*row, alone) for row in rows]

    def _fault(
        self,
        atoms: int,
        mismatch_percent: float,
        stack: Stack,
        alone: LayersAlone | None,
    ) -> str:
        layers = {layer.monolayer for layer in stack.layers}
        if stack.number_of_layers == 1:
            return "a layer alone, where DFT verifies stacks"
        if any(layer.defects for layer in stack.layers):
            return "defects, which no model here predicts"
        if atoms > self.maximum_atoms:
            return f"more than {self.maximum_atoms} atoms"
        if mismatch_percent > self.maximum_mismatch_percent + 1e-6:
            return f"mismatch above {self.maximum_mismatch_percent:g} %"
        if len({layer.key() for layer in layers}) < self.minimum_materials:
            return f"fewer than {self.minimum_materials} different monolayers"
        if unwanted := sorted(set(self.elements_excluded) & set(stack.species)):
            return f"excluded element {', '.join(unwanted)}"
        new = {layer for layer in layers if not layer.name}
        if unbalanced := sorted(
            layer.formula for layer in new if not _balances(tuple(sorted(layer.species)))
        ):
            return f"no oxidation states balance in new layer {', '.join(unbalanced)}"
        most = self.maximum_hull_distance_ev_atom
        if most is not None:
            # A distance that is not a number is not within it.
            far = sorted(
                f"{layer.formula} {distance:.2f} eV/atom"
                for layer in layers
                if not (distance := alone.hull_distance_ev_atom(layer)) <= most
            )
            if far:
                return f"farther than {most:g} eV/atom from the convex hull: {', '.join(far)}"
        least = self.minimum_mobility_cm2_vs
        if least is not None:
            carriers = dict(zip(("electrons", "holes"), alone.carriers(stack), strict=True))
            asked = carriers if self.mobility_of in ("either", "both") else [self.mobility_of]
            enough = [carriers[carrier][1] >= least for carrier in asked]
            if not (any(enough) if self.mobility_of == "either" else all(enough)):
                where = ", ".join(f"{c} on {carriers[c][0].formula}" for c in asked)
                return f"no mobility of {least:g} cm²/(V s): {where}"
        most = self.maximum_dft_core_min
        if most is not None:
            # Without offsets axes and mirrors of the layers meet, where they have any in common.
            aligned = tuple(replace(one, offset=(0.0, 0.0)) for one in stack.interfaces)
            cost = expected_core_min(
                replace(stack, interfaces=aligned), pseudopotentials=self.pseudopotentials
            )
            if math.isnan(cost):
                return f"an element without a pseudopotential in {self.pseudopotentials}"
            if cost > most:
                return f"more than {most:g} core-minutes of DFT by the protocol quick"
        return ""


@lru_cache(maxsize=10000)
def _balances(species: tuple[str, ...]) -> bool:
    """Whether oxidation states add up to zero, negative ones on the more electronegative elements.

    The states of known crystals are tried first, then all that pymatgen lists: the former alone
    refuse 8 of 150 stable semiconductors of C2DB, AlSe among them, the latter one, both none.
    """
    # Imported here: pymatgen takes a second to load.
    from pymatgen.core import Composition

    # Of the whole cell, so that atoms of one element may have different states.
    composition = Composition("".join(species))
    if len(composition) == 1:
        return True
    for all_states in (False, True):
        for states in composition.oxi_state_guesses(all_oxi_states=all_states):
            positive = [element.X for element in composition if states[element.symbol] > 0]
            negative = [element.X for element in composition if states[element.symbol] < 0]
            if positive and negative and max(positive) < min(negative):
                return True
    return False
