"""The J2DH-8 benchmark, rebuilt: 19,926 bilayers of group-III monochalcogenides, reconstructed and generated.

Run from the project's folder (about half an hour on one core; `--help` for smaller ones):

    python tests/benchmarks/janus_bilayers.py --output j2dh8.json

The fingerprints and the charge-neutrality test of the published table need matminer 0.10.1 and
smact 4.0.2, which are no part of this project's environment: install them into a folder of their
own (`pip install --no-deps --target FOLDER matminer==0.10.1 smact==4.0.2`) and name it in
PYTHONPATH. Without them these columns stay empty.
"""  # noqa: E501

import argparse
import gzip
import io
import itertools
import json
import re
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import torch
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.evaluation.generation import (
    generation_metrics,
    reconstruct,
    reconstruction_metrics,
    reconstruction_table,
)
from heteroforge.generation.sampling import snap_registry
from heteroforge.models.catalogue import Catalogue, StackCode
from heteroforge.models.gvae import LibraryBatch
from heteroforge.models.gvae_training import load_gvae, save_gvae, train_gvae
from heteroforge.models.stack_inputs import at_contact_gaps
from heteroforge.structures import Monolayer, Stack, build
from heteroforge.structures.matching import enumerate_registries

METALS, CHALCOGENS = ("Al", "Ga", "In"), ("S", "Se", "Te")
TURNS = (((1, 0), (0, 1)), ((-1, 0), (0, -1)))  # twist 0° and 60° (equal to 180°)
# Lengths in Å over the sums of covalent radii, and a in units of the metal–chalcogen bond: fitted
# to the nine MX monolayers of C2DB, which they meet as `geometry_errors` says.
BOND_EXCESS_A, METAL_EXCESS_A, LATTICE_PER_BOND = 0.08, 0.06, 1.53
# A common height of the cell: RMS distances of the matcher fall as the vacuum grows.
CELL_HEIGHT_A = 30.0
SHORTEST_DISTANCE_A, SMALLEST_VOLUME_A3 = 0.5, 0.1
STRUCTURE_CUTOFF, COMPOSITION_CUTOFF = 0.4, 10.0


# --- the set --------------------------------------------------------------------------------------


def janus_monolayer(sequence: tuple[str, str, str, str]) -> Monolayer:
    """Layer X–M–M′–X′ from bottom to top: metals above each other, chalcogens above each other.

    Metal–chalcogen bonds keep their lengths at the mean lattice constant of the two halves.
    """

    def radius(symbol: str) -> float:
        return float(covalent_radii[atomic_numbers[symbol]])

    lower, metal, other, upper = sequence
    bonds = [radius(m) + radius(x) + BOND_EXCESS_A for m, x in ((metal, lower), (other, upper))]
    a = LATTICE_PER_BOND * (bonds[0] + bonds[1]) / 2
    rises = [float(np.sqrt(bond**2 - a**2 / 3)) for bond in bonds]
    middle = radius(metal) + radius(other) + METAL_EXCESS_A
    heights = np.cumsum([0.0, rises[0], middle, rises[1]])
    return Monolayer(
        species=sequence,
        positions=((0.0, 0.0), (1 / 3, 2 / 3), (1 / 3, 2 / 3), (0.0, 0.0)),
        heights=tuple(float(h) for h in heights - heights[-1] / 2),
        a=a,
        b=a,
        gamma_deg=120.0,
        name="".join(sequence),
    )


def janus_monolayers() -> dict[str, Monolayer]:
    """The 45 layers; of a layer and its mirror image one is listed."""
    found: dict[tuple[str, ...], Monolayer] = {}
    for lower, metal, other, upper in itertools.product(CHALCOGENS, METALS, METALS, CHALCOGENS):
        sequence = (lower, metal, other, upper)
        if sequence[::-1] not in found:
            found[sequence] = janus_monolayer(sequence)
    return {layer.name: layer for layer in found.values()}


