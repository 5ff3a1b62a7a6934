"""Errors of predicted properties on published bilayers, beside simple predictors.

HetML (heterobilayers) is split by pair, by layer and by entry, BiDB (homobilayers) by composition
of the monolayer. Every number is of predictors that have not seen the pair, layer, entry or
composition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from heteroforge.labels import STACK_PROPERTIES
from heteroforge.labels.baseline import dispersion_binding_mev_a2
from heteroforge.labels.published import PublishedStack, read_bidb_stacks, read_hetml_stacks
from heteroforge.models.graph_surrogate import GraphSettings, pooled, train_graph_surrogate
from heteroforge.models.property_prediction import (
    LAYER_PROPERTIES,
    WITHOUT_SPIN_ORBIT,
    Predictor,
    as_read,
    as_seen,
    describe_with_knowledge,
    graphs_of,
    train_predictor,
)
from heteroforge.models.property_surrogate import (
    SurrogateSettings,
    clip_gaps,
    folds_of_stacks,
    train_surrogate,
)
from heteroforge.models.stack_inputs import at_contact_gaps, fast_baselines
from heteroforge.sources.published_tables import read_c2db, read_hetml
from heteroforge.structures import Monolayer, Stack

__all__ = [
    "PREDICTORS",
    "SPLITS",
    "Layers",
    "Split",
    "describe_known",
    "describe_unknown",
    "errors_by_kind",
    "errors_without_inputs",
    "learning_curve",
    "long_table",
    "mean_errors",
    "predict_held_out",
    "read_bilayers",
    "read_layers",
    "stacking_choice",
    "train_shipped",
    "values_of",
]

SEED = 7  # of the shipped model and of all splits
# Of the ensembles on some hundred bilayers.
SMALL = {"steps": 500, "batch_size": 128}
SMALL_GRAPHS = {"epochs": 100}
NOTHING = dict.fromkeys(LAYER_PROPERTIES, float("nan"))
GAP, BINDING = map(STACK_PROPERTIES.index, ("gap_ev", "binding_energy_mev_a2"))
PREDICTORS = (
    "mean",
    "physics baseline",
    "gradient boosting",
    "CHGNet",
    "CHGNet, pretrained features",
    "network on descriptors",
    "graph network",
    "both networks",
)


@dataclass(frozen=True)
class Split:
    """What of HetML is held out together.

    Attributes:
        title: for people.
        groups: of an entry, see `folds_of_stacks`.
        folds: parts the groups are divided into.
        knows_layers: whether what was published of the layers is given, or what the shipped layers'
            networks say of their structure.
    """

    title: str
    groups: Callable[[PublishedStack], tuple[str, ...]]
    folds: int = 5
    knows_layers: bool = True


def _pair(entry: PublishedStack) -> tuple[str, ...]:
    return ("|".join(sorted(entry.layers)),)


SPLITS = {
    "pairs": Split("pairs not seen", _pair),
    "layers": Split("layers not seen", lambda entry: entry.layers, folds=8),
    "entries": Split("entries not seen", lambda entry: (entry.name,)),
    "layers_from_structure": Split(
        "pairs not seen, layers from structure", _pair, knows_layers=False
    ),
}


# --- published tables -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Layers:
    """Published monolayers with a gap.

    Attributes:
        monolayers: by published name.
        properties: what is known of each, see `train_predictor`.
    """

    monolayers: dict[str, Monolayer]
    properties: dict[str, dict]


def read_layers(folder: str | Path) -> Layers:
    """Monolayers of C2DB and HetML with a gap.

    Args:
        folder: holds `c2db/` and `hetml/`.

    Raises:
        InputError: a table is missing or lacks a column.
    """
    monolayers, properties = {}, {}
    for candidate in [*read_c2db(folder), *read_hetml(folder)]:
        if candidate.properties.get("gap_ev") is not None:
            monolayers[candidate.material] = Monolayer.from_atoms(candidate.atoms)
            without = candidate.without_spin_orbit.items()
            properties[candidate.material] = dict(candidate.properties) | {
                WITHOUT_SPIN_ORBIT[key]: value for key, value in without
            }
    return Layers(monolayers, properties)


def read_bilayers(folder: str | Path, *, homobilayers: bool = True) -> list[PublishedStack]:
    """Bilayers of HetML, then those of BiDB, that any property is known of.

    Args:
        folder: holds `hetml/` and `bidb/`.
        homobilayers: whether to read BiDB, too, which takes a minute.
    """
    entries = [*read_hetml_stacks(folder), *(read_bidb_stacks(folder) if homobilayers else ())]
    return [entry for entry in entries if entry.values]


def values_of(entries: Sequence[PublishedStack], *, with_metals: bool = False) -> np.ndarray:
    """Values (n, properties) in the order of `STACK_PROPERTIES`, NaN where unknown.

    Args:
        with_metals: whether metals of HetML have a gap, of zero. Errors on HetML that others
            published are of its semiconductors.
    """
    found = np.array([[e.values.get(key, np.nan) for key in STACK_PROPERTIES] for e in entries])
    if not with_metals:
        metals = [e.source == "HetML" and e.values.get("gap_ev") == 0.0 for e in entries]
        found[metals, GAP] = np.nan
    return found


def describe_known(entries: Sequence[PublishedStack], layers: Layers) -> pd.DataFrame:
    """Descriptors (n, columns) with all that was published of the layers."""
    rows = []
    for entry in entries:
        knowledge = [
            as_seen(layers.properties[name], layers.monolayers[name], layer.monolayer)
            for name, layer in zip(entry.layers, entry.stack.layers, strict=True)
        ]
        rows.append(describe_with_knowledge(entry.stack, knowledge, [NOTHING] * 2))
    return pd.DataFrame(rows).astype(float)


def describe_unknown(entries: Sequence[PublishedStack], predictor: Predictor) -> pd.DataFrame:
    """Descriptors (n, columns) as a file gives them where no table knows the layers."""
    stacks = [as_read(entry.stack) for entry in entries]
    values = predictor.predict_layers(la.monolayer for stack in stacks for la in stack.layers)
    rows = [
        describe_with_knowledge(stack, [{}, {}], [values[la.monolayer] for la in stack.layers])
        for stack in stacks
    ]
    return pd.DataFrame(rows).astype(float)


# --- predictors -----------------------------------------------------------------------------------


def boosted(
    x: np.ndarray,
    baselines: np.ndarray,
    values: np.ndarray,
    outside: np.ndarray,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Held-out predictions of trees on the same descriptors, of the difference to the baseline.

    Args:
        x: descriptors (n, inputs), NaN where unknown.
        baselines, values: (n, properties), values NaN where unknown.
        outside: which folds leave a row out (n, folds).
        weights: of the rows (n), equal by default.

    Returns:
        Predictions (n, properties).
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    filled = np.nan_to_num(x, nan=-99.0)
    total, count = np.zeros_like(values), np.zeros(len(values))
    for fold in range(outside.shape[1]):
        test = outside[:, fold]
        count += test
        for j in range(values.shape[1]):
            rows = ~test & np.isfinite(values[:, j])
            trees = HistGradientBoostingRegressor(
                max_iter=150, learning_rate=0.08, max_leaf_nodes=15, random_state=SEED
            )
            of_rows = None if weights is None else weights[rows]
            trees.fit(filled[rows], values[rows, j] - baselines[rows, j], of_rows)
            total[test, j] += trees.predict(filled[test]) + baselines[test, j]
    return total / count[:, None]


def _means(values: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Mean of the training part for each row that is left out (n, properties)."""
    total, count = np.zeros_like(values), np.zeros(len(values))
    for test in outside.T:
        known = np.isfinite(values) & ~test[:, None]
        number = known.sum(0)
        mean = np.where(known, values, 0.0).sum(0) / np.maximum(number, 1)
        total[test] += np.where(number > 0, mean, np.nan)
        count += test
    return total / count[:, None]


