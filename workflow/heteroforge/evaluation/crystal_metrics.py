"""The metrics that generators of crystals are published with (T. Xie et al., ICLR 2022).

They take structures as periodic in three dimensions: heights of cells are made equal first. What
they are blind to in stacks is measured by `heteroforge.evaluation.generation`.

Fingerprints and charge neutrality come from matminer and smact, which are no part of this project's
environment because they hold pandas at an old version: the rule `install_fingerprints` puts them
beside it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import numpy as np
from ase import Atoms
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance
from tqdm import tqdm

from heteroforge.structures import Stack, build

__all__ = [
    "composition_is_valid",
    "composition_features",
    "coverage",
    "match_metrics",
    "structure_fingerprints",
    "structure_is_valid",
    "wasserstein_distances",
]

# A common height of the cell: RMS distances of the matcher fall as the vacuum grows.
CELL_HEIGHT_A = 30.0
SMALLEST_VACUUM_A = 6.0
SHORTEST_DISTANCE_A, SMALLEST_VOLUME_A3 = 0.5, 0.1
STRUCTURE_CUTOFF, COMPOSITION_CUTOFF = 0.4, 10.0


def _flat(stack: Stack) -> Atoms:
    """Atoms at the common height of the cell, or higher where the stack needs it."""
    return build(stack, cell_height_a=max(CELL_HEIGHT_A, stack.thickness_a + SMALLEST_VACUUM_A))


def _crystal(stack: Stack):
    """pymatgen structure, periodic in three dimensions as the matcher is."""
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = _flat(stack)
    atoms.pbc = True
    return AseAtomsAdaptor.get_structure(atoms)


def match_metrics(true: Sequence[Stack], made: Sequence[Stack | None]) -> dict[str, float]:
    """Share of structures that StructureMatcher recognises, and the mean of its RMS distances.

    The distances are in units of (volume / atoms)^(1/3), as published.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    distances = []
    for one, other in zip(true, made, strict=True):
        if other is not None:
            found = matcher.get_rms_dist(_crystal(one), _crystal(other))
            if found is not None:
                distances.append(found[0])
    return {
        "compared": len(true),
        "match_percent": 100 * len(distances) / max(len(true), 1),
        "rmse": float(np.mean(distances)) if distances else float("nan"),
    }


def structure_is_valid(stack: Stack) -> bool:
    """No two atoms nearer than 0.5 Å and a volume of at least 0.1 Å³."""
    boxed = _flat(stack)
    boxed.pbc = True
    distances = boxed.get_all_distances(mic=True) + 1e3 * np.eye(len(boxed))
    return bool(distances.min() >= SHORTEST_DISTANCE_A and boxed.get_volume() >= SMALLEST_VOLUME_A3)


def composition_is_valid(species: Sequence[str], oxidation_states: str | None = None) -> bool:
    """Charge-neutral with one oxidation state per element, by SMACT.

    Args:
        species: element per atom.
        oxidation_states: SMACT's list of them: `smact14`, its only one when the published
            models were measured; None for the default of its present version.
    """
    counts = sorted(Counter(species).items())
    return _is_neutral("".join(f"{symbol}{n}" for symbol, n in counts), oxidation_states)


@cache
def _is_neutral(formula: str, oxidation_states: str | None) -> bool:
    from smact.screening import smact_validity

    return bool(smact_validity(formula, oxidation_states_set=oxidation_states))


def structure_fingerprints(stacks: Sequence[Stack], workers: int = 1) -> np.ndarray:
    """Mean CrystalNN "ops" fingerprints (n, 61).

    Args:
        workers: processes; half a second per stack of eight atoms and process.
    """
    with ProcessPoolExecutor(workers) as pool:
        found = pool.map(_structure_fingerprint, stacks, chunksize=4)
        return np.array(list(tqdm(found, "fingerprints", len(stacks), mininterval=5)))


def composition_features(stacks: Sequence[Stack]) -> np.ndarray:
    """Magpie features (n, 132)."""
    from matminer.featurizers.composition.composite import ElementProperty
    from pymatgen.core import Composition

    magpie = ElementProperty.from_preset("magpie")
    formulas = [tuple(sorted(stack.species)) for stack in stacks]
    seen = {key: magpie.featurize(Composition(Counter(key))) for key in set(formulas)}
    return np.array([seen[key] for key in formulas], dtype=float)


def _structure_fingerprint(stack: Stack) -> np.ndarray:
    from matminer.featurizers.site.fingerprint import CrystalNNFingerprint

    sites = CrystalNNFingerprint.from_preset("ops")
    structure = _crystal(stack)
    with warnings.catch_warnings():
        # CrystalNN tells of every structure without oxidation states.
        warnings.simplefilter("ignore")
        rows = [sites.featurize(structure, i) for i in range(len(structure))]
    return np.mean(rows, axis=0)


def coverage(
    true: Sequence[Stack], made: Sequence[Stack | None], structures: int, workers: int = 1
) -> dict[str, float]:
    """COV-R: share of true structures near generated ones; COV-P: the other way round.

    Near, as published: the nearest structure fingerprint within 0.4 and the nearest composition
    within 10, which may be another one's. Otherwise than published, compositions are standardised
    by mean and spread over the true set of this benchmark, not over another set of crystals, and
    structures are sought among the first ones only, which can but lower both shares.

    Args:
        true: test structures.
        made: generated ones, None for failures, which are near to nothing.
        structures: of either side that are judged, and whose fingerprints are compared; their
            compositions are sought among all.
        workers: processes.
    """
    true_structures = structure_fingerprints(true[:structures], workers)
    first = [i for i, stack in enumerate(made[:structures]) if stack is not None]
    built = [stack for stack in made if stack is not None]
    if not first:
        return {"cov_recall_percent": 0.0, "cov_precision_percent": 0.0}
    made_structures = structure_fingerprints([made[i] for i in first], workers)
    compositions = composition_features([*true, *built])
    middle, spread = compositions[: len(true)].mean(0), compositions[: len(true)].std(0)
    spread[spread < 1e-9] = 1.0
    compositions = (compositions - middle) / spread
    of_true, of_made = compositions[: len(true)], compositions[len(true) :]
    alike = cdist(true_structures, made_structures) <= STRUCTURE_CUTOFF
    recalled = cdist(of_true, of_made).min(1) <= COMPOSITION_CUTOFF
    precise = cdist(of_made[: len(first)], of_true).min(1) <= COMPOSITION_CUTOFF
    found = {
        "cov_recall": (alike.any(1) & recalled[:structures]).mean(),
        "cov_precision": (alike.any(0) & precise).sum() / len(made[:structures]),
        # Of the first structures alone, and of all compositions.
        "structure_recall": alike.any(1).mean(),
        "composition_recall": recalled.mean(),
    }
    return {f"{name}_percent": 100 * float(share) for name, share in found.items()}


def wasserstein_distances(true: Sequence[Stack], made: Sequence[Stack]) -> dict[str, float]:
    """Of mass density (g/cm³, at the common height) and of the number of elements.

    NaN where there is nothing to compare.
    """
    names = ("density_wasserstein", "elements_wasserstein")
    if not true or not made:
        return dict.fromkeys(names, float("nan"))

    def density(stack: Stack) -> float:
        atoms = _flat(stack)
        return float(atoms.get_masses().sum() / atoms.get_volume() * 1.66053907)

    def elements(stack: Stack) -> int:
        return len(set(stack.species))

    return {
        name: float(wasserstein_distance([f(s) for s in true], [f(s) for s in made]))
        for name, f in zip(names, (density, elements), strict=True)
    }
