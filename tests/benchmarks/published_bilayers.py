"""Errors on published bilayers beside simple predictors, and the model that ships.

Run from the project's folder (most of an hour, one thread), always whole: it starts from the
published tables, keeps nothing between runs, and writes the model and the page about it together.

    nice -n 19 python tests/benchmarks/published_bilayers.py --data ../shared/data \\
        --model resources/models/bilayers.pt --output docs/prediction_accuracy.md

HetML is split by pair and by layer, BiDB by composition of the monolayer; every number is that of
predictors that have not seen the pair, layer or composition.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.io import write_text
from heteroforge.labels.published import read_bidb_stacks, read_hetml_stacks
from heteroforge.models.graph_surrogate import GraphSettings, pooled, train_graph_surrogate
from heteroforge.models.property_prediction import (
    LAYER_PROPERTIES,
    STACK_PROPERTIES,
    WITHOUT_SPIN_ORBIT,
    Predictor,
    as_read,
    as_seen,
    describe_with_knowledge,
    graphs_of,
    save_predictor,
    train_predictor,
)
from heteroforge.models.property_surrogate import (
    SurrogateSettings,
    folds_of_stacks,
    train_surrogate,
)
from heteroforge.models.stack_inputs import fast_baselines
from heteroforge.sources.published_tables import read_c2db, read_hetml
from heteroforge.structures import Monolayer

SEED = 7
UNITS = ("eV", "eV", "eV", "meV/Å²", "Å")
TITLES = ("gap", "VBM (−IE)", "CBM (−EA)", "binding energy", "interlayer distance")
# Of the ensembles on some hundred bilayers.
SMALL = {"steps": 500, "batch_size": 128}
SMALL_GRAPHS = {"epochs": 100}
NOTHING = dict.fromkeys(LAYER_PROPERTIES, float("nan"))


def known_monolayers(folder: Path) -> tuple[dict[str, Monolayer], dict[str, dict]]:
    """Published monolayers with a gap, and what is known of them."""
    monolayers, properties = {}, {}
    for candidate in [*read_c2db(folder), *read_hetml(folder)]:
        if candidate.properties.get("gap_ev") is not None:
            monolayers[candidate.material] = Monolayer.from_atoms(candidate.atoms)
            without = candidate.without_spin_orbit.items()
            properties[candidate.material] = dict(candidate.properties) | {
                WITHOUT_SPIN_ORBIT[key]: value for key, value in without
            }
    return monolayers, properties


def boosted(x, baselines, values, outside) -> np.ndarray:
    """Held-out predictions of trees on the same descriptors, of the difference to the baseline."""
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
            trees.fit(filled[rows], values[rows, j] - baselines[rows, j])
            total[test, j] += trees.predict(filled[test]) + baselines[test, j]
    return total / count[:, None]


def compare(descriptors, graphs, values, groups, folds: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Mean absolute errors of all predictors on one split, and predictions of the last."""
    x, baselines = descriptors.to_numpy(dtype=float), fast_baselines(descriptors)
    outside = folds_of_stacks(groups, folds, SEED)
    mean, count = np.zeros_like(values), np.zeros(len(values))
    for fold in range(folds):
        test = outside[:, fold]
        mean[test] += np.nanmean(values[~test], axis=0)
        count += test
    settings = SurrogateSettings(
        tuple(descriptors.columns), STACK_PROPERTIES, folds=folds, repeats=4
    )
    _, *network = train_surrogate(settings, x, baselines, values, groups, seed=SEED, **SMALL)
    settings = GraphSettings(tuple(descriptors.columns), STACK_PROPERTIES, folds=folds)
    _, *of_atoms = train_graph_surrogate(
        settings, graphs, x, baselines, values, groups, seed=SEED, **SMALL_GRAPHS
    )
    both, _ = pooled(tuple(network), tuple(of_atoms))
    predictions = {"mean": mean / count[:, None], "physics baseline": baselines.copy()}
    predictions["physics baseline"][:, 3] = np.nan
    predictions["gradient boosting"] = boosted(x, baselines, values, outside)
    predictions["network on descriptors"] = network[0]
    predictions["graph network"] = of_atoms[0]
    predictions["both networks"] = both
    errors = {name: np.abs(p - values) for name, p in predictions.items()}
    with np.errstate(invalid="ignore"):
        rows = {
            name: [
                np.nan if np.isnan(e[:, j]).all() else np.nanmean(e[:, j])
                for j in range(len(STACK_PROPERTIES))
            ]
            for name, e in errors.items()
        }
    return pd.DataFrame(rows, index=TITLES).T, both


