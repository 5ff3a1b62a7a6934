"""Properties of any bilayer or multilayer from its structure: layers first, then the stack.

What isolated layers are is looked up where a library knows them, and predicted from their
structure where not; either way the stack's model is told which. Both models learn from published
DFT. Everything is described at the gap at which the layers touch and on the mean of the layers' own
cells, so a prediction does not depend on the distance and the strain that a file happens to have.

Published heterobilayers are without spin–orbit coupling, published homobilayers with it. So are the
edges of the layers that a stack is described by: without it where layers differ.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import spglib
from scipy.sparse.csgraph import connected_components

from heteroforge.features import stack_descriptors, structural_descriptors
from heteroforge.features.elements import element_data
from heteroforge.graphs import GraphStore, stack_graph
from heteroforge.labels import STACK_PROPERTIES
from heteroforge.models.calibration import calibrate, calibrated_std
from heteroforge.models.graph_surrogate import (
    GraphSettings,
    GraphSurrogate,
    best_shares,
    pooled,
    train_graph_surrogate,
)
from heteroforge.models.property_surrogate import (
    Surrogate,
    SurrogateSettings,
    clip_gaps,
    folds_of_stacks,
    informative_residuals,
    train_surrogate,
)
from heteroforge.models.stack_inputs import (
    at_contact_gaps,
    fast_baselines,
    number_of_interfaces,
)
from heteroforge.models.training import half_state, load_model, save_model
from heteroforge.models.windows import UNCLIPPED
from heteroforge.sources.published_tables import PROTOCOL
from heteroforge.structures import Monolayer, Stack
from heteroforge.structures.matching import share_one_cell
from heteroforge.structures.plane import minimum_image_distances

__all__ = [
    "LAYER_PROPERTIES",
    "WITHOUT_SPIN_ORBIT",
    "KnownLayers",
    "Predictor",
    "as_read",
    "as_seen",
    "by_level",
    "calibrate_by_kind",
    "describe_with_knowledge",
    "graphs_of",
    "has_equal_layers",
    "is_measured",
    "layer_identity",
    "layer_inputs",
    "load_predictor",
    "polarity",
    "save_predictor",
    "train_predictor",
]

EDGES = ("gap_ev", "vbm_ev", "cbm_ev")
WITHOUT_SPIN_ORBIT = {key: f"{key.removesuffix('_ev')}_without_spin_orbit_ev" for key in EDGES}
POTENTIALS = {"vbm_ev": "deformation_potential_vbm_ev", "cbm_ev": "deformation_potential_cbm_ev"}
# What the descriptors of a stack ask of its layers.
LAYER_PROPERTIES = (
    *EDGES,
    *WITHOUT_SPIN_ORBIT.values(),
    "stiffness_n_m",
    "polarizability_in_plane_a",
    "polarizability_out_of_plane_a",
    *POTENTIALS.values(),
    "vacuum_step_ev",
)
# Grow with the cell that a stack is written in, or are not varied by published stacks.
EXTENSIVE = ("number_of_layers", "number_of_atoms", "area_a2", "number_of_defects")
# Layers of one composition and symmetry are one material if their cells agree this well.
SAME_AREA, SAME_THICKNESS_A = 0.08, 0.3
SAME_HEIGHT_A = 0.5  # planes of atoms in other order are further apart
LOOSE_SYMMETRY_A = 0.1
BLOCK = 256  # stacks whose graphs are in memory at a time
COLUMN_A = 0.4  # sites nearer than this in the plane lie above each other
ROWS, GROUPS = range(1, 8), range(1, 19)


# How many times wider intervals have to be where what is named is new, to hold as often as for one
# new layer, which is what members leave out: the ratios (not below 1) that the target
# property_benchmark measures; docs/prediction_accuracy.md has them with their coverage.
WIDER = {
    "both layers": {
        "gap_ev": 1.15,
        "vbm_ev": 1.07,
        "cbm_ev": 1.12,
        "binding_energy_mev_a2": 1.1,
        "interlayer_gap_a": 1.09,
    },
    "element": {
        "gap_ev": 1.16,
        "vbm_ev": 1.21,
        "cbm_ev": 1.01,
        "binding_energy_mev_a2": 1.0,
        "interlayer_gap_a": 1.09,
    },
}


def is_measured(stack: Stack) -> bool:
    """Whether errors of such stacks were measured: two layers with a common cell, no defects."""
    below_and_above = stack.number_of_layers == 2 and share_one_cell(*stack.layers)
    return below_and_above and not any(layer.defects for layer in stack.layers)


# --- layers ---------------------------------------------------------------------------------------


@lru_cache(maxsize=100000)
def layer_identity(monolayer: Monolayer) -> str:
    """Formula, sites per cell, layer group and columns of sites, found with loose tolerances.

    Layers of a relaxed stack keep little of their symmetry exactly. The number of columns tells
    the 2H from the 1T phase of Janus layers, whose groups are one. The order of elements by height
    is not in it: S–Ga–In–Se and S–In–Ga–Se are one here, and `elements_at_same_heights` tells them
    apart.
    """
    atoms = monolayer.to_atoms()
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = spglib.get_symmetry_layerdataset(
                cell, aperiodic_dir=2, symprec=LOOSE_SYMMETRY_A
            )
            group = 0 if found is None else int(found.number)
        except Exception:  # spglib raises different types across versions
            group = 0
    places = np.array(monolayer.positions)
    apart = minimum_image_distances(places, places, monolayer.cell)
    columns = connected_components(apart < COLUMN_A, directed=False)[0]
    return f"{monolayer.formula}-{len(monolayer.species)}-lg{group}-{columns}c"


def elements_at_same_heights(one: Monolayer, other: Monolayer) -> bool:
    """Whether two layers of one formula have their elements in the same order by height.

    Heights count from the middle between the outermost sites, and either layer may be upside down.
    They are compared element by element, so that sites of nearly one height, which another
    relaxation may swap, need no order.
    """

    def heights(layer: Monolayer, sign: int) -> np.ndarray:
        found = np.array(layer.heights)
        found = sign * (found - (found.max() + found.min()) / 2)
        return found[np.lexsort((found, np.array(layer.species)))]

    first = heights(one, 1)
    return any(np.abs(first - heights(other, sign)).max() < SAME_HEIGHT_A for sign in (1, -1))


@lru_cache(maxsize=100000)
def layer_inputs(monolayer: Monolayer) -> np.ndarray:
    """Structural descriptors, and shares of the sites in each period and group of elements."""
    sites = [element_data(symbol) for symbol in monolayer.species]
    rows = np.array([site.row for site in sites])
    groups = np.array([_group(symbol) for symbol in monolayer.species])
    shares = [float((rows == row).mean()) for row in ROWS]
    shares += [float((groups == group).mean()) for group in GROUPS]
    return np.array([*structural_descriptors(monolayer).values(), *shares])


@lru_cache
def _group(symbol: str) -> int:
    from pymatgen.core.periodic_table import Element

    return int(Element(symbol).group)


def layer_input_names(monolayer: Monolayer) -> tuple[str, ...]:
    return (
        *structural_descriptors(monolayer),
        *(f"row_{row}" for row in ROWS),
        *(f"group_{group}" for group in GROUPS),
    )


@lru_cache(maxsize=100000)
def polarity(monolayer: Monolayer) -> float:
    """1 for a layer with its electronegative side up, −1 for one upside down, 0 for neither."""
    if monolayer.has_equal_faces:
        return 0.0
    sites = [element_data(symbol) for symbol in monolayer.species]
    # Atomic numbers tell elements of equal electronegativity apart.
    weight = np.array([site.electronegativity - 1e-3 * site.atomic_number for site in sites])
    heights = np.array(monolayer.heights)
    return float(np.sign(np.round((weight - weight.mean()) @ heights, 6)))


def by_level(row: Mapping, without_spin_orbit: Mapping = MappingProxyType({})) -> dict:
    """A library's row with gap and edges under the names that tell whether spin–orbit is in them.

    It is in those of C2DB, and not in those of this project's own DFT.

    Args:
        row: values of a monolayer, with its `protocol`.
        without_spin_orbit: gap and edges without it, of sources that have both.
    """
    row = dict(row)
    if row.get("protocol") != PROTOCOL:
        without_spin_orbit = {key: row.pop(key, None) for key in WITHOUT_SPIN_ORBIT}
    return row | {WITHOUT_SPIN_ORBIT[key]: v for key, v in without_spin_orbit.items()}


def as_seen(known: Mapping, own: Monolayer, seen: Monolayer) -> dict:
    """Values of a known layer for its way up in a stack, with the area of its own cell.

    Args:
        known: values of the layer.
        own: the layer as it is known.
        seen: the same in a stack, perhaps upside down or strained.
    """
    values = dict(known) | {"area_a2": own.area_a2}
    if polarity(own) * polarity(seen) < 0 and values.get("vacuum_step_ev") is not None:
        values["vacuum_step_ev"] = -values["vacuum_step_ev"]
    return values


class KnownLayers:
    """Values of layers that a library knows, found by structure.

    Args:
        monolayers: by identifier.
        table: indexed by identifier, with any of `LAYER_PROPERTIES`.
        order: of the sources, by identifier: of layers that are one material, the one of the first
            source counts; of one source, or without an order, the one most like what is looked up.
    """

    def __init__(
        self,
        monolayers: Mapping[str, Monolayer],
        table: pd.DataFrame,
        order: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.rows, self.order = table.to_dict("index"), order
        self.places: dict[str, list[tuple[float, float, str]]] = {}
        for name, layer in monolayers.items():
            self.places.setdefault(f"{layer.formula}-{len(layer.species)}", []).append(
                (layer.area_a2, layer.thickness_a, name)
            )
        self.monolayers = monolayers

    def find(self, layer: Monolayer) -> str | None:
        """Identifier of the layer in the library, None where it has none."""
        if layer.name in self.rows:
            return layer.name
        near = [
            (
                self.order.get(name, 0),
                abs(area / layer.area_a2 - 1) / SAME_AREA + abs(thickness - layer.thickness_a),
                name,
            )
            for area, thickness, name in self.places.get(
                f"{layer.formula}-{len(layer.species)}", []
            )
            if abs(area / layer.area_a2 - 1) < SAME_AREA
            and abs(thickness - layer.thickness_a) < SAME_THICKNESS_A
        ]
        identity = layer_identity(layer)
        for _, _, name in sorted(near):
            found = self.monolayers[name]
            if layer_identity(found) == identity and elements_at_same_heights(found, layer):
                return name
        return None

    def values(self, layer: Monolayer) -> Mapping:
        name = self.find(layer)
        return {} if name is None else as_seen(self.rows[name], self.monolayers[name], layer)


def _complete(
    known: Mapping, predicted: Mapping[str, float], spin_orbit: bool
) -> tuple[dict, bool, bool]:
    """Values of a layer, unknown ones predicted; whether its gap and its edges are known.

    Gap and edges are with or without spin–orbit coupling as asked for; where only the other is
    known, their difference is the predicted one.
    """
    given = {
        key: float(known[key])
        for key in LAYER_PROPERTIES
        if known.get(key) is not None and pd.notna(known[key])
    }
    values = dict(predicted) | given
    level = set()
    for key, other in WITHOUT_SPIN_ORBIT.items():
        wanted, second = (key, other) if spin_orbit else (other, key)
        if wanted in given:
            level.add(key)
        elif second in given:
            values[wanted] = given[second] + predicted[wanted] - predicted[second]
        values[key] = values[wanted]
    values["gap_ev"] = max(0.0, values["gap_ev"])
    known_gap = not given.keys().isdisjoint(("gap_ev", WITHOUT_SPIN_ORBIT["gap_ev"]))
    edges = {"vbm_ev", "cbm_ev"} <= level
    if not edges:
        # The gap is known better than where it lies.
        middle = (values["vbm_ev"] + values["cbm_ev"]) / 2
        values["vbm_ev"] = middle - values["gap_ev"] / 2
        values["cbm_ev"] = middle + values["gap_ev"] / 2
    return values, known_gap, edges


# --- stacks ---------------------------------------------------------------------------------------


def graphs_of(stacks: Sequence[Stack]) -> GraphStore:
    """Graphs of stacks at the gaps at which their layers touch."""
    return GraphStore([stack_graph(at_contact_gaps(stack)) for stack in stacks])


def describe_with_knowledge(
    stack: Stack, knowledge: Sequence[Mapping], predicted: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """Descriptors of a stack, with the shares of its layers whose gap and edges are known.

    Args:
        stack: to describe.
        knowledge: per layer its known values (`as_seen`), empty where there are none.
        predicted: per layer all `LAYER_PROPERTIES`, for what is not known.
    """
    materials = _materials(stack)
    stack = _on_own_cells(stack, knowledge)
    table, gaps, edges, named = {}, [], [], []
    for i, layer in enumerate(stack.layers):
        values, gap_known, edges_known = _complete(
            knowledge[i], predicted[i], spin_orbit=has_equal_layers(stack)
        )
        # Both principal strains move an edge by the potential times the strain.
        for edge, potential in POTENTIALS.items():
            strain = float(np.trace(stack.strain(i)))
            values[edge] += strain * np.nan_to_num(values[potential])
        # Equal layers may have two names: each row stands for one layer of this stack.
        name = f"layer {i}"
        table[name] = values
        named.append(replace(layer, monolayer=_renamed(layer.monolayer, name)))
        gaps.append(gap_known)
        edges.append(edges_known)
    found = stack_descriptors(
        replace(stack, layers=tuple(named)), table, of_edges=tuple(POTENTIALS.values())
    )
    found = {key: value for key, value in found.items() if key not in EXTENSIVE}
    found["same_layers"] = float(len(materials) < stack.number_of_layers)
    return found | {"gap_known": float(np.mean(gaps)), "edges_known": float(np.mean(edges))}


def _materials(stack: Stack) -> set[str]:
    return {layer_identity(layer.monolayer) for layer in stack.layers}


def has_equal_layers(stack: Stack) -> bool:
    """Whether all layers are one material, as of homobilayers, by `layer_identity`."""
    return len(_materials(stack)) == 1


def _on_own_cells(stack: Stack, knowledge: Sequence[Mapping]) -> Stack:
    """The stack on the mean of its layers' own cells, these taken from what is known of them.

    A file shows layers as they are strained. Where one of them is not known, the cells that the
    stack gives its layers are taken for their own.
    """
    areas = [known.get("area_a2") for known in knowledge]
    if None in areas:
        areas = [layer.monolayer.area_a2 for layer in stack.layers]
    cells = np.array([layer.number_of_cells for layer in stack.layers])
    stretch = np.sqrt(stack.area_a2 / (cells * np.array(areas)))
    layers = tuple(
        replace(layer, monolayer=_of_area(layer.monolayer, area))
        for layer, area in zip(stack.layers, areas, strict=True)
    )
    return replace(stack, layers=layers, a=stack.a / stretch.mean(), b=stack.b / stretch.mean())


def as_read(stack: Stack) -> Stack:
    """The stack as a file shows it: every layer's own cell is the strained one."""
    layers = []
    for layer in stack.layers:
        area = stack.area_a2 / layer.number_of_cells
        layers.append(replace(layer, monolayer=_of_area(layer.monolayer, area)))
    return replace(stack, layers=tuple(layers))


