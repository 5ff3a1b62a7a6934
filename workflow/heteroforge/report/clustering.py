"""What the clustering stage found, in words and short tables: what makes a good semiconductor."""

from __future__ import annotations

import math
import re

import pandas as pd

from heteroforge.report.campaign import Campaign
from heteroforge.report.tables import Table, make_table
from heteroforge.report.words import (
    chemical_formula,
    count_text,
    formula_text,
    joined,
    number_text,
    quantity,
    share_text,
    value_text,
    window_text,
)

__all__ = ["clustering_paragraphs", "clustering_tables", "target_words"]

# What the stage asks of a semiconductor; the rest of its targets says how stable it is.
ASKED = ("gap_ev", "mobility_cm2_vs", "binding_energy_mev_a2")
# With fewer monolayers than this a driver above chance is a hint, whatever its interval.
FEW = 30
MOST_DRIVERS = 3
# Share of a property's variance that clusters must explain to be said to tell of it.
LEAST_EXPLAINED = 0.05


def target_words(target: str) -> str:
    """What is asked, as the end of "what decides …"."""
    words = {
        "works": "whether a monolayer is a good semiconductor",
        "is_semiconductor": "whether there is a gap",
        "gap_ev": "the size of the gap (of semiconductors)",
    }
    return words.get(target) or f"the {quantity(target).words}"


# --- paragraphs -------------------------------------------------------------------------------


def clustering_paragraphs(campaign: Campaign) -> list[str]:
    """What is asked of a semiconductor, what decides it, and where the evidence is too thin."""
    clusters = campaign.table("clustering/clusters.csv")
    drivers = campaign.table("clustering/drivers.csv")
    known = campaign.table("clustering/known.csv")
    validity = campaign.table("clustering/validity.csv")
    paragraphs = []
    if clusters is not None and "works" in clusters:
        paragraphs.append(_asked(campaign, clusters["works"]))
        paragraphs += _compared(_with_targets(campaign, clusters))
    if known is not None and "agrees" in known:
        paragraphs.append(_checked(known))
    if drivers is not None and len(drivers):
        paragraphs += _decides(drivers)
    if clusters is not None:
        paragraphs.append(_grouped(clusters, validity))
    return paragraphs


def _asked(campaign: Campaign, works: pd.Series) -> str:
    windows = ((campaign.configuration.get("clustering") or {}).get("works")) or {}
    parts = [f"{quantity(n).words} {window_text(n, w)}" for n, w in windows.items() if w]
    good, bad = int(works.eq(True).sum()), int(works.eq(False).sum())
    text = "A good semiconductor is, in this campaign, a monolayer with "
    text += f"{joined(parts)} (`clustering.works`)." if parts else "what `clustering.works` asks."
    unknown = len(works) - good - bad
    text += f" Of {count_text(len(works), 'monolayer')} {number_text(good)} meet this and "
    text += f"{number_text(bad)} do not"
    return text + (f"; of {number_text(unknown)} too little is known." if unknown else ".")


def _compared(both: pd.DataFrame) -> list[str]:
    """Medians of what is asked, of the good ones and of the others."""
    parts = []
    for name in ASKED:
        good, poor = (both.loc[both["works"].eq(v), name].dropna() for v in (True, False))
        if len(good) and len(poor):
            numbers = [value_text(name, values.median(), unit=False) for values in (good, poor)]
            parts.append(f"{quantity(name).words} {numbers[0]} against {numbers[1]}")
            parts[-1] += f" {quantity(name).unit} ({len(good)} and {len(poor)} known)"
    return [f"Medians of the good ones against the others: {joined(parts)}."] if parts else []


def _checked(known: pd.DataFrame) -> str:
    """The definition held against what the field says of well-known materials."""
    judged = known.dropna(subset=["agrees"])
    text = f"Check: {count_text(len(known), 'material')} that the field calls good or poor "
    if not len(judged):
        return (
            text
            + "are not in this library, or not known well enough: the definition is not checked."
        )
    good = judged[judged["verdict"] == "good"]["name"].map(formula_text)
    poor = judged[judged["verdict"] == "poor"]["name"].map(formula_text)
    text += f"were looked up; {number_text(len(judged))} can be decided here "
    text += f"(good: {joined(good) or 'none'}; poor: {joined(poor) or 'none'}). "
    wrong = judged[~judged["agrees"].astype(bool)]["name"].map(formula_text)
    if len(wrong):
        text += f"The definition contradicts the field for {joined(wrong)}."
    else:
        text += "The definition agrees with the field for all of them."
    if min(len(good), len(poor)) < 3:
        text += " So few are a weak check."
    return text


