"""How far to trust each number of the page: errors counted, and what the theory leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from heteroforge.dft.electronic import ANDERSON_AND_DFT, SHARED_BELOW, UNDETERMINED_BELOW_EV
from heteroforge.report.judgement import known_number
from heteroforge.report.words import joined, number_text, quantity, value_text

__all__ = ["Trust", "trust_in_numbers", "trust_in_states"]

# HSE06 less PBE without spin–orbit coupling over the semiconductors of C2DB for which both are
# known: number, lower quartile, median, upper quartile. tests/report/test_trust.py has the
# command and checks these and the next ones against the data.
HSE_OPENS_GAP_EV = (1166, 0.40, 0.72, 1.16)

# The quartiles by PBE gap: up to which gap, lower, upper.
HSE_OPENS_BY_GAP_EV = (
    (0.5, 0.19, 0.78),
    (1.0, 0.31, 0.88),
    (2.0, 0.40, 1.02),
    (3.0, 0.67, 1.34),
    (float("inf"), 1.02, 1.65),
)

# By how much the shifts of two of these monolayers from PBE to HSE06 differ in the median over
# all pairs: number of monolayers, valence band maximum, conduction band minimum.
HSE_PARTS_EDGES_EV = (1236, 0.41, 0.21)

# Masses of layers alone in docs/dft_accuracy.md: how many, and how far off (%) half of them,
# nine tenths, and all are at most.
MASSES_CHECKED = (112, 3.2, 13.1, 120.7)


@dataclass
class Trust:
    """One row of the page's table on trust: a quantity, its errors, what DFT leaves out."""

    quantity: str
    unseen: str
    interval: str
    here: str
    dft: str


_LEFT_OUT = {
    "gap": (
        "PBE gap, too small. In C2DB HSE06 opens the gap of a semiconducting monolayer by "
        "{2:.2f} eV in the median ({1:.2f} to {3:.2f} eV for the middle half of {0}). Good for "
        "ordering, not a measured and not an optical gap."
    ),
    "edge": (
        "PBE band edge against the mean vacuum level. It carries part of the gap's error; "
        "differences between similar layers are better than the values."
    ),
    "binding": (
        "PBE + D3. Other dispersion corrections give other values: compare within this table only."
    ),
    "distance": "PBE + D3, from a scan and a relaxation at zero temperature.",
}
_KIND = {
    "gap_ev": "gap",
    "vbm_ev": "edge",
    "cbm_ev": "edge",
    "binding_energy_mev_a2": "binding",
    "interlayer_gap_a": "distance",
}


def trust_in_numbers(
    metrics: Mapping, calibration: Mapping, verified: Sequence, names: Sequence[str]
) -> list[Trust]:
    """Per property: error on pairs left out, hits of the interval, error here, limits of DFT.

    Args:
        metrics, calibration: `gnn/metrics.json` and `gnn/calibration.json`, may be empty.
        verified: candidates with predicted and computed values.
        names: properties, in the order wanted.
    """
    rows = []
    for name in names:
        if name not in _KIND:
            continue
        entry = (metrics.get("properties") or {}).get(name) or {}
        unseen = interval = "not measured"
        errors = (entry.get("predictors") or {}).get(entry.get("best")) or {}
        if errors.get("mae") is not None:
            unseen = f"{_error(name, errors['mae'])} in the mean ({entry.get('labels')} stacks)"
        checked = (calibration.get("properties") or {}).get(name) or {}
        coverage = [c for c in checked.get("coverage") or [] if c is not None]
        if coverage:
            interval = f"{100 * coverage[0]:.0f}\u202f% of them, 68\u202f% expected"
        elif checked:
            interval = "too few labels to check"
        pairs = [
            (c.predicted[name], known_number(c, name))
            for c in verified
            if isinstance(c.predicted.get(name), (int, float)) and known_number(c, name) is not None
        ]
        here = "no candidate to compare"
        if pairs:
            difference = np.subtract(*zip(*pairs, strict=True))
            off = np.abs(difference)
            worst = f", {_error(name, off.max())} at worst" if len(off) > 1 else ""
            side = ""
            if len(off) > 2 and abs(np.sign(difference).sum()) == len(off):
                side = (
                    ", all predicted too large"
                    if difference[0] > 0
                    else ", all predicted too small"
                )
            here = f"{_error(name, off.mean())} in the mean of {len(off)}{worst}{side}"
        text = _LEFT_OUT[_KIND[name]].format(*HSE_OPENS_GAP_EV)
        rows.append(Trust(quantity(name).words, unseen, interval, here, text))
    return rows


