"""Tables of docs/prediction_accuracy.md and docs/monolayer_accuracy.md, from measured errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from heteroforge.evaluation.property_benchmark import PREDICTORS, SPLITS, mean_errors
from heteroforge.labels import STACK_PROPERTIES

__all__ = [
    "behind_trees",
    "beside_goals",
    "coverage_markdown",
    "crystal_training_markdown",
    "error_markdown",
    "interval_markdown",
    "layer_markdown",
    "monolayer_markdown",
    "prediction_page",
]

TITLES = {
    "gap_ev": ("gap", "eV"),
    "vbm_ev": ("VBM (−IE)", "eV"),
    "cbm_ev": ("CBM (−EA)", "eV"),
    "binding_energy_mev_a2": ("binding energy", "meV/Å²"),
    "interlayer_gap_a": ("interlayer distance", "Å"),
}
SHIPPED = "both networks"
KNOWLEDGE = {"known": "as published", "predicted": "predicted from structure"}


def rows_markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of a page; numbers with three digits, – where there is none."""

    def cell(value: object) -> str:
        if isinstance(value, (float, np.floating)):
            return "–" if np.isnan(value) else f"{value:.3g}"
        return str(value)

    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(map(cell, row))} |" for row in rows)])


def error_markdown(table: pd.DataFrame) -> str:
    """Mean absolute errors (rows, `STACK_PROPERTIES`), rows named by the index."""
    header = ["", *(f"{words} / {unit}" for words, unit in TITLES.values())]
    columns = table[list(STACK_PROPERTIES)]
    return rows_markdown(header, ([name, *row] for name, row in columns.T.items()))


def in_order(errors: pd.DataFrame) -> pd.DataFrame:
    """Predictors in the order of `PREDICTORS`, others first."""
    others = [name for name in errors.index if name not in PREDICTORS]
    return errors.loc[[*others, *(name for name in PREDICTORS if name in errors.index)]]


def beside_goals(
    goals: pd.DataFrame, of_splits: Mapping[str, pd.DataFrame], shipped: pd.DataFrame
) -> pd.DataFrame:
    """Published errors and ours on the split nearest to theirs.

    Args:
        goals: `data, split, predictor, property, error, source`; splits are those of `SPLITS`, and
            `compositions` for BiDB.
        of_splits: errors (predictors, `STACK_PROPERTIES`) on HetML by split.
        shipped: the same on BiDB, with layers as published.

    Returns:
        `goals` with `ours`, and whether it is lower, `is_beaten`.
    """
    tables = {("HetML", split): errors for split, errors in of_splits.items()}
    tables["BiDB", "compositions"] = shipped
    ours = [
        tables[row.data, row.split].loc[SHIPPED, row.property]
        for row in goals.itertuples(index=False)
    ]
    return goals.assign(ours=ours, is_beaten=np.array(ours) < goals["error"].to_numpy())


def goals_markdown(table: pd.DataFrame) -> str:
    """`beside_goals` as a table of a page."""
    split_titles = {name: split.title for name, split in SPLITS.items()}
    split_titles["compositions"] = "compositions not seen"
    rows = []
    for row in table.itertuples(index=False):
        words, unit = TITLES[row.property]
        split = f"{row.data}, {split_titles[row.split]}"
        lower = "yes" if row.is_beaten else "**no**"
        rows.append([split, f"{words} / {unit}", row.predictor, row.error, row.ours, lower])
    header = ["data", "property", "published or set before", "error", "ours", "lower"]
    return rows_markdown(header, rows)


def behind_trees(of_splits: Mapping[str, pd.DataFrame]) -> str:
    """Where gradient boosting has a lower error than the networks, in words.

    Args:
        of_splits: errors (predictors, `STACK_PROPERTIES`) on HetML by split.
    """
    found = []
    for split, errors in of_splits.items():
        ahead = [
            f"{TITLES[name][0]} ({errors.loc['gradient boosting', name]:.3g} instead of "
            f"{errors.loc[SHIPPED, name]:.3g} {TITLES[name][1]})"
            for name in STACK_PROPERTIES
            if errors.loc["gradient boosting", name] < errors.loc[SHIPPED, name]
        ]
        if ahead:
            found.append(f"{SPLITS[split].title}, {', '.join(ahead)}")
    return "; ".join(found) or "nowhere"


def coverage_markdown(calibration: Mapping) -> str:
    """How often intervals hold, from the `calibration` of a `Predictor`.

    Band edges of homobilayers are not published; they have the scales of heterobilayers.
    """
    rows = []
    for knowledge, kinds in calibration.items():
        for kind, scales in kinds.items():
            for name, scale in scales.items():
                if kind == "homobilayer" and name in ("vbm_ev", "cbm_ev"):
                    continue
                shares = [f"{100 * c:.1f} %" for c in scale["coverage"]]
                rows.append([kind, knowledge, TITLES[name][0], *shares])
    header = ["stack", "layers", "property", "68 % interval holds", "90 % interval holds"]
    return rows_markdown(header, rows)


def interval_markdown(table: pd.DataFrame) -> str:
    """`unseen_layers.interval_table`: percent inside intervals of 68 and 90 %, and the ratio."""
    rows = []
    for kind, part in table.groupby("not_seen", sort=False):
        own = part.set_index("property")
        low, high = own["predictions"].min(), own["predictions"].max()
        cells = [
            f"{row.within_68_percent:.0f}, {row.within_90_percent:.0f}; {row.ratio:.2f}"
            for row in own.loc[list(STACK_PROPERTIES)].itertuples()
        ]
        rows.append([kind, f"{low}" if low == high else f"{low} to {high}", *cells])
    titles = [words for words, _ in TITLES.values()]
    return rows_markdown(["not seen", "predictions", *titles], rows)