def predict_held_out(
    descriptors: pd.DataFrame,
    stacks: Sequence[Stack],
    values: np.ndarray,
    groups: Sequence[Sequence[str]],
    folds: int,
) -> dict[str, np.ndarray]:
    """Predictions (n, properties) of stacks by predictors that have not seen their groups.

    All but the mean learn the difference to the physics baseline, from the same descriptors.

    Returns:
        By name of the predictor.
    """
    x, baselines = descriptors.to_numpy(dtype=float), fast_baselines(descriptors)
    outside = folds_of_stacks(groups, folds, SEED)
    graphs = graphs_of(stacks)
    columns = tuple(descriptors.columns)
    _, *network = train_surrogate(
        SurrogateSettings(columns, STACK_PROPERTIES, folds=folds, repeats=4),
        x, baselines, values, groups, seed=SEED, **SMALL,
    )  # fmt: skip
    _, *of_atoms = train_graph_surrogate(
        GraphSettings(columns, STACK_PROPERTIES, folds=folds),
        graphs, x, baselines, values, groups, seed=SEED, **SMALL_GRAPHS,
    )  # fmt: skip
    both, _ = pooled(tuple(network), tuple(of_atoms))
    return {
        "mean": _means(values, outside),
        "physics baseline": physics_baselines(stacks, descriptors),
        "gradient boosting": boosted(x, baselines, values, outside),
        "network on descriptors": network[0],
        "graph network": of_atoms[0],
        "both networks": both,
    }


