"""A candidate in the page: its numbers, pictures, files to take away and a structure to turn."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import ase.io
import numpy as np
from ase import Atoms
from markupsafe import Markup

from heteroforge.io.conventions import inside_window
from heteroforge.report import figures
from heteroforge.report.campaign import Campaign, Candidate
from heteroforge.report.judgement import (
    FAR_OFF_STANDARD_DEVIATIONS,
    doubts,
    known_number,
    reasons,
    standard_deviations_off,
    why_undetermined,
)
from heteroforge.report.materials import Material, other_stackings, stacking_text
from heteroforge.report.sections import Picture
from heteroforge.report.trust import HSE_OPENS_BY_GAP_EV
from heteroforge.report.words import (
    chemical_formula,
    formula_text,
    number_text,
    quantity,
    value_text,
    window_text,
)
from heteroforge.screening.selection import what_training_lacks
from heteroforge.structures import StructureError

__all__ = ["SHOWN_VALUES", "Card", "make_card", "shortlist_card"]

# Beside the targets, in this order; the rest is in the table of the DFT stage.
SHOWN_VALUES = (
    "gap_ev",
    "gap_is_direct",
    "alignment",
    "vbm_ev",
    "cbm_ev",
    "ionization_energy_ev",
    "electron_affinity_ev",
    "vacuum_step_ev",
    "electron_mass_m0",
    "hole_mass_m0",
    "electron_mobility_cm2_vs",
    "hole_mobility_cm2_vs",
    "stiffness_n_m",
    "binding_energy_mev_a2",
    "strain_energy_mev_a2",
    "net_energy_mev_a2",
    "registry",
    "registry_gain_mev_a2",
    "closest_contact_ratio",
    "interlayer_gap_a",
    "magnetisation_bohr",
    "ionic_steps",
    "energy_drop_ev",
)

# The 3D view shows a patch about this wide, and of no more atoms than this.
PATCH_A, MOST_ATOMS = 14.0, 600


@dataclass
class Value:
    """A line of a card: what was asked, predicted and computed."""

    label: str
    asked: str
    predicted: str
    computed: str
    inside: bool | None = None
    note: str = ""


@dataclass
class Card:
    """A candidate in the page."""

    identifier: str
    title: str
    status: str
    badge: str
    summary: str
    stacking: str = ""
    why: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    downloads: list[tuple[str, str, str]] = field(default_factory=list)  # words, name, address
    details: list[tuple[str, str]] = field(default_factory=list)
    scene: dict | None = None  # what the 3D view draws
    others: str = ""  # the same layers in other stackings
    side: Markup | None = None  # small picture, for the shortlist


def make_card(
    campaign: Campaign, candidate: Candidate, colours: Mapping[str, str], brief: bool = False
) -> Card:
    """The card of a candidate; a fault in one of its files costs only what it was for.

    Args:
        colours: per element; the same for all cards of a page.
        brief: the outcome only, for candidates without a result.
    """
    if candidate.status != "verified":
        badge = "failed" if candidate.status == "failed" else "not computed yet"
    elif candidate.meets_targets:
        badge = "inside all targets"
    else:
        badge = "outside: " + ", ".join(quantity(n).words for n in candidate.misses)
    card = Card(
        identifier=f"slot-{candidate.slot}",
        title=formula_text(candidate.title),
        status="inside" if candidate.meets_targets else candidate.status,
        badge=badge,
        summary=_summary(candidate),
        values=_values(candidate),
    )
    place = filter(None, [f"slot {candidate.slot}", stacking_text(candidate.stack)])
    card.stacking = "; ".join(place)
    if brief:
        card.summary = candidate.reason or f"{card.stacking[0].upper()}{card.stacking[1:]}."
        if not candidate.reason and (lacks := what_training_lacks(candidate.predicted)):
            card.summary += f" {lacks}"
        return card
    card.why = reasons(candidate, campaign.verified)
    card.doubts = doubts(candidate, campaign.verified)
    rows = campaign.layer_rows(candidate)
    names = _layer_names(rows)
    for draw in (_draw_structure, _draw_alignment, _draw_bands):
        try:
            picture = draw(candidate, rows, names, colours)
        except (StructureError, ValueError, KeyError, TypeError, IndexError) as error:
            campaign.faults[f"dft/slot_{candidate.slot}"] = f"not drawn: {error}"
            continue
        if picture is not None:
            card.pictures.append(picture)
    if candidate.atoms is not None:
        card.downloads = _downloads(candidate)
        card.scene = _scene(candidate.atoms, names, colours)
    card.details = _details(candidate)
    return card


def _summary(candidate: Candidate) -> str:
    stack, parts = candidate.stack, []
    if stack is not None:
        parts.append(f"mismatch {value_text('mismatch_percent', candidate.mismatch_percent)}")
        layers = [
            layer.monolayer.name + (" (flipped)" if layer.flipped else "") for layer in stack.layers
        ]
        if all(layer.monolayer.name for layer in stack.layers):
            parts.append(f"from the bottom: {formula_text(', '.join(layers))}")
    number = candidate.computed.get("number_of_atoms", candidate.predicted.get("number_of_atoms"))
    if number is not None:
        parts.append(f"{number_text(number)} atoms in the cell")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _layer_names(rows: list[dict]) -> list[str]:
    names = [formula_text(chemical_formula(row.get("formula", "?"))) for row in rows]
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({i + 1})" for i, name in enumerate(names)]


def _shown(name: str, value: object) -> str:
    """A value with its unit; lists (written as JSON text) item by item."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    if isinstance(value, (list, tuple)):
        return ", ".join(value_text(name, item) for item in value) or "–"
    return value_text(name, value)


