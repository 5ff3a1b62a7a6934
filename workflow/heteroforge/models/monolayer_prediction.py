"""Properties of single layers from their structure: edges, masses, mobility, stability, dipole.

Networks on structural descriptors and graph networks (DGL) on atoms, learned from published
monolayers, most of which have some of the properties only. Masses, stiffness, polarizabilities and
mobilities span decades, so their logarithms are learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from heteroforge.graphs import GraphStore, atom_graph
from heteroforge.models.calibration import calibrate, calibrated_std
from heteroforge.models.graph_surrogate import (
    GraphSettings,
    GraphSurrogate,
    best_shares,
    pooled,
    train_graph_surrogate,
)
from heteroforge.models.property_prediction import (
    layer_identity,
    layer_input_names,
    layer_inputs,
    polarity,
)
from heteroforge.models.property_surrogate import (
    Surrogate,
    SurrogateSettings,
    clip_gaps,
    informative_residuals,
    train_surrogate,
)
from heteroforge.models.training import half_state, load_model, of_this_kind, save_model
from heteroforge.structures import Monolayer

__all__ = [
    "MONOLAYER_UNITS",
    "MonolayerPredictor",
    "load_monolayer_predictor",
    "save_monolayer_predictor",
    "train_monolayer_predictor",
]

MONOLAYER_UNITS = {
    "gap_ev": "eV",
    "vbm_ev": "eV",
    "cbm_ev": "eV",
    "electron_mass_m0": "m₀",
    "hole_mass_m0": "m₀",
    "stiffness_n_m": "N/m",
    "deformation_potential_vbm_ev": "eV",
    "deformation_potential_cbm_ev": "eV",
    "electron_mobility_cm2_vs": "cm²/(V s)",
    "hole_mobility_cm2_vs": "cm²/(V s)",
    "heat_of_formation_ev_atom": "eV/atom",
    "hull_distance_ev_atom": "eV/atom",
    "vacuum_step_ev": "eV",
    "polarizability_in_plane_a": "Å",
    "polarizability_out_of_plane_a": "Å",
}
NAMES = tuple(MONOLAYER_UNITS)
LOGARITHMIC = frozenset(
    name for name in NAMES if "mass" in name or "mobility" in name or "polariz" in name
) | {"stiffness_n_m"}
# Neither a gap nor a distance from the hull is negative.
NOT_NEGATIVE = ("gap_ev", "hull_distance_ev_atom")


@dataclass
class MonolayerPredictor:
    """Both ensembles with what they were calibrated on.

    Attributes:
        descriptors: networks on structural descriptors.
        atoms: graph networks, which see the same descriptors, too.
        share_of_atoms: weight of the graph networks in each property (properties), the networks on
            descriptors have the rest.
        calibration: per property, of `calibrate`, in the units of what is learned.
        elements, identities: that the training monolayers hold (`layer_identity`).
        metrics: held-out errors, for people.
    """

    descriptors: Surrogate
    atoms: GraphSurrogate
    share_of_atoms: np.ndarray
    calibration: dict
    elements: frozenset[str]
    identities: frozenset[str]
    metrics: dict

    def predict(self, monolayers: Sequence[Monolayer]) -> pd.DataFrame:
        """Properties of layers with calibrated uncertainties, in the order given.

        Returns:
            Per property `<property>` and `<property>_std`, or where it spans decades
            `<property>_factor`: 68 % of the truth lies within the value divided and multiplied by
            it. Edges are against the mean vacuum level, `vacuum_step_ev` is top less bottom. And
            `gap_unclipped_ev`, below zero for metals as a rule, and `outside_training`: elements
            and layers that training has not seen, in words.
        """
        x, zeros = _inputs(monolayers), np.zeros((len(monolayers), len(NAMES)))
        values, spread = pooled(
            self.descriptors.predict(x, zeros),
            self.atoms.predict(_graphs(monolayers), x, zeros),
            self.share_of_atoms,
        )
        columns = {}
        for j, name in enumerate(NAMES):
            std = calibrated_std(self.calibration[name], spread[:, j])
            if name in LOGARITHMIC:
                columns |= {name: 10 ** values[:, j], f"{name}_factor": 10**std}
            else:
                columns |= {name: values[:, j], f"{name}_std": std}
        frame = pd.DataFrame(columns)
        frame["vacuum_step_ev"] *= [polarity(layer) for layer in monolayers]
        frame["gap_unclipped_ev"] = frame["gap_ev"]
        for name in NOT_NEGATIVE:
            frame[name] = frame[name].clip(lower=0.0)
        frame["outside_training"] = [self._outside_training(layer) for layer in monolayers]
        return frame

    def _outside_training(self, layer: Monolayer) -> str:
        notes = []
        if elements := sorted(set(layer.species) - self.elements):
            notes.append(f"element {', '.join(elements)}")
        if (identity := layer_identity(layer)) not in self.identities:
            notes.append(f"layer {identity}")
        return "; ".join(notes)


def train_monolayer_predictor(
    monolayers: Sequence[Monolayer],
    properties: Sequence[Mapping],
    *,
    seed: int,
    steps: int = 1500,
    epochs: int = 25,
    progress: bool = False,
) -> tuple[MonolayerPredictor, pd.DataFrame]:
    """Train on published monolayers, each with the properties that are known of it.

    Held out is by composition: errors and calibration are of members that have seen no layer of
    the formula. By the same errors each property's weights of both ensembles are chosen.

    Args:
        monolayers: (n).
        properties: values per monolayer, in `MONOLAYER_UNITS`.

    Returns:
        The predictor, and per monolayer and property `true`, `descriptors`, `atoms` and
        `predicted` as they are learned (logarithms to base 10 of those in `LOGARITHMIC`).

    Raises:
        ValueError: a property that is known of no monolayer.
    """
    values = np.array([[_learned(row, name) for name in NAMES] for row in properties])
    if missing := [
        n for n, known in zip(NAMES, np.isfinite(values).any(0), strict=True) if not known
    ]:
        raise ValueError(f"of no monolayer is known: {', '.join(missing)}")
    step = NAMES.index("vacuum_step_ev")
    values[:, step] *= [polarity(layer) for layer in monolayers]
    x, zeros = _inputs(monolayers), np.zeros_like(values)
    groups = [(layer.formula,) for layer in monolayers]
    columns = layer_input_names(monolayers[0])
    descriptors, *of_descriptors = train_surrogate(
        SurrogateSettings(columns, NAMES, repeats=2, width=224),
        x,
        zeros,
        values,
        groups,
        seed=seed,
        steps=steps,
    )
    atoms, *of_atoms = train_graph_surrogate(
        GraphSettings(columns, NAMES),
        _graphs(monolayers),
        x,
        zeros,
        values,
        groups,
        seed=seed,
        epochs=epochs,
        progress=progress,
    )
    share = best_shares(of_descriptors[0], of_atoms[0], values, NAMES)
    mean, spread = pooled(tuple(of_descriptors), tuple(of_atoms), share)
    residuals = informative_residuals(mean, values, NAMES)
    shown = clip_gaps(mean, NAMES)
    calibration, metrics = {}, {}
    for j, name in enumerate(NAMES):
        rows = np.flatnonzero(np.isfinite(residuals[:, j]))
        names = [groups[i][0] for i in rows]
        calibration[name] = calibrate(residuals[rows, j], spread[rows, j], names)
        metrics[name] = {
            "monolayers": int(np.isfinite(values[:, j]).sum()),
            "mae": float(np.nanmean(np.abs(shown[:, j] - values[:, j]))),
            "coverage": calibration[name]["coverage"],
            "share_of_atoms": float(share[j]),
        }
    table = pd.DataFrame(
        {
            "monolayer": np.repeat(np.arange(len(monolayers)), len(NAMES)),
            "property": np.tile(NAMES, len(monolayers)),
            "true": values.ravel(),
            "descriptors": clip_gaps(of_descriptors[0], NAMES).ravel(),
            "atoms": clip_gaps(of_atoms[0], NAMES).ravel(),
            "predicted": shown.ravel(),
        }
    )
    elements = frozenset(symbol for layer in monolayers for symbol in layer.species)
    identities = frozenset(map(layer_identity, monolayers))
    predictor = MonolayerPredictor(
        descriptors, atoms, share, calibration, elements, identities, metrics
    )
    return predictor, table


def _learned(row: Mapping, name: str) -> float:
    value = row.get(name)
    if value is None or pd.isna(value):
        return float("nan")
    return float(np.log10(value)) if name in LOGARITHMIC else float(value)


def _inputs(monolayers: Sequence[Monolayer]) -> np.ndarray:
    return np.array([layer_inputs(layer) for layer in monolayers])


def _graphs(monolayers: Sequence[Monolayer]) -> GraphStore:
    return GraphStore([atom_graph(layer.to_atoms()) for layer in monolayers])


# --- files ----------------------------------------------------------------------------------------


def save_monolayer_predictor(path: str | Path, predictor: MonolayerPredictor) -> None:
    """Weights, settings and calibration in one file."""
    save_model(
        path,
        predictor.descriptors,
        state=half_state(predictor.descriptors),
        settings=predictor.descriptors.settings.to_dict(),
        atom_settings=predictor.atoms.settings.to_dict(),
        atom_state=half_state(predictor.atoms),
        share_of_atoms=predictor.share_of_atoms.tolist(),
        calibration=predictor.calibration,
        elements=sorted(predictor.elements),
        identities=sorted(predictor.identities),
        metrics=predictor.metrics,
    )


@of_this_kind
def load_monolayer_predictor(path: str | Path) -> MonolayerPredictor:
    """Inverse of `save_monolayer_predictor`."""
    content = load_model(path)
    descriptors = Surrogate(SurrogateSettings.from_dict(content["settings"]))
    descriptors.load_state_dict(content["state"])
    atoms = GraphSurrogate(GraphSettings.from_dict(content["atom_settings"]))
    atoms.load_state_dict(content["atom_state"])
    return MonolayerPredictor(
        descriptors.eval(),
        atoms.eval(),
        np.array(content["share_of_atoms"]),
        content["calibration"],
        frozenset(content["elements"]),
        frozenset(content["identities"]),
        content["metrics"],
    )