@lru_cache(maxsize=100000)
def _of_area(monolayer: Monolayer, area_a2: float) -> Monolayer:
    """The layer with its cell scaled; equal cells are left as they are."""
    factor = float(np.sqrt(area_a2 / monolayer.area_a2))
    if abs(factor - 1) < 1e-4:
        return monolayer
    return replace(monolayer, a=monolayer.a * factor, b=monolayer.b * factor)


@lru_cache(maxsize=100000)
def _renamed(monolayer: Monolayer, name: str) -> Monolayer:
    return replace(monolayer, name=name)


@dataclass
class Predictor:
    """All models with what they were calibrated on.

    Attributes:
        layers: of layers alone.
        stacks: of stacks, from descriptors.
        atoms: of stacks, from their atoms and the same descriptors.
        share_of_atoms: weight of the graph networks in each of `STACK_PROPERTIES` (properties), the
            networks on descriptors have the rest.
        calibration: per knowledge of the layers (`known`, `predicted`), kind of stack
            (`homobilayer`: equal layers, `heterobilayer`) and property, of `calibrate`.
        elements, identities, pairs: what the training stacks hold.
        metrics: held-out errors, for people.
    """

    layers: Surrogate
    stacks: Surrogate
    atoms: GraphSurrogate
    share_of_atoms: np.ndarray
    calibration: dict
    elements: frozenset[str]
    identities: frozenset[str]
    pairs: frozenset[str]
    metrics: dict

    def predict_layers(self, monolayers: Iterable[Monolayer]) -> dict[Monolayer, dict[str, float]]:
        """`LAYER_PROPERTIES` of layers from their structure alone."""
        distinct = list(dict.fromkeys(monolayers))
        if not distinct:
            return {}
        inputs = np.array([layer_inputs(layer) for layer in distinct])
        mean, _ = self.layers.predict(inputs, np.zeros((len(distinct), len(LAYER_PROPERTIES))))
        return {
            layer: _turned_values(layer, row) for layer, row in zip(distinct, mean, strict=True)
        }

    def predict(self, stacks: Sequence[Stack], known: KnownLayers | None = None) -> pd.DataFrame:
        """Properties with calibrated standard deviations, in the order given.

        Args:
            stacks: any, with two layers or more.
            known: what is known of layers; without it all is predicted from their structure.

        Returns:
            Per property `<property>` and `<property>_std` (the binding energy of all interfaces
            together; wider by `WIDER` where both layers of an interface or an element are new), and
            those of `UNCLIPPED`; `layers_known` (share of the layers
            whose gap is known); `spin_orbit`, whether gap and edges include spin–orbit coupling
            (those of equal layers do); and `outside_training`, what training has not seen, in
            words.
        """
        alone = dict.fromkeys(layer.monolayer for stack in stacks for layer in stack.layers)
        facts = {m: {} if known is None else known.values(m) for m in alone}
        own = {m: _of_area(m, facts[m].get("area_a2", m.area_a2)) for m in alone}
        predicted = self.predict_layers(own.values())
        rows = [
            describe_with_knowledge(
                stack,
                [facts[layer.monolayer] for layer in stack.layers],
                [predicted[own[layer.monolayer]] for layer in stack.layers],
            )
            for stack in stacks
        ]
        descriptors = pd.DataFrame(rows, columns=list(self.stacks.settings.inputs)).astype(float)
        x, baselines = descriptors.to_numpy(), fast_baselines(descriptors)
        values, spread = pooled(
            self.stacks.predict(x, baselines),
            self._predict_atoms(stacks, x, baselines),
            self.share_of_atoms,
        )
        all_known = descriptors["gap_known"].to_numpy() == 1.0
        equal = np.array([has_equal_layers(stack) for stack in stacks])
        news = np.array([self._what_is_new(stack) for stack in stacks])
        columns = {}
        for j, name in enumerate(STACK_PROPERTIES):
            std = np.empty(len(stacks))
            for knowledge, as_known in (("known", all_known), ("predicted", ~all_known)):
                for kind, alike in (("homobilayer", equal), ("heterobilayer", ~equal)):
                    scale, chosen = self.calibration[knowledge][kind][name], as_known & alike
                    std[chosen] = calibrated_std(scale, spread[chosen, j])
            for new, factors in WIDER.items():
                std[news == new] *= factors[name]
            columns[name] = values[:, j]
            columns[f"{name}_std"] = std
        frame = pd.DataFrame(columns)
        # Learned from bilayers and described by the mean interface: there are as many as there are.
        for name in ("binding_energy_mev_a2", "binding_energy_mev_a2_std"):
            frame[name] = frame[name] * number_of_interfaces(stacks)
        frame = frame.assign(**{own: frame[name] for name, own in UNCLIPPED.items()})
        # A gap is not negative, and neither is the distance of two layers.
        for name in ("gap_ev", "interlayer_gap_a"):
            frame[name] = frame[name].clip(lower=0.0)
        frame["layers_known"] = descriptors["gap_known"].to_numpy()
        frame["spin_orbit"] = equal
        frame["outside_training"] = [self.outside_training(stack) for stack in stacks]
        return frame

    def _predict_atoms(
        self, stacks: Sequence[Stack], x: np.ndarray, baselines: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        # In blocks: graphs of large cells take memory.
        mean = np.zeros((len(stacks), len(STACK_PROPERTIES)))
        spread = mean.copy()
        for start in range(0, len(stacks), BLOCK):
            rows = slice(start, start + BLOCK)
            mean[rows], spread[rows] = self.atoms.predict(
                graphs_of(stacks[rows]), x[rows], baselines[rows]
            )
        return mean, spread

    def _what_is_new(self, stack: Stack) -> str:
        """The key of `WIDER` that a stack falls under; empty where intervals hold as they are."""
        if not set(stack.species) <= self.elements:
            return "element"
        names = [layer_identity(layer.monolayer) for layer in stack.layers]
        pairs = zip(names[:-1], names[1:], strict=True)
        # Two equal layers that are new are what the intervals of homobilayers were calibrated on.
        both = any(a != b and not {a, b} & self.identities for a, b in pairs)
        return "both layers" if both else ""

    def outside_training(self, stack: Stack) -> str:
        """What of a stack training has not seen, in words; empty where it has seen all."""
        notes = []
        elements = sorted(set(stack.species) - self.elements)
        if elements:
            notes.append(f"element {', '.join(elements)}")
        names = [layer_identity(layer.monolayer) for layer in stack.layers]
        layers = sorted(set(names) - self.identities)
        if layers:
            notes.append(f"layer {', '.join(layers)}")
        for lower, upper in zip(names[:-1], names[1:], strict=True):
            if "|".join(sorted((lower, upper))) not in self.pairs:
                notes.append(f"pair {lower} and {upper}")
        for i, (below, above) in enumerate(zip(stack.layers[:-1], stack.layers[1:], strict=True)):
            if not share_one_cell(below, above):
                twist = abs(stack.least_twist_deg(i))
                notes.append(f"layers without a common cell, twist {twist:.1f}°")
        if stack.number_of_layers > 2:
            notes.append(f"{stack.number_of_layers} layers")
        if any(layer.defects for layer in stack.layers):
            notes.append("defects")
        return "; ".join(notes)


# --- training -------------------------------------------------------------------------------------


def train_predictor(
    monolayers: Mapping[str, Monolayer],
    properties: Mapping[str, Mapping],
    stacks: Sequence[Stack],
    values: np.ndarray,
    layer_names: Sequence[Sequence[str]],
    layer_gaps_ev: Sequence[float],
    *,
    seed: int,
    steps: int = 1500,
    layer_steps: int = 1500,
    epochs: int = 25,
    width: int = 64,
    layer_width: int = 128,
    progress: bool = False,
) -> tuple[Predictor, pd.DataFrame, pd.DataFrame]:
    """Train on labelled stacks whose layers are partly known.

    Each stack is learned from twice: with what is known of its layers, and with everything
    predicted by layer models that have not seen them. Held out is by composition: a member that
    predicts a stack has seen no layer of the composition of one of its layers at least. By the same
    errors, heterobilayers and homobilayers counted alike, each property's weights of both ensembles
    are chosen.

    Args:
        monolayers, properties: layers with values, by published name.
        stacks: labelled (n).
        values: (n, properties), NaN where unknown.
        layer_names: per stack the published names of its layers.
        layer_gaps_ev: gap of the layers (n), NaN where the entry does not tell.

    Returns:
        The predictor; its held-out predictions, with known layers first: `stack` (index),
        `knowledge`, and per property true, predicted, baseline and spread; and the descriptors that
        they were made from, in the same order.
    """
    own = {name: layer for name, layer in monolayers.items() if properties.get(name)}
    inputs = np.array([layer_inputs(layer) for layer in own.values()])
    targets = np.array(
        [[_value(properties[name], key) for key in LAYER_PROPERTIES] for name in own], dtype=float
    )
    targets[:, LAYER_PROPERTIES.index("vacuum_step_ev")] *= [polarity(m) for m in own.values()]
    settings = SurrogateSettings(
        layer_input_names(next(iter(own.values()))), LAYER_PROPERTIES, repeats=2, width=layer_width
    )
    layers, held_out, _ = train_surrogate(
        settings,
        inputs,
        np.zeros_like(targets),
        targets,
        [(layer.formula,) for layer in own.values()],
        seed=seed,
        steps=layer_steps,
    )
    fitted, _ = layers.predict(inputs, np.zeros_like(targets))
    error, seen_error = (
        np.nanmean(np.abs(clip_gaps(found, LAYER_PROPERTIES) - targets), axis=0)
        for found in (held_out, fitted)
    )
    metrics = {
        "layers": len(own),
        "layer_mae": dict(zip(LAYER_PROPERTIES, error.tolist(), strict=True)),
        "layer_mae_seen": dict(zip(LAYER_PROPERTIES, seen_error.tolist(), strict=True)),
    }
    # Predictions of layers of a stack: by members that left the layer's composition out.
    read = [as_read(stack) for stack in stacks]
    unseen = _unseen_predictions(layers, own, [*stacks, *read], seed)
    rows = []
    for kind, shown in (("known", stacks), ("predicted", read)):
        for i, stack in enumerate(shown):
            predicted = [unseen[layer.monolayer] for layer in stack.layers]
            known = [{} for _ in stack.layers]
            if kind == "known":
                for k, name in enumerate(layer_names[i]):
                    if properties.get(name):
                        seen = stack.layers[k].monolayer
                        known[k] = as_seen(properties[name], monolayers[name], seen)
                    if np.isnan(_value(known[k], "gap_ev")) and np.isfinite(layer_gaps_ev[i]):
                        known[k]["gap_ev"] = layer_gaps_ev[i]
            rows.append(describe_with_knowledge(stack, known, predicted))
    descriptors = pd.DataFrame(rows).astype(float)
    baselines = fast_baselines(descriptors)
    twice = np.concatenate([values, values])
    groups = [tuple(layer.monolayer.formula for layer in stack.layers) for stack in stacks] * 2
    # Homobilayers outnumber heterobilayers by far: each kind is drawn as often.
    hetero = np.array([len(set(group)) > 1 for group in groups])
    weights = np.where(hetero, 0.5 / max(hetero.sum(), 1), 0.5 / max((~hetero).sum(), 1))
    settings = SurrogateSettings(
        tuple(descriptors.columns), STACK_PROPERTIES, repeats=4, width=width
    )
    x = descriptors.to_numpy()
    model, *of_descriptors = train_surrogate(
        settings,
        x,
        baselines,
        twice,
        groups,
        seed=seed,
        steps=steps,
        batch_size=512,
        weights=weights,
    )
    atoms, *of_atoms = train_graph_surrogate(
        GraphSettings(tuple(descriptors.columns), STACK_PROPERTIES, width=width),
        graphs_of(stacks),
        x,
        baselines,
        twice,
        groups,
        seed=seed,
        epochs=epochs,
        graph_of=np.tile(np.arange(len(stacks)), 2),
        weights=weights,
        progress=progress,
    )
    share = best_shares(of_descriptors[0], of_atoms[0], twice, STACK_PROPERTIES, weights)
    mean, spread = pooled(tuple(of_descriptors), tuple(of_atoms), share)
    kinds = np.repeat(["known", "predicted"], len(stacks))
    full = descriptors["gap_known"].to_numpy() == 1.0
    equal = np.tile([has_equal_layers(stack) for stack in stacks], 2)
    residuals = informative_residuals(mean, twice, STACK_PROPERTIES)
    names = np.array(["|".join(group) for group in groups])
    calibration = {
        knowledge: calibrate_by_kind(residuals[rows], spread[rows], names[rows], equal[rows])
        for knowledge, rows in (("known", full), ("predicted", kinds == "predicted"))
    }
    metrics |= {
        "stacks": len(stacks),
        "share_of_atoms": dict(zip(STACK_PROPERTIES, share.tolist(), strict=True)),
    }
    identities = [[layer_identity(la.monolayer) for la in stack.layers] for stack in stacks]
    predictor = Predictor(
        layers=layers,
        stacks=model,
        atoms=atoms,
        share_of_atoms=share,
        calibration=calibration,
        elements=frozenset(s for stack in stacks for s in stack.species),
        identities=frozenset(name for names in identities for name in names),
        pairs=frozenset(
            "|".join(sorted(pair))
            for names in identities
            for pair in zip(names[:-1], names[1:], strict=True)
        ),
        metrics=metrics,
    )
    shown, from_descriptors, from_atoms = (
        clip_gaps(found, STACK_PROPERTIES) for found in (mean, of_descriptors[0], of_atoms[0])
    )
    table = pd.DataFrame({"stack": np.tile(np.arange(len(stacks)), 2), "knowledge": kinds})
    for j, name in enumerate(STACK_PROPERTIES):
        table[f"{name}_true"] = twice[:, j]
        table[f"{name}_predicted"] = shown[:, j]
        table[f"{name}_from_descriptors"] = from_descriptors[:, j]
        table[f"{name}_from_atoms"] = from_atoms[:, j]
        table[f"{name}_baseline"] = baselines[:, j]
        table[f"{name}_spread"] = spread[:, j]
    return predictor, table, descriptors


def calibrate_by_kind(
    residuals: np.ndarray, spread: np.ndarray, groups: Sequence[str], equal: np.ndarray
) -> dict[str, dict]:
    """Scales of `calibrate` for homobilayers and heterobilayers apart.

    A kind of which a property is not known takes the scale of the other: band edges are published
    of heterobilayers alone.

    Args:
        residuals: held-out prediction − truth (n, properties), NaN where unknown.
        spread: standard deviation over the ensemble (n, properties).
        groups: what must be left out together (n).
        equal: `has_equal_layers` of each stack (n).

    Returns:
        Per kind and property of `STACK_PROPERTIES`.
    """
    groups, scales = np.asarray(groups), {}
    for kind, own in (("homobilayer", equal), ("heterobilayer", ~equal)):
        scales[kind] = {}
        for j, name in enumerate(STACK_PROPERTIES):
            known = np.isfinite(residuals[:, j])
            rows = known & own if (known & own).any() else known
            scales[kind][name] = calibrate(residuals[rows, j], spread[rows, j], groups[rows])
    return scales


def _turned_values(layer: Monolayer, row: np.ndarray) -> dict[str, float]:
    """Output of the layers' networks by name, with the vacuum step for the layer's way up."""
    shown = clip_gaps(row, LAYER_PROPERTIES)
    values = dict(zip(LAYER_PROPERTIES, map(float, shown), strict=True))
    # Networks see a layer from neither side: they give the step from the electropositive one up.
    values["vacuum_step_ev"] *= polarity(layer)
    return values


def _value(values: Mapping, key: str) -> float:
    value = values.get(key)
    return float("nan") if value is None or pd.isna(value) else float(value)


def _unseen_predictions(
    model: Surrogate, own: Mapping[str, Monolayer], stacks: Sequence[Stack], seed: int
) -> dict[Monolayer, dict[str, float]]:
    """Values of the stacks' layers, by the members that left their composition out."""
    settings = model.settings
    groups = [(layer.formula,) for layer in own.values()]
    outside = folds_of_stacks(groups, settings.folds, seed)
    fold_of = {group[0]: int(row.argmax()) for group, row in zip(groups, outside, strict=True)}
    distinct = list(dict.fromkeys(layer.monolayer for stack in stacks for layer in stack.layers))
    inputs = np.array([layer_inputs(layer) for layer in distinct])
    members = model.predict_members(inputs, np.zeros((len(distinct), len(LAYER_PROPERTIES))))
    found = {}
    for i, layer in enumerate(distinct):
        fold = fold_of.get(layer.formula)
        first = 0 if fold is None else fold * settings.repeats
        last = settings.members if fold is None else first + settings.repeats
        found[layer] = _turned_values(layer, members[first:last, i].mean(0))
    return found


# --- files ----------------------------------------------------------------------------------------


def save_predictor(path: str | Path, predictor: Predictor) -> None:
    """Weights, settings and calibration in one file."""
    save_model(
        path,
        predictor.stacks,
        state=half_state(predictor.stacks),
        settings=predictor.stacks.settings.to_dict(),
        layer_settings=predictor.layers.settings.to_dict(),
        layer_state=half_state(predictor.layers),
        atom_settings=predictor.atoms.settings.to_dict(),
        atom_state=half_state(predictor.atoms),
        share_of_atoms=predictor.share_of_atoms.tolist(),
        calibration=predictor.calibration,
        elements=sorted(predictor.elements),
        identities=sorted(predictor.identities),
        pairs=sorted(predictor.pairs),
        metrics=predictor.metrics,
    )


def load_predictor(path: str | Path) -> Predictor:
    """Inverse of `save_predictor`."""
    content = load_model(path)
    stacks = Surrogate(SurrogateSettings.from_dict(content["settings"]))
    stacks.load_state_dict(content["state"])
    layers = Surrogate(SurrogateSettings.from_dict(content["layer_settings"]))
    layers.load_state_dict(content["layer_state"])
    atoms = GraphSurrogate(GraphSettings.from_dict(content["atom_settings"]))
    atoms.load_state_dict(content["atom_state"])
    sets = (frozenset(content[key]) for key in ("elements", "identities", "pairs"))
    models = (model.eval() for model in (layers, stacks, atoms))
    share = np.array(content["share_of_atoms"])
    return Predictor(*models, share, content["calibration"], *sets, metrics=content["metrics"])