def physics_baselines(stacks: Sequence[Stack], descriptors: pd.DataFrame) -> np.ndarray:
    """What physics says of stacks (n, properties): it learns nothing.

    `fast_baselines`, and for the binding energy, which networks and trees learn as it is, the D3
    energy between the layers where they touch.
    """
    baselines = fast_baselines(descriptors)
    baselines[:, BINDING] = [dispersion_binding_mev_a2(at_contact_gaps(stack)) for stack in stacks]
    return baselines


def train_shipped(
    entries: Sequence[PublishedStack], layers: Layers, **options: object
) -> tuple[Predictor, pd.DataFrame]:
    """The model that ships, and its held-out predictions beside those of simple predictors.

    Args:
        options: of `train_predictor`.

    Returns:
        The predictor, and a `long_table` with the columns `source` and `knowledge` (of the layers).
        Predictors are those of `PREDICTORS` without CHGNet, and for BiDB's gap that of the
        monolayer, "monolayer" here.
    """
    values = values_of(entries)
    stacks = [entry.stack for entry in entries]
    own_gaps = [entry.layer_gap_ev for entry in entries]
    predictor, found, descriptors = train_predictor(
        layers.monolayers,
        layers.properties,
        stacks,
        values_of(entries, with_metals=True),
        [entry.layers for entry in entries],
        own_gaps,
        seed=SEED,
        **options,
    )
    twice = np.concatenate([values, values])
    groups = [tuple(layer.monolayer.formula for layer in stack.layers) for stack in stacks] * 2
    outside = folds_of_stacks(groups, predictor.stacks.settings.folds, SEED)
    baselines = fast_baselines(descriptors)

    def of(column: str) -> np.ndarray:
        return found[[f"{name}_{column}" for name in STACK_PROPERTIES]].to_numpy()

    monolayer = np.full_like(twice, np.nan)
    monolayer[:, GAP] = np.tile(own_gaps, 2)
    is_bidb = np.tile([entry.source == "BiDB" for entry in entries], 2)
    monolayer[~is_bidb] = np.nan
    hetero = ~is_bidb
    weights = np.where(hetero, 0.5 / max(hetero.sum(), 1), 0.5 / max((~hetero).sum(), 1))
    mean = np.full_like(twice, np.nan)
    for own in (is_bidb, hetero):
        if own.any():
            mean[own] = _means(twice[own], outside[own])
    predictions = {
        "mean": mean,
        "monolayer": monolayer,
        "physics baseline": physics_baselines(stacks * 2, descriptors),
        "gradient boosting": boosted(
            descriptors.to_numpy(), baselines, twice, outside, weights * len(weights)
        ),
        "network on descriptors": of("from_descriptors"),
        "graph network": of("from_atoms"),
        "both networks": of("predicted"),
    }
    about = pd.DataFrame(
        {
            "entry": [entry.name for entry in entries] * 2,
            "layer": [entry.layers[0] for entry in entries] * 2,
            "source": [entry.source for entry in entries] * 2,
            "knowledge": found["knowledge"],
        }
    )
    return predictor, long_table(about, twice, predictions)


