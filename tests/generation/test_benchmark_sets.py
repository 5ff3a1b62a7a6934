"""Sets that the generative model is measured on: composition, geometry, metrics, descriptions."""

import gzip
import io
import re
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pytest

from heteroforge.evaluation import janus_bilayers as janus
from heteroforge.evaluation.benchmark_sets import random_split, read_set, write_set
from heteroforge.evaluation.crystal_metrics import (
    match_metrics,
    structure_is_valid,
    wasserstein_distances,
)
from heteroforge.evaluation.generation_benchmark import comparison_table, measure_generation
from heteroforge.evaluation.homobilayers import homobilayers
from heteroforge.labels.published import PublishedStack
from heteroforge.models.catalogue import Catalogue
from heteroforge.structures import Monolayer, build
from heteroforge.structures.matching import stack_layers

ROOT = Path(__file__).resolve().parents[2]
C2DB = ROOT.parent / "shared" / "data" / "c2db" / "monolayers.extxyz.gz"


@pytest.fixture(scope="module")
def small_set():
    return janus.janus_bilayers(seed=0, number=12)


def test_janus_set_has_the_published_size():
    monolayers = janus.janus_monolayers()
    catalogue = Catalogue(monolayers, janus.janus_matches(monolayers))
    codes = janus.janus_codes(catalogue)
    assert len(monolayers) == 45
    assert sum(layer.has_equal_faces for layer in monolayers.values()) == 9
    assert len(catalogue) == 81
    assert len(codes) == 19926 == len(set(codes))


def test_bilayers_have_eight_atoms_and_their_own_key(small_set):
    assert len({stack.key() for stack in small_set.stacks}) == len(small_set.stacks) == 12
    assert all(len(build(stack)) == 8 for stack in small_set.stacks)


def test_split_is_six_to_two_to_two():
    split = random_split(1000, seed=3)
    assert pd.Series(split).value_counts().to_dict() == {
        "train": 600,
        "validation": 200,
        "test": 200,
    }


def test_sets_survive_their_files(small_set, tmp_path):
    files = tmp_path / "monolayers.json", tmp_path / "matches.parquet", tmp_path / "stacks.parquet"
    write_set(small_set, *files)
    again = read_set(*files)
    assert [s.key() for s in again.stacks] == [s.key() for s in small_set.stacks]
    assert list(again.split) == list(small_set.split)
    for stack in again.stacks:
        decoded = again.catalogue.decode(again.catalogue.encode(stack))
        assert decoded.key() == stack.key()


def test_bonds_are_kept_in_mixed_layers():
    layer = janus.janus_monolayer(("S", "In", "Ga", "Te"))
    for metal, chalcogen, radii in ((1, 0, 1.42 + 1.05), (2, 3, 1.22 + 1.38)):
        rise = abs(layer.heights[metal] - layer.heights[chalcogen])
        bond = np.hypot(layer.a / 3**0.5, rise)
        assert bond == pytest.approx(radii + janus.BOND_EXCESS_A, abs=1e-6)


def test_rules_of_geometry_meet_published_layers():
    """The nine MX layers of C2DB (PBE): the errors that docs/generation.md states."""
    if not C2DB.exists():
        pytest.skip(f"no {C2DB}: published monolayers are not part of the project")
    wanted = {
        f"2{metal}{x}-1": (x, metal, metal, x) for metal in janus.METALS for x in janus.CHALCOGENS
    }
    errors = []
    with gzip.open(C2DB, "rt") as stream:
        while count := stream.readline():
            header = stream.readline()
            frame = [count, header, *(stream.readline() for _ in range(int(count)))]
            name = re.search(r'name="?([^"\s]+)', header)
            if name is None or name[1] not in wanted:
                continue
            atoms = ase.io.read(io.StringIO("".join(frame)), format="extxyz")
            made = janus.janus_monolayer(wanted[name[1]])
            rises = np.diff(np.sort(atoms.positions[:, 2])) - np.diff(made.heights)
            errors.append([made.a - atoms.cell.lengths()[0], rises[0], rises[1]])
    assert len(errors) == 9
    assert np.abs(errors).mean(0) == pytest.approx([0.028, 0.016, 0.072], abs=0.001)


def test_matcher_counts_matches_and_failures(small_set):
    stack = small_set.stacks[0]
    moved = replace(stack, interfaces=(replace(stack.interfaces[0], gap_a=4.0),))
    metrics = match_metrics([stack, stack, stack], [stack, moved, None])
    assert metrics["match_percent"] == pytest.approx(200 / 3)
    assert 0.0 < metrics["rmse"] < 0.1
    assert structure_is_valid(stack)
    crushed = replace(stack, interfaces=(replace(stack.interfaces[0], gap_a=-5.0),))
    assert not structure_is_valid(crushed)


