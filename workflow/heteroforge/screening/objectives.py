"""Objectives of the screen: probability of targets and band alignment, Pareto fronts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtr

from heteroforge.dft.electronic import (
    ANDERSON_AND_DFT,
    UNDETERMINED_BELOW_EV,
    anderson_alignment,
)
from heteroforge.io import InputError
from heteroforge.labels import layer_edges
from heteroforge.models.windows import UNCLIPPED, property_window, window_probability
from heteroforge.screening.layers_alone import LayersAlone
from heteroforge.structures import Stack

__all__ = [
    "ALIGNMENT_COLUMNS",
    "alignment_probabilities",
    "anderson_probabilities",
    "expected_alignment",
    "joint_probability",
    "pareto_ranks",
]

# Columns of `alignment_probabilities`.
ALIGNMENT_COLUMNS = {"I": "type_i_probability", "II": "type_ii_probability"}

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(64)


def joint_probability(
    predictions: pd.DataFrame,
    targets: Mapping[str, Sequence[float | None]],
    alignment: str = "any",
) -> np.ndarray:
    """Probability (n) that all properties are inside their windows, and the alignment is right.

    Properties are taken as independent normal variables with the calibrated standard deviations;
    errors that go together (a gap and its edges) make the product an underestimate.

    Args:
        predictions: columns `<property>` and `<property>_std`, those of `UNCLIPPED` where a value
            was cut off, and those of `ALIGNMENT_COLUMNS` where an alignment is asked for.
        targets: windows [low, high], null for an open end.
        alignment: `I`, `II` or `any`. What is not known of it is as likely as
            among all bundled stacks.

    Raises:
        InputError: a target that is not predicted.
    """
    result = np.ones(len(predictions))
    for name, window in targets.items():
        if name not in predictions:
            raise InputError(f"targets.{name}: not among the predicted properties")
        result = result * window_probability(
            predictions.get(UNCLIPPED.get(name), predictions[name]).to_numpy(),
            predictions[f"{name}_std"].to_numpy(),
            property_window(name, window),
        )
    if alignment != "any":
        share = np.sum(ANDERSON_AND_DFT, axis=0)[list(ALIGNMENT_COLUMNS).index(alignment)]
        share = share / np.sum(ANDERSON_AND_DFT)
        chance = predictions[ALIGNMENT_COLUMNS[alignment]].fillna(share)
        result = result * chance.to_numpy(dtype=float)
    return result


def expected_alignment(stack: Stack, table: pd.DataFrame) -> str | None:
    """Alignment by Anderson's rule as `dft.electronic.anderson_alignment` names it.

    None where an edge of a layer is unknown.

    Args:
        stack: any stack.
        table: of the library, indexed by monolayer_id.
    """
    edges = layer_edges(stack, table)
    return None if edges is None else anderson_alignment(edges.tolist())[0]


def alignment_probabilities(
    stacks: Sequence[Stack],
    alone: LayersAlone,
    vbm_std_ev: np.ndarray,
    cbm_std_ev: np.ndarray,
) -> np.ndarray:
    """Probabilities (n, 2) that DFT tells type I, and II; NaN where an edge is unknown.

    Those of Anderson's rule (`anderson_probabilities`) times how often DFT of stacks agrees with
    it, or says otherwise (`ANDERSON_AND_DFT`, with one more of each for what was not seen).

    Args:
        stacks: any (n).
        alone: what is known or predicted of the layers.
        vbm_std_ev, cbm_std_ev: calibrated standard deviations of the stacks' edges (n).
    """
    told = np.array(ANDERSON_AND_DFT) + 1.0
    told /= told.sum(axis=1, keepdims=True)
    return anderson_probabilities(stacks, alone, vbm_std_ev, cbm_std_ev) @ told[:, :2]


def anderson_probabilities(
    stacks: Sequence[Stack],
    alone: LayersAlone,
    vbm_std_ev: np.ndarray,
    cbm_std_ev: np.ndarray,
) -> np.ndarray:
    """Probabilities (n, 3) of type I, II and neither by Anderson's rule; NaN without an edge.

    All are zero where a layer is a metal, with which there is neither, and less by the probability
    that one is.

    Type I: both band edges on one layer; II: on different ones. Both ahead of the next layer's edge
    by 0.1 eV at least, as DFT wants it; what is left is undetermined. Of the layers' edges by
    Anderson's rule, facing vacuum levels made equal. Each edge of a layer is a normal variable of
    its own, with 1/√2 of the standard deviation of the stack's, so that the offset between two
    layers is as uncertain as the edge of a stack that was predicted from them; with its own
    standard deviation, and half of its vacuum step's, where it is a prediction that is less
    certain. A gap that may close (type III) is left to the window of the gap.

    Args:
        stacks: any (n).
        alone: what is known or predicted of the layers.
        vbm_std_ev, cbm_std_ev: calibrated standard deviations of the stacks' edges (n).
    """
    most = max((stack.number_of_layers for stack in stacks), default=1)
    # Where a stack has fewer layers, levels that hold no edge.
    valence = np.full((len(stacks), most), -1e3)
    conduction = np.full((len(stacks), most), 1e3)
    valence_std, conduction_std = (
        np.repeat(np.asarray(std)[:, None] / np.sqrt(2), most, axis=1)
        for std in (vbm_std_ev, cbm_std_ev)
    )
    have_gaps = np.ones(len(stacks))
    for i, stack in enumerate(stacks):
        vbm, cbm, vbm_std, cbm_std, _, step_std, has_gap = np.array(alone.aligned_edges(stack)).T
        have_gaps[i], n = np.prod(has_gap), stack.number_of_layers
        valence[i, :n], conduction[i, :n] = vbm, cbm
        for stds, own in ((valence_std, vbm_std), (conduction_std, cbm_std)):
            stds[i, :n] = np.maximum(stds[i, :n], np.hypot(own, step_std / 2))
    holds_vbm = _highest(valence, valence_std)
    holds_cbm = _highest(-conduction, conduction_std)
    one = (holds_vbm * holds_cbm).sum(axis=1)
    either = holds_vbm.sum(axis=1) * holds_cbm.sum(axis=1)
    found = np.clip(np.column_stack([one, either - one, 1.0 - either]), 0.0, 1.0)
    found *= have_gaps[:, None]
    found[have_gaps == 0.0] = 0.0  # whatever the edges of metals are
    return found


def _highest(levels: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Probability (n, m) of each of m normal variables to lie clearly above all others.

    Clearly: by `UNDETERMINED_BELOW_EV`.

    Args:
        levels, std: means and standard deviations (n, m).
    """
    std = np.maximum(std, 1e-6)
    result = np.zeros_like(levels)
    for i in range(levels.shape[1]):
        lead = levels[:, i : i + 1] - np.delete(levels, i, axis=1) - UNDETERMINED_BELOW_EV
        own, others = std[:, i : i + 1], np.delete(std, i, axis=1)
        if lead.shape[1] == 1:
            result[:, i] = ndtr(lead / np.hypot(own, others))[:, 0]
            continue
        for node, weight in zip(NODES, WEIGHTS / WEIGHTS.sum(), strict=True):
            result[:, i] += weight * ndtr((lead + own * node) / others).prod(axis=1)
    return result