def _decides(drivers: pd.DataFrame) -> list[str]:
    """A sentence per property that has a driver, and one for those where evidence is too thin."""
    found, thin = [], []
    for target, rows in drivers.groupby("target", sort=False):
        words = target_words(str(target))
        reason = _too_thin(rows)
        if reason:
            thin.append(f"{words} ({reason})")
            continue
        chosen = _above_chance(rows).head(MOST_DRIVERS)
        names = [
            quantity(str(row.descriptor)).words + _direction(row) for row in chosen.itertuples()
        ]
        samples = int(rows["samples"].max())
        explained = share_text(max(rows["skill"].iloc[0], 0.0), 1.0)
        found.append(
            f"What decides {words}: {joined(names)}. Learned from "
            f"{count_text(samples, 'monolayer')}, all descriptors together explain {explained} of "
            "its spread on formulas not seen" + f" ({_strength(_above_chance(rows), samples)})."
        )
    if thin:
        found.append(f"Too thin to say what decides {'; '.join(thin)}.")
    return found


def _too_thin(rows: pd.DataFrame) -> str:
    """Why nothing can be said of a target, or nothing."""
    if rows["importance"].isna().all():
        return str(rows["effect"].iloc[0])
    if not len(_above_chance(rows)):
        return f"nothing stands out from chance among {number_text(rows['samples'].max())}"
    return ""


def _above_chance(rows: pd.DataFrame) -> pd.DataFrame:
    above = rows[(rows["effect"] != "chance") & (rows["importance"] > rows["null_importance"])]
    return above.sort_values("importance", ascending=False)


def _direction(row) -> str:
    return {"raises": " (raises it)", "lowers": " (lowers it)"}.get(str(row.effect), "")


def _grouped(clusters: pd.DataFrame, validity: pd.DataFrame | None) -> str:
    """How many groups there are, and how valid they are."""
    sizes = clusters.loc[clusters["cluster"] >= 0, "cluster"].value_counts()
    text = f"{count_text(len(sizes), 'cluster')} "
    text += f"{'holds' if len(sizes) == 1 else 'hold'} {share_text(sizes.sum(), len(clusters))} of "
    text += f"{number_text(len(clusters))} monolayers; the others are like none."
    if validity is None or not len(validity) or not validity["chosen"].any():
        return text + " No grouping was valid enough to be kept." if not len(sizes) else text
    chosen = validity[validity["chosen"]].iloc[0]
    shuffled = validity[validity["method"].str.contains("shuffled")]
    text += " Leave out every fifth monolayer, and the clusters come back with an agreement of "
    text += f"{number_text(chosen['stability'], 2)} (1: all the same, 0: by chance"
    if len(shuffled):
        text += f"; on shuffled descriptors {number_text(shuffled['stability'].iloc[0], 2)}"
    text += ")."
    told, untold, unknown = [], [], []
    for target in ("is_semiconductor", *ASKED):
        share = chosen.get(f"{target}_explained")
        words = "having a gap" if target == "is_semiconductor" else quantity(target).words
        if share is None or math.isnan(share):
            unknown.append(words)
        elif share < LEAST_EXPLAINED:
            untold.append(words)
        else:
            told.append(f"{words} ({share_text(share, 1.0)} of its variance)")
    if told:
        text += f" On formulas not seen they tell something of {joined(told)}."
    if untold:
        text += f" They tell nothing of {joined(untold)}: do not choose by them."
    if unknown:
        text += f" Too little is known to ask them for {joined(unknown)}."
    return text


# --- tables -----------------------------------------------------------------------------------


def clustering_tables(campaign: Campaign) -> list[Table]:
    """Short tables with their explanations, then the long ones, for whom they are there."""
    tables = []
    clusters = campaign.table("clustering/clusters.csv")
    drivers = campaign.table("clustering/drivers.csv")
    for path, make in (
        ("clustering/known.csv", _known_table),
        ("clustering/cards.csv", _cards_table),
        ("clustering/validity.csv", _validity_table),
    ):
        frame = campaign.table(path)
        if frame is not None and len(frame):
            tables.append(make(frame))
    if drivers is not None and len(drivers):
        tables.insert(0, _drivers_table(drivers))
    if clusters is not None and "works" in clusters:
        compared = _compared_table(_with_targets(campaign, clusters))
        tables.insert(1 if drivers is not None else 0, compared)
    if drivers is not None and len(drivers):
        path = "clustering/drivers.csv"
        tables.append(make_table(drivers, "clustering-drivers", "All descriptors as drivers", path))
    if clusters is not None:
        tables.append(
            make_table(
                clusters,
                "clustering-clusters",
                "Monolayers and their clusters",
                "clustering/clusters.csv",
                headings={"probability": "membership"},
            )
        )
    return [table for table in tables if table.rows]