def long_table(
    about: pd.DataFrame, values: np.ndarray, predictions: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """One row per stack, property and predictor, where both value and prediction are known.

    Gaps that were predicted below zero are zero, whoever predicted them.

    Args:
        about: columns that tell the stacks (n).
        values: (n, properties).
        predictions: (n, properties) by name of the predictor.

    Returns:
        Columns of `about`, and `property, predictor, true, predicted`.
    """
    parts = []
    for predictor, unclipped in predictions.items():
        found = clip_gaps(unclipped, STACK_PROPERTIES)
        for j, name in enumerate(STACK_PROPERTIES):
            known = np.isfinite(values[:, j]) & np.isfinite(found[:, j])
            parts.append(
                about[known].assign(
                    property=name,
                    predictor=predictor,
                    true=values[known, j],
                    predicted=found[known, j],
                )
            )
    return pd.concat(parts, ignore_index=True)


# --- errors ---------------------------------------------------------------------------------------


def mean_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Mean absolute errors of a `long_table` (predictors, `STACK_PROPERTIES`), NaN without one.

    Predictors in the order in which they come.
    """
    off = (table["predicted"] - table["true"]).abs()
    errors = off.groupby([table["predictor"], table["property"]], sort=False).mean().unstack()
    return errors.reindex(columns=list(STACK_PROPERTIES))


def _table(rows: Mapping[str, np.ndarray], title: str) -> pd.DataFrame:
    """Errors per row (properties) as a table whose first column is `title`."""
    table = pd.DataFrame(rows, index=list(STACK_PROPERTIES)).T
    return table.rename_axis(title).reset_index()


def errors_by_kind(
    table: pd.DataFrame,
    entries: Sequence[PublishedStack],
    descriptors: pd.DataFrame,
    layers: Layers,
    predictor: str = "both networks",
) -> pd.DataFrame:
    """Errors of a predictor by what sets bilayers apart: `kind, bilayers` and the properties.

    Args:
        table: of `long_table`, with `entry`.
        entries, descriptors: the stacks, in one order.
        layers: what is known of the layers.
    """

    def step(name: str) -> float:
        value = layers.properties[name].get("vacuum_step_ev")
        return 0.0 if value is None else abs(value)

    def shift(name: str) -> float:
        row = layers.properties[name]
        both = row.get("gap_ev"), row.get(WITHOUT_SPIN_ORBIT["gap_ev"])
        return 0.0 if None in both else abs(both[0] - both[1])

    polar = np.array([max(map(step, entry.layers)) > 0.05 for entry in entries])
    heavy = np.array([max(map(shift, entry.layers)) > 0.15 for entry in entries])
    apart = descriptors["mismatch_percent"].to_numpy() > 1.0
    near = descriptors["anderson_gap_ev"].to_numpy() < 0.3
    kinds = {
        "a polar layer": polar,
        "a layer whose gap spin–orbit coupling changes by 0.15 eV": heavy,
        "strain of 1 % or more": apart,
        "gap below 0.3 eV by Anderson's rule": near,
        "none of these": ~(polar | heavy | apart | near),
    }
    names = np.array([entry.name for entry in entries])
    rows = []
    for kind, chosen in kinds.items():
        own = table[(table["predictor"] == predictor) & table["entry"].isin(names[chosen])]
        errors = mean_errors(own).reindex([predictor]).iloc[0].to_dict()
        rows.append({"kind": kind, "bilayers": int(chosen.sum())} | errors)
    return pd.DataFrame(rows)


def errors_without_inputs(entries: Sequence[PublishedStack], layers: Layers) -> pd.DataFrame:
    """Errors of networks on descriptors, pairs not seen, that lack something published of layers.

    Returns:
        `inputs`, and the mean absolute error per property.
    """
    values, split = values_of(entries), SPLITS["pairs"]
    groups = [split.groups(entry) for entry in entries]
    potentials = ("deformation_potential_vbm_ev", "deformation_potential_cbm_ev")
    variants = {
        "all": lambda row: row,
        "edges with spin–orbit coupling": lambda row: (
            row | {other: row.get(key) for key, other in WITHOUT_SPIN_ORBIT.items()}
        ),
        "no vacuum steps": lambda row: row | {"vacuum_step_ev": None},
        "no deformation potentials": lambda row: row | dict.fromkeys(potentials),
    }
    rows = {}
    for name, change in variants.items():
        changed = {layer: change(row) for layer, row in layers.properties.items()}
        x = describe_known(entries, Layers(layers.monolayers, changed))
        settings = SurrogateSettings(
            tuple(x.columns), STACK_PROPERTIES, folds=split.folds, repeats=4
        )
        _, found, _ = train_surrogate(
            settings, x.to_numpy(), fast_baselines(x), values, groups, seed=SEED, **SMALL
        )
        off = np.abs(clip_gaps(found, STACK_PROPERTIES) - values)
        rows[name] = np.nanmean(off, axis=0)
    return _table(rows, "inputs")


def learning_curve(
    descriptors: pd.DataFrame,
    values: np.ndarray,
    layers: Sequence[Sequence[str]],
    numbers: Sequence[int] = (25, 50, 100, 200),
    steps: int = 300,
) -> pd.DataFrame:
    """Errors on stacks of a fifth of the layers, learned from ever more of the others.

    Args:
        descriptors: (n, inputs).
        values: (n, properties), NaN where unknown.
        layers: names of each stack's layers (n).
        numbers: of stacks to learn from; all are taken at last.
        steps: of training.

    Returns:
        `stacks`, `baseline` (whether the difference to the physics baseline is learned, or the
        property itself), and the mean absolute error per property.
    """
    test = folds_of_stacks(layers, 5, SEED)[:, 0]
    order = np.random.default_rng(SEED).permutation(np.flatnonzero(~test))
    x, baselines = descriptors.to_numpy(dtype=float), fast_baselines(descriptors)
    settings = SurrogateSettings(tuple(descriptors.columns), STACK_PROPERTIES, folds=2, repeats=2)
    parts = []
    for number in (*numbers, len(order)):
        chosen = order[:number]
        for has_baseline, base in ((True, baselines), (False, np.zeros_like(baselines))):
            model, _, _ = train_surrogate(
                settings,
                x[chosen],
                base[chosen],
                values[chosen],
                [(str(i),) for i in chosen],
                seed=SEED,
                steps=steps,
                batch_size=64,
            )
            predicted, _ = model.predict(x[test], base[test])
            off = np.abs(clip_gaps(predicted, STACK_PROPERTIES) - values[test])
            errors = np.nanmean(off, axis=0)
            row = {"stacks": len(chosen), "baseline": has_baseline}
            parts.append(row | dict(zip(STACK_PROPERTIES, errors, strict=True)))
    return pd.DataFrame(parts)


def stacking_choice(table: pd.DataFrame, predictor: str = "both networks") -> pd.DataFrame:
    """How well the predicted binding energy chooses among the published stackings of a layer.

    Layers with three stackings or more whose energies differ by 1 meV/Å² or more. The loss is how
    much less the chosen stacking binds than the best one, in meV/Å².

    Args:
        table: of `long_table`, with `layer` and `knowledge`.

    Returns:
        Per knowledge of the layers `layers` (how many), `loss_mev_a2`, `loss_at_random_mev_a2`,
        `found_percent` (best stacking to 1 meV/Å²) and `rank_correlation` (mean over layers).
    """
    own = table[
        (table["predictor"] == predictor) & (table["property"] == STACK_PROPERTIES[BINDING])
    ]
    rows = []
    for knowledge, part in own.groupby("knowledge", sort=False):
        losses, chance, order = [], [], []
        for _, group in part.groupby("layer"):
            if len(group) < 3 or np.ptp(group["true"]) < 1.0:
                continue
            loss = group["true"].max() - group["true"]
            losses.append(loss[group["predicted"].idxmax()])
            chance.append(loss.mean())
            order.append(group["true"].corr(group["predicted"], method="spearman"))
        rows.append(
            {
                "knowledge": knowledge,
                "layers": len(losses),
                "loss_mev_a2": np.mean(losses),
                "loss_at_random_mev_a2": np.mean(chance),
                "found_percent": 100 * np.mean(np.array(losses) < 1.0),
                "rank_correlation": np.nanmean(order),
            }
        )
    return pd.DataFrame(rows)