def _error(name: str, error: float) -> str:
    return value_text(name, float(error))


def trust_in_states(verified: Sequence) -> list[Trust]:
    """Rows of what no network predicts: alignment type, effective masses, mobility.

    Args:
        verified: candidates with computed values.
    """
    return [_trust_in_alignment(verified), _trust_in_masses(verified), _trust_in_mobility(verified)]


def _trust_in_alignment(verified: Sequence) -> Trust:
    told = [
        (str(c.computed["anderson_alignment"]), str(c.computed["alignment"]))
        for c in verified
        if c.computed.get("anderson_alignment") and c.computed.get("alignment")
    ]
    decided = [(rule, dft) for rule, dft in told if dft != "undetermined"]
    here = "no candidate to compare"
    if told:
        right = sum(rule == dft for rule, dft in decided)
        here = f"the type that DFT finds for {right} of {len(decided)}"
        if len(decided) < len(told):
            here += f"; for {len(told) - len(decided)} DFT leaves it undetermined"
    number, valence, conduction = HSE_PARTS_EDGES_EV
    agree = [
        f"{row[i]} of {sum(row)} clearly of type {kind}"
        for i, (kind, row) in enumerate(zip(("I", "II"), ANDERSON_AND_DFT, strict=False))
    ]
    return Trust(
        "alignment type (predicted by Anderson's rule from the layers alone)",
        f"in the bundled library, layers by DFT: that of the stack's states for {joined(agree)}",
        "probabilities count how often both agree",
        here,
        f"Told from PBE states with at least {100 * SHARED_BELOW:.0f}\u202f% of their weight on "
        "one layer and the next layer's edge at least "
        f"{number_text(UNDETERMINED_BELOW_EV)}\u202feV away. A better functional "
        "can turn it: HSE06 moves the valence band maxima of two "
        f"monolayers of C2DB by amounts that differ by {valence}\u202feV in the median, conduction "
        f"band minima by {conduction}\u202feV ({number} monolayers, with spin–orbit coupling).",
    )


def _trust_in_masses(verified: Sequence) -> Trust:
    residuals = [r for c in verified if (r := known_number(c, "mass_fit_residual_ev")) is not None]
    here = "no masses computed"
    if residuals:
        here = "not predicted; fits to the DFT bands off by at most "
        here += f"{number_text(1e3 * max(residuals))}\u202fmeV"
    number, half, most, worst = MASSES_CHECKED
    return Trust(
        "effective masses",
        "not predicted",
        "not predicted",
        here,
        "Curvature of the PBE bands at the edge, √(m₁m₂) of the two principal masses, without "
        f"spin–orbit coupling. Of {number} masses of layers alone half are within "
        f"{half:.0f}\u202f% of the published PBE value, nine tenths within {most:.0f}\u202f%, and "
        f"those of nearly flat bands off by up to {worst:.0f}\u202f% (`docs/dft_accuracy.md`); "
        "where the coupling splits an edge in two, the mass is another, "
        "which that page compares, too. Masses of stacks were not checked.",
    )


def _trust_in_mobility(verified: Sequence) -> Trust:
    names = ("electron_mobility_cm2_vs", "hole_mobility_cm2_vs")
    known = sum(any(known_number(c, name) is not None for name in names) for c in verified)
    here = "no candidate to compare"
    if verified:
        here = "not computed for these candidates (`dft.mobility: true` computes it)"
    if known:
        here = f"not predicted; computed for {known} of {len(verified)}"
    return Trust(
        "mobility",
        "not predicted",
        "not predicted",
        here,
        "An upper estimate for order-of-magnitude comparison, not checked against measured "
        "values. Deformation-potential theory at 300\u202fK lets longitudinal acoustic phonons "
        f"alone scatter; {joined(_NOT_SCATTERING)} are left out.",
    )


_NOT_SCATTERING = (
    "optical, transverse and flexural phonons",
    "defects and charged impurities",
    "the substrate",
    "contacts",
)