def _drivers_table(drivers: pd.DataFrame) -> Table:
    columns = [("target", "what decides …", False), ("samples", "monolayers known", True)]
    columns += [("drivers", "strongest first (importance)", False), ("chance", "chance", True)]
    columns += [("skill", "explained, not seen", True), ("evidence", "evidence", False)]
    rows = []
    for target, group in drivers.groupby("target", sort=False):
        reason, above = _too_thin(group), _above_chance(group)
        names = [
            f"{quantity(str(row.descriptor)).words}{_direction(row)} "
            + number_text(row.importance, 2)
            for row in above.head(MOST_DRIVERS).itertuples()
        ]
        samples, skill = int(group["samples"].max()), group["skill"].iloc[0]
        chance = group["null_importance"].max()
        rows.append(
            [_text(target_words(str(target))), _number(samples, 0), _text("; ".join(names) or "–")]
            + [_number(chance, 2), _share_cell(max(skill, 0.0))]
            + [_text(f"too thin: {reason}" if reason else _strength(above, samples))]
        )
    note = (
        "Importance: by how much the error on unseen formulas grows, in units of the property's "
        "mean deviation, when a descriptor (with those correlated with it) is shuffled; chance: "
        "what the best of all reaches when the property is shuffled. Drivers go with a property; "
        "that they cause it is not shown."
    )
    return Table("clustering-decides", "What decides, in short", columns, rows, note)


def _strength(above: pd.DataFrame, samples: int) -> str:
    if samples < FEW:
        return f"a hint: fewer than {FEW} monolayers"
    if above["importance_low"].iloc[0] > above["null_importance"].iloc[0]:
        return "clear: the interval of the first lies above chance"
    return "weak: the interval of the first reaches down to chance"


def _with_targets(campaign: Campaign, clusters: pd.DataFrame) -> pd.DataFrame:
    """What is asked of each monolayer beside its verdict; unknown where the file is not there."""
    targets = campaign.table("clustering/targets.parquet")
    works = clusters[["monolayer_id", "works"]]
    if targets is None:
        return works.assign(**dict.fromkeys(ASKED, float("nan")))
    return works.merge(targets, on="monolayer_id")


def _compared_table(both: pd.DataFrame) -> Table:
    """Medians and ranges of what is asked, good and poor semiconductors side by side."""
    columns = [("target", "property", False), ("good", "good: median (range)", False)]
    columns += [("good_known", "known", True), ("poor", "not good: median (range)", False)]
    columns += [("poor_known", "known", True)]
    rows = []
    for name in (*ASKED, "hull_distance_ev_atom"):
        if name not in both or both[name].isna().all():
            continue
        row = [_text(quantity(name).label)]
        for verdict in (True, False):
            values = both.loc[both["works"].eq(verdict), name].dropna().astype(float)
            row += [_text(_median_and_range(name, values)), _number(len(values), 0)]
        rows.append(row)
    note = "By the definition above. Metals count with a gap of zero, and have no mobility here."
    return Table("clustering-compared", "Good semiconductors and the others", columns, rows, note)


def _median_and_range(name: str, values: pd.Series) -> str:
    if not len(values):
        return "–"
    middle, low, high = (
        value_text(name, x, unit=False) for x in (values.median(), values.min(), values.max())
    )
    return middle if low == high else f"{middle} ({low} to {high})"


def _known_table(known: pd.DataFrame) -> Table:
    here = known.dropna(subset=["monolayer_id"])
    columns = [("name", "material", False), ("verdict", "the field says", False)]
    columns += [("because", "because", False)]
    columns += [(n, quantity(n).label, True) for n in ASKED]
    columns += [("works", "the definition says", False)]
    rows = []
    for row in here.to_dict("records"):
        works = {True: "good", False: "not good"}.get(_truth(row["works"]), "too little known")
        if _truth(row["agrees"]) is False:
            works += " ✗"
        rows.append(
            [_text(formula_text(row["name"]), row["name"]), _text(row["verdict"])]
            + [_text(row["because"])]
            + [_value(name, row.get(name)) for name in ASKED]
            + [_text(works)]
        )
    away = known.loc[known["monolayer_id"].isna(), "name"].map(formula_text)
    note = f"Not in this library: {joined(away)}." if len(away) else ""
    return Table("clustering-known", "Well-known materials as a check", columns, rows, note)


