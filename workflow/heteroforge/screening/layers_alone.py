"""Properties of layers alone: what a library knows, and predictions of what it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr

from heteroforge.features import facing_levels
from heteroforge.io.conventions import METAL_BELOW_EV
from heteroforge.models.monolayer_prediction import MonolayerPredictor
from heteroforge.models.property_prediction import WITHOUT_SPIN_ORBIT, Predictor
from heteroforge.sources.published_tables import PROTOCOL
from heteroforge.structures import Monolayer, Stack

__all__ = ["Edges", "LayersAlone"]


class Edges(NamedTuple):
    """Band edges of a layer in eV against its mean vacuum level, without spin–orbit coupling.

    Attributes:
        vbm, cbm: NaN where nobody knows them.
        vbm_std, cbm_std: zero where the edges are known.
        vacuum_step, vacuum_step_std: upper less lower vacuum level; none where it is not known.
        has_gap: probability that the layer is no metal.
    """

    vbm: float
    cbm: float
    vbm_std: float
    cbm_std: float
    vacuum_step: float
    vacuum_step_std: float
    has_gap: float


class LayersAlone:
    """Values of layers, as a library knows them or else as they are predicted, once each.

    Args:
        table: of the library, indexed by `monolayer_id`.
        of_layers: predicts what the library does not know; None: nothing is predicted.
        published: tells by how much spin–orbit coupling moves edges and gap. `of_layers` has
            learned with it, and it is in C2DB's values; this project's are without it, as are those
            that DFT verifies.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        of_layers: MonolayerPredictor | None = None,
        published: Predictor | None = None,
    ) -> None:
        self._known = table.to_dict("index")
        self._of_layers, self._published = of_layers, published
        self._predicted: dict[Monolayer, Mapping] = {}
        self._edges: dict[Monolayer, Edges] = {}

    def hull_distance_ev_atom(self, layer: Monolayer) -> float:
        """Distance from the convex hull in eV/atom; NaN where nobody knows it."""
        own = self._value(layer, "hull_distance_ev_atom")
        if np.isnan(own) and self._of_layers is not None:
            return float(self._prediction(layer)["hull_distance_ev_atom"])
        return own

    def edges(self, layer: Monolayer) -> Edges:
        """Band edges, both known or both predicted; these lie the known gap apart, if there is one.

        Of what the library knows nothing but the edges are needed: a step that it lacks is none.
        """
        if layer not in self._edges:
            self._edges[layer] = self._find_edges(layer)
        return self._edges[layer]

    def aligned_edges(self, stack: Stack) -> list[Edges]:
        """Edges of a stack's layers by Anderson's rule: facing vacuum levels are made equal."""
        edges = [self.edges(layer.monolayer) for layer in stack.layers]
        turned = [-1.0 if layer.flipped else 1.0 for layer in stack.layers]
        shifts = facing_levels(np.array([edge.vacuum_step for edge in edges]) * turned)
        return [
            edge._replace(vbm=edge.vbm + shift, cbm=edge.cbm + shift)
            for edge, shift in zip(edges, shifts, strict=True)
        ]

    def carriers(self, stack: Stack) -> tuple[tuple[Monolayer, float], tuple[Monolayer, float]]:
        """Layers that hold the electrons and the holes, each with its mobility in cm²/(V s).

        By Anderson's rule, of the layers by themselves. Mobilities are zero where a layer is a
        metal, which has the carriers, and NaN where nobody knows them or the edges.
        """
        layers = [layer.monolayer for layer in stack.layers]
        edges = self.aligned_edges(stack)
        is_metal = any(edge.has_gap < 0.5 for edge in edges)
        found = []
        for carrier, levels in (
            ("electron", [e.cbm for e in edges]),
            ("hole", [-e.vbm for e in edges]),
        ):
            layer = layers[int(np.argmin(levels))]  # one that is not known comes first
            name = f"{carrier}_mobility_cm2_vs"
            mobility = 0.0 if is_metal else self._value(layer, name)
            if np.isnan(mobility) and self._of_layers is not None:
                mobility = float(self._prediction(layer)[name])
            found.append((layer, mobility if np.isfinite(levels).all() or is_metal else np.nan))
        return found[0], found[1]

    def _find_edges(self, layer: Monolayer) -> Edges:
        row = self._known.get(layer.name, {})
        gap, vbm, cbm = (self._value(layer, name) for name in WITHOUT_SPIN_ORBIT)
        if row.get("protocol") == PROTOCOL and self._published is not None:
            lost = self._without_coupling(layer)
            vbm, cbm = vbm + lost["vbm_ev"], cbm + lost["cbm_ev"]
            # A metal stays one.
            gap += lost["gap_ev"] if gap > 0.0 else 0.0
        step = float(np.nan_to_num(self._value(layer, "vacuum_step_ev")))
        is_metal = row.get("is_metal")
        has_gap = float(gap >= METAL_BELOW_EV) if np.isfinite(gap) else np.nan
        if is_metal is not None and pd.notna(is_metal):
            has_gap = float(not is_metal)
        if np.isfinite([vbm, cbm]).all() or has_gap == 0.0 or self._of_layers is None:
            # Edges without a gap and without a word of metals are those of a semiconductor.
            return Edges(vbm, cbm, 0.0, 0.0, step, 0.0, 1.0 if np.isnan(has_gap) else has_gap)
        said = self._prediction(layer)
        if np.isnan(has_gap):
            has_gap = float(ndtr((said["gap_unclipped_ev"] - METAL_BELOW_EV) / said["gap_ev_std"]))
        vbm, cbm = said["vbm_ev"], said["cbm_ev"]
        if np.isfinite(gap):
            middle = (vbm + cbm) / 2
            vbm, cbm = middle - gap / 2, middle + gap / 2
        step_std = 0.0
        if not row:
            step, step_std = said["vacuum_step_ev"], said["vacuum_step_ev_std"]
            if layer.has_equal_faces:
                step_std = 0.0
        stds = said["vbm_ev_std"], said["cbm_ev_std"]
        return Edges(*map(float, (vbm, cbm, *stds, step, step_std)), has_gap)

    def _value(self, layer: Monolayer, name: str) -> float:
        own = self._known.get(layer.name, {}).get(name)
        return float("nan") if own is None or pd.isna(own) else float(own)

    def _prediction(self, layer: Monolayer) -> Mapping:
        if layer not in self._predicted:
            row = self._of_layers.predict([layer]).iloc[0].to_dict()
            if self._published is not None:
                lost = self._without_coupling(layer)
                for name, shift in lost.items():
                    row[name] += shift
                row["gap_unclipped_ev"] += lost["gap_ev"]
            self._predicted[layer] = row
        return self._predicted[layer]

    def _without_coupling(self, layer: Monolayer) -> dict[str, float]:
        """By how much gap and edges move in eV when spin–orbit coupling is taken off."""
        (alone,) = self._published.predict_layers([layer]).values()
        return {name: alone[without] - alone[name] for name, without in WITHOUT_SPIN_ORBIT.items()}
