"""Judging verified candidates: what speaks for making one, what against, how far to trust numbers.

Every sentence is made of the candidate's own numbers. Nothing here decides what is selected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers

from heteroforge.dft.verification import RECONSTRUCTED_A
from heteroforge.report.words import joined, number_text, quantity, value_text

__all__ = ["Trust", "best_first", "doubts", "heavy_elements", "reasons", "trust_in_numbers"]

FIRST_HEAVY_ELEMENT = 39  # Y: from the 4d row on, spin–orbit splittings reach 0.1 eV

# A value this close to the end of its window may lie on the other side in a finer calculation:
# energies as for the alignment, where offsets below 0.1 eV count as undetermined.
CLOSE = {"eV": 0.1, "meV/Å²": 1.0, "Å": 0.05}
LARGE_STRAIN_SHARE = 0.2  # of the binding energy
STACKING_FAULT_MEV_A2 = 5.0  # stackings this near in energy occur side by side
SMALLEST_SLIDE_A = 0.005
LARGE_SLIDE_A = 0.5  # a third of the way between neighbouring high-symmetry registries of MX2

# HSE06 less PBE without spin–orbit coupling over the semiconductors of C2DB for which both are
# known: number, lower quartile, median, upper quartile. tests/report/test_judgement.py has the
# command and checks them against the data.
HSE_OPENS_GAP_EV = (1166, 0.40, 0.72, 1.16)


def best_first(candidates: Sequence) -> list:
    """Inside all targets, then fewest misses, then fewest doubts, then most strongly bound.

    Bound means binding less strain per area: what holds the stack together once the layers have
    been stretched to fit. Stacks that may slide into a better one of the list come after those
    that do not, failed and pending candidates last.
    """
    order = {"verified": 0, "failed": 1, "pending": 2}
    alike: dict[tuple, list] = {}
    for candidate in candidates:
        if candidate.status == "verified" and candidate.stack is not None:
            alike.setdefault(tuple(sorted(_faces(candidate.stack))), []).append(candidate)

    def key(candidate) -> tuple:
        faces = () if candidate.stack is None else tuple(sorted(_faces(candidate.stack)))
        rivals = alike.get(faces, [])
        slides = any(slides for _, slides in _better(candidate, rivals))
        net = _number(candidate, "net_energy_mev_a2") or 0.0
        several = len(doubts(candidate, rivals))
        return order[candidate.status], len(candidate.misses), slides, several, -net, candidate.slot

    return sorted(candidates, key=key)


def _better(candidate, verified: Sequence) -> list[tuple]:
    """Stacks of the same layers that hold together clearly better, the best first.

    Returns:
        Pairs of a candidate and whether this one only has to slide to become it: same layers,
        faces and angles in the same order (or upside down), another registry.
    """
    own = _number(candidate, "net_energy_mev_a2")
    if own is None or candidate.stack is None:
        return []
    names = sorted(_faces(candidate.stack))
    found = []
    for other in verified:
        net = _number(other, "net_energy_mev_a2")
        if other.stack is None or net is None or net - own < CLOSE["meV/Å²"]:
            continue
        if sorted(_faces(other.stack)) == names:
            found.append((net, other, _order(other.stack) == _order(candidate.stack)))
    return [(other, slides) for _, other, slides in sorted(found, key=lambda f: -f[0])]


def _faults_away(candidate, verified: Sequence) -> list:
    """Stackings of the same layers, in energy a stacking fault away, of another alignment type."""
    own, kind = _number(candidate, "net_energy_mev_a2"), candidate.computed.get("alignment")
    if own is None or candidate.stack is None or kind not in ("I", "II", "III"):
        return []
    layers = sorted(name for name, _ in _faces(candidate.stack))
    return [
        other
        for other in verified
        if other.stack is not None
        and (net := _number(other, "net_energy_mev_a2")) is not None
        and abs(net - own) < STACKING_FAULT_MEV_A2
        and other.computed.get("alignment") in ("I", "II", "III")
        and other.computed["alignment"] != kind
        and sorted(name for name, _ in _faces(other.stack)) == layers
    ]


def _faces(stack) -> list[tuple[str, bool]]:
    """Layers by name and defects, and which face is up where the two differ."""
    names = [layer.monolayer.name or layer.monolayer.formula for layer in stack.layers]
    return [
        (f"{name} {layer.defects}", layer.flipped and not layer.monolayer.has_equal_faces)
        for name, layer in zip(names, stack.layers, strict=True)
    ]


def _order(stack) -> tuple:
    """What does not change when layers slide; the same for a stack and its upside-down."""
    twists = [
        round(min(t % 360, -t % 360)) for t in map(stack.twist_deg, range(len(stack.layers) - 1))
    ]
    upside_down = [
        (name, (not up) and not layer.monolayer.has_equal_faces)
        for (name, up), layer in zip(_faces(stack), stack.layers, strict=True)
    ]
    return min((_faces(stack), twists), (upside_down[::-1], twists[::-1]))


def heavy_elements(candidate) -> list[str]:
    """Elements whose spin–orbit coupling, which is left out, can shift band edges by 0.1 eV."""
    symbols = [] if candidate.atoms is None else candidate.atoms.get_chemical_symbols()
    return sorted({s for s in symbols if atomic_numbers[s] >= FIRST_HEAVY_ELEMENT})


def reasons(candidate, verified: Sequence = ()) -> list[str]:
    """Why to make this one: how safely it meets the targets, what holds it together.

    Args:
        candidate: a verified candidate.
        verified: all of them, to tell which is bound most strongly.
    """
    found = []
    for name, target in candidate.target.items():
        value, margin = _number(candidate, name), _margin(_number(candidate, name), target)
        if margin is not None and margin >= 0:
            words = f"{quantity(name).words} {value_text(name, value)}"
            found.append(f"{words}: {value_text(name, margin)} inside the window")
    net = _number(candidate, "net_energy_mev_a2")
    if net is not None and net > 0:
        others = [n for c in verified if (n := _number(c, "net_energy_mev_a2")) is not None]
        words = f"binding less strain {value_text('net_energy_mev_a2', net)}"
        if len(others) > 1 and net >= max(others):
            words += f", the most of the {len(others)} verified"
        found.append(words)
    strain = candidate.stack.mismatch_percent if candidate.stack is not None else None
    if strain is not None:
        found.append(
            "the layers share one cell without strain"
            if strain < 0.005
            else f"the layers are strained by at most {value_text('mismatch_percent', strain)}"
        )
    slide = _number(candidate, "registry_shift_a")
    # Less is no sign of stability: at a registry of high symmetry no force pulls sideways.
    if slide is not None and SMALLEST_SLIDE_A <= slide <= LARGE_SLIDE_A:
        found.append(f"relaxation kept the registry (slid by {number_text(slide, 2)}\u202fÅ)")
    return found


def _margin(value: float | None, target: Mapping) -> float | None:
    """How far a value lies inside its window, negative outside; None where that means nothing."""
    window = target["window"]
    if value is None or not isinstance(window, (list, tuple)) or len(window) != 2:
        return None
    ends = [value - window[0]] if isinstance(window[0], (int, float)) else []
    ends += [window[1] - value] if isinstance(window[1], (int, float)) else []
    return min(ends) if ends else None


def doubts(candidate, verified: Sequence = ()) -> list[str]:
    """What speaks against trusting or making this candidate.

    Args:
        candidate: of any status; only verified ones are doubted.
        verified: all verified ones: some may be better stacks of the same layers.
    """
    if candidate.status != "verified":
        return []
    found = []
    for name, target in candidate.target.items():
        value = _number(candidate, name)
        margin = _margin(value, target)
        close = CLOSE.get(quantity(name).unit)
        if margin is not None and close is not None and 0 <= margin < close:
            found.append(
                f"{quantity(name).words} is only {value_text(name, margin)} from the end of its "
                "window: a finer protocol may move it out"
            )
    binding, strain = _number(candidate, "binding_energy_mev_a2"), None
    if binding is not None and binding <= 0:
        found.append("the layers do not bind")
    else:
        strain = _number(candidate, "strain_energy_mev_a2")
    if strain is not None and binding and strain > LARGE_STRAIN_SHARE * binding:
        found.append(
            f"fitting the layers costs {value_text('strain_energy_mev_a2', strain)}, "
            f"{100 * strain / binding:.0f}\u202f% of the binding energy"
        )
    slide = _number(candidate, "registry_shift_a")
    if slide is not None and slide > LARGE_SLIDE_A:
        found.append(
            f"a layer slid by {number_text(slide, 2)}\u202fÅ: the registry asked for is not stable"
        )
    for other, slides in _better(candidate, verified)[:1]:
        more = _number(other, "net_energy_mev_a2") - _number(candidate, "net_energy_mev_a2")
        words = f"the same layers are bound by {value_text('net_energy_mev_a2', more)} more in "
        words += f"slot {other.slot}: "
        found.append(words + ("they may slide there" if slides else "grown freely they prefer it"))
    for other in _faults_away(candidate, verified)[:1]:
        found.append(
            f"slot {other.slot}, the same layers bound nearly as strongly in another stacking, has "
            f"alignment {other.computed['alignment']} instead of {candidate.computed['alignment']}"
        )
    moved = _number(candidate, "layer_deformation_a")
    if moved is not None and moved > RECONSTRUCTED_A:
        found.append(
            f"atoms moved by {number_text(moved, 2)}\u202fÅ within a layer: it is no longer the "
            "layer that was put there"
        )
    if "alignment" in candidate.target and candidate.computed.get("alignment") == "undetermined":
        found.append("the band alignment is undetermined: both layers share a band edge")
    heavy = heavy_elements(candidate)
    if heavy:
        found.append(f"{joined(heavy)}: spin–orbit coupling, left out here, shifts the band edges")
    magnetisation = _number(candidate, "magnetisation_bohr")
    if magnetisation and abs(magnetisation) > 0.1:
        size = value_text("magnetisation_bohr", magnetisation)
        found.append(f"magnetic ({size}): only ferromagnetic order was tried")
    return found


def _number(candidate, name: str) -> float | None:
    value = candidate.computed.get(name)
    known = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return float(value) if known and np.isfinite(value) else None


# --- how far to trust each number -------------------------------------------------------------


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
            (c.predicted[name], _number(c, name))
            for c in verified
            if isinstance(c.predicted.get(name), (int, float)) and _number(c, name) is not None
        ]
        here = "no candidate to compare"
        if pairs:
            off = np.abs(np.subtract(*zip(*pairs, strict=True)))
            worst = f", {_error(name, off.max())} at worst" if len(off) > 1 else ""
            here = f"{_error(name, off.mean())} in the mean of {len(off)}{worst}"
        text = _LEFT_OUT[_KIND[name]].format(*HSE_OPENS_GAP_EV)
        rows.append(Trust(quantity(name).words, unseen, interval, here, text))
    return rows


def _error(name: str, error: float) -> str:
    return value_text(name, float(error))