def _cards_table(cards: pd.DataFrame) -> Table:
    columns = [("cluster", "cluster", False), ("monolayers", "monolayers", True)]
    columns += [("works", "good of known", True)]
    columns += [(n, quantity(n).label, True) for n in ASKED]
    columns += [("shared", "sets it apart", False), ("examples", "most typical", False)]
    rows = []
    order = cards.assign(none=cards["cluster"] < 0).sort_values(
        ["none", "share_that_works", "monolayers"], ascending=[True, False, False]
    )
    for row in order.to_dict("records"):
        decided = int(row["known_to_work_or_not"])
        good = round(decided * (row["share_that_works"] if decided else 0.0))
        cells = [_text("none" if row["cluster"] < 0 else str(row["cluster"]))]
        cells += [_number(row["monolayers"], 0)]
        cells += [(f"{good} of {decided}" if decided else "–", repr(float(good)))]
        for name in ASKED:
            text, plain = _value(name, row.get(f"{name}_median"))
            cells.append((f"{text} ({int(row[f'{name}_known'])})" if plain else "–", plain))
        cells += [_text("–" if row["cluster"] < 0 else _in_words(str(row["shared"])))]
        examples = [formula_text(chemical_formula(f)) for f in str(row["examples"]).split(", ")]
        rows.append([*cells, _text(", ".join(examples))])
    note = (
        "Properties are medians, in brackets of how many monolayers they are known. Apart: by so "
        "many standard deviations (σ) from the mean of all monolayers."
    )
    return Table("clustering-cards", "Clusters in short", columns, rows, note)


def _in_words(shared: str) -> str:
    """Descriptors of "row_spread -0.8 σ; …" by their names for people."""
    parts = [part.split(" ", 1) for part in shared.split("; ")]
    return "; ".join(
        f"{quantity(part[0]).words} {part[1].replace('-', '−') if len(part) > 1 else ''}".strip()
        for part in parts
    )


def _validity_table(validity: pd.DataFrame) -> Table:
    """The setting that was chosen beside its rivals; all settings are in the file."""
    shown = validity[validity["chosen"] | ~validity["method"].eq("HDBSCAN")]
    explained = [n for n in ("is_semiconductor", *ASKED) if f"{n}_explained" in validity]
    columns = [("method", "method", False), ("clusters", "clusters", True)]
    columns += [("share_clustered", "in a cluster", True), ("stability", "stability", True)]
    columns += [("dbcv", "density (DBCV)", True)]
    columns += [(f"{n}_explained", f"explains {quantity(n).words}", True) for n in explained]
    rows = []
    for row in shown.to_dict("records"):
        method = str(row["method"])
        method += f" ({row['settings']}), chosen" if row["chosen"] else ""
        method = re.sub(r"^chemistry$", "groups by chemistry", method)
        density = row["dbcv"] if pd.notna(row["dbcv"]) else row["fast_dbcv"]
        rows.append(
            [_text(method), _number(row["clusters"], 0), _share_cell(row["share_clustered"])]
            + [_number(row["stability"], 2), _number(density, 2)]
            + [_number(row[f"{n}_explained"], 2) for n in explained]
        )
    note = (
        "Stability: agreement with clusters of four fifths of the monolayers, 1 where all come "
        "back. DBCV, −1 to 1: how dense and how far apart; where it cannot be had, HDBSCAN's own "
        "estimate. Explains: share of the property's variance on formulas not seen; zero or less: "
        "nothing. Other settings: `clustering/validity.csv`."
    )
    return Table("clustering-validity", "How valid the clusters are", columns, rows, note)


# --- cells ------------------------------------------------------------------------------------


def _text(text: object, plain: object = None) -> tuple[str, str]:
    return str(text), str(text if plain is None else plain)


def _number(value: object, decimals: int) -> tuple[str, str]:
    text = number_text(value, decimals)
    return text, "" if text == "–" else repr(float(value))


def _value(name: str, value: object) -> tuple[str, str]:
    text = value_text(name, value, unit=False)
    return text, "" if text == "–" else repr(float(value))


def _share_cell(value: float) -> tuple[str, str]:
    return ("–", "") if pd.isna(value) else (share_text(value, 1.0), repr(float(value)))


def _truth(value: object) -> bool | None:
    """A boolean as CSV gives it back: itself, or text; None where unknown."""
    return {"True": True, "False": False}.get(str(value))
