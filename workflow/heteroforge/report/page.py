"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from heteroforge.io import provenance, write_text
from heteroforge.report import figures
from heteroforge.report.campaign import Campaign, Candidate
from heteroforge.report.cards import make_card, shortlist_card
from heteroforge.report.comparison import comparison_table
from heteroforge.report.judgement import are_bonded, heavy_elements, protocol_name
from heteroforge.report.materials import Material, make_materials
from heteroforge.report.sections import STAGES, Picture, stage_sections
from heteroforge.report.status import StageStatus
from heteroforge.report.tables import Table, make_table
from heteroforge.report.trust import trust_in_numbers, trust_in_states
from heteroforge.report.words import (
    count_text,
    formula_text,
    joined,
    number_text,
    quantity,
    target_sentence,
    window_text,
)
from heteroforge.screening.selection import NEAR

__all__ = ["make_page", "write_report"]

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = ROOT / "workflow" / "report"
LIBRARIES = ROOT / "resources" / "downloads" / "page_libraries"
CARDS_SHOWN = 24  # further candidates are in the table, so that the page stays light
SHORTLIST = 3
LIKELY = 0.5  # probability from which on a stack is expected to meet all targets
_SECRET = re.compile(r"key|token|secret|password", re.IGNORECASE)

# As they have to be loaded; resources/page_libraries.csv tells where they come from.
SCRIPTS = ("dataTables.js", "buttons.js", "columnControl.js", "3Dmol.js")
STYLES = ("dataTables.css", "columnControl.css")


def write_report(
    folder: str | Path,
    path: str | Path,
    targets: Mapping[str, object] | None = None,
    configuration: Mapping | None = None,
    templates: str | Path = TEMPLATES,
    libraries: str | Path = LIBRARIES,
    stages: Sequence[StageStatus] = (),
) -> None:
    """Write the report of the campaign in `folder`, with whatever it has so far.

    Args:
        folder: `results/<campaign>`.
        path: HTML file to write.
        targets: window [low, high] per property; read from the DFT results where not given.
        configuration: as the campaign was run, printed under "how to reproduce".
        templates: folder of `page.html.j2`.
        libraries: folder of the JavaScript libraries; a page without them is complete, but its
            tables cannot be sorted and its structures cannot be turned.
        stages: where a campaign stands that is not finished.
    """
    campaign = Campaign(folder, targets, configuration)
    write_text(path, make_page(campaign, templates, libraries, stages))


def make_page(
    campaign: Campaign,
    templates: str | Path = TEMPLATES,
    libraries: str | Path = LIBRARIES,
    stages: Sequence[StageStatus] = (),
) -> str:
    """The page's HTML; arguments as of `write_report`."""
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
    materials = make_materials(campaign.verified)
    shortlist = [m for m in materials if m.best.meets_targets][:SHORTLIST]
    shown = _shown(campaign, shortlist)
    colours = figures.element_colours(
        [s for c in shown if c.atoms is not None for s in c.atoms.get_chemical_symbols()]
    )
    cards = [make_card(campaign, candidate, colours) for candidate in shown]
    card_of = {candidate.slot: card for candidate, card in zip(shown, cards, strict=True)}
    scripts, styles = _libraries(Path(libraries))
    return environment.get_template("page.html.j2").render(
        name=campaign.name,
        asked=target_sentence(campaign.targets),
        targets=[(quantity(n).words, window_text(n, w)) for n, w in campaign.targets.items()],
        verdict=_verdict(campaign, materials),
        counts=_counts(campaign),
        funnel=_funnel(campaign),
        advice=_advice(campaign, [s.stage for s in sections if s.missing], stages),
        shortlist=[shortlist_card(campaign, card_of[m.best.slot], m, colours) for m in shortlist],
        materials=_materials_text(campaign, materials),
        more=_more_materials(campaign, materials),
        cards=cards,
        cards_left_out=len(campaign.verified) - len(shown),
        comparison=comparison_table(shown, list(campaign.targets)),
        failed=[make_card(campaign, c, colours, brief=True) for c in _others(campaign)],
        sections=sections,
        set_aside=_set_aside(campaign),
        trust=_trust(campaign),
        caveats=_caveats(campaign),
        reproduction=_reproduction(campaign),
        faults=campaign.faults,
        stages=stages,
        scripts=scripts,
        styles=styles,
    )


