"""Training, honest evaluation and use of the property networks."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import t as student_t

from heteroforge.graphs import GraphStore, stack_graph
from heteroforge.io import read_table
from heteroforge.io.conventions import METAL_BELOW_EV
from heteroforge.labels import STACK_PROPERTIES
from heteroforge.models.calibration import LEVELS, calibrate, calibrated_std
from heteroforge.models.property_network import (
    PropertyNetwork,
    PropertySettings,
    correct_baseline,
    embed,
    fit_difference,
    group_folds,
    pretrain,
)
from heteroforge.models.property_prediction import is_measured
from heteroforge.models.property_surrogate import clip_gaps, informative_residuals
from heteroforge.models.published import PublishedModel
from heteroforge.models.stack_inputs import (
    baseline_table,
    describe_stacks,
    number_of_interfaces,
    reference_stack,
)
from heteroforge.models.training import (
    fingerprint,
    load_model,
    of_this_kind,
    save_model,
    seed_everything,
)
from heteroforge.models.windows import UNCLIPPED
from heteroforge.sources import Library
from heteroforge.structures import Monolayer, Stack, StructureError

__all__ = [
    "PREDICTORS",
    "PropertyData",
    "describe_choice",
    "evaluate",
    "load_member",
    "pair_of",
    "predict",
    "save_member",
    "train_member",
]

GAP, BINDING = map(STACK_PROPERTIES.index, ("gap_ev", "binding_energy_mev_a2"))
# In the order in which a tie is decided: the simpler one first.
PREDICTORS = ("physics", "published", "corrected_published", "mean", "boosting", "network")
FOLDS = 10
# Fewer labels than this say nothing about which predictor is better.
FEWEST_LABELS, FEWEST_PAIRS = 8, 4
LARGEST_PRETRAINING_SET = 4000
# Gaps predicted below are, as likely as not, of metals.
CLOSED_BELOW_EV = 2 * METAL_BELOW_EV
# Labels of one's own that the published model's calibration, on thousands of bilayers of other
# layers, is taken to be worth; it counts for less with each of them, and for nothing from here on.
CALIBRATED_BEFORE, CALIBRATED_ANEW = 20, 60


def _with_physics(
    published: np.ndarray, std: np.ndarray, physics: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What published DFT says and how surely, by physics where it says nothing.

    How far physics baselines differ from each other stands for an error that nobody has measured.
    """
    known = np.isfinite(published)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of properties that are not known for any stack
        width = np.nan_to_num(np.nanstd(physics, axis=0), nan=1.0)
    return np.where(known, published, physics), np.where(known, std, width)


def pair_of(stack: Stack) -> str:
    """The layers of a stack whatever their order: what must not be split between folds."""
    return "|".join(sorted(layer.monolayer.key() for layer in stack.layers))


