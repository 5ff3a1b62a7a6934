"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import ase.io
import pandas as pd
import yaml
from ase import Atoms
from ase.data import atomic_numbers
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from heteroforge.io import provenance, write_text
from heteroforge.report import figures
from heteroforge.report.campaign import Campaign, Candidate
from heteroforge.report.sections import (
    STAGES,
    Picture,
    Table,
    make_table,
    stage_sections,
)
from heteroforge.report.words import (
    formula_text,
    is_inside,
    number_text,
    quantity,
    target_sentence,
    value_text,
    window_text,
)
from heteroforge.structures import StructureError

__all__ = ["make_page", "write_report"]

TEMPLATES = Path(__file__).resolve().parents[2] / "report"
CARDS_SHOWN = 24  # further candidates are in the table, so that the page stays light
FIRST_HEAVY_ELEMENT = 39  # Y: from the 4d row on, spin–orbit splittings reach 0.1 eV
_SECRET = re.compile(r"key|token|secret|password", re.IGNORECASE)

# Beside the targets, in this order; the rest is in the table of the DFT stage.
_OTHER_VALUES = (
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
    "binding_energy_mev_a2",
    "strain_energy_mev_a2",
    "net_energy_mev_a2",
    "interlayer_gap_a",
    "magnetisation_bohr",
    "ionic_steps",
    "energy_drop_ev",
)


@dataclass
class Value:
    """A line of a card: what was asked, predicted and computed."""

    label: str
    asked: str
    predicted: str
    computed: str
    inside: bool | None = None


@dataclass
class Card:
    """A candidate in the page."""

    identifier: str
    title: str
    status: str
    badge: str
    summary: str
    values: list[Value] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    downloads: list[tuple[str, str, str]] = field(default_factory=list)  # words, name, address
    details: list[tuple[str, str]] = field(default_factory=list)


def write_report(
    folder: str | Path,
    path: str | Path,
    targets: Mapping[str, object] | None = None,
    configuration: Mapping | None = None,
    templates: str | Path = TEMPLATES,
) -> None:
    """Write the report of the campaign in `folder`, with whatever it has so far.

    Args:
        folder: `results/<campaign>`.
        path: HTML file to write.
        targets: window [low, high] per property; read from the DFT results where not given.
        configuration: as the campaign was run, printed under "how to reproduce".
        templates: folder of `page.html.j2`.
    """
    campaign = Campaign(folder, targets, configuration)
    write_text(path, make_page(campaign, templates))


def make_page(campaign: Campaign, templates: str | Path = TEMPLATES) -> str:
    """The page's HTML."""
    if not campaign.targets:
        for candidate in campaign.candidates:
            campaign.targets.update({n: t["window"] for n, t in candidate.target.items()})
    environment = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    sections = stage_sections(campaign)
    shown = campaign.verified[:CARDS_SHOWN]
    colours = figures.element_colours(
        [s for c in shown if c.atoms is not None for s in c.atoms.get_chemical_symbols()]
    )
    cards = [_card(campaign, candidate, colours) for candidate in shown]
    return environment.get_template("page.html.j2").render(
        name=campaign.name,
        asked=target_sentence(campaign.targets),
        targets=[(quantity(n).words, window_text(n, w)) for n, w in campaign.targets.items()],
        verdict=_verdict(campaign),
        counts=_counts(campaign),
        funnel=_funnel(campaign),
        advice=_advice(campaign, [s.stage for s in sections if s.missing]),
        cards=cards,
        cards_left_out=max(0, len(campaign.verified) - CARDS_SHOWN),
        failed=[_card(campaign, c, colours, brief=True) for c in _others(campaign)],
        sections=sections,
        set_aside=_set_aside(campaign),
        caveats=_caveats(campaign),
        reproduction=_reproduction(campaign),
        faults=campaign.faults,
    )


