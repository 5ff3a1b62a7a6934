"""Stacks with point defects: what is proposed, and that the generator writes them."""

import numpy as np
import pytest

from heteroforge.generation import (
    Limits,
    Plan,
    propose_defects,
    sample_shard,
    widened_catalogue,
)
from heteroforge.models.gvae import LibraryBatch, StackData
from heteroforge.models.gvae_training import train_gvae
from heteroforge.screening.selection import constraint_faults
from heteroforge.structures import Stack, StructureError, build, parse

LIMITS = Limits(maximum_atoms=24, maximum_mismatch_percent=3.0)


@pytest.fixture(scope="module")
def catalogue(small_monolayers, small_matches, small_table):
    defective = propose_defects(small_monolayers, 6)
    return widened_catalogue(
        small_monolayers, small_matches, small_table, {}, defective, 45.0, 3.0, 24
    )


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
    assert sorted(of_janus) == ["MoSeS:2x2:V_Mo", "MoSeS:2x2:V_S", "MoSeS:2x2:V_Se"]
    of_equal_faces = [name for name in vacancies if name.startswith("MoSS:")]
    assert sorted(of_equal_faces) == ["MoSS:2x2:V_Mo", "MoSS:2x2:V_S"]
    assert all(len(layer.defects) == 1 for layer in vacancies.values())


def test_dopants_are_those_asked_for_or_neighbours_in_the_period(small_monolayers):
    library = {"WSS": small_monolayers["WSS"]}
    made = propose_defects(library, 100, kinds=["substitution"])
    assert set(made) == {f"WSS:2x2:{s}" for s in ("Ta_W", "Re_W", "P_S", "Cl_S")}
    asked = propose_defects(library, 100, (3, 1), ["substitution"], dopants=["Nb", "S"])
    assert set(asked) == {"WSS:3x1:Nb_W", "WSS:3x1:S_W", "WSS:3x1:Nb_S"}
    without = propose_defects(library, 100, kinds=["substitution"], elements_excluded=["Re"])
    assert not any("Re" in name for name in without)
    assert propose_defects(library, 2, kinds=["substitution"]).keys() <= made.keys()
    with pytest.raises(StructureError, match="two cells at least"):
        propose_defects(library, 1, (1, 1))


def test_samples_with_defects_say_so_and_build(samples, small_monolayers):
    made = samples[samples["number_of_defects"] > 0]
    assert 0 < len(made) < len(samples)
    for row in made.itertuples():
        # The library alone is enough to read them.
        stack = Stack.from_json(row.specification, small_monolayers)
        assert stack.key() == row.stack_id
        assert sum(len(layer.defects) for layer in stack.layers) == row.number_of_defects
        assert len(build(stack)) == row.number_of_atoms


def test_atoms_of_a_sample_are_read_back_with_its_defects(samples, small_monolayers):
    made = samples[samples["number_of_defects"] > 0].head(5)
    for text in made["specification"]:
        stack = Stack.from_json(text, small_monolayers)
        found = parse(build(stack), monolayers=list(small_monolayers.values()))
        assert [sorted((d.kind, d.species) for d in layer.defects) for layer in found.layers] == [
            sorted((d.kind, d.species) for d in layer.defects) for layer in stack.layers
        ]


def test_defects_come_back_from_the_code_and_from_the_latent(
    samples, catalogue, trained, small_monolayers
):
    made = samples[samples["number_of_defects"] > 0]
    stacks = [Stack.from_json(text, small_monolayers) for text in made["specification"]]
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


def test_the_screen_sets_defects_aside(samples, small_monolayers):
    stacks = [Stack.from_json(text, small_monolayers) for text in samples["specification"]]
    faults = constraint_faults(samples, stacks, 24, 3.0)
    for count, fault in zip(samples["number_of_defects"], faults, strict=True):
        assert (fault == "defects, which no model here predicts") == (count > 0)


def test_no_room_for_defects_is_an_error(small_monolayers, small_matches, small_table):
    defective = propose_defects(small_monolayers, 2)
    with pytest.raises(StructureError, match="raise stacks.maximum_atoms"):
        widened_catalogue(small_monolayers, small_matches, small_table, {}, defective, 20.0, 3.0, 8)