@dataclass
class PropertyData:
    """Stacks with what is known of them, in one order.

    Binding energies are means over the interfaces: what bilayers teach of one holds for each.

    Attributes:
        stacks: (n), at their contact gaps.
        keys: their keys as labelled (n).
        physics: baselines by physics (n, properties), NaN where unknown.
        baselines: what published DFT says, by physics where it says nothing (n, properties).
        baseline_std: its standard deviation (n, properties).
        values: DFT (n, properties), NaN where unknown.
        descriptors: (n, columns), numeric.
    """

    stacks: list[Stack]
    keys: list[str]
    physics: np.ndarray
    baselines: np.ndarray
    baseline_std: np.ndarray
    values: np.ndarray
    descriptors: pd.DataFrame

    @classmethod
    def from_tables(
        cls,
        training_stacks: pd.DataFrame,
        labels: pd.DataFrame,
        monolayers: Mapping[str, Monolayer],
        table: pd.DataFrame,
        seed: int,
    ) -> PropertyData:
        """Collect all stacks with DFT labels and up to some thousands without.

        Layers alone are left out: they have no interface, and the screen sets them aside.

        Args:
            training_stacks: `stack_id`, `specification`, `number_of_layers`.
            labels: long table of `labels.parquet`.
            monolayers: the library.
            table: of the library, indexed by monolayer_id.
            seed: of the choice where there are more stacks than are used.

        Raises:
            StructureError: there are no stacks.
        """
        training_stacks = training_stacks[training_stacks["number_of_layers"] > 1]
        specifications = dict(zip(labels["stack_id"], labels["specification"], strict=True))
        labelled = sorted(set(labels.loc[labels["fidelity"] == "dft", "stack_id"]))
        others = sorted(set(training_stacks["stack_id"]) - set(labelled))
        specifications |= dict(
            zip(training_stacks["stack_id"], training_stacks["specification"], strict=True)
        )
        if len(others) > LARGEST_PRETRAINING_SET:
            generator = np.random.default_rng([seed, 11])
            others = sorted(generator.choice(others, LARGEST_PRETRAINING_SET, replace=False))
        chosen = labelled + [str(key) for key in others]
        if not chosen:
            raise StructureError(
                "no stacks of two layers or more to learn from, with or without labels"
            )
        tables = {}
        for name, fidelity, column in (
            ("physics", "baseline", "value"),
            ("published", "published", "value"),
            ("std", "published", "std"),
            ("dft", "dft", "value"),
        ):
            part = labels[labels["fidelity"] == fidelity]
            table_of = part.pivot_table(
                index="stack_id", columns="property", values=column, aggfunc="mean"
            ).reindex(index=chosen, columns=list(STACK_PROPERTIES))
            tables[name] = table_of.to_numpy(dtype=float).copy()
        given = [Stack.from_json(specifications[key], monolayers) for key in chosen]
        stacks = [reference_stack(stack) for stack in given]
        physics = tables["physics"]
        moved = [
            i
            for i, (one, other) in enumerate(zip(given, stacks, strict=True))
            if abs(one.thickness_a - other.thickness_a) > 1e-3
        ]
        # A relaxed stack's own baselines are those of another geometry.
        physics[moved] = baseline_table([stacks[i] for i in moved], table, STACK_PROPERTIES)
        interfaces = number_of_interfaces(stacks)
        for some in tables.values():
            some[:, BINDING] /= interfaces
        baselines, std = _with_physics(tables["published"], tables["std"], physics)
        return cls(
            stacks=stacks,
            keys=chosen,
            physics=physics,
            baselines=baselines,
            baseline_std=std,
            values=tables["dft"],
            descriptors=describe_stacks(stacks, table),
        )

    @classmethod
    def read(
        cls, stacks: str | Path, labels: str | Path, library: Library, seed: int
    ) -> PropertyData:
        """`from_tables` of the files of a campaign: training stacks, labels, library."""
        return cls.from_tables(
            read_table(stacks), read_table(labels), library.monolayers, library.table, seed
        )

    def __len__(self) -> int:
        return len(self.stacks)

    @cached_property
    def store(self) -> GraphStore:
        return GraphStore([stack_graph(stack) for stack in self.stacks])

    @cached_property
    def labelled(self) -> np.ndarray:
        """Positions of the stacks with a DFT value."""
        return np.flatnonzero(np.isfinite(self.values).any(axis=1))

    @cached_property
    def pairs(self) -> np.ndarray:
        """Layers of the labelled stacks."""
        return np.array([pair_of(self.stacks[i]) for i in self.labelled])

    def folds(self, seed: int) -> np.ndarray:
        """Fold of each labelled stack; all stacks of a pair are in one."""
        if len(self.labelled) == 0:
            return np.zeros(0, dtype=int)
        return group_folds(list(self.pairs), FOLDS, seed)

    def inputs(self, embedding: np.ndarray) -> np.ndarray:
        """Inputs of the difference head: embedding, baselines, descriptors."""
        return np.concatenate([embedding, self.baselines, self.descriptors.to_numpy()], axis=1)


# --- members --------------------------------------------------------------------------------------


