"""Stacks with point defects: what is proposed, and that the generator writes them."""

import numpy as np
import pandas as pd
import pytest

from heteroforge.generation import (
    Limits,
    Plan,
    match_proposed,
    propose_defects,
    sample_block,
    sample_shard,
)
from heteroforge.generation.sampling import is_high_symmetry, snap_registry
from heteroforge.models.catalogue import Catalogue, StackCode
from heteroforge.models.gvae import LibraryBatch, StackData
from heteroforge.models.gvae_training import train_gvae
from heteroforge.screening import HardLimits
from heteroforge.structures import Layer, Stack, StructureError, build, parse

LIMITS = Limits(maximum_atoms=24, maximum_mismatch_percent=3.0)


@pytest.fixture(scope="module")
def catalogue(small_monolayers, small_matches, small_table):
    defective = propose_defects(small_monolayers, 6)
    more = match_proposed(small_monolayers, {}, defective, 45.0, 3.0, 24)
    return Catalogue(small_monolayers, pd.concat([small_matches, more]), small_table, defective)


@pytest.fixture(scope="module")
def trained(small_split, catalogue, small_properties):
    return train_gvae(
        *small_split, catalogue, small_properties,
        latent_dimensions=12, number_of_layers=(2, 2), epochs=120, batch_size=16,
        learning_rate=0.006, kl_weight=0.05, seed=3, width=32, conditional_steps=0,
        progress=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def samples(trained, catalogue):
    return sample_shard(
        trained, catalogue, {}, LIMITS, {},
        seed=1, number=60, shard=0, shards=1, plan=Plan("prior"), progress=False,
    )[0]  # fmt: skip


def test_one_site_of_each_set_of_equal_ones(small_monolayers):
    vacancies = propose_defects(small_monolayers, 100, kinds=["vacancy"])
    of_janus = [name for name in vacancies if name.startswith("MoSeS:")]
    assert sorted(of_janus) == [f"MoSeS:2x2:{s}-vacancy" for s in ("Mo", "S", "Se")]
    of_equal_faces = [name for name in vacancies if name.startswith("MoSS:")]
    assert sorted(of_equal_faces) == ["MoSS:2x2:Mo-vacancy", "MoSS:2x2:S-vacancy"]
    assert all(len(layer.defects) == 1 for layer in vacancies.values())


def test_dopants_are_those_asked_for_or_neighbours_in_the_period(small_monolayers):
    library = {"WSS": small_monolayers["WSS"]}
    made = propose_defects(library, 100, kinds=["substitution"])
    assert set(made) == {f"WSS:2x2:{s}" for s in ("Ta-on-W", "Re-on-W", "P-on-S", "Cl-on-S")}
    asked = propose_defects(library, 100, (3, 1), ["substitution"], dopants=["Nb", "S"])
    assert set(asked) == {f"WSS:3x1:{s}" for s in ("Nb-on-W", "S-on-W", "Nb-on-S")}
    without = propose_defects(library, 100, kinds=["substitution"], elements_excluded=["Re"])
    assert not any("Re" in name for name in without)
    assert propose_defects(library, 2, kinds=["substitution"]).keys() <= made.keys()
    with pytest.raises(StructureError, match="two cells at least"):
        propose_defects(library, 1, (1, 1))


def test_samples_with_defects_say_so_and_build(samples, small_monolayers):
    assert len(samples) == 60 and samples["number_of_defects"].min() > 0
    for row in samples.itertuples():
        # The library alone is enough to read them.
        stack = Stack.from_json(row.specification, small_monolayers)
        assert stack.key() == row.stack_id
        assert sum(len(layer.defects) for layer in stack.layers) == row.number_of_defects
        assert len(build(stack)) == row.number_of_atoms


def test_atoms_of_a_sample_are_read_back_with_its_defects(samples, small_monolayers):
    for text in samples["specification"].head(5):
        stack = Stack.from_json(text, small_monolayers)
        found = parse(build(stack), monolayers=list(small_monolayers.values()))
        assert [sorted((d.kind, d.species) for d in layer.defects) for layer in found.layers] == [
            sorted((d.kind, d.species) for d in layer.defects) for layer in stack.layers
        ]


def test_defects_come_back_from_the_code_and_from_the_latent(
    samples, catalogue, trained, small_monolayers
):
    stacks = [Stack.from_json(text, small_monolayers) for text in samples["specification"]]
    for stack in stacks:
        assert catalogue.decode(catalogue.encode(stack)).key() == stack.key()
    import torch

    library = LibraryBatch.of(catalogue)
    with torch.no_grad():
        encoded = trained.model.encode_library(library)
        data = StackData(stacks, catalogue)
        mean, _ = trained.model.encode(data.batch(np.arange(len(stacks))), encoded)
        found = trained.model.decode(mean, encoded, catalogue)
    again = [code is not None and code.entries == own.entries
             for code, own in zip(found.codes, data.codes, strict=True)]  # fmt: skip
    assert np.mean(again) > 0.5


def test_a_substrate_below_and_a_layer_with_defects_on_it(trained, catalogue, small_monolayers):
    plan = Plan("prior", substrate="WSS")
    made = sample_block(
        trained, catalogue, LibraryBatch.of(catalogue), {}, LIMITS,
        seed=1, block=0, size=10, plan=plan,
    )[0]  # fmt: skip
    assert len(made) == 10
    for stack in made:
        assert stack.layers[0] == Layer(small_monolayers["WSS"], stack.layers[0].supercell)
        assert stack.layers[1].defects


def test_a_substrate_alone_leaves_no_place_for_defects(trained, catalogue):
    with pytest.raises(StructureError, match="expected two layers at least, not .* = \\[1, 1\\]"):
        sample_block(
            trained, catalogue, LibraryBatch.of(catalogue), {}, Limits((1, 1)),
            seed=1, block=0, size=1, plan=Plan("prior", substrate="WSS"),
        )  # fmt: skip


def test_registries_count_from_the_perfect_layers(catalogue):
    names = [name for name, _ in catalogue.entries]
    near = 0
    for lower, upper in ((i, j) for i in range(len(names)) for j in range(len(names))):
        if not {names[lower], names[upper]} & set(catalogue.defective):
            continue
        found = catalogue.candidates(lower, upper)
        for match in range(min(len(found), 3)):
            for registry in ((0.0, 0.0), (1 / 3, 2 / 3), (2 / 3, 1 / 3)):
                _, cells = catalogue.perfect(lower)
                moved = (np.array(registry) + (1, 0) + (0.02, -0.01)) @ np.linalg.inv(cells)
                code = StackCode((lower, upper), (match,), (tuple(moved),), (0.0,))
                stack = catalogue.decode(snap_registry(code, catalogue))
                below, above = (layer.supercell for layer in stack.layers)
                if not np.array_equal(below, above):
                    continue
                assert is_high_symmetry(stack)
                difference = np.array(stack.registry(0)) - registry
                assert np.abs(difference - np.round(difference)).max() < 1e-6
                near += 1
    assert near > 20


def test_the_screen_sets_defects_aside(samples, small_monolayers):
    stacks = [Stack.from_json(text, small_monolayers) for text in samples["specification"]]
    faults = HardLimits(24, 3.0).faults(samples, stacks)
    assert set(faults) == {"defects, which no model here predicts"}


def test_no_room_for_defects_is_an_error(small_monolayers):
    defective = propose_defects(small_monolayers, 2)
    with pytest.raises(StructureError, match="raise stacks.maximum_atoms"):
        match_proposed(small_monolayers, {}, defective, 20.0, 3.0, 8)
