"""What each stage found, as paragraphs, figures and tables with numbers from its files."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from markupsafe import Markup

from heteroforge.report import figures
from heteroforge.report.campaign import Campaign
from heteroforge.report.words import (
    formula_text,
    number_text,
    quantity,
    target_sentence,
    value_text,
)

__all__ = ["STAGES", "Picture", "Section", "Table", "make_table", "stage_sections"]

ROWS_SHOWN = 150
MARKS_SHOWN = 2500
PICTURES_PER_STAGE = 4
_NOT_SHOWN = ("specification", "seed_key")


@dataclass
class Table:
    """A table of the page.

    Attributes:
        identifier: unique in the page; also the name of the exported CSV.
        title: caption.
        columns: (column name, heading, whether it holds numbers).
        rows: cells as (text shown, plain value for sorting and export).
        note: what was left out and where the rest is.
    """

    identifier: str
    title: str
    columns: list[tuple[str, str, bool]]
    rows: list[list[tuple[str, str]]]
    note: str = ""


@dataclass
class Picture:
    """A figure with its caption; `on_paper` for pictures with a background of their own."""

    markup: Markup
    caption: str
    on_paper: bool = False


@dataclass
class Section:
    """A stage in the page; `drawn` names stage pictures that the page draws itself."""

    stage: str
    title: str
    question: str
    paragraphs: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    missing: bool = False
    drawn: set[str] = field(default_factory=set)


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
    """One section per stage, in order; a stage without files says how to make them.

    A fault in one stage's files is told in its section and costs no other section.
    """
    made = []
    for stage, (title, question) in STAGES.items():
        section = Section(stage, title, question)
        try:
            _WRITERS[stage](campaign, section)
        except (KeyError, TypeError, ValueError, IndexError) as error:
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
        made.append(section)
    return made


# --- tables and pictures ----------------------------------------------------------------------


def make_table(
    frame: pd.DataFrame,
    identifier: str,
    title: str,
    path: str = "",
    rows_shown: int = ROWS_SHOWN,
    total: int | None = None,
    headings: Mapping[str, str] | None = None,
) -> Table:
    """A page's table of the first rows of a frame.

    Args:
        frame: columns are named and written by their units; empty columns are left out.
        path: file that holds all rows, named where rows are left out.
        total: rows there are, where the frame is only the first of them.
        headings: instead of the usual words for a column.
    """
    columns, texts = [], []
    for name in frame.columns:
        series = frame[name]
        if name in _NOT_SHOWN or series.isna().all():
            continue
        truth = pd.api.types.is_bool_dtype(series.dropna().infer_objects())
        numeric = pd.api.types.is_numeric_dtype(series) and not truth
        heading = (headings or {}).get(str(name)) or quantity(str(name)).label
        columns.append((str(name), heading, numeric))
        texts.append([_cell(str(name), value, truth) for value in series.head(rows_shown)])
    total = len(frame) if total is None else total
    note = ""
    if total > rows_shown:
        note = f"First {number_text(rows_shown)} of {number_text(total)} rows"
        note += f"; all of them in `{path}`." if path else "."
    rows = [list(row) for row in zip(*texts, strict=True)] if texts else []
    return Table(identifier, title, columns, rows, note)


def _cell(name: str, value: object, truth: bool = False) -> tuple[str, str]:
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return "–", ""
    if truth:
        return ("yes", "1") if value else ("no", "0")
    if isinstance(value, (int, float, np.number)):
        return value_text(name, value, unit=False), repr(float(value))
    if isinstance(value, np.ndarray):
        value = value.tolist()
    text = str(value)
    if name in ("formula", "bottom", "top", "material"):
        return formula_text(text), text
    if name == "property":
        return quantity(text).label, text
    return (quantity(text).words if name in ("target", "descriptor") else text), text


def _add_pictures(campaign: Campaign, section: Section) -> None:
    for path in campaign.pictures(section.stage):
        if len(section.pictures) >= PICTURES_PER_STAGE + 2:
            break
        if any(word in path.stem for word in section.drawn):
            continue
        caption = f"{path.stem.replace('_', ' ').capitalize()}."
        if path.suffix == ".svg":
            try:
                prefix = f"{section.stage}-{path.stem}".replace("_", "-")
                svg = figures.page_svg(path.read_text(encoding="utf-8"), caption, prefix)
                section.pictures.append(Picture(Markup(svg), caption))
                continue
            except (ElementTree.ParseError, KeyError, ValueError, UnicodeDecodeError):
                path = path.with_suffix(".png")  # drawn by something else: take it as it is
                if not path.is_file():
                    continue
        content = base64.b64encode(path.read_bytes()).decode()
        markup = Markup('<img alt="{}" src="data:image/png;base64,{}">').format(caption, content)
        section.pictures.append(Picture(markup, caption, on_paper=True))


def _picture(section: Section, figure, caption: str, tooltips=None) -> None:
    number = len(section.pictures) + 1
    svg = figures.inline_svg(figure, caption, f"{section.stage}-{number}", tooltips)
    section.pictures.append(Picture(Markup(svg), caption))


def _measures(record: Mapping, prefix: str = "") -> list[tuple[str, object]]:
    """All single values of a nested record, with their path in words."""
    found = []
    for key, value in record.items():
        if key == "provenance":
            continue
        words = f"{prefix}{quantity(str(key)).label}"
        if isinstance(value, Mapping):
            found += _measures(value, f"{prefix}{quantity(str(key)).words}: ")
        elif isinstance(value, (int, float, str, bool)) or value is None:
            found.append((words, value))
        elif isinstance(value, Sequence) and len(value) <= 4:
            found.append((words, ", ".join(map(str, value))))
    return found


def _measures_table(record: Mapping, identifier: str, title: str) -> Table:
    rows = [
        [(words, words), _cell("", value, isinstance(value, bool))]
        for words, value in _measures(record)
    ]
    columns = [("measure", "measure", False), ("value", "value", True)]
    return Table(identifier, title, columns, rows)


# --- sentences --------------------------------------------------------------------------------


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number_text(int(number))} {one if number == 1 else many or one + 's'}"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f}{chr(0x202F)}%" if whole else "–"


def _range(name: str, values: pd.Series) -> str:
    low, high = values.min(), values.max()
    if math.isclose(low, high):
        return value_text(name, low)
    return f"{value_text(name, low, unit=False)} to {value_text(name, high)}"


def _join(parts: Sequence[str]) -> str:
    parts = list(parts)
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


# --- stages -----------------------------------------------------------------------------------


def _write_library(campaign: Campaign, section: Section) -> None:
    path = "library/monolayers.parquet"
    library, rejected = campaign.table(path), campaign.table("library/rejected.csv")
    if library is None:
        return
    text = f"{_count(len(library), 'monolayer')}"
    if "source" in library:
        sources = sorted(library["source"].dropna().astype(str).unique())
        text += f" ({_join(sources)})" if sources else ""
    if "is_metal" in library:
        metals = int((library["is_metal"] == True).sum())  # noqa: E712 (unknown is neither)
        text += f": {_count(len(library) - metals, 'semiconductor')} and {_count(metals, 'metal')}"
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
            f"{_count(len(library) + len(rejected), 'material')} "
            f"({_share(len(rejected), len(library) + len(rejected))}), with their reasons below."
        )
    section.tables.append(make_table(library, "library-monolayers", "Monolayers", path))


def _write_clustering(campaign: Campaign, section: Section) -> None:
    clusters = campaign.table("clustering/clusters.csv")
    drivers = campaign.table("clustering/drivers.csv")
    if clusters is not None:
        sizes = clusters["cluster"].value_counts()
        noise = int(sizes.pop(-1)) if -1 in sizes.index else 0
        text = f"{_count(len(sizes), 'cluster')} among {_count(len(clusters), 'monolayer')}; "
        text += f"{_count(noise, 'monolayer belongs', 'monolayers belong')} to none."
        if "works" in clusters:
            works = clusters["works"].astype("object")
            good, bad = int((works == True).sum()), int((works == False).sum())  # noqa: E712
            unknown = len(clusters) - good - bad
            text += (
                f" {number_text(good)} meet the definition of a good semiconductor in the "
                f"configuration, {number_text(bad)} do not, and for {number_text(unknown)} too "
                "little is known to tell."
            )
        section.paragraphs.append(text)
    if drivers is not None and len(drivers):
        for target, rows in drivers.groupby("target", sort=False):
            _write_drivers(campaign, section, str(target), rows)
        section.tables.append(
            make_table(drivers, "clustering-drivers", "Drivers", "clustering/drivers.csv")
        )
    if clusters is not None:
        section.tables.append(
            make_table(
                clusters,
                "clustering-clusters",
                "Clusters",
                "clustering/clusters.csv",
                headings={"probability": "membership", "works": "good semiconductor"},
            )
        )


def _write_drivers(campaign: Campaign, section: Section, target: str, rows: pd.DataFrame) -> None:
    words = quantity(target).words
    if rows["importance"].isna().all():  # the row says why
        section.paragraphs.append(
            f"What drives the {words} was not studied: {rows['effect'].iloc[0]}."
        )
        return
    rows = rows.sort_values("importance", ascending=False)
    null = rows.get("null_importance")
    above = rows[rows["importance"] > null] if null is not None else rows
    samples = f" ({_count(int(rows['samples'].max()), 'sample')})" if "samples" in rows else ""
    if len(above):
        names = [quantity(str(d)).words for d in above["descriptor"].head(3)]
        section.paragraphs.append(
            f"What drives the {words}{samples}: {_join(names)}. "
            f"{number_text(len(above))} of {_count(len(rows), 'descriptor')} matter more than they "
            "would if the values were shuffled among the materials."
        )
    else:
        section.paragraphs.append(
            f"No descriptor tells the {words}{samples} better than chance (importance against "
            "values shuffled among the materials): too few data, or the wrong descriptors."
        )
    stage_has_it = any("drivers" in path.stem for path in campaign.pictures(section.stage))
    if not stage_has_it and len(section.pictures) < PICTURES_PER_STAGE - 1:
        shown = rows.head(8)
        _picture(
            section,
            figures.bars_figure(
                [quantity(str(d)).words for d in shown["descriptor"]],
                shown["importance"].to_numpy(float),
                shown["importance_std"].to_numpy(float) if "importance_std" in shown else None,
                shown["null_importance"].to_numpy(float) if "null_importance" in shown else None,
                "permutation importance",
                "when shuffled",
            ),
            f"Drivers of the {words}. Bars that end left of the red mark may be chance.",
        )


def _write_stacks(campaign: Campaign, section: Section) -> None:
    matches = campaign.columns("stacks/matches.parquet")
    stacks = campaign.columns("stacks/training_stacks.parquet")
    if matches is not None:
        pairs = matches[["bottom", "top"]].drop_duplicates()
        text = f"{_count(len(matches), 'commensurate cell')} for {_count(len(pairs), 'pair')}"
        if len(matches):
            text += (
                f", with a mismatch of {_range('mismatch_percent', matches['mismatch_percent'])} "
                f"(median {value_text('mismatch_percent', matches['mismatch_percent'].median())}) "
                f"and {_range('number_of_atoms', matches['number_of_atoms'])} atoms"
            )
        section.paragraphs.append(text + ".")
    if stacks is not None:
        text = f"{_count(len(stacks), 'stack')} to learn from"
        if "split" in stacks and len(stacks):
            sizes = stacks["split"].value_counts()
            text += ": " + _join([f"{number_text(int(n))} {name}" for name, n in sizes.items()])
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
    parts = [f"{number_text(int(n))} of fidelity “{name}”" for name, n in sizes.items()]
    section.paragraphs.append(
        f"{_count(len(labels), 'value')} for {_count(labels['stack_id'].nunique(), 'stack')}"
        + (f": {_join(parts)}." if parts else ".")
        + " Models learn the difference between the baseline and DFT."
    )
    groups = labels.groupby(["property", "fidelity"], sort=True)
    rows = []
    for (name, fidelity), group in groups:
        shown = quantity(str(name))
        numbers = [group["value"].mean(), group["value"].min(), group["value"].max()]
        rows.append(
            [(shown.label, str(name)), (str(fidelity), str(fidelity))]
            + [(number_text(len(group)), str(len(group)))]
            + [(number_text(x, shown.decimals), repr(float(x))) for x in numbers]
        )
    heads = [("property", False), ("fidelity", False), ("labels", True), ("mean", True)]
    heads += [("lowest", True), ("highest", True)]
    columns = [(name, name, numeric) for name, numeric in heads]
    section.tables.append(Table("labels-summary", "Labels by property", columns, rows))


def _write_gvae(campaign: Campaign, section: Section) -> None:
    history = campaign.table("gvae/history.csv")
    metrics = campaign.record("gvae/metrics.json")
    if history is not None and len(history):
        _write_history(section, history)
    if metrics:
        section.tables.append(
            _measures_table(metrics, "gvae-metrics", "Reconstruction and generation")
        )


def _write_history(section: Section, history: pd.DataFrame) -> None:
    epochs = history["epoch"] if "epoch" in history else pd.Series(range(1, len(history) + 1))
    curves = [
        c
        for c in history.columns
        if pd.api.types.is_numeric_dtype(history[c])
        and history[c].notna().any()
        and c not in ("epoch", "learning_rate", "seconds", "kl_weight", "active_units")
        and not c.removeprefix("kl_").isdigit()
    ]
    # Pairs of training and validation first; of those without a partner the totals.
    paired = [c for c in curves if f"validation_{c}" in curves]
    totals = [c for c in paired if c in ("loss", "total")] or paired
    shown = [n for c in totals for n in (c, f"validation_{c}")][:6]
    shown = shown or [c for c in curves if "loss" in c][:6] or curves[:6]
    text = f"Trained for {_count(int(epochs.nunique()), 'epoch')}"
    validation = [c for c in shown if "valid" in c]
    if validation and len(totals) == 1 or len(validation) == 1:
        best = history[validation[0]].idxmin()
        text += (
            f"; the {quantity(validation[0]).words} was lowest in epoch "
            f"{number_text(int(epochs[best]))} ({number_text(history[validation[0]][best])})"
        )
    section.paragraphs.append(text + ".")
    if shown:
        values = {name: history[name].to_numpy(float) for name in shown}
        figure = figures.history_figure(epochs.to_numpy(float), values)
        _picture(section, figure, "Training curves.")
        section.drawn |= {"training", "history"}


def _write_gnn(campaign: Campaign, section: Section) -> None:
    metrics = campaign.record("gnn/metrics.json")
    calibration = campaign.record("gnn/calibration.json") or {}
    if metrics:
        _write_metrics(section, metrics, calibration.get("properties", {}))
    if calibration:
        section.tables.append(
            _measures_table(
                calibration.get("properties", calibration), "gnn-calibration", "Calibration"
            )
        )
    predictions = campaign.table("gnn/test_predictions.parquet")
    if predictions is not None and len(predictions):
        _draw_parity(section, predictions, (metrics or {}).get("properties", {}))


def _write_metrics(section: Section, metrics: Mapping, calibration: Mapping) -> None:
    """Errors of the network beside those of simpler predictors, on pairs never seen."""
    properties = metrics.get("properties")
    if not isinstance(properties, Mapping):
        section.tables.append(_measures_table(metrics, "gnn-metrics", "Test metrics"))
        return
    if metrics.get("labelled_stacks") is not None:
        text = f"{_count(metrics['labelled_stacks'], 'stack')} with DFT labels"
        if metrics.get("labelled_pairs") is not None:
            text += f" from {_count(metrics['labelled_pairs'], 'pair')} of layers"
        if metrics.get("split"):
            text += (
                f"; every error below is for pairs left out of the training ({metrics['split']})"
            )
        section.paragraphs.append(text + ".")
    rows = []
    for name, entry in properties.items():
        predictors = entry.get("predictors") or {}
        best = entry.get("best")
        rows += [
            {"property": name, "predictor": _predictor_words(p), **errors, "used": p == best}
            for p, errors in predictors.items()
        ]
        if best in predictors:
            section.paragraphs.append(_metric_sentence(name, entry, calibration.get(name, {})))
    if rows:
        headings = {"mae": "mean absolute error", "rmse": "root-mean-square error"}
        table = make_table(
            pd.DataFrame(rows), "gnn-metrics", "Errors of all predictors", headings=headings
        )
        section.tables.append(table)


def _predictor_words(name: str) -> str:
    words = {"baseline": "physics baseline", "boosting": "gradient boosting", "network": "GNN"}
    return words.get(name, name.replace("_", " "))


def _metric_sentence(name: str, entry: Mapping, calibration: Mapping) -> str:
    predictors, best = entry["predictors"], entry["best"]

    def error(predictor: str) -> str:
        return _error_text(name, predictors[predictor]["mae"])

    text = f"{quantity(name).words.capitalize()}: {_predictor_words(best)} is used, "
    text += f"off by {error(best)} in the mean"
    others = [p for p in ("network", "baseline", "mean") if p in predictors and p != best]
    if others:
        text += f" ({', '.join(f'{_predictor_words(p)} {error(p)}' for p in others)})"
    if entry.get("network_beats_baselines") is False:
        text += "; the GNN does not beat the simpler predictors"
    coverage = [c for c in calibration.get("coverage") or [] if c is not None]
    if coverage:
        text += f"; {100 * coverage[0]:.0f} % of the held-out values lie within its 68 % interval"
    elif calibration.get("calibrated") is False:
        text += "; too few labels to check the uncertainty"
    return text.replace(" %", chr(0x202F) + "%") + "."


def _error_text(name: str, error: float) -> str:
    """An error with one more digit than the quantity itself."""
    shown = quantity(name)
    decimals = None if shown.decimals is None else shown.decimals + 1
    return f"{number_text(error, decimals)}{chr(0x202F)}{shown.unit}".rstrip()


def _draw_parity(section: Section, predictions: pd.DataFrame, metrics: Mapping) -> None:
    known = [c for c in ("dft", "true", "value") if c in predictions]
    if "property" not in predictions or not known:
        section.paragraphs.append("`gnn/test_predictions.parquet` has no columns property and dft.")
        return
    for name, group in predictions.groupby("property", sort=False):
        predictor = metrics.get(name, {}).get("best")
        if predictor not in group:
            predictor = "network" if "network" in group else "predicted"
        group = group.dropna(subset=[known[0], predictor])
        if not len(group):
            continue
        spread = group["network_spread"] if "network_spread" in group else None
        figure = figures.parity_figure(
            str(name),
            group[known[0]].to_numpy(float),
            group[predictor].to_numpy(float),
            spread.to_numpy(float) if spread is not None and predictor == "network" else None,
        )
        texts = group["formula"] if "formula" in group else group["stack_id"]
        caption = f"{quantity(str(name)).words.capitalize()}, pairs left out of the training: "
        caption += f"{_predictor_words(predictor)} against DFT."
        _picture(section, figure, caption, {"parity": [formula_text(t) for t in texts]})
        section.drawn.add("parity")


def _write_samples(campaign: Campaign, section: Section) -> None:
    shards = campaign.matching("samples/shard_*.parquet")
    if not shards:
        return
    names = ["stack_id", "is_novel", "number_of_layers", "number_of_atoms", "mismatch_percent"]
    frames = [f for f in (campaign.columns(path, names) for path in shards) if f is not None]
    if not frames:
        return
    samples = pd.concat(frames, ignore_index=True)
    text = f"{_count(len(samples), 'stack')} in {_count(len(shards), 'shard')}"
    if "stack_id" in samples:
        text += f", {number_text(int(samples['stack_id'].nunique()))} of them distinct"
    if "is_novel" in samples and len(samples):
        novel = int(samples["is_novel"].sum())
        text += f"; {_share(novel, len(samples))} are not among those the generator learned from"
    section.paragraphs.append(text + ".")
    if "number_of_layers" in samples and len(samples):
        sizes = samples["number_of_layers"].value_counts().sort_index()
        parts = [f"{number_text(int(n))} with {k} layers" for k, n in sizes.items()]
        section.paragraphs.append(f"{_join(parts)}.")


def _write_screening(campaign: Campaign, section: Section) -> None:
    ranked = campaign.columns("screening/ranked.parquet")
    selected = campaign.table("screening/selected.csv")
    rejected = campaign.table("screening/rejected.csv")
    if ranked is None and selected is None:
        return
    if ranked is not None:
        text = f"{_count(len(ranked), 'stack')} ranked"
        if "probability" in ranked and len(ranked):
            likely = int((ranked["probability"] >= 0.5).sum())
            text += (
                f"; for {number_text(likely)} the models find it more likely than not that all "
                f"targets are met ({target_sentence(campaign.targets)})"
            )
        section.paragraphs.append(text + ".")
    if selected is not None:
        text = f"{_count(len(selected), 'stack')} selected for DFT"
        if "probability" in selected and len(selected):
            text += f", with a probability of {_range('probability', selected['probability'])}"
        if ranked is not None and "probability" in ranked and len(ranked):
            text += (
                f"; the mean over all ranked stacks is "
                f"{number_text(float(ranked['probability'].mean()), 3)}"
            )
        section.paragraphs.append(text + ".")
    if rejected is not None and len(rejected):
        section.paragraphs.append(
            f"{_count(len(rejected), 'stack')} did not enter the ranking or a slot; the reasons "
            "are counted below."
        )
    if ranked is not None and len(ranked):
        _draw_ranked(campaign, section, ranked, selected)
        order = ranked.sort_values("rank") if "rank" in ranked else ranked
        section.tables.append(
            make_table(order, "screening-ranked", "Ranking", "screening/ranked.parquet", 100)
        )


def _draw_ranked(campaign, section, ranked, selected) -> None:
    wanted = [*campaign.targets, "gap_ev", "binding_energy_mev_a2", "interlayer_gap_a"]
    axes = [n for n in dict.fromkeys(wanted) if n in ranked and ranked[n].notna().any()][:2]
    if len(axes) < 2:
        return
    x, y = axes
    many = ranked.dropna(subset=axes)
    shown = many.iloc[:: max(1, math.ceil(len(many) / MARKS_SHOWN))]
    parts = {"ranked": shown}
    if "pareto_rank" in many:
        front = many[many["pareto_rank"] == many["pareto_rank"].min()].head(300)
        parts["Pareto front"] = front
    if selected is not None and {x, y} <= set(selected.columns):
        parts["selected"] = selected.dropna(subset=axes)
    groups = {name: (p[x].to_numpy(float), p[y].to_numpy(float)) for name, p in parts.items()}
    tooltips = {}
    for i, part in enumerate(parts.values()):
        names = part["formula"] if "formula" in part else part["stack_id"]
        tooltips[f"points-{i}"] = [formula_text(str(name)) for name in names]
    some = "" if len(shown) == len(many) else f" (one in {math.ceil(len(many) / len(shown))} shown)"
    figure = figures.scatter_figure(x, y, groups, campaign.targets)
    caption = f"Predicted properties of the ranked stacks{some}; the targets are shaded."
    _picture(section, figure, caption, tooltips)
    section.drawn.add("pareto")


def _write_dft(campaign: Campaign, section: Section) -> None:
    candidates = campaign.candidates
    computed = [c for c in candidates if c.status != "pending"]
    if not computed:
        return
    verified = campaign.verified
    inside = [c for c in verified if c.meets_targets]
    section.paragraphs.append(
        f"{number_text(len(verified))} of {_count(len(computed), 'candidate')} computed to the end"
        f"; {number_text(len(inside))} of these inside all targets, a hit rate of "
        f"{_share(len(inside), len(computed))} of what was computed."
    )
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
            f"the mean over {_count(len(pairs), 'candidate')}"
            + (f", within two standard deviations for {sum(covered)}." if covered else ".")
        )
    section.paragraphs += rows
    table = campaign.table("dft/results.parquet")
    if table is not None and len(table):
        path = "dft/results.parquet"
        section.tables.append(make_table(table, "dft-results", "All verified candidates", path))


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