def _values(candidate: Candidate) -> list[Value]:
    names = list(candidate.target)
    names += [n for n in SHOWN_VALUES if n not in names and n in candidate.computed]
    return [_value(candidate, name) for name in names]


def _value(candidate: Candidate, name: str) -> Value:
    target, predicted = candidate.target.get(name), candidate.predicted.get(name)
    std, computed = candidate.predicted.get(f"{name}_std"), candidate.computed
    text = "" if predicted is None else _shown(name, predicted)
    if isinstance(std, (int, float)) and predicted is not None:
        shown = quantity(name)
        text = f"{number_text(predicted, shown.decimals)} ± {number_text(std, shown.decimals)}"
        text += f" {shown.unit}"
    if name == "alignment" and computed.get("anderson_alignment"):
        text = f"{computed['anderson_alignment']} (Anderson's rule)"
    if name == "gap_ev" and predicted is None and "anderson_gap_ev" in computed:
        text = f"{_shown(name, computed['anderson_gap_ev'])} (Anderson's rule)"
    inside = None
    if target is not None and candidate.status == "verified":
        inside = inside_window(computed.get(name, target["value"]), target["window"])
    return Value(
        label=quantity(name).words,
        asked=window_text(name, target["window"]) if target else "",
        predicted=text.removesuffix("–"),
        computed=_shown(name, computed.get(name)),
        inside=inside,
        note="; ".join(filter(None, [_note(candidate, name), _told_far_off(candidate, name)])),
    )


def _told_far_off(candidate: Candidate, name: str) -> str:
    off = standard_deviations_off(candidate, name)
    if off is None or off <= FAR_OFF_STANDARD_DEVIATIONS:
        return ""
    return f"{number_text(off, 0)} standard deviations from what was predicted"


# A step below is within what the planar average varies by.
_STEP_TOLD_EV = 0.01


def _note(candidate: Candidate, name: str) -> str:
    """What a reader has to know to use the value, below it."""
    if name == "alignment" and candidate.computed.get(name) == "undetermined":
        return why_undetermined(candidate)
    gap = known_number(candidate, name) if name == "gap_ev" else None
    if gap:
        low, high = next((a, b) for most, a, b in HSE_OPENS_BY_GAP_EV if gap <= most)
        return (
            "PBE; HSE06 puts the middle half of monolayers with such a gap at "
            f"{value_text(name, gap + low, unit=False)} to {value_text(name, gap + high)}"
        )
    step = known_number(candidate, "vacuum_step_ev")
    if step is None or abs(step) < _STEP_TOLD_EV:
        return ""
    if name in ("ionization_energy_ev", "electron_affinity_ev"):
        # Both are told against the mean level; the step is that of the top less the bottom.
        mean = known_number(candidate, name)
        if mean is None:
            return ""
        top, bottom = (value_text(name, mean + sign * step / 2) for sign in (1, -1))
        return f"mean of both faces; {top} through the top one, {bottom} through the bottom one"
    if name == "vacuum_step_ev":
        return "vacuum level above the top face less that below the bottom face"
    return ""


