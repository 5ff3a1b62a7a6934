"""What each stage found, as paragraphs, figures and tables with numbers from its files."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from markupsafe import Markup

from heteroforge.evaluation.hit_rates import Advantage, advantage
from heteroforge.report.campaign import Campaign
from heteroforge.report.clustering import clustering_paragraphs, clustering_tables
from heteroforge.report.clustering_figures import chosen_figure
from heteroforge.report.figures import inline_svg, page_svg
from heteroforge.report.judgement import FAR_OFF_STANDARD_DEVIATIONS, standard_deviations_off
from heteroforge.report.models import calibration_figure, learned_figure
from heteroforge.report.tables import Table, make_table, measures_table
from heteroforge.report.words import (
    count_text,
    formula_text,
    interval_text,
    joined,
    number_text,
    quantity,
    share_text,
    target_sentence,
    value_text,
)

__all__ = [
    "STAGES",
    "Picture",
    "Section",
    "picture_caption",
    "stage_section",
    "stage_sections",
    "told_far_off",
]

PICTURES_PER_STAGE = 6

_CAPTIONS = {
    "library/monolayers": "Gap against lattice constant, by name; layers of similar lattice "
    "constant fit on each other.",
    "clustering/map": "Map of the monolayers: near means alike in composition and structure.",
    "clustering/works": "What separates the good from the others: band gap, mobility and binding "
    "energy of the monolayers for which they are known; shaded: asked of a good semiconductor.",
    "clustering/drivers": "What decides the properties: importance of the descriptors. Bars that "
    "end left of the red mark may be chance.",
    "stacks/matches": "Which layers fit on which: smallest mismatch of a common cell; empty: none "
    "within the limits.",
    "labels/predicted_and_dft": "What physics and a model of published bilayers say of "
    "stacks, and what DFT says.",
    "gvae/training": "Training curves of the generator.",
    "gnn/parity": "Predictions for pairs of layers left out of the training, against DFT. Bars: "
    "68 % intervals, of the widths that the screen uses.",
    "samples/pairs": "Samples by pair of layers: where the generator went.",
    "screening/pareto": "Predicted properties of the ranked stacks; targets shaded, rings: given "
    "to DFT (number of the slot).",
    "screening/chances": "Where the chances are: best probability of meeting all targets, by pair "
    "of layers; framed: given to DFT.",
    "dft/predicted_and_verified": "What was predicted (± one standard deviation) and what DFT "
    "found; targets shaded.",
}


@dataclass
class Picture:
    """A figure with its caption; `on_paper` for pictures with a background of their own."""

    markup: Markup
    caption: str
    on_paper: bool = False


@dataclass
class Section:
    """A stage in the page."""

    stage: str
    title: str
    question: str
    paragraphs: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    missing: bool = False


STAGES = {
    "library": ("Library", "Which monolayers are known, and what is known of them?"),
    "clustering": ("Clustering", "What makes a good semiconductor good?"),
    "stacks": ("Stacks", "Which layers fit on which, and how?"),
    "labels": ("Labels", "What is known of stacks?"),
    "gvae": ("Generator (GVAE)", "What do stable stacks look like?"),
    "gnn": ("Predictor (GNN)", "What will a stack's properties be, and how sure is that?"),
    "samples": ("Samples", "Which new stacks were proposed?"),
    "screening": ("Screening", "Which of them are worth a DFT job?"),
    "dft": ("DFT", "Is it true?"),
}


def stage_sections(campaign: Campaign) -> list[Section]:
    """One section per stage, in order."""
    return [stage_section(campaign, stage) for stage in STAGES]


def stage_section(campaign: Campaign, stage: str) -> Section:
    """What a stage found; a stage without files says how to make them.

    A fault in the stage's files is told in its section and costs no other section.
    """
    title, question = STAGES[stage]
    section = Section(stage, title, question)
    try:
        _WRITERS[stage](campaign, section)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        # The files of a stage can come from another version or a person's hand.
        section.paragraphs.append(
            f"The files in `{stage}/` could not all be understood "
            f"({type(error).__name__}: {error}); what could be is shown."
        )
    if not section.paragraphs and not section.tables:
        section.missing = True
        section.paragraphs.append(
            f"This stage has left no results yet. `snakemake --cores all {stage}` makes them."
        )
    _add_pictures(campaign, section)
    return section


def picture_caption(stage: str, stem: str) -> str:
    """What a stage's picture shows; the file's name where nothing is known of it."""
    return _CAPTIONS.get(f"{stage}/{stem}", f"{stem.replace('_', ' ').capitalize()}.")


# --- pictures ----------------------------------------------------------------------------------


def _add_pictures(campaign: Campaign, section: Section) -> None:
    for path in campaign.pictures(section.stage)[:PICTURES_PER_STAGE]:
        caption = picture_caption(section.stage, path.stem)
        if path.suffix == ".svg":
            try:
                prefix = f"{section.stage}-{path.stem}".replace("_", "-")
                svg = page_svg(path.read_text(encoding="utf-8"), caption, prefix)
                section.pictures.append(Picture(Markup(svg), caption))
                continue
            except (ElementTree.ParseError, KeyError, ValueError, UnicodeDecodeError):
                path = path.with_suffix(".png")  # drawn by something else: take it as it is
                if not path.is_file():
                    continue
        content = base64.b64encode(path.read_bytes()).decode()
        markup = Markup('<img alt="{}" src="data:image/png;base64,{}">').format(caption, content)
        section.pictures.append(Picture(markup, caption, on_paper=True))


# --- sentences --------------------------------------------------------------------------------


def _range(name: str, values: pd.Series) -> str:
    low, high = values.min(), values.max()
    if math.isclose(low, high):
        return value_text(name, low)
    return f"{value_text(name, low, unit=False)} to {value_text(name, high)}"


# --- stages -----------------------------------------------------------------------------------


def _write_library(campaign: Campaign, section: Section) -> None:
    path = "library/monolayers.parquet"
    library, rejected = campaign.table(path), campaign.table("library/rejected.csv")
    if library is None:
        return
    text = f"{count_text(len(library), 'monolayer')}"
    if "source" in library:
        sources = sorted(library["source"].dropna().astype(str).unique())
        text += f" ({joined(sources)})" if sources else ""
    if "is_metal" in library:
        metals = int((library["is_metal"] == True).sum())  # noqa: E712 (unknown is neither)
        text += f": {count_text(len(library) - metals, 'semiconductor')} and "
        text += count_text(metals, "metal")
    text += "."
    if "gap_ev" in library and library["gap_ev"].gt(0).any():
        text += f" Gaps run from {_range('gap_ev', library['gap_ev'][library['gap_ev'] > 0])}."
    edges = library.get("vbm_ev")
    if edges is not None:
        text += f" Band edges against vacuum are known for {number_text(int(edges.notna().sum()))}."
    section.paragraphs.append(text)
    if rejected is not None and len(rejected):
        section.paragraphs.append(
            f"Set aside: {number_text(len(rejected))} of "
            f"{count_text(len(library) + len(rejected), 'material')} "
            f"({share_text(len(rejected), len(library) + len(rejected))}): "
            "`library/rejected.csv` has the reasons."
        )
    section.tables.append(make_table(library, "library-monolayers", "Monolayers", path))


def _write_clustering(campaign: Campaign, section: Section) -> None:
    section.paragraphs += clustering_paragraphs(campaign)
    section.tables += clustering_tables(campaign)


def _write_stacks(campaign: Campaign, section: Section) -> None:
    matches = campaign.columns("stacks/matches.parquet")
    stacks = campaign.columns("stacks/training_stacks.parquet")
    if matches is not None:
        pairs = matches[["bottom", "top"]].drop_duplicates()
        text = (
            f"{count_text(len(matches), 'commensurate cell')} for {count_text(len(pairs), 'pair')}"
        )
        if len(matches):
            text += (
                f", with a mismatch of {_range('mismatch_percent', matches['mismatch_percent'])} "
                f"(median {value_text('mismatch_percent', matches['mismatch_percent'].median())}) "
                f"and {_range('number_of_atoms', matches['number_of_atoms'])} atoms"
            )
        section.paragraphs.append(text + ".")
    if stacks is not None:
        text = f"{count_text(len(stacks), 'stack')} to learn from"
        if "split" in stacks and len(stacks):
            sizes = stacks["split"].value_counts()
            text += ": " + joined([f"{number_text(int(n))} {name}" for name, n in sizes.items()])
            text += ". All stacks of a pair of layers are on one side of the split: test numbers "
            text += "are for pairs that were never seen"
        section.paragraphs.append(text + ".")
    if matches is not None:
        section.tables.append(
            make_table(matches, "stacks-matches", "Commensurate cells", "stacks/matches.parquet")
        )


def _write_labels(campaign: Campaign, section: Section) -> None:
    path = "labels/labels.parquet"
    labels = campaign.columns(path, ["stack_id", "property", "value", "unit", "fidelity", "source"])
    if labels is None:
        return
    sizes = labels["fidelity"].value_counts()
    parts = [f"{number_text(int(n))} by {_fidelity(name)}" for name, n in sizes.items()]
    section.paragraphs.append(
        f"{count_text(len(labels), 'value')} for "
        + count_text(labels["stack_id"].nunique(), "stack")
        + (f": {joined(parts)}." if parts else ".")
        + " Models learn the difference between what published DFT says and this project's DFT."
    )
    groups = labels.groupby(["property", "fidelity"], sort=True)
    rows = []
    for (name, fidelity), group in groups:
        shown = quantity(str(name))
        numbers = [group["value"].mean(), group["value"].min(), group["value"].max()]
        rows.append(
            [(shown.label, str(name)), (_fidelity(fidelity), str(fidelity))]
            + [(number_text(len(group)), str(len(group)))]
            + [(number_text(x, shown.decimals), repr(float(x))) for x in numbers]
        )
    heads = [("property", False), ("fidelity", False), ("labels", True), ("mean", True)]
    heads += [("lowest", True), ("highest", True)]
    columns = [(name, name, numeric) for name, numeric in heads]
    section.tables.append(Table("labels-summary", "Labels by property", columns, rows))


def _fidelity(name: object) -> str:
    words = {
        "baseline": "physics baseline",
        "published": "a model of published DFT",
        "dft": "DFT",
        "dft_other": "DFT of other protocols, not learned from",
        "dft_bonded": "DFT of stacks whose layers bond, not learned from",
    }
    return words.get(str(name), str(name))


def _write_gvae(campaign: Campaign, section: Section) -> None:
    history = campaign.table("gvae/history.csv")
    metrics = campaign.record("gvae/metrics.json")
    if history is not None and len(history):
        _write_history(section, history)
    if metrics:
        section.paragraphs += _generator_paragraphs(metrics)
        section.tables.append(
            measures_table(metrics, "gvae-metrics", "Reconstruction and generation")
        )


def _generator_paragraphs(metrics: Mapping) -> list[str]:
    """What comes back of stacks that were held out, and what new ones are worth."""
    paragraphs = []
    held_out = (metrics.get("reconstruction") or {}).get("test_pairs")
    if isinstance(held_out, Mapping) and held_out.get("stacks"):
        paragraphs.append(
            f"Of {count_text(held_out['stacks'], 'stack')} of pairs never seen "
            f"{share_text(held_out['all'], 1.0)} come back with layers, faces, cell and registry "
            f"as they were; lattice constants are off by "
            f"{_length_text(held_out['lattice_mae_a'])}, gaps by "
            f"{_length_text(held_out['gap_mae_a'])} in the mean."
        )
    made = metrics.get("generation")
    if isinstance(made, Mapping) and made.get("generated"):
        paragraphs.append(
            f"Of {number_text(made['generated'])} drawn without a target "
            f"{share_text(made['validity'], 1.0)} are valid stacks; of these "
            f"{share_text(made['uniqueness'], 1.0)} are distinct, and of the distinct ones "
            f"{share_text(made['novelty'], 1.0)} are new."
        )
    return paragraphs


def _length_text(length_a: float) -> str:
    if length_a < 0.0005:
        return "less than 0.001\u202fÅ"
    return f"{number_text(length_a, 3)}\u202fÅ"


def _write_history(section: Section, history: pd.DataFrame) -> None:
    epochs = history["epoch"] if "epoch" in history else pd.Series(range(1, len(history) + 1))
    text = f"Trained for {count_text(int(epochs.nunique()), 'epoch')}"
    if "validation_loss" in history and history["validation_loss"].notna().any():
        best = history["validation_loss"].idxmin()
        text += (
            f"; the validation loss was lowest in epoch {number_text(int(epochs[best]))} "
            f"({number_text(history['validation_loss'][best])})"
        )
    section.paragraphs.append(text + ".")


def _write_gnn(campaign: Campaign, section: Section) -> None:
    metrics = campaign.record("gnn/metrics.json")
    calibration = campaign.record("gnn/calibration.json") or {}
    if metrics:
        _write_metrics(section, metrics, calibration.get("properties", {}))
    if calibration:
        section.tables.append(
            measures_table(
                calibration.get("properties", calibration), "gnn-calibration", "Calibration"
            )
        )
    predictions = campaign.table("gnn/test_predictions.parquet")
    if predictions is not None and {"true", "predicted", "std"} <= set(predictions.columns):
        caption = (
            "Shape of the intervals: how many values of pairs left out lie inside, against how "
            "many should. Below the line the ± is too small; in brackets: values. Drawn with the "
            "final widths, which were fitted to these same values, so that it flatters them: the "
            "test, with each pair left out of the fitting of its own width, is the last column of "
            "the table of errors."
        )
        svg = inline_svg(calibration_figure(predictions), caption, "gnn-calibration-curve")
        section.pictures.append(Picture(Markup(svg), caption))
    learned = campaign.table("gnn/learned_since.csv")
    if learned is not None and len(learned):
        caption = (
            "What the labels of earlier campaigns brought: errors of their predictors and of this "
            "campaign's, on stacks that both have labels of and on those that were verified since, "
            "of new pairs of layers; none told by members that had seen its pair. Selected stacks "
            "had predictions that looked right, so that those before are somewhat worse than of "
            "others. `gnn/learned_since.csv` has intervals."
        )
        svg = inline_svg(learned_figure(learned), caption, "gnn-learned-since")
        section.pictures.append(Picture(Markup(svg), caption))


def _write_metrics(section: Section, metrics: Mapping, calibration: Mapping) -> None:
    """Errors of the network beside those of simpler predictors, on pairs never seen."""
    properties = metrics.get("properties")
    if not isinstance(properties, Mapping):
        section.tables.append(measures_table(metrics, "gnn-metrics", "Test metrics"))
        return
    if metrics.get("labelled_stacks") is not None:
        text = f"{count_text(metrics['labelled_stacks'], 'stack')} with DFT labels"
        if metrics.get("labelled_pairs") is not None:
            text += f" from {count_text(metrics['labelled_pairs'], 'pair')} of layers"
        if metrics.get("split"):
            text += (
                f"; every error below is for pairs left out of the training ({metrics['split']})"
            )
        if any(entry.get("not_learned_from") for entry in properties.values()):
            text += ", and that the model of published DFT had not learned from either"
        section.paragraphs.append(text + ".")
    known = {name: entry for name, entry in properties.items() if entry.get("predictors")}
    if not known:
        return
    beaten = [name for name, entry in known.items() if entry.get("network_beats_baselines")]
    text = f"The GNN beats every simpler predictor for {number_text(len(beaten))} of "
    text += f"{count_text(len(known), 'property', 'properties')}"
    text += f" ({joined([quantity(n).words for n in beaten])})" if beaten else ""
    text += "; published DFT is used for each property unless another's squared error on unseen "
    section.paragraphs.append(text + "pairs is smaller beyond chance.")
    section.tables.append(_predictors_table(known, calibration))


def _predictors_table(properties: Mapping, calibration: Mapping) -> Table:
    """Root mean square errors on unseen pairs, properties in rows, predictors in columns."""
    predictors = list(dict.fromkeys(p for e in properties.values() for p in e["predictors"]))
    columns = [("property", "property", False), ("labels", "DFT labels", True)]
    columns += [("used", "used", False)]
    columns += [(f"rmse_{p}", _predictor_words(p), True) for p in predictors]
    columns += [("coverage", "inside the 68\u202f% interval, width fitted without the pair", True)]
    rows = []
    for name, entry in properties.items():
        labels, best = entry.get("labels"), entry.get("best")
        row = [(quantity(name).label, name), (number_text(labels), str(labels))]
        row.append((_predictor_words(str(best)), str(best)))
        for predictor in predictors:
            rmse = (entry["predictors"].get(predictor) or {}).get("rmse")
            row.append((_error_text(name, rmse), "" if rmse is None else repr(float(rmse))))
        inside = [c for c in (calibration.get(name) or {}).get("coverage") or [] if c is not None]
        row.append((f"{100 * inside[0]:.0f}\u202f%", repr(inside[0])) if inside else ("–", ""))
        rows.append(row)
    title = "Root mean square errors of all predictors, on pairs left out"
    return Table("gnn-metrics", title, columns, rows)


def _predictor_words(name: str) -> str:
    words = {
        "physics": "physics baseline",
        "published": "published DFT",
        "corrected_published": "published DFT, corrected",
        "boosting": "gradient boosting",
        "network": "GNN",
    }
    return words.get(name, name.replace("_", " "))


def _error_text(name: str, error: float | None) -> str:
    """An error with one more digit than the quantity itself."""
    decimals = quantity(name).decimals
    return number_text(error, None if decimals is None else decimals + 1)


def _write_samples(campaign: Campaign, section: Section) -> None:
    shards = campaign.matching("samples/shard_*.parquet")
    if not shards:
        return
    names = ["stack_id", "is_novel", "number_of_layers", "number_of_atoms", "mismatch_percent"]
    frames = [f for f in (campaign.columns(path, names) for path in shards) if f is not None]
    if not frames:
        return
    samples = pd.concat(frames, ignore_index=True)
    wanted = (campaign.configuration.get("samples") or {}).get("number")
    text = f"{count_text(len(samples), 'stack')} in {count_text(len(shards), 'shard')}"
    if isinstance(wanted, int) and len(samples) < wanted:
        text = (
            f"{number_text(wanted)} samples in {count_text(len(shards), 'shard')}, of which "
            f"{number_text(len(samples))} differ from all others of their shard"
        )
    if "stack_id" in samples and len(shards) > 1:
        distinct = number_text(int(samples["stack_id"].nunique()))
        text += f", {distinct} distinct over all shards"
    if "is_novel" in samples and len(samples):
        novel = int(samples["is_novel"].sum())
        text += (
            f"; {share_text(novel, len(samples))} are none of the enumerated stacks, part of which "
            "the generator learned from"
        )
    section.paragraphs.append(text + ".")
    if "number_of_layers" in samples and len(samples):
        sizes = samples["number_of_layers"].value_counts().sort_index()
        words = {k: count_text(int(k), "layer") for k in sizes.index}
        parts = [f"{number_text(int(n))} with {words[k]}" for k, n in sizes.items()]
        if len(parts) == 1:
            parts = [f"All have {words[sizes.index[0]]}"]
        section.paragraphs.append(f"{joined(parts)}.")


# Said by another column, or the same for all that came so far.
_NOT_RANKED = ("pair", "formula", "split", "is_trained", "is_high_symmetry", "gap_unclipped_ev")
_RANKING_HEADS = {
    "layers": "stack, bottom to top",
    "is_novel": "new",
    "is_labelled": "verified before",
    "pareto_rank": "Pareto front",
}


def _write_screening(campaign: Campaign, section: Section) -> None:
    ranked = campaign.columns("screening/ranked.parquet")
    given, selected = campaign.table("screening/selected.csv"), campaign.selected
    rejected = campaign.table("screening/rejected.csv")
    if ranked is None and selected is None:
        return
    if ranked is not None:
        text = f"{count_text(len(ranked), 'stack')} ranked"
        if "probability" in ranked and len(ranked):
            told = ranked.get("is_refined", True)  # of the others the fast predictor guesses
            likely = int(((ranked["probability"] >= 0.5) & told).sum())
            text += (
                f"; for {number_text(likely)} the models find it more likely than not that all "
                f"targets are met ({target_sentence(campaign.targets)})"
            )
        section.paragraphs.append(text + ".")
    if selected is not None:
        text = f"{count_text(len(selected), 'stack')} selected for DFT"
        if "probability" in selected and len(selected):
            text += f", with a probability of {_range('probability', selected['probability'])}"
        if ranked is not None and "probability" in ranked and len(ranked):
            text += (
                f"; the mean over all ranked stacks is "
                f"{number_text(float(ranked['probability'].mean()), 3)}"
            )
        section.paragraphs.append(text + ".")
        if len(given) > len(selected):
            section.paragraphs.append(
                f"Beside them DFT gets {count_text(len(given) - len(selected), 'stack')} drawn at "
                "random from all within the limits, to tell what selection is worth."
            )
    places = campaign.table("clustering/map.csv")
    if places is not None and given is not None and "layers" in given and len(given):
        stacks = [str(text).split("/") for text in given["layers"]]
        caption = "Where the stacks given to DFT lie among the monolayers: near means alike in "
        caption += "composition and structure; lines join the layers of a stack."
        svg = inline_svg(chosen_figure(places, stacks), caption, "screening-chosen")
        section.pictures.append(Picture(Markup(svg), caption))
    if rejected is not None and len(rejected):
        section.paragraphs.append(
            f"{count_text(len(rejected), 'stack')} did not enter the ranking or a slot: "
            "`screening/rejected.csv` has the reasons."
        )
    relaxed = campaign.relaxed
    if relaxed is not None and len(relaxed) and "outcome" in relaxed:
        kept = int((relaxed["outcome"] == "kept").sum())
        section.paragraphs.append(
            f"{number_text(kept)} of {count_text(len(relaxed), 'candidate')} held together when "
            "relaxed with a force field"
            + (
                "."
                if kept == len(relaxed)
                else "; the others were replaced: `screening/force_field.csv` has the reasons."
            )
        )
    if ranked is not None and len(ranked):
        order = ranked.sort_values("rank") if "rank" in ranked else ranked
        order = order.drop(columns=[n for n in _NOT_RANKED if n in order])
        first = ["rank", "layers", "probability"]
        for name in [*campaign.targets, "gap_ev", "binding_energy_mev_a2", "interlayer_gap_a"]:
            first += [n for n in (name, f"{name}_std") if n not in first]
        path = "screening/ranked.parquet"
        table = make_table(order, "screening-ranked", "Ranking", path, _RANKING_HEADS, first)
        section.tables.append(table)


def _write_dft(campaign: Campaign, section: Section) -> None:
    candidates = campaign.candidates
    computed = [c for c in candidates if c.status != "pending"]
    if not computed:
        if not candidates and campaign.table("dft/results.parquet") is not None:
            section.paragraphs.append(
                "The screen gave no stack to DFT, so that there was nothing to compute: "
                "`screening/rejected.csv` says what ruled stacks out. Wider `targets` or limits, "
                "or more samples (`samples.number`), may leave some."
            )
        return
    verified = campaign.verified
    # What was drawn at random, or is there to learn from, says nothing of the selection.
    selected = [c for c in computed if not c.only_drawn and not c.is_exploration]
    finished = [c for c in selected if c.status == "verified"]
    inside = [c for c in finished if c.meets_targets]
    if selected:
        section.paragraphs.append(
            f"{number_text(len(finished))} of {count_text(len(selected), 'candidate')} computed to "
            f"the end; {number_text(len(inside))} of these inside all targets, a hit rate of "
            f"{share_text(len(inside), len(selected))} of what was computed "
            f"({interval_text(len(inside), len(selected))} with 95\u202f% confidence, were they "
            "drawn independently)." + _told_expected(campaign.table("dft/hit_rates.csv"))
        )
    if explored := [c for c in computed if c.is_exploration]:
        hits = sum(c.meets_targets for c in explored)
        section.paragraphs.append(
            f"{count_text(len(explored), 'slot')} more {_was(len(explored))} given to uncertain "
            f"stacks, to learn from: {number_text(hits)} of them inside."
        )
    section.paragraphs += _against_chance(campaign.table("dft/hit_rates.csv"))
    rows = []
    for name in campaign.targets or {}:
        pairs = [
            (c.computed[name], c.predicted[name], c.predicted.get(f"{name}_std"))
            for c in verified
            if isinstance(c.computed.get(name), (int, float))
            and isinstance(c.predicted.get(name), (int, float))
        ]
        if not pairs:
            continue
        errors = np.array([abs(p - d) for d, p, _ in pairs])
        covered = [abs(p - d) <= 2 * s for d, p, s in pairs if isinstance(s, (int, float))]
        rows.append(
            f"The predicted {quantity(name).words} is off by {value_text(name, errors.mean())} in "
            f"the mean over {count_text(len(pairs), 'candidate')}"
            + (f", within two standard deviations for {sum(covered)}." if covered else ".")
        )
    section.paragraphs += rows + told_far_off(verified, campaign.targets or {})
    table = campaign.table("dft/results.parquet")
    if table is not None and len(table):
        section.paragraphs += _told_cost(table)
        path = "dft/results.parquet"
        section.tables.append(make_table(table, "dft-results", "All verified candidates", path))


def told_far_off(verified: Sequence, names: Iterable[str]) -> list[str]:
    """Which predictions DFT contradicts beyond what their standard deviations admit."""
    far, compared = [], 0
    for name in names:
        for candidate in verified:
            off = standard_deviations_off(candidate, name)
            compared += off is not None
            if off is not None and off > FAR_OFF_STANDARD_DEVIATIONS:
                far.append(
                    f"{quantity(name).words} of {formula_text(candidate.title)} "
                    f"(slot {candidate.slot}, {number_text(off, 0)} standard deviations)"
                )
    if not far:
        return []
    return [
        f"{number_text(len(far))} of {count_text(compared, 'predicted value')} "
        f"{'lies' if len(far) == 1 else 'lie'} more than "
        f"{number_text(FAR_OFF_STANDARD_DEVIATIONS, 0)} standard deviations from DFT, further than "
        f"intervals admit: {joined(far)}."
    ]


def _told_cost(table: pd.DataFrame) -> list[str]:
    if "core_seconds" not in table or not table["core_seconds"].sum():
        return []
    minutes, spent = table["core_seconds"] / 60, table["core_seconds"].sum()
    text = f"A verified candidate took {number_text(float(minutes.mean()), 1)} core-minutes of pw.x"
    if len(table) > 1:
        text += f" in the mean (at most {number_text(float(minutes.max()), 1)})"
    share = share_text(table["wasted_core_seconds"].sum(), spent)
    return [f"{text}, {share} of it in runs that needed a remedy or were cut short."]


def _told_expected(rates: pd.DataFrame | None) -> str:
    """How many hits the screen's own probabilities add up to."""
    if rates is None or "expected" not in rates or "selected" not in set(rates["draw"]):
        return ""
    expected = rates.set_index("draw").at["selected", "expected"]
    if pd.isna(expected):
        return ""
    return (
        f" Their predicted probabilities add up to {number_text(float(expected), 1)}; those of "
        "the most promising of many are too large as a rule, for where the models err upwards a "
        "stack is chosen."
    )