def janus_catalogue(monolayers: dict[str, Monolayer]) -> Catalogue:
    """All pairs on the 1×1 cell at 0° and 60°, whatever the strain, which the stacks record."""
    rows = []
    for bottom, top in itertools.combinations_with_replacement(monolayers, 2):
        one, other = monolayers[bottom].a, monolayers[top].a
        shared = (one + other) / 2
        mismatch = 100 * max(abs(shared / one - 1), abs(shared / other - 1))
        for turn, twist in zip(TURNS, (0.0, 180.0), strict=True):
            rows.append(
                (bottom, top, TURNS[0], turn, twist, mismatch, shared**2 * 0.75**0.5, 8)
            )  # fmt: skip
    columns = ["bottom", "top", "supercell_bottom", "supercell_top", "twist_deg"]
    columns += ["mismatch_percent", "area_a2", "number_of_atoms"]
    return Catalogue(monolayers, pd.DataFrame(rows, columns=columns))


def janus_codes(catalogue: Catalogue) -> list[StackCode]:
    """Every two oriented layers that are not another two upside down, at six stackings each.

    Of the 81 × 81 ordered pairs half are the other half seen from below: 3321 remain, as many
    as there are unordered pairs with repetition.
    """
    index = {entry: i for i, entry in enumerate(catalogue.entries)}

    def turned(entry: int) -> int:
        name, flipped = catalogue.entries[entry]
        return index.get((name, not flipped), entry)

    codes = []
    # The layers' axes lie at equal places, so that all pairs have the registries of the first.
    first = next(iter(catalogue.monolayers.values()))
    registries = enumerate_registries(first, first)
    for lower, upper in itertools.product(range(len(catalogue)), repeat=2):
        if (lower, upper) > (turned(upper), turned(lower)):
            continue
        for match, registry in itertools.product(range(len(TURNS)), registries):
            codes.append(StackCode((lower, upper), (match,), (registry,), (0.0,)))
    return codes