# --- pictures ---------------------------------------------------------------------------------


def _draw_structure(candidate, rows, names, colours) -> Picture | None:
    if candidate.atoms is None:
        return None
    shown = {**figures.element_colours(candidate.atoms.get_chemical_symbols()), **colours}
    figure = figures.structure_figure(candidate.atoms, names, shown)
    state = "relaxed by DFT" if candidate.relaxed else "as selected, not relaxed"
    title = f"Structure of {formula_text(candidate.title)}, {state}"
    svg = figures.inline_svg(figure, title, f"slot{candidate.slot}-structure")
    caption = f"Structure, {state}: from the side and from above (lower layers fade; dashed: cell)."
    return Picture(Markup(svg), caption)


def shortlist_card(
    campaign: Campaign, card: Card, material: Material, colours: Mapping[str, str]
) -> Card:
    """The card of a material's best stacking, with what the first screen adds to it.

    Args:
        card: of the best stacking.
        colours: per element, as of the card.
    """
    candidate = material.best
    card.others = other_stackings(material)
    names = _layer_names(campaign.layer_rows(candidate))
    if candidate.atoms is None:
        return card
    try:
        shown = {**figures.element_colours(candidate.atoms.get_chemical_symbols()), **colours}
        figure = figures.side_figure(candidate.atoms, names, shown)
    except (StructureError, ValueError, KeyError, IndexError):
        return card  # the card's own picture has told of it
    title = f"{formula_text(candidate.title)} from the side"
    card.side = Markup(figures.inline_svg(figure, title, f"slot{candidate.slot}-side"))
    return card


def _weights(text: object) -> list[float] | None:
    weights = json.loads(text) if isinstance(text, str) else text
    return None if weights is None else [float(w) for w in weights]


def _draw_alignment(candidate, rows, names, colours) -> Picture | None:
    levels = [
        {
            "name": name,
            "kind": "layer",
            "vbm_ev": row.get("vbm_ev"),
            "cbm_ev": None if row.get("is_metal") else row.get("cbm_ev"),
        }
        for row, name in zip(rows, names, strict=True)
    ]
    computed = candidate.computed
    levels.append(
        {
            "name": "stack (DFT)",
            "kind": "stack",
            "vbm_ev": computed.get("vbm_ev"),
            "cbm_ev": computed.get("cbm_ev"),
            "missing": "no gap" if computed.get("gap_ev") == 0 else "unknown",
            "vbm_weights": _weights(computed.get("vbm_layer_weights")),
            "cbm_weights": _weights(computed.get("cbm_layer_weights")),
        }
    )
    if all(level["vbm_ev"] is None for level in levels):
        return None
    figure = figures.alignment_figure(levels, computed.get("vacuum_step_ev"))
    kind = str(computed.get("alignment", "undetermined"))
    words = {"I": "type I", "II": "type II", "III": "type III"}.get(kind, kind)
    title = f"Band alignment of {formula_text(candidate.title)}: {words}"
    svg = figures.inline_svg(figure, title, f"slot{candidate.slot}-alignment")
    caption = f"Band edges against vacuum; alignment {words} by the layers' share in the edges."
    if kind == "undetermined":
        caption = "Band edges against vacuum; alignment undetermined, the numbers above say why."
    if kind == "metal":
        caption = "Band edges against vacuum; the stack is a metal."
    alone = sum(bool(row.get("alone")) for row in rows)
    if rows and alone == len(rows):
        caption += " Layers alone are in the stack's cell, by the same protocol."
    protocols = {str(r["protocol"]) for r in rows if "protocol" in r and not r.get("alone")}
    if computed.get("protocol") and protocols - {str(computed["protocol"])}:
        caption += f" Layers alone by protocol {', '.join(sorted(protocols))}: not the stack's."
    return Picture(Markup(svg), caption)


def _draw_bands(candidate, rows, names, colours) -> Picture | None:
    if candidate.bands is None:
        return None
    figure = figures.band_figure(candidate.bands, names, candidate.states)
    title = f"Band structure of {formula_text(candidate.title)}"
    svg = figures.inline_svg(figure, title, f"slot{candidate.slot}-bands")
    return Picture(
        Markup(svg),
        "Band structure and density of states (PBE), coloured by the layer that holds the state, "
        "grey where none does.",
    )