def _libraries(folder: Path) -> tuple[list[Markup], list[Markup]]:
    """Scripts and styles of the libraries that are there, ready for the inside of the page."""

    def read(names):
        texts = [(folder / n).read_text(encoding="utf-8") for n in names if (folder / n).is_file()]
        # The end of an element would end the element around it, wherever it stands.
        return [Markup(text.replace("</script", "<\\/script")) for text in texts]

    licence = folder / "3Dmol.LICENSE.txt"
    scripts = read(SCRIPTS)
    if scripts and licence.is_file():
        scripts.insert(0, Markup(f"/*!\n{licence.read_text(encoding='utf-8')}\n*/"))
    return scripts, read(STYLES)


def _prose(text: str) -> Markup:
    """Escaped text in which `code` between backticks is marked."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


# --- first screen -----------------------------------------------------------------------------


def _others(campaign: Campaign) -> list[Candidate]:
    return [c for c in campaign.candidates if c.status != "verified"]


def _counts(campaign: Campaign) -> list[tuple[str, str]]:
    selected = [c for c in campaign.candidates if not c.only_drawn]
    drawn = [c for c in campaign.candidates if c.only_drawn]
    computed = any(c.status != "pending" for c in selected)
    counts = [
        ("sampled", campaign.number_sampled),
        ("screened", campaign.number_screened),
        ("selected for DFT", campaign.number_selected),
        ("verified by DFT", _number_verified(selected) if computed else None),
        ("meet all targets", _number_inside(selected) if computed else None),
    ]
    if drawn:
        counts.append(("drawn at random beside them", len(drawn)))
        if any(c.status != "pending" for c in drawn):
            counts.append(("of these meet all targets", _number_inside(drawn)))
    return [(words, number_text(number, 0)) for words, number in counts]


def _number_verified(candidates: Sequence[Candidate]) -> int:
    return sum(c.status == "verified" for c in candidates)


def _number_inside(candidates: Sequence[Candidate]) -> int:
    return sum(c.meets_targets for c in candidates)


def _funnel(campaign: Campaign) -> Picture | None:
    steps = campaign.record("screening/funnel.json") or {}
    selected = [c for c in campaign.candidates if not c.only_drawn]
    counts = [
        ("stacks sampled", campaign.number_sampled),
        ("distinct", steps.get("distinct")),
        ("screened by the models", campaign.number_screened),
        ("likely to meet all targets", steps.get("likely")),
        ("selected for DFT", campaign.number_selected),
        ("verified by DFT", _number_verified(selected)),
        ("meet all targets", _number_inside(selected)),
    ]
    known = [(words, number) for words, number in counts if number is not None]
    if not campaign.number_sampled:
        return None
    svg = figures.inline_svg(figures.funnel_figure(known), "The funnel of the campaign", "funnel")
    return Picture(Markup(svg), "What remained after each step (logarithmic scale).")


def _shown(campaign: Campaign, shortlist: list[Material]) -> list[Candidate]:
    """Candidates that get a card: the first ones, and whatever the first screen points to."""
    wanted = {id(material.best) for material in shortlist}
    return [c for i, c in enumerate(campaign.verified) if i < CARDS_SHOWN or id(c) in wanted]


def _materials_text(campaign: Campaign, materials: list[Material]) -> str:
    """How many different things to grow the stacks that meet all targets are."""
    inside = sum(c.meets_targets for c in campaign.verified)
    different = sum(m.best.meets_targets for m in materials)
    if inside == different:
        return f"{count_text(different, 'material')} to grow."
    return (
        f"{count_text(inside, 'stack')} meet all targets; they are "
        f"{count_text(different, 'material')} to grow, as the same layers in another stacking or "
        "turned count as one: growth decides between these. Of those that meet all targets the one "
        "with the lowest energy in DFT is shown."
    )


def _more_materials(campaign: Campaign, materials: list[Material]) -> str:
    """Why the list is shorter than it could be, and what makes it longer."""
    found = sum(m.best.meets_targets for m in materials)
    if not found or found >= SHORTLIST:
        return ""
    text = f"No more than {count_text(found, 'material')} can be recommended. "
    columns = ["pair", "probability", "is_refined"]
    ranked = campaign.columns("screening/ranked.parquet", columns)
    near = None
    if ranked is not None and {"pair", "probability"} <= set(ranked) and len(ranked):
        ranked = ranked[ranked["is_refined"]] if "is_refined" in ranked else ranked
        # Slots go to others only when these are used up: `screening.selection`.
        best = ranked["probability"].max()
        least = max(LIKELY, best * NEAR) if best >= LIKELY else best * NEAR
        near = ranked.loc[ranked["probability"] >= least, "pair"].nunique()
        text += f"The ranking has {count_text(near, 'combination')} of layers that "
        text += "more likely than not meet all targets, " if best >= LIKELY else "meet all targets "
        text += "about as probably as the best; "
        text += f"{number_text(len(materials))} came through DFT. "
    if near is not None and near > len(materials):
        return text + f"For more: more slots ({_now(campaign, 'dft', 'slots')})."
    return text + (
        f"For more: larger cells ({_now(campaign, 'screening', 'maximum_atoms')}, "
        f"{_now(campaign, 'stacks', 'maximum_atoms')}), more time for DFT "
        f"({_now(campaign, 'screening', 'maximum_dft_core_min')}), more strain "
        f"({_now(campaign, 'screening', 'maximum_mismatch_percent')}), more monolayers "
        f"({_now(campaign, 'library', 'source')}), or wider `targets`."
    )


def _now(campaign: Campaign, section: str, key: str) -> str:
    """A key of the configuration with its value, where that is known."""
    value = (campaign.configuration.get(section) or {}).get(key)
    return f"`{section}.{key}`" + ("" if value is None else f", now {value}")


def _verdict(campaign: Campaign, materials: list[Material]) -> str:
    computed = [c for c in campaign.candidates if c.status != "pending"]
    verified = campaign.verified
    inside = [c for c in verified if c.meets_targets]
    if not campaign.candidates:
        return "No candidate has been verified: nothing was selected for DFT yet."
    if not computed:
        many = sum(not c.only_drawn for c in campaign.candidates)
        drawn = len(campaign.candidates) - many
        told = f"{many} selected" + (f", {drawn} drawn at random" if drawn else "")
        return f"No candidate has been verified yet: {told}, none computed."
    if not verified:
        failed = (
            "the only calculation" if len(computed) == 1 else f"all {len(computed)} calculations"
        )
        return f"No candidate has been verified: {failed} failed."
    selected = [c for c in computed if not c.only_drawn and not c.is_exploration]
    explored = [c for c in computed if c.is_exploration]
    drawn = [c for c in computed if c.only_drawn]
    if selected:
        stacks = "stack" if len(selected) == 1 else "stacks"
        hits = _number_inside(selected)
        text = f"{hits} of {len(selected)} {stacks} {'selected for' if drawn else 'given to'} DFT "
        text += ("meets" if 1 in (hits, len(selected)) else "meet") + " all targets"
        if drawn:
            text += f", and {_number_inside(drawn)} of {len(drawn)} drawn at random"
    elif drawn:
        hits = _number_inside(drawn)
        text = f"None of the selected stacks is computed; {hits} of {len(drawn)} drawn at random "
        text += ("meets" if 1 in (hits, len(drawn)) else "meet") + " all targets"
    else:
        text = "None of the stacks that are to meet the targets is computed"
    if explored:
        text += f", and {_number_inside(explored)} of {len(explored)} uncertain ones, taken to "
        text += "learn from"
    if inside:
        best = next(m.best for m in materials if m.best.meets_targets)
        return f"{text}. Best: {formula_text(best.title)}."
    best = verified[0]
    near = " and ".join(quantity(name).words for name in best.misses)
    return f"{text}. Nearest: {formula_text(best.title)}, outside in {near}."


def _advice(
    campaign: Campaign, missing: list[str], stages: Sequence[StageStatus] = ()
) -> list[str]:
    """What to do next, most pressing first."""
    advice = []
    broken = [job for status in stages for job in status.jobs if job.state == "failed"]
    if broken:
        advice.append(
            f"{len(broken)} of the jobs ended with an error: read their logs, named below. Once "
            "the cause is gone, the command that started this campaign goes on from what is "
            "there."
        )
    if missing:
        names = ", ".join(STAGES[stage][0] for stage in missing)
        advice.append(
            f"Without results: {names}. `snakemake --cores all` goes on from what is there and "
            "repeats nothing that is finished."
        )
    if empty := campaign.empty_slots_words:
        advice.append(
            f"{empty}: of the stacks not verified yet that are within the limits and likely "
            "enough to meet the targets, too few were refined, or hold together when relaxed. "
            "Widen `targets`, or let more through: `samples.number`, `screening.refined`, "
            "`screening.minimum_probability`, `screening.maximum_mismatch_percent`, "
            "`screening.maximum_atoms`, `screening.maximum_dft_core_min`, "
            "`screening.force_field.maximum_tries_per_slot`."
        )
    failed = [c for c in campaign.candidates if c.status == "failed"]
    if failed:
        advice.append(
            f"{len(failed)} of the calculations ended without a result: slots "
            f"{joined([number_text(c.slot) for c in failed])}. Each folder `dft/slot_…/` keeps its "
            "outputs and attempts. To try them again, delete the `dft/slots_….json` that names "
            "them and start the campaign as before: what is finished is kept."
        )
    verified = campaign.verified
    bonded = [number_text(c.slot) for c in verified if are_bonded(c)]
    if bonded:
        advice.append(
            f"In {'slot' if len(bonded) == 1 else 'slots'} {joined(bonded)} the layers are as "
            "near as bonded ones. Name this campaign under `labels.from_campaigns` of the next, so "
            "that its models learn of it."
        )
    if verified and not any(c.meets_targets for c in verified):
        advice.append(
            "No verified stack meets all targets. The DFT values teach the next campaign: "
            f"name `{campaign.name}` under `labels.from_campaigns` in a copy of the configuration "
            "with another `campaign`, and give `screening.exploration` a share of the slots."
        )
    elif verified and "quick" in _protocols(campaign):
        advice.append(
            "Compute the best candidates with a finer protocol (`dft.protocol: standard`) before "
            "you rely on them."
        )
    return advice


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
    path = "screening/force_field.csv"
    relaxed = campaign.relaxed
    if relaxed is not None and {"formula", "outcome", "reason"} <= set(relaxed):
        faulty = relaxed.loc[relaxed["outcome"] != "kept", ["formula", "outcome", "reason"]]
        if len(faulty):
            title = "Candidates that the force field turned away"
            tables.append(make_table(faulty, "screening-force-field", title, path))
    if len(campaign.set_aside):
        reasons = campaign.set_aside.rename_axis("reason").reset_index(name="stacks")
        tables.append(make_table(reasons, "screening-rejected", "Samples by reason"))
    return tables


def _trust(campaign: Campaign) -> list:
    names = dict.fromkeys([*campaign.targets, "gap_ev", "binding_energy_mev_a2",
                           "interlayer_gap_a", "vbm_ev", "cbm_ev"])  # fmt: skip
    metrics = campaign.record("gnn/metrics.json") or {}
    calibration = campaign.record("gnn/calibration.json") or {}
    try:
        rows = trust_in_numbers(metrics, calibration, campaign.verified, list(names))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        campaign.faults["gnn/metrics.json"] = f"not understood: {error}"
        rows = []
    return rows + trust_in_states(campaign.verified)


def _protocols(campaign: Campaign) -> set[str]:
    return {protocol_name(candidate) for candidate in campaign.verified} - {""}


def _caveats(campaign: Campaign) -> list[str]:
    caveats = []
    protocols = _protocols(campaign)
    if protocols:
        text = f"DFT values were computed with protocol {', '.join(sorted(protocols))}"
        text += ", a coarse one for screening on few cores" if "quick" in protocols else ""
        caveats.append(text + ". Numbers of different protocols must not be compared.")
    heavy = {
        formula_text(c.title): ", ".join(heavy_elements(c))
        for c in campaign.verified
        if heavy_elements(c)
    }
    text = "Spin–orbit coupling is not included."
    if heavy:
        named = "; ".join(f"{title} ({elements})" for title, elements in heavy.items())
        text += f" It matters where heavy elements take part: {named}."
    caveats += [
        text,
        "A stack that DFT finds bound is not yet a stack that can be grown: whether each layer "
        "exists on its own, on which substrate and in air, is not computed here. Look the layers "
        "up before you plan a synthesis.",
        f"A ± is one standard deviation{_how_checked(campaign)}. For chemistry far from the "
        "training data it says little.",
    ]
    return caveats


def _how_checked(campaign: Campaign) -> str:
    """By what labels the standard deviations were scaled."""
    calibration = (campaign.record("gnn/calibration.json") or {}).get("properties") or {}
    unchecked = [quantity(n).words for n, entry in calibration.items() if not entry["calibrated"]]
    shipped = "that of the model that ships, of published bilayers: too few labels of this "
    shipped += "campaign's own layers to check it by"
    if calibration and len(unchecked) == len(calibration):
        return f", {shipped}"
    held = ", widened until it held for pairs of layers left out of the training"
    return f"{held} (of {joined(unchecked)} {shipped})" if unchecked else held


def _reproduction(campaign: Campaign) -> dict:
    known = campaign.record("provenance.json") or {}
    here = provenance()
    # What the campaign ran with, where it is known: a page can be written anew by a later revision.
    made_by = known if {"heteroforge", "revision", "python", "packages"} <= set(known) else here
    versions = {"heteroforge": made_by["heteroforge"], "revision": made_by["revision"] or "unknown"}
    if here["revision"] and here["revision"] != versions["revision"]:
        versions["revision that wrote this page"] = here["revision"]
    versions |= {"Python": made_by["python"], **made_by["packages"]}
    espresso = {str(c.result.get("quantum_espresso") or "") for c in campaign.verified} - {""}
    if espresso:
        versions["Quantum ESPRESSO"] = ", ".join(sorted(espresso))
    checksums = {}
    for candidate in campaign.verified:
        checksums |= dict(candidate.result.get("pseudopotentials_sha256") or {})
    table = None
    inputs = {f"pseudopotential {element}": sha for element, sha in sorted(checksums.items())}
    inputs |= known.get("inputs_sha256", {})
    if inputs:
        rows = pd.DataFrame(inputs.items(), columns=["input", "sha256"])
        table = make_table(rows, "inputs", "Inputs and their checksums")
    return {
        "configuration": yaml.safe_dump(
            _without_secrets(campaign.configuration), sort_keys=False, allow_unicode=True
        )
        if campaign.configuration
        else "",
        "versions": versions,
        "inputs": table,
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