def layer_markdown(metrics: Mapping) -> str:
    """Errors of the layers' networks, from the `metrics` of a `Predictor`."""
    errors, seen = metrics["layer_mae"], metrics["layer_mae_seen"]
    rows = [[f"`{name}`", error, seen[name]] for name, error in errors.items()]
    return rows_markdown(["property", "composition not seen", "seen"], rows)


def crystal_training_markdown(histories: Mapping[str, pd.DataFrame]) -> str:
    """How CHGNet's training went, by split: learning rate, losses, how much the end still brings.

    Args:
        histories: of `predict_with_crystal_network`.
    """
    rows = []
    for split, history in histories.items():
        own = history[history["fold"] >= 0]
        mean = own.groupby("epoch")[["training_loss", "error"]].mean()
        before = mean["error"].iloc[int(0.75 * (len(mean) - 1))]
        first, last = mean.iloc[0], mean.iloc[-1]
        rate = own["learning_rate"].iloc[0]
        rows.append(
            [SPLITS[split].title, f"{rate:g}", first["training_loss"], last["training_loss"],
             first["error"], before, last["error"]]
        )  # fmt: skip
    header = [
        "split", "learning rate", "training loss, first epoch", "last", "error, first epoch",
        "after 3/4", "last",
    ]  # fmt: skip
    return rows_markdown(header, rows)


def monolayer_markdown(table: pd.DataFrame) -> str:
    """`monolayer_benchmark.train_shipped_layers`' errors as a table of a page."""
    rows = [
        [f"`{row.property}` ({row.unit})", row.monolayers, row.mean_, row.gradient_boosting,
         row.network_on_descriptors, row.graph_network, row.both_networks,
         f"{row.share_of_graph_network:g}",
         f"{row.within_68_percent:.1f} %", f"{row.within_90_percent:.1f} %"]
        for row in table.rename(columns={"mean": "mean_"}).itertuples(index=False)
    ]  # fmt: skip
    header = [
        "property", "monolayers", "mean", "gradient boosting", "network on descriptors",
        "graph network", "both (shipped)", "weight of the graph network", "68 % holds",
        "90 % holds",
    ]  # fmt: skip
    return rows_markdown(header, rows)


def prediction_page(
    *,
    goals: pd.DataFrame,
    of_splits: Mapping[str, pd.DataFrame],
    kinds: pd.DataFrame,
    inputs: pd.DataFrame,
    curve: pd.DataFrame,
    held_out: pd.DataFrame,
    choice: pd.DataFrame,
    unseen: pd.DataFrame,
    histories: Mapping[str, pd.DataFrame],
    calibration: Mapping,
    metrics: Mapping,
) -> dict[str, object]:
    """What the template docs/prediction_accuracy.md.j2 asks for.

    Args:
        goals: see `beside_goals`.
        of_splits: errors (predictors, `STACK_PROPERTIES`) on HetML by split.
        kinds: of `errors_by_kind`.
        inputs: of `errors_without_inputs`.
        curve: of `learning_curve`.
        held_out: of `train_shipped`.
        choice: of `stacking_choice`.
        unseen: of `interval_table`.
        histories: of CHGNet's training by split.
        calibration, metrics: of the shipped model.
    """
    shipped = {
        (source, knowledge): part
        for (source, knowledge), part in held_out.groupby(["source", "knowledge"], sort=False)
    }
    errors = {key: in_order(mean_errors(part)) for key, part in shipped.items()}
    numbers = {key: part["entry"].nunique() for key, part in shipped.items()}
    beside = beside_goals(goals, of_splits, errors["BiDB", "known"])
    curve = curve.assign(
        stacks=[
            f"{row.stacks} stacks, {'with' if row.baseline else 'without'} the baseline"
            for row in curve.itertuples()
        ]
    ).set_index("stacks")
    kinds = kinds.assign(kind=kinds["kind"] + " (" + kinds["bilayers"].astype(str) + ")")
    choices = {
        row.knowledge: rows_markdown(
            ["", ""],
            [
                ["layers", row.layers],
                ["mean loss of the stacking predicted best / meV/Å²", row.loss_mev_a2],
                ["of one chosen at random / meV/Å²", row.loss_at_random_mev_a2],
                ["best stacking found to 1 meV/Å²", f"{row.found_percent:.0f} %"],
                ["mean rank correlation", row.rank_correlation],
            ],
        )
        for row in choice.itertuples(index=False)
    }
    return {
        "goals": goals_markdown(beside),
        "behind": behind_trees(of_splits),
        "beaten": int(beside["is_beaten"].sum()),
        "number_of_goals": len(beside),
        "splits": {
            SPLITS[name].title: error_markdown(in_order(table)) for name, table in of_splits.items()
        },
        "kinds": error_markdown(kinds.set_index("kind")),
        "inputs": error_markdown(inputs.set_index("inputs")),
        "curve": error_markdown(curve),
        "shipped": {key: error_markdown(table) for key, table in errors.items()},
        "numbers": numbers,
        "knowledge": KNOWLEDGE,
        "choices": choices,
        "coverage": coverage_markdown(calibration),
        "intervals": interval_markdown(unseen),
        "crystal_training": crystal_training_markdown(histories),
        "layers": layer_markdown(metrics),
        "number_of_layers": metrics["layers"],
        "shares": ", ".join(
            f"{TITLES[name][0]} {share:g}" for name, share in metrics["share_of_atoms"].items()
        ),
    }