def _scene(atoms: Atoms, names: Sequence[str], colours: Mapping[str, str]) -> dict:
    """A patch of the stack for the 3D view: atoms, bonds, cell, colours. Lengths in Å."""
    atoms = figures.upright(atoms)
    atoms.set_array("layer", np.zeros(len(atoms), int))
    for k, members in enumerate(figures.layer_indices(atoms, len(names) or None)):
        atoms.arrays["layer"][members] = k
    shortest = min(atoms.cell.lengths()[:2])
    turns = int(np.clip(np.ceil(PATCH_A / shortest), 1, np.sqrt(MOST_ATOMS / len(atoms)) or 1))
    patch = atoms.repeat((max(turns, 1), max(turns, 1), 1))
    patch.pbc = False
    first, second, _ = figures.bonds(patch)
    low, high = patch.positions[:, 2].min(), patch.positions[:, 2].max()
    corner, floor = atoms.cell.array[:2, :2], (max(turns, 1) // 2) * atoms.cell.array[:2, :2].sum(0)
    outline = [floor, floor + corner[0], floor + corner.sum(0), floor + corner[1]]
    return {
        "symbols": patch.get_chemical_symbols(),
        "positions": patch.positions.round(3).tolist(),
        "layers": patch.arrays["layer"].tolist(),
        "bonds": [[int(i), int(j)] for i, j in zip(first, second, strict=True) if i < j],
        "cell": [[*(float(x) for x in p.round(3)), round(float(z), 3)]
                 for z in (low, high) for p in outline],
        "colours": {s: colours.get(s, "#888888") for s in sorted(set(patch.symbols))},
        "layerColours": list(figures.LAYER_COLOURS),
    }  # fmt: skip


# --- files to take away -----------------------------------------------------------------------


def _downloads(candidate: Candidate) -> list[tuple[str, str, str]]:
    stem = re.sub(r"[^A-Za-z0-9]+", "-", candidate.title).strip("-") or "stack"
    stem = f"{stem}_slot{candidate.slot}"
    files = [("CIF", f"{stem}.cif", candidate.cif or _as_text(candidate.atoms, "cif"))]
    files.append(("extended XYZ", f"{stem}.extxyz", _as_text(candidate.atoms, "extxyz")))
    if candidate.pw_input:
        files.append(("pw.x input", f"{stem}.scf.in", candidate.pw_input))
    return [
        (words, name, "data:text/plain;base64," + base64.b64encode(text.encode()).decode())
        for words, name, text in files
    ]


def _as_text(atoms: Atoms, kind: str) -> str:
    if kind == "extxyz":
        text = io.StringIO()
        ase.io.write(text, atoms, format="extxyz")
        return text.getvalue()
    content = io.BytesIO()
    periodic = atoms.copy()
    if abs(periodic.cell[2, 2]) < 1e-6:
        periodic.center(vacuum=7.5, axis=2)
    periodic.pbc = True  # the format knows crystals only; the empty space in z stays
    ase.io.write(content, periodic, format="cif")
    return content.getvalue().decode()


def _details(candidate: Candidate) -> list[tuple[str, str]]:
    details = []
    if candidate.predicted.get("reason"):
        details.append(("Why it was given to DFT", str(candidate.predicted["reason"])))
    if lacks := what_training_lacks(candidate.predicted):
        details.append(("Trust in its predictions", lacks))
    if candidate.computed.get("stack_id"):
        details.append(("Stack", str(candidate.computed["stack_id"])))
    attempts = candidate.result.get("attempts") or []
    if attempts:
        remedied = sum(int(a.get("attempt", 1)) > 1 for a in attempts)
        text = f"{number_text(len(attempts))}, of which {number_text(remedied)} with a remedy"
        details.append(("Runs of pw.x", text))
    protocol = candidate.result.get("protocol")
    if isinstance(protocol, Mapping):
        details.append(("Protocol", ", ".join(f"{k} {v}" for k, v in protocol.items())))
    elif candidate.computed.get("protocol"):
        details.append(("Protocol", str(candidate.computed["protocol"])))
    if candidate.computed.get("specification"):
        details.append(("Specification", str(candidate.computed["specification"])))
    return details