def markdown(table: pd.DataFrame) -> str:
    titles = [f"{t} / {u}" for t, u in zip(TITLES, UNITS, strict=True)]
    lines = [f"| | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for name, row in table.iterrows():
        cells = ["–" if np.isnan(v) else f"{v:.3g}" for v in row]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def known_descriptors(entries, monolayers, properties) -> pd.DataFrame:
    """Descriptors with all that was published of the layers."""
    rows = []
    for entry in entries:
        knowledge = [
            as_seen(properties[name], monolayers[name], layer.monolayer)
            for name, layer in zip(entry.layers, entry.stack.layers, strict=True)
        ]
        rows.append(describe_with_knowledge(entry.stack, knowledge, [NOTHING] * 2))
    return pd.DataFrame(rows).astype(float)


def unknown_descriptors(entries, predictor: Predictor) -> pd.DataFrame:
    """Descriptors as a file gives them where no table knows the layers."""
    stacks = [as_read(entry.stack) for entry in entries]
    values = predictor.predict_layers(la.monolayer for stack in stacks for la in stack.layers)
    rows = [
        describe_with_knowledge(stack, [{}, {}], [values[la.monolayer] for la in stack.layers])
        for stack in stacks
    ]
    return pd.DataFrame(rows).astype(float)


def inputs_left_out(entries, monolayers, properties, values, groups) -> pd.DataFrame:
    """Errors of the ensemble where something published of the layers is not made use of."""
    variants = {
        "all": lambda row: row,
        "edges with spin–orbit coupling": lambda row: (
            row | {other: row.get(key) for key, other in WITHOUT_SPIN_ORBIT.items()}
        ),
        "no vacuum steps": lambda row: row | {"vacuum_step_ev": None},
        "no deformation potentials": lambda row: (
            row | dict.fromkeys(("deformation_potential_vbm_ev", "deformation_potential_cbm_ev"))
        ),
    }
    rows = {}
    for name, change in variants.items():
        changed = {layer: change(row) for layer, row in properties.items()}
        x = known_descriptors(entries, monolayers, changed)
        settings = SurrogateSettings(tuple(x.columns), STACK_PROPERTIES, folds=5, repeats=4)
        baselines = fast_baselines(x)
        _, found, _ = train_surrogate(
            settings, x.to_numpy(), baselines, values, groups, seed=SEED, **SMALL
        )
        rows[name] = np.nanmean(np.abs(found - values), axis=0)
    return pd.DataFrame(rows, index=TITLES).T


def by_kind(entries, errors, descriptors, properties) -> pd.DataFrame:
    """Errors of the ensemble by what sets bilayers apart."""

    def step(name: str) -> float:
        value = properties[name].get("vacuum_step_ev")
        return 0.0 if value is None else abs(value)

    def shift(name: str) -> float:
        row = properties[name]
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
    rows = {
        f"{name} ({int(chosen.sum())})": np.nanmean(np.abs(errors[chosen]), axis=0)
        for name, chosen in kinds.items()
    }
    return pd.DataFrame(rows, index=TITLES).T


def learning_curve(descriptors, values, layers) -> pd.DataFrame:
    """Errors on a fifth of the layers' stacks, learned from ever more of the others."""
    test = folds_of_stacks(layers, 5, SEED)[:, 0]
    generator = np.random.default_rng(SEED)
    order = generator.permutation(np.flatnonzero(~test))
    x, baselines = descriptors.to_numpy(dtype=float), fast_baselines(descriptors)
    settings = SurrogateSettings(tuple(descriptors.columns), STACK_PROPERTIES, folds=2, repeats=2)
    rows = {}
    for number in (25, 50, 100, 200, len(order)):
        chosen = order[:number]
        for name, base in (("with", baselines), ("without", np.zeros_like(baselines))):
            model, _, _ = train_surrogate(
                settings,
                x[chosen],
                base[chosen],
                values[chosen],
                [(str(i),) for i in chosen],
                seed=SEED,
                steps=300,
                batch_size=64,
            )
            predicted, _ = model.predict(x[test], base[test])
            rows[f"{number} stacks, {name} the baseline"] = np.nanmean(
                np.abs(predicted - values[test]), axis=0
            )
    return pd.DataFrame(rows, index=TITLES).T


def best_stackings(part: pd.DataFrame, layers) -> pd.DataFrame:
    """How well the predicted binding energy chooses among the published stackings of a layer.

    Layers with three stackings or more whose energies differ by 1 meV/Å² or more. The loss is how
    much less the chosen stacking binds than the best one, in meV/Å².
    """
    true = part["binding_energy_mev_a2_true"].to_numpy()
    predicted = part["binding_energy_mev_a2_predicted"].to_numpy()
    groups = pd.DataFrame({"true": true, "predicted": predicted, "layer": layers}).dropna()
    chosen, chance, order = [], [], []
    for _, group in groups.groupby("layer"):
        if len(group) < 3 or np.ptp(group["true"]) < 1.0:
            continue
        loss = group["true"].max() - group["true"]
        chosen.append(loss[group["predicted"].idxmax()])
        chance.append(loss.mean())
        order.append(group["true"].corr(group["predicted"], method="spearman"))
    rows = {
        "layers": len(chosen),
        "mean loss of the stacking predicted best / meV/Å²": np.mean(chosen),
        "of one chosen at random / meV/Å²": np.mean(chance),
        "best stacking found to 1 meV/Å²": f"{100 * np.mean(np.array(chosen) < 1.0):.0f} %",
        "mean rank correlation": np.nanmean(order),
    }
    return pd.DataFrame({"": rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with hetml/, bidb/, c2db/")
    parser.add_argument("--model", type=Path, help="where to write the trained model")
    parser.add_argument("--output", type=Path, help="where to write the tables")
    options = parser.parse_args()
    monolayers, properties = known_monolayers(options.data)
    published = [*read_hetml_stacks(options.data), *read_bidb_stacks(options.data)]
    published = [entry for entry in published if entry.values]
    print(f"{len(monolayers)} monolayers, {len(published)} bilayers", flush=True)
    text = report(monolayers, properties, published, options.model)
    if options.output is None:
        print(text)
    else:
        write_text(options.output, text)


def report(monolayers, properties, published, model: Path | None) -> str:
    values = np.array(
        [[entry.values.get(key, np.nan) for key in STACK_PROPERTIES] for entry in published]
    )
    hetero = np.array([entry.source == "HetML" for entry in published])
    predictor, held_out = train_predictor(
        monolayers,
        properties,
        [entry.stack for entry in published],
        values,
        [entry.layers for entry in published],
        [entry.layer_gap_ev for entry in published],
        seed=SEED,
        progress=True,
    )
    if model is not None:
        model.parent.mkdir(parents=True, exist_ok=True)
        save_predictor(model, predictor)

    some = [entry for entry in published if entry.source == "HetML"]
    pairs = [("|".join(sorted(entry.layers)),) for entry in some]
    of_layers = [entry.layers for entry in some]
    known = known_descriptors(some, monolayers, properties)
    graphs = graphs_of([entry.stack for entry in some])
    parts = []
    for title, descriptors, groups, folds in (
        ("pairs not seen", known, pairs, 5),
        ("layers not seen", known, of_layers, 8),
        ("entries not seen", known, [(entry.name,) for entry in some], 5),
        ("pairs not seen, layers from structure", unknown_descriptors(some, predictor), pairs, 5),
    ):
        table, network = compare(descriptors, graphs, values[hetero], groups, folds)
        print(title, table.round(3).to_string(), sep="\n", flush=True)
        parts += [f"## HetML, {title} ({len(some)} heterobilayers)", markdown(table)]
        if title == "pairs not seen":
            errors = by_kind(some, network - values[hetero], known, properties)
            parts += ["## HetML, pairs not seen, by kind", markdown(errors)]
    less = inputs_left_out(some, monolayers, properties, values[hetero], pairs)
    parts += ["## HetML, pairs not seen, without an input (network on descriptors)", markdown(less)]
    curve = learning_curve(known, values[hetero], of_layers)
    parts += ["## HetML, learning curve (layers not seen, network on descriptors)", markdown(curve)]

    held_out["source"] = np.tile([entry.source for entry in published], 2)
    own_gap = np.tile([entry.layer_gap_ev for entry in published], 2)
    for source in ("BiDB", "HetML"):
        for kind, words in (("known", "as published"), ("predicted", "predicted from structure")):
            chosen = (held_out["source"] == source) & (held_out["knowledge"] == kind)
            part = held_out[chosen]
            predictors = {
                "network on descriptors": "from_descriptors",
                "graph network": "from_atoms",
                "both networks (shipped)": "predicted",
            }
            rows: dict[str, list[float]] = {"mean": [], "physics baseline": []}
            rows |= {words_of: [] for words_of in predictors}
            for name in STACK_PROPERTIES:
                true = part[f"{name}_true"]
                rows["mean"].append((true - true.mean()).abs().mean())
                base = (part[f"{name}_baseline"] - true).abs().mean()
                rows["physics baseline"].append(np.nan if name == "binding_energy_mev_a2" else base)
                for words_of, column in predictors.items():
                    rows[words_of].append((part[f"{name}_{column}"] - true).abs().mean())
            if source == "BiDB" and kind == "known":
                own = np.abs(own_gap[chosen] - part["gap_ev_true"]).mean()
                rows["gap of the monolayer in BiDB"] = [own, *[np.nan] * 4]
            table = pd.DataFrame(rows, index=TITLES).T
            print(source, kind, table.round(3).to_string(), sep="\n", flush=True)
            title = f"## The shipped model on {source}, compositions not seen, layers {words}"
            parts += [f"{title} ({len(part)} bilayers)", markdown(table)]
            if source == "BiDB":
                best = best_stackings(part, np.array([e.layers[0] for e in published] * 2)[chosen])
                print(best.to_string(), flush=True)
                lines = ["| | |", "|---|---|"]
                for name, (value,) in best.iterrows():
                    lines.append(
                        f"| {name} | {value if isinstance(value, str) else format(value, '.3g')} |"
                    )
                parts += [f"### Which stacking of a layer is bound best, layers {words}"]
                parts += ["\n".join(lines)]
    lines = [
        "| layers | property | 68 % interval holds | 90 % interval holds |",
        "|---|---|---|---|",
    ]
    for kind, scales in predictor.calibration.items():
        for name, scale in scales.items():
            shares = " | ".join(f"{100 * c:.1f} %" for c in scale["coverage"])
            lines.append(f"| {kind} | `{name}` | {shares} |")
    parts += ["## Coverage of the intervals, counted on compositions left out", "\n".join(lines)]
    errors, seen = predictor.metrics["layer_mae"], predictor.metrics["layer_mae_seen"]
    lines = ["| property | composition not seen | seen |", "|---|---|---|"]
    lines += [f"| `{name}` | {error:.3g} | {seen[name]:.3g} |" for name, error in errors.items()]
    number = predictor.metrics["layers"]
    parts += [f"## Layers alone, from structure ({number} monolayers)", "\n".join(lines)]
    minutes = time.process_time() / 60
    return "\n\n".join([HEADER.format(minutes=minutes), *parts]) + "\n"


HEADER = """# Accuracy of predictions on published bilayers

Made, with the shipped model and from the published tables alone, by `python
tests/benchmarks/published_bilayers.py --data ../shared/data --model resources/models/bilayers.pt
--output docs/prediction_accuracy.md` in {minutes:.0f} minutes of processor time (one thread).

Mean absolute errors, all on what the predictor has not seen. The physics baseline is Anderson's
rule with published edges of the layers, vacuum steps and deformation potentials, and the gap at
which van der Waals spheres touch; trees and networks learn the difference to it from the same
descriptors, the graph network (DGL) from atoms and contacts as well. "Entries not seen" is the
random split of other publications, where the other registry of a pair has been seen as a rule.
A heterobilayer is held out with either of its layers ("layers", "compositions"): each member that
predicts it has not seen one of them at least, and most have seen the other. Where both are
new, errors are larger: prediction.md has by how much, and how intervals hold there.
"Layers from structure" is the shipped command without tables of layers: what the layers' networks,
which have seen these layers, tell takes the place of published values."""


if __name__ == "__main__":
    main()
