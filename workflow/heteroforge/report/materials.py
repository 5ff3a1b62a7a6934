"""Verified candidates by what a person would grow: the same layers in any stacking are one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heteroforge.report.judgement import known_number, layer_order, protocol_name
from heteroforge.report.words import joined, number_text, quantity, value_text
from heteroforge.structures import Stack

__all__ = ["Material", "make_materials", "other_stackings", "stacking_text"]

MOST_TOLD = 4  # other stackings named beside the best one
NOT_COMPARED = (
    "none was verified. Layers slide into the stacking of lowest energy, where gap, alignment and "
    "binding may differ: compute others before you grow it; screening.diversity: false gives them "
    "slots."
)


@dataclass
class Material:
    """Layers in one order, with the stackings of them that DFT verified.

    Attributes:
        best: the stacking to aim at: of those that meet all targets the lowest in energy, where
            energies can be compared, else the first by `judgement.best_first`.
        others: the further stackings, most strongly bound first.
        comparable: whether the stackings' energies were computed alike.
    """

    best: object
    others: list
    comparable: bool


def make_materials(verified: Sequence) -> list[Material]:
    """Materials in the order of their best stackings.

    Registry and turn do not tell materials apart: which of them grows is decided by the growth,
    and by their energies, not by the person who chooses the layers.

    Args:
        verified: candidates, best first.
    """
    groups: dict[tuple, list] = {}
    for candidate in verified:
        groups.setdefault(_layers(candidate), []).append(candidate)
    materials = [_make_material(members) for members in groups.values()]
    place = {id(candidate): i for i, candidate in enumerate(verified)}
    return sorted(materials, key=lambda material: place[id(material.best)])


def _layers(candidate) -> tuple:
    if candidate.stack is None:
        names = candidate.title.split(" / ")
        return tuple(min(names, names[::-1]))
    return tuple(layer_order(candidate.stack))


def _make_material(members: list) -> Material:
    nets = [known_number(c, "net_energy_mev_a2") for c in members]
    comparable = None not in nets and len({protocol_name(c) for c in members}) == 1
    if comparable:
        # The layers are the same, so that what binds them most has the lowest total energy.
        members = sorted(members, key=lambda c: -known_number(c, "net_energy_mev_a2"))
    best = min(members, key=lambda c: len(c.misses))
    return Material(best, [c for c in members if c is not best], comparable)


def stacking_text(stack: Stack | None) -> str:
    """Registry and turn of each interface, bottom to top; turns that are equal are told alike."""
    parts = []
    for i in range(stack.number_of_layers - 1 if stack is not None else 0):
        stacking, turn = stack.stacking(i).replace("'", "′"), stack.least_twist_deg(i)
        if stacking.startswith("twisted"):
            parts.append(f"twisted by {value_text('twist_deg', turn)}")
            continue
        parts.append(f"stacking {stacking}")
        if abs(turn) > 0.05:
            parts[-1] += f", turned by {value_text('twist_deg', turn)}"
    return "; ".join(parts)


def other_stackings(material: Material) -> str:
    """The stackings beside the best one: how far in energy, and what differs among all.

    Where there are none, that is told: a stacking that nobody compared may not be the one that
    grows.
    """
    if not material.others:
        stack = material.best.stack
        if stack is None or "stacking " not in stacking_text(stack):
            return ""
        if material.best.result.get("registries") == []:
            return ""  # there are none to slide into
        return _registries(material.best) or NOT_COMPARED
    told = [_other(material, other) for other in material.others[:MOST_TOLD]]
    if len(material.others) > MOST_TOLD:
        told.append(f"{number_text(len(material.others) - MOST_TOLD)} more below")
    everyone = [material.best, *material.others]
    gaps = [gap for c in everyone if (gap := known_number(c, "gap_ev")) is not None]
    kinds = sorted({str(c.computed["alignment"]) for c in everyone if "alignment" in c.computed})
    text = "; ".join(told) + "."
    if gaps:
        low, high = value_text("gap_ev", min(gaps), unit=False), value_text("gap_ev", max(gaps))
        text += f" Over all of them: {quantity('gap_ev').words} {low} to {high}"
        text += f", alignment {joined(kinds)}." if kinds else "."
    return text


def _registries(candidate) -> str:
    """What DFT says of the registries that a candidate may slide into."""
    found = candidate.result.get("registries")
    if not found or candidate.stack is None:
        return ""
    offset = candidate.stack.interfaces[0].offset
    own = [entry for entry in found if np.allclose(entry["offset"], offset)]
    others = [entry for entry in found if entry not in own]
    if not own or own[0]["energy_mev_a2"] is None:
        return ""
    parts = [
        f"{entry['stacking']} {entry['energy_mev_a2'] - own[0]['energy_mev_a2']:+.1f}"
        for entry in others
        if entry["energy_mev_a2"] is not None
    ]
    failed = [entry["stacking"] for entry in others if entry["energy_mev_a2"] is None]
    told = []
    if parts:
        told.append(
            f"registry {joined(parts)}\u202fmeV/Å² against this one (layers as they are when free)"
        )
    if failed:
        told.append(f"registry {joined(failed)}: not known, its calculation failed")
    text = "; ".join([*told, "other orientations: not computed."])
    return text.replace("'", "′").replace("-", "−")


def _other(material: Material, other) -> str:
    text = f"slot {number_text(other.slot)}"
    if other.stack is not None:
        text += f" ({stacking_text(other.stack)})"
    if not material.comparable:
        return text + ", energy not comparable"
    best, own = (known_number(c, "net_energy_mev_a2") for c in (material.best, other))
    more = "less" if own <= best else "more"
    text += f", bound by {value_text('net_energy_mev_a2', abs(best - own))} {more}"
    if other.misses:
        text += f", outside in {joined([quantity(n).words for n in other.misses])}"
    return text
