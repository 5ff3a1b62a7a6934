"""Stacks of one layer: enumerated, learned, written, drawn."""

import numpy as np
import pandas as pd
import pytest

from heteroforge.generation import (
    Limits,
    Plan,
    match_proposed,
    propose_defects,
    propose_monolayers,
    sample_shard,
)
from heteroforge.labels import baseline_labels
from heteroforge.models.catalogue import Catalogue
from heteroforge.models.gvae_training import best_labels, train_gvae
from heteroforge.screening import HardLimits
from heteroforge.structures import Stack, StructureError, build
from heteroforge.structures.enumeration import enumerate_multilayers, split_pairs
from heteroforge.structures.formula import StackFormula

PROPERTIES = ["gap_ev", "binding_energy_mev_a2"]


def alone(monolayers, maximum_atoms=8):
    stacks = enumerate_multilayers(list(monolayers.values()), 1, 0, 3.0, maximum_atoms, 0)
    return {stack.key(): stack for stack in stacks}


def train(stacks, catalogue, table, number_of_layers, epochs):
    labels = baseline_labels(stacks, table)
    values = best_labels(labels, [stack.key() for stack in stacks], PROPERTIES)
    return train_gvae(
        stacks, [], catalogue, dict(zip(PROPERTIES, values.T, strict=True)),
        latent_dimensions=8, number_of_layers=number_of_layers, epochs=epochs, batch_size=16,
        learning_rate=0.01, kl_weight=0.05, seed=3, width=32, conditional_steps=20, progress=False,
    )  # fmt: skip


def sample(trained, catalogue, limits, number=40, targets=None, **plan):
    return sample_shard(
        trained, catalogue, targets or {}, limits, {},
        seed=1, number=number, shard=0, shards=1, plan=Plan(**plan), progress=False,
    )[0]  # fmt: skip


@pytest.fixture(scope="module")
def with_pairs(small_monolayers, small_stacks, small_catalogue, small_table):
    """Trained on layers alone and on bilayers."""
    stacks = [*alone(small_monolayers).values(), *small_stacks[::3]]
    return train(stacks, small_catalogue, small_table, (1, 2), 120)


@pytest.fixture(scope="module")
def new_layers(small_monolayers):
    return propose_monolayers(small_monolayers, 4)


@pytest.fixture(scope="module")
def only_alone(small_monolayers, new_layers, small_table):
    """Trained on layers alone, four more in the catalogue, which has no common cells."""
    none = match_proposed({}, {}, {}, 20.0, 3.0, 8)
    catalogue = Catalogue(small_monolayers | new_layers, none, small_table)
    stacks = list(alone(small_monolayers).values())
    return train(stacks, catalogue, small_table, (1, 1), 150), catalogue


def test_every_monolayer_is_one_stack(small_monolayers):
    stacks = alone(small_monolayers)
    assert [stack.layers[0].monolayer.name for stack in stacks.values()] == list(small_monolayers)
    janus = next(stack for stack in stacks.values() if stack.formula == "MoSSe")
    assert janus.reversed().key() == janus.key()
    assert not alone(small_monolayers, maximum_atoms=2)
    assert set(split_pairs(list(stacks.values()), seed=0)) == {"train"}


def test_labels_of_a_layer_alone_are_its_own_values(small_monolayers, small_table):
    stacks = alone(small_monolayers)
    values = best_labels(
        baseline_labels(list(stacks.values()), small_table), list(stacks), PROPERTIES
    )
    assert values[:, 0] == pytest.approx(small_table.loc[list(small_monolayers), "gap_ev"])
    assert np.isnan(values[:, 1]).all()


def test_one_and_two_layers_are_written(with_pairs, small_catalogue, small_monolayers):
    limits = Limits(number_of_layers=(1, 2), maximum_atoms=6)
    samples = sample(with_pairs, small_catalogue, limits, number=60, mode="prior")
    assert set(samples["number_of_layers"]) == {1, 2}
    single = samples[samples["number_of_layers"] == 1]
    assert set(single["layers"]) <= set(small_monolayers) and single["layers"].is_unique
    for row in single.itertuples():
        stack = Stack.from_json(row.specification, small_monolayers)
        assert stack.key() == row.stack_id
        atoms = build(stack)
        own = small_monolayers[row.layers]
        assert sorted(atoms.get_chemical_symbols()) == sorted(own.species)
        assert atoms.cell.lengths()[0] == pytest.approx(own.a)
    assert (single["mismatch_percent"] < 1e-6).all() and (single["twist_deg"] == 0).all()


