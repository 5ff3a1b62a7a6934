"""Judging verified candidates: what speaks for making one, and what against.

Every sentence is made of the candidate's own numbers. Nothing here decides what is selected.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import atomic_numbers

from heteroforge.dft.electronic import SHARED_BELOW, UNDETERMINED_BELOW_EV
from heteroforge.dft.verification import RECONSTRUCTED_A, layer_edges
from heteroforge.report.words import formula_text, joined, number_text, quantity, value_text
from heteroforge.structures.compare import SLID_A

__all__ = [
    "BONDED_CONTACT_RATIO",
    "FAR_OFF_STANDARD_DEVIATIONS",
    "are_bonded",
    "best_first",
    "doubts",
    "heavy_elements",
    "known_number",
    "layer_order",
    "protocol_name",
    "reasons",
    "standard_deviations_off",
    "why_undetermined",
]

FIRST_HEAVY_ELEMENT = 39  # Y: from the 4d row on, spin–orbit splittings reach 0.1 eV

# A value this close to the end of its window may lie on the other side in a finer calculation:
# energies as for the alignment, where offsets below 0.1 eV count as undetermined.
CLOSE = {"eV": 0.1, "meV/Å²": 1.0, "Å": 0.05}
LARGE_STRAIN_SHARE = 0.2  # of the binding energy
NEGATIVE_STRAIN_MEV_A2 = -0.3  # less is noise of energies
STACKING_FAULT_MEV_A2 = 5.0  # stackings this near in energy occur side by side
SMALLEST_SLIDE_A = 0.005
# Nearer than this share of covalent radii, published bilayers bind like bonded ones
# (docs/learning.md). The default: a campaign may set its own, as the screen and the labels take it.
BONDED_CONTACT_RATIO = 1.2
# Predictions whose error is further out than their own standard deviations admit.
FAR_OFF_STANDARD_DEVIATIONS = 3.0
FAR_OFF_PATH_EV = 0.05  # less is what the path's steps leave between its points
LARGE_LATTICE_SHIFT = 0.01  # of a lattice constant: gaps follow by some 0.1 eV


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
        slides = any(slides for _, slides in _better(candidate, rivals)) or are_bonded(candidate)
        net = known_number(candidate, "net_energy_mev_a2") or 0.0
        several = len(doubts(candidate, rivals))
        return order[candidate.status], len(candidate.misses), slides, several, -net, candidate.slot

    return sorted(candidates, key=key)


def _better(candidate, verified: Sequence) -> list[tuple]:
    """Stacks of the same layers that hold together clearly better, the best first.

    Returns:
        Pairs of a candidate and whether this one only has to slide to become it: same layers,
        faces and angles in the same order (or upside down), another registry.
    """
    own = known_number(candidate, "net_energy_mev_a2")
    if own is None or candidate.stack is None:
        return []
    names = sorted(_faces(candidate.stack))
    found = []
    for other in verified:
        net = known_number(other, "net_energy_mev_a2")
        if other.stack is None or net is None or net - own < CLOSE["meV/Å²"]:
            continue
        if sorted(_faces(other.stack)) == names:
            found.append((net, other, _order(other.stack) == _order(candidate.stack)))
    return [(other, slides) for _, other, slides in sorted(found, key=lambda f: -f[0])]


def are_bonded(candidate) -> bool:
    """Whether the layers are as near as in published bilayers that are bonded."""
    ratio = known_number(candidate, "closest_contact_ratio")
    return ratio is not None and ratio < candidate.bonded_below


def _faults_away(candidate, verified: Sequence) -> list:
    """Stackings of the same layers, in energy a stacking fault away, of another alignment type."""
    own, kind = known_number(candidate, "net_energy_mev_a2"), candidate.computed.get("alignment")
    if own is None or candidate.stack is None or kind not in ("I", "II", "III"):
        return []
    layers = sorted(name for name, _ in _faces(candidate.stack))
    return [
        other
        for other in verified
        if other.stack is not None
        and (net := known_number(other, "net_energy_mev_a2")) is not None
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


def layer_order(stack) -> list[tuple[str, bool]]:
    """Layers and faces from the bottom; the same for a stack and its upside-down."""
    return min(_faces(stack), _upside_down(stack))


def _upside_down(stack) -> list[tuple[str, bool]]:
    return [
        (name, (not up) and not layer.monolayer.has_equal_faces)
        for (name, up), layer in zip(_faces(stack), stack.layers, strict=True)
    ][::-1]


def _order(stack) -> tuple:
    """What does not change when layers slide; the same for a stack and its upside-down."""
    # Mirror images have equal energies.
    twists = [round(abs(stack.least_twist_deg(i))) for i in range(len(stack.layers) - 1)]
    return min((_faces(stack), twists), (_upside_down(stack), twists[::-1]))


def protocol_name(candidate) -> str:
    """The DFT protocol a candidate was computed with; empty where it is not known."""
    protocol = candidate.result.get("protocol")
    name = protocol.get("name") if isinstance(protocol, Mapping) else protocol
    return str(name or candidate.computed.get("protocol") or "")


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
        value, margin = (
            known_number(candidate, name),
            _margin(known_number(candidate, name), target),
        )
        if margin is not None and margin >= 0:
            words = f"{quantity(name).words} {value_text(name, value)}"
            found.append(f"{words} ({value_text(name, margin)} inside the window)")
    net = known_number(candidate, "net_energy_mev_a2")
    if net is not None and net > 0:
        others = [n for c in verified if (n := known_number(c, "net_energy_mev_a2")) is not None]
        words = f"binding less strain {value_text('net_energy_mev_a2', net)}"
        if len(others) > 1 and sum(n >= net for n in others) == 1:
            words += f", the most of the {len(others)} verified"
        found.append(words)
    gain = known_number(candidate, "registry_gain_mev_a2")
    compared = candidate.result.get("registries") or []
    if gain is not None and all(entry["energy_mev_a2"] is not None for entry in compared):
        words = "no registry of high symmetry that it may slide into is clearly lower in energy"
        if gain > CLOSE["meV/Å²"]:
            words += f" ({value_text('registry_gain_mev_a2', gain)} below the one selected)"
        found.append(words)
    strain = candidate.mismatch_percent
    if strain is not None:
        found.append(
            "the layers share one cell without strain"
            if strain < 0.005
            else f"the layers are strained by at most {value_text('mismatch_percent', strain)}"
        )
    slide = known_number(candidate, "registry_shift_a")
    # Less is no sign of stability: at a registry of high symmetry no force pulls sideways.
    if slide is not None and SMALLEST_SLIDE_A <= slide <= SLID_A:
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
        value = known_number(candidate, name)
        margin = _margin(value, target)
        close = CLOSE.get(quantity(name).unit)
        if margin is not None and close is not None and 0 <= margin < close:
            found.append(
                f"{quantity(name).words} is only {value_text(name, margin)} from the end of its "
                "window: a finer protocol may move it out"
            )
    binding, strain = known_number(candidate, "binding_energy_mev_a2"), None
    if binding is not None and binding <= 0:
        found.append("the layers do not bind")
    else:
        strain = known_number(candidate, "strain_energy_mev_a2")
    if strain is not None and binding and strain > LARGE_STRAIN_SHARE * binding:
        found.append(
            f"fitting the layers costs {value_text('strain_energy_mev_a2', strain)}, "
            f"{100 * strain / binding:.0f}\u202f% of the binding energy"
        )
    if strain is not None and strain < NEGATIVE_STRAIN_MEV_A2:
        found.append(
            f"its strain energy is negative ({value_text('strain_energy_mev_a2', strain)}): the "
            "layers alone have other lattice constants by this protocol"
        )
    slide = known_number(candidate, "registry_shift_a")
    if slide is not None and slide > SLID_A:
        found.append(
            f"a layer slid by {number_text(slide, 2)}\u202fÅ: the registry asked for is not stable"
        )
    if ", " in (versions := str(candidate.result.get("quantum_espresso") or "")):
        found.append(f"its energies are of several versions of Quantum ESPRESSO: {versions}")
    for lattice in candidate.result.get("lattices") or []:
        if lattice.get("in_library"):
            pairs = zip(lattice["found"], lattice["proposed"], strict=True)
            ours, theirs = max(pairs, key=lambda pair: abs(pair[0] / pair[1] - 1))
            if abs(ours / theirs - 1) > LARGE_LATTICE_SHIFT:
                found.append(
                    f"DFT of this protocol gives {formula_text(lattice['formula'])} a lattice "
                    f"constant of {number_text(ours, 2)}\u202fÅ, its library has "
                    f"{number_text(theirs, 2)}\u202fÅ: it was verified on the former and predicted "
                    "on the latter"
                )
            continue
        found.append(
            f"the library does not know {formula_text(lattice['formula'])}: DFT found its lattice "
            f"constant, {number_text(lattice['found'][0], 2)}\u202fÅ (proposed with "
            f"{number_text(lattice['proposed'][0], 2)}\u202fÅ), in the symmetry of its prototype; "
            "whether the layer is stable on its own was not computed"
        )
    for other, slides in _better(candidate, verified)[:1]:
        more = known_number(other, "net_energy_mev_a2") - known_number(
            candidate, "net_energy_mev_a2"
        )
        words = f"the same layers are bound by {value_text('net_energy_mev_a2', more)} more in "
        words += f"slot {other.slot}"
        if other.misses:
            words += f", which misses {joined([quantity(n).words for n in other.misses])}"
        words += ": they may slide there" if slides else ": grown freely they prefer it"
        found.append(words)
    if are_bonded(candidate):
        ratio = known_number(candidate, "closest_contact_ratio")
        found.append(
            "the layers are as near as bonded ones: two atoms across a gap are "
            f"{number_text(ratio, 2)} of the sum of their covalent radii apart"
        )
    for other in _faults_away(candidate, verified)[:1]:
        found.append(
            f"slot {other.slot}, the same layers bound nearly as strongly in another stacking, has "
            f"alignment {other.computed['alignment']} instead of {candidate.computed['alignment']}"
        )
    moved = known_number(candidate, "layer_deformation_a")
    if moved is not None and moved > RECONSTRUCTED_A:
        found.append(
            f"atoms moved by {number_text(moved, 2)}\u202fÅ within a layer: it is no longer the "
            "layer that was put there"
        )
    if "alignment" in candidate.target and candidate.computed.get("alignment") == "undetermined":
        found.append(f"the band alignment is undetermined: {why_undetermined(candidate)}")
    off_path = known_number(candidate, "edges_off_path_ev")
    if off_path is not None and off_path > FAR_OFF_PATH_EV:
        found.append(
            f"a band edge lies {value_text('edges_off_path_ev', off_path)} beyond the path's: "
            "whether the gap is direct, alignment and masses are of the path"
        )
    heavy = heavy_elements(candidate)
    if heavy:
        found.append(f"{joined(heavy)}: spin–orbit coupling, left out here, shifts the band edges")
    magnetisation = known_number(candidate, "magnetisation_bohr")
    if magnetisation and abs(magnetisation) > 0.1:
        size = value_text("magnetisation_bohr", magnetisation)
        found.append(f"magnetic ({size}): only ferromagnetic order was tried")
    return found


def known_number(candidate, name: str) -> float | None:
    """A computed value of a candidate; None where it is unknown or no number."""
    value = candidate.computed.get(name)
    known = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return float(value) if known and np.isfinite(value) else None


def standard_deviations_off(candidate, name: str) -> float | None:
    """How far DFT lies from the prediction, in its standard deviations; None where one lacks."""
    computed = known_number(candidate, name)
    numbers = [candidate.predicted.get(key) for key in (name, f"{name}_std")]
    if computed is None or not all(isinstance(n, (int, float, np.number)) for n in numbers):
        return None
    predicted, std = map(float, numbers)
    if not np.isfinite(predicted) or not std > 0.0:
        return None
    return abs(computed - predicted) / std


# --- alignment --------------------------------------------------------------------------------


def why_undetermined(candidate) -> str:
    """What keeps DFT from telling the alignment type, with the numbers it is judged by."""
    if candidate.stack is None:
        return "the layers are not known"
    names = [layer.monolayer.name or layer.monolayer.formula for layer in candidate.stack.layers]
    shares = [_weights(candidate.computed.get(f"{edge}_layer_weights")) for edge in ("vbm", "cbm")]
    told = [
        _shared_edge(quantity(f"{edge}_ev").words, names, share)
        for edge, share in zip(("vbm", "cbm"), shares, strict=True)
        if len(share) == len(names) and max(share) < SHARED_BELOW
    ]
    if told:
        return "; ".join(told)
    told = _near_edges(candidate, names)
    if not told:
        return "the bands that tell why are not there"
    if all(len(share) == len(names) for share in shares):
        told.append(_type_by_shares(names, *shares))
    return "; ".join(told)


def _type_by_shares(names: Sequence[str], valence: Sequence[float], conduction: Sequence[float]):
    below, above = int(np.argmax(valence)), int(np.argmax(conduction))
    shares = [f"{100 * max(share):.0f}\u202f%" for share in (valence, conduction)]
    if below == above:
        text = f"both edge states lie on {formula_text(names[below])} ({shares[0]} and {shares[1]})"
        return f"{text}, which alone would make it I"
    text = f"the edge states lie on {formula_text(names[below])} ({shares[0]}) and "
    return f"{text}{formula_text(names[above])} ({shares[1]}), which alone would make it II"


def _weights(content: object) -> list[float]:
    try:
        weights = json.loads(content) if isinstance(content, str) else content
        return [] if weights is None else [float(w) for w in weights]
    except (TypeError, ValueError):  # of another version or a person's hand
        return []


def _shared_edge(words: str, names: Sequence[str], share: Sequence[float]) -> str:
    parts = [
        f"{100 * w:.0f}\u202f% on {formula_text(name)}"
        for w, name in zip(share, names, strict=True)
    ]
    return (
        f"the state at the {words} lies {joined(parts)}; "
        f"{100 * SHARED_BELOW:.0f}\u202f% on one layer would decide"
    )


def _near_edges(candidate, names: Sequence[str]) -> list[str]:
    """Edges of the two layers that decide, where they are too near each other to tell them."""
    try:
        edges = layer_edges(candidate.bands) if candidate.bands else []
    except (KeyError, TypeError, ValueError, IndexError):  # as above
        edges = []
    if len(edges) != len(names):
        return []
    found = []
    for column, (name, sign) in enumerate((("vbm_ev", -1), ("cbm_ev", 1))):
        known = [i for i in range(len(edges)) if edges[i][column] is not None]
        if len(known) < 2:
            continue
        order = sorted(known, key=lambda i: sign * edges[i][column])[:2]
        first, second = (edges[i][column] for i in order)
        if abs(first - second) < UNDETERMINED_BELOW_EV:
            parts = [
                f"{formula_text(names[i])} ({value_text(name, edges[i][column])})" for i in order
            ]
            found.append(
                f"in the stack {joined(parts)} differ in their {quantity(name).words} by "
                f"{value_text(name, abs(first - second))}, less than the "
                f"{number_text(UNDETERMINED_BELOW_EV)}\u202feV that DFT of this kind can tell"
            )
    return found