def random_split(number: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of training, validation and test stacks, 6:2:2."""
    order = np.random.default_rng(seed).permutation(number)
    return tuple(np.split(order, [round(0.6 * number), round(0.8 * number)]))


def geometry_errors(file: Path) -> dict[str, float]:
    """Mean absolute errors (Å) of the rules against the nine MX layers of C2DB.

    Args:
        file: `c2db/monolayers.extxyz.gz` of the reference data.
    """
    wanted = {f"2{metal}{x}-1": (x, metal, metal, x) for metal in METALS for x in CHALCOGENS}
    errors = []
    with gzip.open(file, "rt") as stream:
        while count := stream.readline():
            header = stream.readline()
            frame = [count, header, *(stream.readline() for _ in range(int(count)))]
            name = re.search(r'name="?([^"\s]+)', header)
            if name is None or name[1] not in wanted:
                continue
            atoms = ase.io.read(io.StringIO("".join(frame)), format="extxyz")
            made = janus_monolayer(wanted[name[1]])
            rises = np.diff(np.sort(atoms.positions[:, 2])) - np.diff(made.heights)
            errors.append([made.a - atoms.cell.lengths()[0], rises[0], rises[1]])
    if len(errors) != len(wanted):
        raise SystemExit(f"{file}: {len(errors)} of the {len(wanted)} MX layers found")
    names = ("lattice_constant", "metal_to_chalcogen_rise", "metal_to_metal_bond")
    return dict(zip(names, np.abs(errors).mean(0).tolist(), strict=True))


# --- the published metrics ------------------------------------------------------------------------


def crystal(stack: Stack):
    """pymatgen structure at the common height, periodic in three dimensions as the matcher is."""
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = build(stack, cell_height_a=CELL_HEIGHT_A)
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
            found = matcher.get_rms_dist(crystal(one), crystal(other))
            if found is not None:
                distances.append(found[0])
    return {
        "compared": len(true),
        "match_percent": 100 * len(distances) / max(len(true), 1),
        "rmse": float(np.mean(distances)) if distances else float("nan"),
    }


def structure_is_valid(atoms: Atoms) -> bool:
    """No two atoms nearer than 0.5 Å and a volume of at least 0.1 Å³."""
    boxed = atoms.copy()
    boxed.pbc = True
    distances = boxed.get_all_distances(mic=True) + 1e3 * np.eye(len(boxed))
    return bool(distances.min() >= SHORTEST_DISTANCE_A and boxed.get_volume() >= SMALLEST_VOLUME_A3)


def composition_is_valid(species: Sequence[str]) -> bool:
    """Charge-neutral with oxidation states of SMACT, one per element."""
    from smact.screening import smact_validity

    key = tuple(sorted(species))
    if key not in composition_is_valid.seen:
        formula = "".join(f"{s}{key.count(s)}" for s in sorted(set(key)))
        composition_is_valid.seen[key] = bool(smact_validity(formula))
    return composition_is_valid.seen[key]


composition_is_valid.seen = {}


def fingerprints(stacks: Sequence[Stack]) -> tuple[np.ndarray, np.ndarray]:
    """Mean CrystalNN "ops" fingerprints (n, 61) and Magpie features (n, 132)."""
    from matminer.featurizers.composition.composite import ElementProperty
    from matminer.featurizers.site.fingerprint import CrystalNNFingerprint
    from pymatgen.core import Composition

    sites = CrystalNNFingerprint.from_preset("ops")
    magpie = ElementProperty.from_preset("magpie")
    structures, compositions, seen = [], [], {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for stack in stacks:
            structure = crystal(stack)
            rows = [sites.featurize(structure, i) for i in range(len(structure))]
            structures.append(np.mean(rows, axis=0))
            key = tuple(sorted(stack.species))
            if key not in seen:
                seen[key] = magpie.featurize(Composition.from_dict(pd.Series(key).value_counts()))
            compositions.append(seen[key])
    return np.array(structures), np.array(compositions, dtype=float)


def coverage(true: Sequence[Stack], made: Sequence[Stack]) -> dict[str, float]:
    """COV-R: share of true structures near a generated one; COV-P: the other way round.

    Near: structure and composition fingerprints of one and the same neighbour within 0.4 and 10.
    Compositions are standardised by mean and spread over the true set of this benchmark.
    """
    structure_true, composition_true = fingerprints(true)
    structure_made, composition_made = fingerprints(made)
    middle, spread = composition_true.mean(0), composition_true.std(0)
    spread[spread < 1e-9] = 1.0
    from scipy.spatial.distance import cdist

    near = cdist(structure_true, structure_made) <= STRUCTURE_CUTOFF
    near &= (
        cdist((composition_true - middle) / spread, (composition_made - middle) / spread)
        <= COMPOSITION_CUTOFF
    )
    return {
        "cov_recall_percent": 100 * float(near.any(1).mean()),
        "cov_precision_percent": 100 * float(near.any(0).mean()),
    }


def wasserstein_distances(true: Sequence[Stack], made: Sequence[Stack]) -> dict[str, float]:
    """Of mass density (g/cm³, at the common height) and of the number of elements."""
    from scipy.stats import wasserstein_distance

    def density(stack: Stack) -> float:
        atoms = build(stack, cell_height_a=CELL_HEIGHT_A)
        return float(atoms.get_masses().sum() / atoms.get_volume() * 1.66053907)

    def elements(stack: Stack) -> int:
        return len(set(stack.species))

    return {
        name: float(wasserstein_distance([f(s) for s in true], [f(s) for s in made]))
        for name, f in (("density_wasserstein", density), ("elements_wasserstein", elements))
    }


# --- the benchmark --------------------------------------------------------------------------------


def generate(trained, catalogue: Catalogue, number: int, seed: int) -> list[Stack]:
    """Stacks of `number` latents from the prior; every pair of this catalogue shares a cell."""
    generator = np.random.default_rng(seed)
    latents = generator.standard_normal((number, trained.model.settings.latent_dimensions))
    with torch.no_grad():
        encoded = trained.model.encode_library(LibraryBatch.of(catalogue))
        decoded = trained.model.decode(
            torch.from_numpy(latents.astype(np.float32)), encoded, catalogue
        )
    return [
        at_contact_gaps(catalogue.decode(snap_registry(code, catalogue)))
        for code in decoded.codes
        if code is not None
    ]


def train(options, training: Sequence[Stack], validation: Sequence[Stack], catalogue: Catalogue):
    """The model of the benchmark; without properties, so without aim."""
    return train_gvae(
        training,
        validation,
        catalogue,
        {},
        latent_dimensions=18,
        number_of_layers=(2, 2),
        epochs=options.epochs,
        batch_size=256,
        learning_rate=0.004,
        kl_weight=0.02,
        seed=options.seed,
        width=48,
        checkpoint=options.output.with_suffix(".checkpoint"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="JSON with all numbers")
    parser.add_argument("--data", type=Path, help="folder with c2db/: checks the geometry")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--bilayers", type=int, default=None, help="a random part of the set")
    parser.add_argument("--generated", type=int, default=10000)
    parser.add_argument("--matched", type=int, default=1000, help="test stacks for the matcher")
    parser.add_argument("--fingerprints", type=int, default=200, help="stacks per side for COV")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    start = time.perf_counter()
    monolayers = janus_monolayers()
    catalogue = janus_catalogue(monolayers)
    codes = janus_codes(catalogue)
    numbers: dict = {
        "monolayers": len(monolayers),
        "oriented_layers": len(catalogue),
        "bilayers": len(codes),
    }
    if options.data is not None:
        numbers["geometry_mae_a"] = geometry_errors(options.data / "c2db" / "monolayers.extxyz.gz")
    if options.bilayers is not None:
        codes = [codes[i] for i in generator.permutation(len(codes))[: options.bilayers]]
    stacks = [at_contact_gaps(catalogue.decode(code)) for code in codes]
    numbers["mean_strain_percent"] = float(np.mean([s.mismatch_percent for s in stacks]))
    training, validation, test = (
        [stacks[i] for i in part] for part in random_split(len(stacks), options.seed)
    )
    known = {stack.key() for stack in training}
    numbers["test_keys_also_in_training_percent"] = 100 * float(
        np.mean([stack.key() in known for stack in test])
    )
    numbers["preparation_s"] = time.perf_counter() - start
    print(json.dumps(numbers, indent=1), flush=True)
    start = time.perf_counter()
    # With the model at hand the metrics can be computed again at other sizes.
    kept = options.output.with_suffix(".pt")
    if kept.exists():
        trained = load_gvae(kept)
    else:
        trained = train(options, training, validation[:1000], catalogue)
        save_gvae(kept, trained)
    numbers["training_s"] = time.perf_counter() - start
    numbers["active_units"] = trained.history.rows[trained.history.best_epoch]["active_units"]
    made = reconstruct(trained, test, catalogue)
    numbers["strict"] = reconstruction_metrics(reconstruction_table(test, made, catalogue))
    print(json.dumps(numbers["strict"], indent=1), flush=True)
    some = options.matched
    numbers["reconstruction"] = match_metrics(test[:some], [m.stack for m in made[:some]])
    print(json.dumps(numbers["reconstruction"], indent=1), flush=True)
    start = time.perf_counter()
    generated = generate(trained, catalogue, options.generated, options.seed + 1)
    numbers["generation_s"] = time.perf_counter() - start
    pairs = {tuple(sorted(layer.monolayer.key() for layer in s.layers)) for s in training}
    numbers["generation"] = generation_metrics(
        generated + [None] * (options.generated - len(generated)), known, pairs
    )
    checked = [structure_is_valid(build(s, cell_height_a=CELL_HEIGHT_A)) for s in generated]
    numbers["structure_valid_percent"] = 100 * sum(checked) / options.generated
    valid = [stack for stack, fine in zip(generated, checked, strict=True) if fine]
    numbers |= wasserstein_distances(test, valid[:1000])
    options.output.write_text(json.dumps(numbers, indent=1))
    print(json.dumps(numbers["generation"], indent=1), flush=True)
    try:
        neutral = [composition_is_valid(stack.species) for stack in generated]
        numbers["composition_valid_percent"] = 100 * sum(neutral) / options.generated
        numbers["composition_valid_percent_of_the_test_set"] = 100 * float(
            np.mean([composition_is_valid(stack.species) for stack in test])
        )
        few = options.fingerprints
        numbers |= coverage(test[:few], valid[:few])
    except ImportError as error:
        print(f"{error}: no fingerprints, no charge neutrality (see the top of this script)")
    options.output.write_text(json.dumps(numbers, indent=1))
    print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