def test_layers_alone_can_be_asked_for(with_pairs, small_catalogue, small_monolayers):
    limits = Limits(number_of_layers=(1, 2), maximum_atoms=6)
    seed = alone({"WSS": small_monolayers["WSS"]})
    (seed,) = seed.values()
    near = sample(with_pairs, small_catalogue, limits, 4, mode="around", seeds=(seed,), radius=0.1)
    assert near["stack_id"].iloc[0] == seed.key()
    on_it = sample(with_pairs, small_catalogue, limits, 10, mode="prior", substrate="MoSeS")
    assert on_it["layers"].str.startswith("MoSeS").all() and "MoSeS" in set(on_it["layers"])
    formula = StackFormula.parse("WSe2")
    of_formula = sample(with_pairs, small_catalogue, limits, 20, mode="prior", formula=formula)
    assert set(of_formula["layers"]) == {"WSeSe", "WSeSe/WSeSe"}


def test_new_monolayers_are_written_alone(only_alone, new_layers, small_monolayers):
    trained, catalogue = only_alone
    assert trained.model.settings.interface_dimensions == 0
    limits = Limits(number_of_layers=(1, 1))
    samples = sample(trained, catalogue, limits, mode="prior", new=frozenset(new_layers))
    assert (samples["number_of_layers"] == 1).all()
    assert len(set(samples["layers"]) & set(small_monolayers)) >= 4
    new = samples[samples["new_monolayers"] == 1]
    assert len(new) >= 2
    for row in new.itertuples():
        stack = Stack.from_json(row.specification)  # in full: no library has it
        assert len(build(stack)) == row.number_of_atoms
        assert stack.key() == row.stack_id


def test_gap_is_aimed_at_and_binding_is_not(only_alone, small_table):
    trained, catalogue = only_alone
    assert trained.properties == ("gap_ev",)
    low = float(small_table["gap_ev"].median())
    samples = sample(
        trained,
        catalogue,
        Limits(number_of_layers=(1, 1)),
        2,
        {"gap_ev": [low, None], "binding_energy_mev_a2": [5, None]},
    )
    known = samples[samples["layers"].isin(small_table.index)]
    assert len(known) and (small_table.loc[known["layers"], "gap_ev"] >= low - 0.05).all()


def test_layers_with_defects_alone(small_monolayers, small_table):
    defective = propose_defects({"MoSS": small_monolayers["MoSS"]}, 2)
    with pytest.raises(StructureError, match="shares a cell of at most 12 atoms"):
        match_proposed({}, {}, defective, 45.0, 3.0, 12)
    none = match_proposed({}, {}, defective, 45.0, 3.0, 12, fewest_layers=1)
    catalogue = Catalogue(small_monolayers, none, small_table, defective)
    trained = train(list(alone(small_monolayers).values()), catalogue, small_table, (1, 1), 60)
    limits = Limits(number_of_layers=(1, 1), maximum_atoms=12)
    samples = sample(trained, catalogue, limits, 10, mode="prior")
    assert len(samples) == 2 and (samples["number_of_defects"] == 1).all()
    for row in samples.itertuples():
        stack = Stack.from_json(row.specification, small_monolayers)
        assert len(build(stack)) == row.number_of_atoms in (11, 12)


def test_the_screen_sets_layers_alone_aside(small_monolayers):
    stacks = list(alone(small_monolayers).values())
    samples = pd.DataFrame(
        {"number_of_atoms": 3, "mismatch_percent": 0.0}, index=range(len(stacks))
    )
    faults = HardLimits(6, 3.0, minimum_materials=1).faults(samples, stacks)
    assert set(faults) == {"a layer alone, where DFT verifies stacks"}