def test_distance_of_a_set_to_itself_is_zero(small_set):
    stacks = small_set.stacks
    assert set(wasserstein_distances(stacks, stacks).values()) == {0.0}
    assert wasserstein_distances(stacks, stacks[:1])["density_wasserstein"] > 0


def test_generation_counts_what_was_not_built_and_the_table_has_every_model(small_set):
    numbers = measure_generation(
        [*small_set.part("train"), None], small_set, fingerprints=0, workers=1
    )
    trained = len(small_set.part("train"))
    assert numbers["structure_valid_percent"] == pytest.approx(100 * trained / (trained + 1))
    assert numbers["novelty"] == 0.0
    assert numbers["test_keys_also_in_training_percent"] == 0.0
    file = ROOT / "resources" / "sources" / "published_generators.csv"
    table = comparison_table(numbers | {"match_percent": 50.0, "rmse": 0.1}, "prior", file)
    assert table["model"].iloc[-2:].tolist() == ["heteroforge, prior", "goal"]
    assert table["match_percent"].iloc[-2] == 50.0 and table["novelty_percent"].iloc[-2] == 0.0
    assert len(comparison_table(numbers, "prior", None)) == 2


def test_parts_of_a_part_are_fair_samples_of_it():
    """The first bilayers of a split hold its layers as the whole set does."""
    found = janus.janus_bilayers(seed=0, number=2000).part("test")[:200]
    lower = {stack.layers[0].monolayer.name for stack in found}
    assert len(lower) > 30


def test_training_does_not_know_layers_of_test_bilayers_alone(small_set):
    names = {
        split: {layer.monolayer.name for s in small_set.part(split) for layer in s.layers}
        for split in ("train", "validation", "test")
    }
    seen = set(small_set.seen_catalogue.monolayers)
    assert seen == names["train"] | names["validation"]
    assert names["test"] - seen and set(small_set.catalogue.monolayers) > seen


def test_nothing_generated_is_measured_too(small_set):
    numbers = measure_generation([None, None], small_set, fingerprints=0, workers=1)
    assert numbers["structure_valid_percent"] == 0.0
    assert np.isnan(numbers["density_wasserstein"])


# Three-fold layers with different faces or equal ones, with and without a mirror plane.
HONEYCOMB = Monolayer(("B", "N"), ((0, 0), (1 / 3, 2 / 3)), (0.0, 0.0), 2.5, 2.5, 120.0)
JANUS = janus.janus_monolayer(("S", "Ga", "Ga", "Se"))
OCTAHEDRAL = Monolayer(
    ("S", "Zr", "S"),
    ((1 / 3, 2 / 3), (0, 0), (2 / 3, 1 / 3)),
    (-1.45, 0.0, 1.45),
    3.68,
    3.68,
    120.0,
)


@pytest.mark.parametrize("layer", [HONEYCOMB, JANUS, OCTAHEDRAL], ids=["BN", "Janus", "1T"])
def test_bilayers_told_in_terms_of_one_layer_are_the_same_structures(layer):
    """All turns by 60°, sides and registries; equal bilayers get one description."""
    turns = [np.linalg.matrix_power(np.array([[0, -1], [1, 1]]), n).tolist() for n in range(6)]
    registries = [(0.0, 0.0), (1 / 3, 2 / 3), (2 / 3, 1 / 3), (0.5, 0.0), (0.2, 0.1)]
    layer, entries = replace(layer, name="layer"), []
    for turn in turns:
        for flipped in ((False, False), (False, True), (True, False)):
            for registry in registries:
                stack = stack_layers(
                    (layer, layer), supercells=[np.eye(2, dtype=int).tolist(), turn],
                    registries=[registry], gaps_a=[3.3], flipped=flipped,
                )  # fmt: skip
                entries.append(PublishedStack("entry", stack, {}, ("layer", "layer"), "here"))
    made, left_out = homobilayers(entries, seed=0)
    assert left_out == {}
    descriptions: dict[str, set[str]] = {}
    for number, (entry, stack) in enumerate(zip(entries, made.stacks, strict=True)):
        assert stack.key() == entry.stack.key()
        if number % 7 == 0:
            metrics = match_metrics([entry.stack], [stack])
            assert metrics["match_percent"] == 100 and metrics["rmse"] < 1e-3
        made.catalogue.encode(stack)
        descriptions.setdefault(stack.key(), set()).add(stack.to_json())
    # Two at most: from above and from below.
    assert max(len(found) for found in descriptions.values()) <= 2