def train_member(
    data: PropertyData,
    *,
    member: int,
    seed: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    device: torch.device | str = "cpu",
) -> tuple[PropertyNetwork, dict]:
    """One network of the ensemble, with its predictions of pairs it was not fitted to.

    Returns:
        The network, fitted to all labels, and plain content for `save_model`: settings,
        out-of-fold predictions of the labelled stacks, training history.
    """
    settings = PropertySettings(STACK_PROPERTIES, tuple(data.descriptors.columns))
    own_seed = int(np.random.SeedSequence([seed, member]).generate_state(1)[0])
    seed_everything(own_seed)
    model = PropertyNetwork(settings)
    history = pretrain(
        model,
        data.store,
        data.baselines,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=own_seed,
        patience=max(5, epochs // 4),
        checkpoint=checkpoint,
        identity=fingerprint(
            settings.to_dict(),
            own_seed,
            epochs,
            batch_size,
            learning_rate,
            len(data),
            float(np.nansum(data.baselines)),
        ),  # fmt: skip
        name=f"property network {member}",
        progress=progress,
        device=device,
    )
    # The heads are small and few labels need no accelerator.
    model.to("cpu")
    rows = data.labelled
    inputs = data.inputs(embed(model, data.store))
    baselines, values = data.baselines[rows], data.values[rows]
    folds = data.folds(seed)
    held_out = np.full((len(rows), len(STACK_PROPERTIES)), np.nan)
    for fold in np.unique(folds):
        training, test = folds != fold, folds == fold
        if not training.any():
            continue
        fit_difference(
            model, inputs[rows][training], baselines[training], values[training], seed=own_seed
        )
        held_out[test] = _forward(model, inputs[rows][test], baselines[test])
    if len(rows):
        fit_difference(model, inputs[rows], baselines, values, seed=own_seed)
    content = {
        "settings": settings.to_dict(),
        "member": member,
        "seed": seed,
        "held_out": held_out.tolist(),
        "history": history.rows,
        "best_epoch": history.best_epoch,
    }
    return model, content


def save_member(path: str | Path, model: PropertyNetwork, content: dict) -> None:
    save_model(path, model, **content)


@of_this_kind
def load_member(path: str | Path) -> tuple[PropertyNetwork, dict]:
    """A network and what was saved with it."""
    content = load_model(path)
    model = PropertyNetwork(PropertySettings.from_dict(content["settings"]))
    model.load_state_dict(content["state"])
    model.eval()
    return model, content


@torch.no_grad()
def _forward(model: PropertyNetwork, inputs: np.ndarray, baselines: np.ndarray) -> np.ndarray:
    as_tensor = [torch.from_numpy(np.asarray(x, dtype=np.float32)) for x in (inputs, baselines)]
    return model(*as_tensor).numpy()


# --- simple predictors ----------------------------------------------------------------------------


def _simple_predictions(
    name: str,
    training: tuple[np.ndarray, np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray, np.ndarray],
    middle: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Predictions (n, properties) of everything that is not a network.

    Args:
        name: one of `PREDICTORS`.
        training: baselines, descriptors and DFT values of the labelled stacks.
        test: baselines, descriptors and physics baselines of the stacks to predict.
        middle: mean baseline per property, for unknown ones.
    """
    baselines, descriptors, values = training
    filled = np.where(np.isfinite(baselines), baselines, middle)
    test_filled = np.where(np.isfinite(test[0]), test[0], middle)
    if name == "physics":
        return np.where(np.isfinite(test[2]), test[2], middle)
    if name == "published":
        return test_filled
    if name == "corrected_published":
        slope, offset = correct_baseline(filled, values)
        return slope * test_filled + offset
    known = np.isfinite(values)
    if name == "mean":
        with np.errstate(invalid="ignore"):
            mean = np.where(known, values, 0.0).sum(0) / np.maximum(known.sum(0), 1)
        mean = np.where(known.any(0), mean, middle)
        return np.repeat(mean[None], len(test_filled), axis=0)
    if name == "boosting":
        from sklearn.ensemble import GradientBoostingRegressor

        x = np.concatenate([filled, descriptors], axis=1)
        x_test = np.concatenate([test_filled, test[1]], axis=1)
        x, x_test = np.nan_to_num(x, nan=-1.0), np.nan_to_num(x_test, nan=-1.0)
        result = test_filled.copy()
        for j in range(values.shape[1]):
            rows = known[:, j]
            if rows.sum() < FEWEST_LABELS:
                continue
            trees = GradientBoostingRegressor(
                n_estimators=150,
                learning_rate=0.05,
                max_depth=3,
                subsample=0.7,
                max_features=0.5,
                min_samples_leaf=2,
                random_state=seed,
            )
            trees.fit(x[rows], values[rows, j] - filled[rows, j])
            result[:, j] += trees.predict(x_test)
        return result
    raise ValueError(f"predictor {name!r}: expected one of {', '.join(PREDICTORS)}")


# --- evaluation -----------------------------------------------------------------------------------


def evaluate(
    data: PropertyData, contents: Sequence[dict], seed: int, published: PublishedModel
) -> tuple[dict, dict, pd.DataFrame]:
    """Leave-pair-out errors of all predictors, the choice of one per property, calibration.

    Pairs that the shipped model learned from count only where there are too few others: nearly all
    predictors rest on what it says, and of these pairs it says more than it can of new ones.

    Args:
        data: the data that the members were trained on.
        contents: of `train_member`, one per member.
        published: the shipped model.

    Returns:
        metrics: per property, mean absolute and root-mean-square error of every predictor, and
            whether the pairs are ones that the shipped model had `not_learned_from`.
        calibration: per property, the predictor to use and the scales of its uncertainty.
        table: one row per labelled stack and property with all held-out predictions.

    Of binding energies metrics and calibration are per interface, the table is of whole stacks.
    """
    rows, folds = data.labelled, data.folds(seed)
    shape = (len(rows), len(STACK_PROPERTIES))
    baselines, values = data.baselines[rows], data.values[rows]
    descriptors = data.descriptors.to_numpy()[rows]
    middle = _middle(data.baselines)
    held_out = {name: np.full(shape, np.nan) for name in PREDICTORS}
    for fold in np.unique(folds):
        training, test = folds != fold, folds == fold
        if not training.any():
            continue
        for name in PREDICTORS[:-1]:
            held_out[name][test] = _simple_predictions(
                name,
                (baselines[training], descriptors[training], values[training]),
                (baselines[test], descriptors[test], data.physics[rows][test]),
                middle,
                seed,
            )
    for name in PREDICTORS[:-1]:
        held_out[name][:, GAP] = np.clip(held_out[name][:, GAP], 0.0, None)
    members = np.array([content["held_out"] for content in contents], dtype=float)
    members = members.reshape(len(contents), *shape)
    held_out["network"] = members.mean(0) if len(rows) else np.full(shape, np.nan)
    held_out["network"][:, GAP] = np.clip(held_out["network"][:, GAP], 0.0, None)
    spreads = _spreads(data.baseline_std[rows], members)
    metrics: dict = {
        "split": f"leave pairs out, {len(np.unique(folds))} folds",
        "labelled_stacks": len(rows),
        "labelled_pairs": len(set(data.pairs)),
        "pretraining_stacks": len(data),
        "members": len(contents),
        "properties": {},
    }
    calibration: dict = {"levels": list(LEVELS), "properties": {}}
    frames = []
    seen = np.array([published.has_seen(data.stacks[i]) for i in rows], dtype=bool)
    for j, name in enumerate(STACK_PROPERTIES):
        known = np.isfinite(values[:, j]) & np.isfinite(held_out["network"][:, j])
        new = known & ~seen
        only_new = _are_enough(data.pairs[new])
        if only_new:
            known = new
        errors = {}
        for predictor in PREDICTORS:
            residual = held_out[predictor][known, j] - values[known, j]
            if len(residual):
                errors[predictor] = {
                    "mae": float(np.abs(residual).mean()),
                    "rmse": float(np.sqrt((residual**2).mean())),
                    "bias": float(residual.mean()),
                }
        pairs = data.pairs[known]
        enough = _are_enough(pairs)
        chosen = "published"
        if enough:
            residuals = {p: held_out[p][known, j] - values[known, j] for p in PREDICTORS}
            chosen = _choose(residuals, pairs)
        entry = {
            "labels": int(known.sum()),
            "pairs": len(set(pairs)),
            "not_learned_from": only_new,
            "predictors": errors,
            "best": chosen,
        }
        if enough:
            simpler = min(errors[p]["rmse"] for p in PREDICTORS[:-1])
            entry["network_beats_baselines"] = bool(errors["network"]["rmse"] < simpler)
            residual = informative_residuals(held_out[chosen], values, STACK_PROPERTIES)[known, j]
            told = np.isfinite(residual)
            if not told.any():
                residual, told = np.zeros_like(residual), np.ones_like(told)
            prior = 0
            if chosen in ("published", "corrected_published"):
                prior = round(CALIBRATED_BEFORE * max(0.0, 1 - told.sum() / CALIBRATED_ANEW))
            calibration["properties"][name] = {
                "predictor": chosen,
                "calibrated": True,
                **calibrate(residual[told], spreads[chosen][known, j][told], pairs[told], prior),
            }
        else:
            # Nothing was validated here: what the published model says of itself stands.
            calibration["properties"][name] = {
                "predictor": chosen,
                "calibrated": False,
                "floor": 0.0,
                "factors": [1.0, 1.645],
                "coverage": [None, None],
            }
        metrics["properties"][name] = entry
        times = np.ones(known.sum())
        if j == BINDING:
            times = number_of_interfaces([data.stacks[i] for i in rows[known]])
        frame = pd.DataFrame(
            {
                "stack_id": [data.keys[i] for i in rows[known]],
                "formula": [data.stacks[i].formula for i in rows[known]],
                "pair": pairs,
                "fold": folds[known],
                "property": name,
                "true": values[known, j] * times,
                "predicted": held_out[chosen][known, j] * times,
                "std": times
                * calibrated_std(calibration["properties"][name], spreads[chosen][known, j]),
                **{p: held_out[p][known, j] * times for p in PREDICTORS},
                "network_spread": spreads["network"][known, j] * times,
            }
        )
        frames.append(frame)
    return metrics, calibration, pd.concat(frames, ignore_index=True)


def _are_enough(pairs: np.ndarray) -> bool:
    return len(pairs) >= FEWEST_LABELS and len(set(pairs)) >= FEWEST_PAIRS


def _spreads(baseline_std: np.ndarray, members: np.ndarray) -> dict[str, np.ndarray]:
    """Standard deviations (n, properties) by predictor, before they are calibrated.

    All predictors begin with what published DFT says, and know of fewer layers than it does: where
    it is unsure, as of new elements or of layers that are predicted themselves, so are they. A
    campaign's own labels, of a few layers, tell how large errors are, and not where.

    Args:
        baseline_std: of the published model (n, properties).
        members: predictions of the networks (members, n, properties).
    """
    spreads = dict.fromkeys(PREDICTORS, baseline_std)
    if len(members) > 1:
        spreads["network"] = np.hypot(members.std(0, ddof=1), baseline_std)
    return spreads


def _choose(residuals: Mapping[str, np.ndarray], pairs: np.ndarray) -> str:
    """The predictor with the smallest mean squared error of those for which that is hardly chance.

    Squared, because the largest errors decide how wide the calibrated intervals get. The published
    model has been measured on thousands of bilayers: another takes its place when zero is outside
    the 95 % interval (Student's t) of the mean gain, each pair of layers counted once.
    """
    error = {name: pd.Series(r**2).groupby(pairs).mean() for name, r in residuals.items()}
    gains = {name: error["published"] - error[name] for name in PREDICTORS}
    widths = {name: gain.std(ddof=1) / len(gain) ** 0.5 for name, gain in gains.items()}
    least = student_t.ppf(0.975, len(set(pairs)) - 1)
    better = [name for name, gain in gains.items() if gain.mean() > least * widths[name]]
    return min(better, key=lambda name: error[name].mean(), default="published")


def _middle(baselines: np.ndarray) -> np.ndarray:
    known = np.isfinite(baselines)
    return np.where(known, baselines, 0.0).sum(0) / np.maximum(known.sum(0), 1)


# --- use ------------------------------------------------------------------------------------------


def predict(
    stacks: Sequence[Stack],
    table: pd.DataFrame,
    models: Sequence[PropertyNetwork],
    calibration: Mapping,
    data: PropertyData,
    published: PublishedModel,
    seed: int,
    batch_size: int = 512,
) -> pd.DataFrame:
    """Properties of stacks at DFT fidelity by the best-validated predictor of each.

    Args:
        stacks: (n); their gaps do not matter.
        table: of the library, indexed by monolayer_id.
        models: the ensemble.
        calibration: of `evaluate`.
        data: the labels, to which the simple predictors are fitted.
        published: the shipped model.
        seed: of boosting.

    Returns:
        Per property `<property>` and `<property>_std`, half the width of the calibrated 68 %
        interval, or of the 90 % one over 1.645 where that is wider (binding energies of all
        interfaces together); those of `UNCLIPPED`; `outside_training`, what published stacks lack,
        in words; and `is_measured`, whether errors of such stacks were.
    """
    if not stacks:
        numbers = [f"{n}{s}" for n in STACK_PROPERTIES for s in ("", "_std")]
        frame = pd.DataFrame(columns=[*numbers, *UNCLIPPED.values()], dtype=float)
        return frame.assign(outside_training="", is_measured=False)
    chosen = {name: calibration["properties"][name]["predictor"] for name in STACK_PROPERTIES}
    stacks = [reference_stack(stack) for stack in stacks]
    baselines, baseline_std = published.predict(stacks)
    physics = np.full_like(baselines, np.nan)
    # Dispersion energies take time: only where they are asked for.
    if "physics" in chosen.values() or np.isnan(baselines).any():
        physics = baseline_table(stacks, table, STACK_PROPERTIES)
    interfaces = number_of_interfaces(stacks)
    for some in (baselines, baseline_std, physics):
        some[:, BINDING] /= interfaces
    if np.isnan(baselines).any():
        baselines, baseline_std = _with_physics(baselines, baseline_std, physics)
    descriptors = describe_stacks(stacks, table)[list(data.descriptors.columns)]
    # What was learned from: labels have no gap below zero.
    shown = clip_gaps(baselines, STACK_PROPERTIES)
    results: dict[str, np.ndarray] = {}
    members = np.empty((0, *baselines.shape))
    if "network" in chosen.values():
        parts = []
        for start in range(0, len(stacks), batch_size):
            rows = slice(start, start + batch_size)
            store = GraphStore([stack_graph(stack) for stack in stacks[rows]])
            block = []
            for model in models:
                inputs = np.concatenate(
                    [embed(model, store), shown[rows], descriptors.to_numpy()[rows]], axis=1
                )
                block.append(_forward(model, inputs, shown[rows]))
            parts.append(np.array(block))
        members = np.concatenate(parts, axis=1)
        results["network"] = members.mean(0)
    spreads = _spreads(baseline_std, members)
    labelled = data.labelled
    training = (
        data.baselines[labelled],
        data.descriptors.to_numpy()[labelled],
        data.values[labelled],
    )
    for predictor in set(chosen.values()) - {"network"}:
        results[predictor] = _simple_predictions(
            predictor,
            training,
            (shown if predictor == "boosting" else baselines, descriptors.to_numpy(), physics),
            _middle(data.baselines),
            seed,
        )
    columns = {}
    for j, name in enumerate(STACK_PROPERTIES):
        scale = calibration["properties"][name]
        columns[name] = results[chosen[name]][:, j]
        columns[f"{name}_std"] = calibrated_std(scale, spreads[chosen[name]][:, j])
    frame = pd.DataFrame(columns)
    for name in (STACK_PROPERTIES[BINDING], f"{STACK_PROPERTIES[BINDING]}_std"):
        frame[name] *= interfaces
    frame = frame.assign(**{own: frame[name] for name, own in UNCLIPPED.items()})
    # Labels have no gap below zero: what learns from them alone puts metals near it, however far
    # their bands overlap. The published model has learned that, and says how far.
    if chosen["gap_ev"] in ("mean", "boosting", "network"):
        overlap = baselines[:, GAP]
        is_closed = (frame["gap_ev"] < CLOSED_BELOW_EV) & (overlap < 0.0)
        frame[UNCLIPPED["gap_ev"]] = frame["gap_ev"].where(~is_closed, overlap)
    # A gap is not negative, whatever the correction says.
    frame["gap_ev"] = frame["gap_ev"].clip(lower=0.0)
    return frame.assign(
        outside_training=[published.outside_training(stack) for stack in stacks],
        is_measured=[is_measured(stack) for stack in stacks],
    )


def describe_choice(calibration: Mapping) -> str:
    """One line for the log: which predictor is used for what."""
    return json.dumps({k: v["predictor"] for k, v in calibration["properties"].items()})