def _prose(text: str) -> Markup:
    """Escaped text in which `code` between backticks is marked."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


# --- first screen -----------------------------------------------------------------------------


def _others(campaign: Campaign) -> list[Candidate]:
    return [c for c in campaign.candidates if c.status != "verified"]


def _counts(campaign: Campaign) -> list[tuple[str, str]]:
    computed = [c for c in campaign.candidates if c.status != "pending"]
    inside = sum(c.meets_targets for c in campaign.verified)
    counts = [
        ("sampled", campaign.number_sampled),
        ("screened", campaign.number_screened),
        ("selected for DFT", campaign.number_selected),
        ("verified by DFT", len(campaign.verified) if computed else None),
        ("inside all targets", inside if computed else None),
    ]
    return [(words, number_text(number, 0)) for words, number in counts]


def _funnel(campaign: Campaign) -> Picture | None:
    steps = campaign.record("screening/funnel.json") or {}
    counts = [
        ("stacks sampled", campaign.number_sampled),
        ("distinct", steps.get("distinct")),
        ("screened by the models", campaign.number_screened),
        ("likely to meet all targets", steps.get("likely")),
        ("selected for DFT", campaign.number_selected),
        ("verified by DFT", len(campaign.verified)),
        ("inside all targets", sum(c.meets_targets for c in campaign.verified)),
    ]
    known = [(words, number) for words, number in counts if number is not None]
    if not campaign.number_sampled:
        return None
    svg = figures.inline_svg(figures.funnel_figure(known), "The funnel of the campaign", "funnel")
    return Picture(Markup(svg), "What remained after each step (logarithmic scale).")


def _verdict(campaign: Campaign) -> str:
    computed = [c for c in campaign.candidates if c.status != "pending"]
    verified = campaign.verified
    inside = [c for c in verified if c.meets_targets]
    if not campaign.candidates:
        return "No candidate has been verified: nothing was selected for DFT yet."
    if not computed:
        many = len(campaign.candidates)
        return f"No candidate has been verified yet: {many} selected, none computed."
    if not verified:
        return f"No candidate has been verified: all {len(computed)} calculations failed."
    stacks = "stack" if len(computed) == 1 else "stacks"
    text = f"{len(inside)} of {len(computed)} {stacks} given to DFT "
    text += ("lies" if len(inside) == 1 else "lie") + " inside all targets"
    if inside:
        return f"{text}. Best: {formula_text(inside[0].formula)}."
    best = verified[0]
    near = " and ".join(quantity(name).words for name in best.misses)
    return f"{text}. Nearest: {formula_text(best.formula)}, outside in {near}."


def _advice(campaign: Campaign, missing: list[str]) -> list[str]:
    """What to do next, most pressing first."""
    advice = []
    if missing:
        names = ", ".join(STAGES[stage][0] for stage in missing)
        advice.append(
            f"Without results: {names}. `snakemake --cores all` goes on from what is there and "
            "repeats nothing that is finished."
        )
    if campaign.number_selected == 0:
        advice.append(
            "Nothing was selected. Widen `targets`, or let more through: `samples.number`, "
            "`screening.maximum_mismatch_percent`, `screening.maximum_atoms`."
        )
    failed = [c for c in campaign.candidates if c.status == "failed"]
    if failed:
        advice.append(
            f"{len(failed)} of the calculations ended without a result. Each folder "
            "`dft/slot_…/` keeps its outputs and attempts; to compute one anew, delete its folder "
            "and run `snakemake --cores all dft` again."
        )
    verified = campaign.verified
    if verified and not any(c.meets_targets for c in verified):
        advice.append(
            "No verified stack lies inside all targets. Its DFT values teach the next campaign: "
            f"name `{campaign.name}` under `labels.from_campaigns` in a copy of the configuration "
            "with another `campaign`, and give `screening.exploration` a share of the slots."
        )
    elif verified:
        advice.append(
            "Compute the best candidates with a finer protocol (`dft.protocol: standard`) before "
            "you rely on them."
        )
    return advice


# --- cards ------------------------------------------------------------------------------------


def _card(
    campaign: Campaign, candidate: Candidate, colours: Mapping[str, str], brief: bool = False
) -> Card:
    if candidate.status != "verified":
        badge = "failed" if candidate.status == "failed" else "not computed yet"
    elif candidate.meets_targets:
        badge = "inside all targets"
    else:
        badge = "outside: " + ", ".join(quantity(n).words for n in candidate.misses)
    card = Card(
        identifier=f"slot-{candidate.slot}",
        title=formula_text(candidate.formula),
        status="inside" if candidate.meets_targets else candidate.status,
        badge=badge,
        summary=_summary(candidate),
        values=_values(candidate),
    )
    if brief:
        card.summary = candidate.reason or card.summary
        return card
    rows = campaign.layer_rows(candidate)
    names = _layer_names(rows)
    for draw in (_draw_structure, _draw_alignment, _draw_bands):
        try:
            picture = draw(campaign, candidate, rows, names, colours)
        except (StructureError, ValueError, KeyError, TypeError, IndexError) as error:
            campaign.faults[f"dft/slot_{candidate.slot}"] = f"not drawn: {error}"
            continue
        if picture is not None:
            card.pictures.append(picture)
    card.downloads = _downloads(candidate)
    card.details = _details(candidate)
    return card


def _summary(candidate: Candidate) -> str:
    parts = []
    stack = candidate.stack
    if stack is not None:
        for i in range(stack.number_of_layers - 1):
            stacking = stack.stacking(i)
            parts.append(stacking if "twisted" in stacking else f"stacking {stacking}")
            if stack.twist_deg(i) > 0.005 and "twisted" not in stacking:
                parts[-1] += f", turned by {value_text('twist_deg', stack.twist_deg(i))}"
        parts.append(f"mismatch {value_text('mismatch_percent', stack.mismatch_percent)}")
        layers = [
            layer.monolayer.name + (" (flipped)" if layer.flipped else "") for layer in stack.layers
        ]
        if all(layer.monolayer.name for layer in stack.layers):
            parts.append("from the bottom: " + ", ".join(layers))
    number = candidate.computed.get("number_of_atoms", candidate.predicted.get("number_of_atoms"))
    if number is not None:
        parts.append(f"{number_text(number)} atoms")
    return f"Slot {candidate.slot}" + (": " + "; ".join(parts) if parts else "") + "."


def _layer_names(rows: list[dict]) -> list[str]:
    names = [formula_text(row.get("formula", "?")) for row in rows]
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
    names += [n for n in _OTHER_VALUES if n not in names and n in candidate.computed]
    values = []
    for name in names:
        target = candidate.target.get(name)
        predicted = candidate.predicted.get(name)
        text = "–" if predicted is None else _shown(name, predicted)
        std = candidate.predicted.get(f"{name}_std")
        if predicted is not None and isinstance(std, (int, float)):
            decimals = quantity(name).decimals
            unit = quantity(name).unit
            text = f"{number_text(predicted, decimals)} ± {number_text(std, decimals)} {unit}"
        if name == "alignment" and candidate.computed.get("anderson_alignment"):
            text = f"{candidate.computed['anderson_alignment']} (Anderson's rule)"
        if name == "gap_ev" and predicted is None and "anderson_gap_ev" in candidate.computed:
            text = f"{_shown(name, candidate.computed['anderson_gap_ev'])} (Anderson's rule)"
        values.append(
            Value(
                label=quantity(name).words,
                asked=window_text(name, target["window"]) if target else "",
                predicted=text if text != "–" else "",
                computed=_shown(name, candidate.computed.get(name)),
                inside=_inside(candidate, name, target),
            )
        )
    return values


def _inside(candidate: Candidate, name: str, target: Mapping | None) -> bool | None:
    if target is None or candidate.status != "verified":
        return None
    return is_inside(candidate.computed.get(name, target["value"]), target["window"])


def _draw_structure(campaign, candidate, rows, names, colours) -> Picture | None:
    if candidate.atoms is None:
        return None
    shown = {**figures.element_colours(candidate.atoms.get_chemical_symbols()), **colours}
    figure = figures.structure_figure(candidate.atoms, names, shown)
    state = "relaxed by DFT" if candidate.relaxed else "as selected, not relaxed"
    title = f"Structure of {formula_text(candidate.formula)}, {state}"
    svg = figures.inline_svg(figure, title, f"slot{candidate.slot}-structure")
    caption = f"Structure, {state}: from the side and from above (lower layers fade; dashed: cell)."
    return Picture(Markup(svg), caption)


def _weights(text: object) -> list[float] | None:
    weights = json.loads(text) if isinstance(text, str) else text
    return None if weights is None else [float(w) for w in weights]


def _draw_alignment(campaign, candidate, rows, names, colours) -> Picture | None:
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
    title = f"Band alignment of {formula_text(candidate.formula)}: {words}"
    svg = figures.inline_svg(figure, title, f"slot{candidate.slot}-alignment")
    caption = f"Band edges against vacuum, {words} by layer-projected states."
    alone = sum(bool(row.get("alone")) for row in rows)
    if rows and alone == len(rows):
        caption += " Layers alone are in the stack's cell, by the same protocol."
    protocols = {str(r["protocol"]) for r in rows if "protocol" in r and not r.get("alone")}
    if computed.get("protocol") and protocols - {str(computed["protocol"])}:
        caption += f" Layers alone by protocol {', '.join(sorted(protocols))}: not the stack's."
    return Picture(Markup(svg), caption)


def _draw_bands(campaign, candidate, rows, names, colours) -> Picture | None:
    if candidate.bands is None:
        return None
    figure = figures.band_figure(candidate.bands, names)
    title = f"Band structure of {formula_text(candidate.formula)}"
    svg = figures.inline_svg(figure, title, f"slot{candidate.slot}-bands")
    return Picture(Markup(svg), "Band structure (PBE), coloured by the layer that holds the state.")


def _downloads(candidate: Candidate) -> list[tuple[str, str, str]]:
    if candidate.atoms is None:
        return []
    stem = re.sub(r"[^A-Za-z0-9]+", "-", candidate.formula).strip("-") or "stack"
    stem = f"{stem}_slot{candidate.slot}"
    files = [("CIF", f"{stem}.cif", candidate.cif or _as_text(candidate.atoms, "cif"))]
    files.append(("extended XYZ", f"{stem}.extxyz", _as_text(candidate.atoms, "extxyz")))
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
        details.append(("Why selected", str(candidate.predicted["reason"])))
    if candidate.computed.get("stack_id"):
        details.append(("Stack", str(candidate.computed["stack_id"])))
    attempts = candidate.result.get("attempts") or []
    if attempts:
        details.append(("Attempts of pw.x", number_text(len(attempts))))
    protocol = candidate.result.get("protocol")
    if isinstance(protocol, Mapping):
        details.append(("Protocol", ", ".join(f"{k} {v}" for k, v in protocol.items())))
    elif candidate.computed.get("protocol"):
        details.append(("Protocol", str(candidate.computed["protocol"])))
    if candidate.computed.get("specification"):
        details.append(("Specification", str(candidate.computed["specification"])))
    return details


# --- the rest of the page ---------------------------------------------------------------------


def _set_aside(campaign: Campaign) -> list[Table]:
    tables = []
    for path, title in (
        ("library/rejected.csv", "Materials"),
        ("dft/failed.csv", "DFT calculations"),
    ):
        table = campaign.table(path)
        if table is not None and len(table):
            identifier = path.replace("/", "-").removesuffix(".csv")
            tables.append(make_table(table, identifier, title, path))
    screened = campaign.table("screening/rejected.csv")
    if screened is not None and len(screened) and "reason" in screened:
        reasons = screened["reason"].value_counts().rename_axis("reason").reset_index(name="stacks")
        tables.append(make_table(reasons, "screening-rejected", "Samples by reason"))
    return tables


def _caveats(campaign: Campaign) -> list[str]:
    caveats = [
        "Gaps are Kohn–Sham gaps of PBE: too small against experiment, and not optical gaps. Use "
        "them to order materials, not as measured values.",
        "Dispersion is PBE + D3. Binding energies and interlayer gaps carry its error; other "
        "corrections give other values.",
        "Mobilities come from deformation-potential theory with longitudinal acoustic phonons "
        "only: an upper estimate.",
    ]
    protocols = set()
    for candidate in campaign.verified:
        protocol = candidate.result.get("protocol")
        name = protocol.get("name") if isinstance(protocol, Mapping) else protocol
        protocols.add(str(name or candidate.computed.get("protocol") or ""))
    protocols.discard("")
    if protocols:
        text = f"DFT values were computed with protocol {', '.join(sorted(protocols))}"
        text += ", a coarse one for screening on few cores" if "quick" in protocols else ""
        caveats.append(text + ". Numbers of different protocols must not be compared.")
    heavy = {}
    for candidate in campaign.verified:
        symbols = [] if candidate.atoms is None else candidate.atoms.get_chemical_symbols()
        found = {s for s in symbols if atomic_numbers[s] >= FIRST_HEAVY_ELEMENT}
        if found:
            heavy[formula_text(candidate.formula)] = ", ".join(sorted(found))
    text = "Spin–orbit coupling is not included."
    if heavy:
        named = "; ".join(f"{formula} ({elements})" for formula, elements in heavy.items())
        text += f" It matters where heavy elements take part: {named}."
    caveats.append(text)
    caveats.append(
        "Predicted values come with the ensemble's standard deviation, which says little for "
        "chemistry far from the training data."
    )
    return caveats


def _reproduction(campaign: Campaign) -> dict:
    made_by = provenance()
    versions = {"heteroforge": made_by["heteroforge"], "revision": made_by["revision"] or "unknown"}
    versions |= {"Python": made_by["python"], **made_by["packages"]}
    for candidate in campaign.verified:
        if candidate.result.get("quantum_espresso"):
            versions["Quantum ESPRESSO"] = str(candidate.result["quantum_espresso"])
    checksums = {}
    for candidate in campaign.verified:
        checksums |= dict(candidate.result.get("pseudopotentials_sha256") or {})
    table = None
    if checksums:
        rows = pd.DataFrame(sorted(checksums.items()), columns=["element", "sha256"])
        table = make_table(rows, "pseudopotentials", "Pseudopotentials")
    return {
        "configuration": yaml.safe_dump(
            _without_secrets(campaign.configuration), sort_keys=False, allow_unicode=True
        )
        if campaign.configuration
        else "",
        "versions": versions,
        "pseudopotentials": table,
    }


def _without_secrets(content: object) -> object:
    """Configuration as plain YAML types; values under keys that name a secret are left out."""
    if isinstance(content, Mapping):
        return {
            str(k): "(not shown)" if _SECRET.search(str(k)) else _without_secrets(v)
            for k, v in content.items()
        }
    if isinstance(content, (list, tuple)):
        return [_without_secrets(v) for v in content]
    return content if isinstance(content, (int, float, str, bool, type(None))) else str(content)