def pareto_ranks(objectives: np.ndarray, most_fronts: int = 20) -> np.ndarray:
    """Front of each point, 1 for those that no other point beats; all objectives to be large.

    A point beats another if it is nowhere worse and somewhere better; equal points share a front.

    Args:
        objectives: (n, m).
        most_fronts: points behind this many fronts all get the next number.
    """
    objectives = np.asarray(objectives, dtype=float)
    n = len(objectives)
    ranks = np.zeros(n, dtype=int)
    unique, inverse = np.unique(objectives, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    # Ordered by the first objective, then the others: nothing later can beat what comes before.
    order = np.lexsort(unique.T[::-1])[::-1]
    remaining = unique[order]
    place = np.zeros(len(unique), dtype=int)
    index = order
    for front in range(1, most_fronts + 1):
        if len(remaining) == 0:
            break
        members: list[int] = []
        values = np.zeros((0, objectives.shape[1]))
        for i, point in enumerate(remaining):
            if len(values) and np.all(values >= point, axis=1).any():
                continue
            members.append(i)
            values = remaining[members]
        place[index[members]] = front
        keep = np.ones(len(remaining), dtype=bool)
        keep[members] = False
        remaining, index = remaining[keep], index[keep]
    place[index] = most_fronts + 1
    ranks[:] = place[inverse]
    return ranks