def _against_chance(rates: pd.DataFrame | None) -> list[str]:
    """What selection is worth, where stacks drawn at random were verified as well."""
    if rates is None or "random" not in set(rates["draw"]):
        return []
    random = rates.set_index("draw").loc["random"]
    part, whole = int(random["inside"]), int(random["candidates"])
    text = (
        f"Of {count_text(whole, 'stack')} drawn at random from all within the limits of the "
        f"screen, {number_text(part)} {'is' if part == 1 else 'are'} inside all targets: "
        f"{share_text(part, whole)} ({interval_text(part, whole)})."
    )
    shared = int(random["shared"])
    if shared:
        text += f" {count_text(shared, 'stack')} of them {_was(shared)} selected, too."
    told = [text + _told_gain(advantage(rates))]
    if "random_kept" in set(rates["draw"]):
        kept = rates.set_index("draw").loc["random_kept"]
        part, whole = int(kept["inside"]), int(kept["candidates"])
        told.append(
            f"{number_text(whole)} of the drawn ones hold{'s' if whole == 1 else ''} together when "
            "relaxed with the force field, as all selected ones do: of these "
            f"{number_text(part)} {'is' if part == 1 else 'are'} inside "
            f"({share_text(part, whole)}), what the models have to beat."
            + _told_gain(advantage(rates, "random_kept"))
        )
    return told


def _was(number: int) -> str:
    return "was" if number == 1 else "were"


def _told_gain(gain: Advantage | None) -> str:
    if gain is None:
        return ""
    if np.isinf(gain.ratio):
        text = " Chance hit nothing, so that no ratio can be given;"
    else:
        text = (
            f" Selection hits {number_text(gain.ratio, 1)} times as often "
            f"({number_text(gain.low, 1)} to {number_text(gain.high, 1)} with 95\u202f% "
            "confidence);"
        )
    p_value = f"{gain.p_value:.2g}"
    return f"{text} were it no better than chance, so many hits would come with p = {p_value}."


_WRITERS: dict[str, Callable[[Campaign, Section], None]] = {
    "library": _write_library,
    "clustering": _write_clustering,
    "stacks": _write_stacks,
    "labels": _write_labels,
    "gvae": _write_gvae,
    "gnn": _write_gnn,
    "samples": _write_samples,
    "screening": _write_screening,
    "dft": _write_dft,
}
