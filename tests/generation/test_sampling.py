"""Sampling: independent of shards, within limits, aimed at the window."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from heteroforge.evaluation.generation import generation_metrics
from heteroforge.generation import (
    BLOCK_SIZE,
    Limits,
    Plan,
    block_range,
    match_proposed,
    propose_monolayers,
    sample_block,
    sample_shard,
    seed_stacks,
)
from heteroforge.generation.sampling import is_high_symmetry, snap_registry, validity
from heteroforge.models.catalogue import Catalogue, StackCode
from heteroforge.models.gvae import LibraryBatch, StackData
from heteroforge.models.gvae_training import encode_stacks
from heteroforge.structures import Stack, StructureError
from heteroforge.structures.formula import StackFormula
from heteroforge.structures.matching import stack_layers

LIMITS = Limits(maximum_atoms=6, maximum_mismatch_percent=3.0)


def shard(small_gvae, small_catalogue, number, k, shards, targets, seed=11, known=None, plan=None):
    return sample_shard(
        small_gvae, small_catalogue, targets, LIMITS, known or {},
        seed=seed, number=number, shard=k, shards=shards, plan=plan, progress=False,
    )[0]  # fmt: skip


@pytest.mark.parametrize("number", [1, 249, 250, 251, 4000])
@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_blocks_share_out_completely(number, shards):
    blocks = [block for k in range(shards) for block in block_range(number, k, shards)]
    assert [index for index, _ in blocks] == list(range(len(blocks)))
    assert sum(size for _, size in blocks) == number
    assert max(size for _, size in blocks) <= BLOCK_SIZE


def test_shard_that_does_not_exist():
    with pytest.raises(ValueError, match="shard 2: expected 0 to 1"):
        block_range(100, 2, 2)


def test_result_does_not_depend_on_the_number_of_shards(small_gvae, small_catalogue):
    targets, plan = {"gap_ev": [0.5, None]}, Plan(block_size=20)
    whole = shard(small_gvae, small_catalogue, 80, 0, 1, targets, plan=plan)
    parts = [shard(small_gvae, small_catalogue, 80, k, 3, targets, plan=plan) for k in range(3)]
    joined = [key for part in parts for key in part["stack_id"]]
    assert list(dict.fromkeys(joined)) == whole["stack_id"].tolist()
    other = shard(small_gvae, small_catalogue, 80, 0, 1, targets, seed=12, plan=plan)
    assert set(other["stack_id"]) != set(whole["stack_id"])
    larger = shard(small_gvae, small_catalogue, 80, 0, 1, targets, plan=Plan(block_size=40))
    assert set(larger["stack_id"]) != set(whole["stack_id"])


def test_of_equal_stacks_the_smallest_text_stays(small_monolayers, monkeypatch):
    """As among shards, so that nothing depends on which of them two blocks are in."""
    layers = [small_monolayers["MoSS"], small_monolayers["WSS"]]
    one, other = (stack_layers(layers, registries=[(x, 0.25)]) for x in (0.101, 0.1))
    assert one.key() == other.key() and other.to_json() < one.to_json()
    blocks = iter([one, other, other, one])
    sampling = "heteroforge.generation.sampling"
    monkeypatch.setattr(f"{sampling}.LibraryBatch.of", lambda *arguments: None)
    monkeypatch.setattr(f"{sampling}.latents_of", lambda *arguments: None)
    monkeypatch.setattr(f"{sampling}.sample_block", lambda *_, **__: ([next(blocks)], Counter()))
    trained = SimpleNamespace(device="cpu")
    for _ in range(2):
        samples, _ = sample_shard(
            trained, None, {}, LIMITS, {}, seed=1, number=500, shard=0, shards=1, progress=False
        )
        assert samples["specification"].tolist() == [other.to_json()]


def test_elements_that_no_layer_holds(small_gvae, small_catalogue):
    with pytest.raises(StructureError, match="samples.elements: no monolayer of the library .* Xe"):
        sample_shard(
            small_gvae, small_catalogue, {}, LIMITS, {}, seed=3, number=20, shard=0, shards=1,
            plan=Plan(elements=frozenset({"Xe"})), progress=False,
        )  # fmt: skip


def test_samples_hold_the_elements_that_were_asked_for(small_gvae, small_catalogue):
    samples, counts = sample_shard(
        small_gvae, small_catalogue, {}, LIMITS, {}, seed=3, number=20, shard=0, shards=1,
        plan=Plan(mode="prior", elements=frozenset({"Se"})), progress=False,
    )  # fmt: skip
    stacks = [Stack.from_json(s, small_catalogue.monolayers) for s in samples["specification"]]
    assert stacks and all("Se" in stack.species for stack in stacks)
    assert counts["without the elements asked for"] > 0


@pytest.mark.parametrize("mode", ["prior", "aimed"])
@pytest.mark.parametrize(
    ("text", "layers"), [("WSe2/MoS2", {"MoSS", "WSeSe"}), ("MoWS4", {"MoSS", "WSS"})]
)
def test_samples_have_the_formula_that_was_asked_for(
    small_gvae, small_catalogue, text, layers, mode
):
    samples = shard(
        small_gvae, small_catalogue, 3, 0, 1, {},
        plan=Plan(mode=mode, formula=StackFormula.parse(text)),
    )  # fmt: skip
    stacks = [Stack.from_json(s, small_catalogue.monolayers) for s in samples["specification"]]
    assert len(stacks) == 3
    for stack in stacks:
        assert {layer.monolayer.name for layer in stack.layers} == layers


@pytest.mark.parametrize(
    ("text", "plan", "reason"),
    [
        ("MoS2/GaSe", {}, "no layer is GaSe"),
        ("MoS2/WS2/MoS2", {}, "3 layers, where stacks have 2"),
        ("MoS3", {}, "no 2 layers with 6 atoms at most add up to it"),
        ("Mo2WS6", {}, "no 2 layers with 6 atoms at most add up to it"),
        ("MoS2/WS2", {"substrate": "MoSeSe"}, "the lowest layer is to be another"),
        ("MoS2/WS2", {"elements": frozenset({"Se"})}, "it has not all of samples.elements"),
    ],
)
def test_formula_that_the_library_cannot_give(small_gvae, small_catalogue, text, plan, reason):
    with pytest.raises(StructureError, match=f"samples.formula = '{text}'.*{reason}"):
        shard(
            small_gvae, small_catalogue, 3, 0, 1, {},
            plan=Plan(formula=StackFormula.parse(text), **plan),
        )  # fmt: skip


def test_the_property_head_picks_better_from_more_latents(
    small_gvae, small_catalogue, small_properties
):
    low = float(np.quantile(small_properties["gap_ev"], 0.8))
    library = LibraryBatch.of(small_catalogue)

    def expected(oversampling: int) -> float:
        stacks, _ = sample_block(
            small_gvae, small_catalogue, library, {"gap_ev": [low, None]}, LIMITS,
            seed=4, block=0, size=8, plan=Plan(oversampling=oversampling),
        )  # fmt: skip
        latents = encode_stacks(small_gvae.model, StackData(stacks, small_catalogue), library)
        return float(np.mean(small_gvae.expect(latents)["gap_ev"]))

    assert expected(100) > expected(1)


def test_samples_are_distinct_valid_and_flagged(small_gvae, small_catalogue, small_split):
    known = {stack.key(): "train" for stack in small_split[0]}
    samples = shard(small_gvae, small_catalogue, 60, 0, 1, {}, known=known)
    assert samples["stack_id"].is_unique and len(samples) > 20
    assert (samples["number_of_atoms"] <= 6).all()
    assert (samples["mismatch_percent"] <= 3.0 + 1e-6).all()
    assert (samples["is_novel"] == ~samples["stack_id"].isin(known)).all()
    assert samples["is_novel"].any()
    for row in samples.itertuples():
        stack = Stack.from_json(row.specification, small_catalogue.monolayers)
        assert stack.key() == row.stack_id
        assert validity(stack, LIMITS) == ""
        assert is_high_symmetry(stack) == row.is_high_symmetry


def test_aim_moves_the_samples(small_gvae, small_catalogue, small_table, small_properties):
    middle = float(np.median(small_properties["gap_ev"]))
    library = LibraryBatch.of(small_catalogue)

    def share_inside(targets) -> float:
        stacks, _ = sample_block(
            small_gvae, small_catalogue, library, targets, LIMITS, seed=4, block=0, size=60
        )
        gaps = []
        for stack in stacks:
            rows = small_table.loc[[layer.monolayer.name for layer in stack.layers]]
            gaps.append(max(0.0, rows["cbm_ev"].min() - rows["vbm_ev"].max()))
        return float(np.mean(np.array(gaps) >= middle))

    assert share_inside({"gap_ev": [middle, None]}) > share_inside({}) + 0.1


def test_registry_near_high_symmetry_is_snapped(small_catalogue):
    code = StackCode((0, 1), (0,), ((0.31, 0.69),), (0.0,))
    assert snap_registry(code, small_catalogue).registries[0] == pytest.approx((1 / 3, 2 / 3))
    far = StackCode((0, 1), (0,), ((0.2, 0.1),), (0.0,))
    assert snap_registry(far, small_catalogue) == far


def test_faults_are_named(small_stacks):
    stack = small_stacks[0]
    assert validity(stack, Limits(maximum_atoms=5)) == "too many atoms"
    assert validity(stack, Limits(number_of_layers=(3, 4))) == "number of layers"
    assert validity(stack, Limits(gap_a=(5.0, 6.0))) == "interlayer gap"
    assert validity(stack, Limits(maximum_area_a2=1.0)) == "cell too large"
    strained = max(small_stacks, key=lambda s: s.mismatch_percent)
    assert validity(strained, Limits(maximum_mismatch_percent=0.01)) == "mismatch"


def test_generation_metrics_count(small_stacks):
    known = {small_stacks[0].key()}
    made = [small_stacks[0], small_stacks[1], small_stacks[1], None]
    pair = tuple(sorted(layer.monolayer.key() for layer in small_stacks[0].layers))
    metrics = generation_metrics(made, known, {pair})
    assert metrics["validity"] == 0.75
    assert metrics["uniqueness"] == pytest.approx(2 / 3)
    assert metrics["novelty"] == 0.5


def test_substrate_is_the_lowest_layer(small_gvae, small_catalogue):
    plan = Plan(mode="prior", substrate="MoSeS")
    library = LibraryBatch.of(small_catalogue)
    stacks, _ = sample_block(
        small_gvae, small_catalogue, library, {}, LIMITS, seed=1, block=0, size=15, plan=plan
    )
    assert len(stacks) == 15
    assert {stack.layers[0].monolayer.name for stack in stacks} == {"MoSeS"}
    with pytest.raises(StructureError, match="substrate 'ice' is not in the library"):
        sample_block(
            small_gvae, small_catalogue, library, {}, LIMITS,
            seed=1, block=0, size=1, plan=Plan(substrate="ice"),
        )  # fmt: skip


def test_around_a_seed_most_samples_share_a_layer_with_it(small_gvae, small_catalogue, small_split):
    seed = small_split[0][0]
    names = {layer.monolayer.name for layer in seed.layers}
    library = LibraryBatch.of(small_catalogue)
    plan = Plan(mode="around", seeds=(seed,), radius=0.2)
    stacks, _ = sample_block(
        small_gvae, small_catalogue, library, {}, LIMITS, seed=1, block=0, size=4, plan=plan
    )
    near = [names & {layer.monolayer.name for layer in stack.layers} for stack in stacks]
    assert np.mean([bool(one) for one in near]) > 0.7


def test_seeds_are_found_by_identifier_or_specification(small_stacks, small_monolayers):
    one, other = small_stacks[:2]
    known = {one.key(): one.to_json()}
    found = seed_stacks([one.key(), other.to_json()], known, small_monolayers)
    assert [stack.key() for stack in found] == [one.key(), other.key()]
    with pytest.raises(StructureError, match="seed 'nothing': expected the stack_id"):
        seed_stacks(["nothing"], known, small_monolayers)


def test_samples_of_new_monolayers_say_so(small_gvae, small_monolayers, small_matches, small_table):
    import pandas as pd

    new = propose_monolayers(small_monolayers, 2)
    library = small_monolayers | new
    matches = pd.concat([small_matches, match_proposed(small_monolayers, new, {}, 20.0, 3.0, 8)])
    catalogue = Catalogue(library, matches, small_table)
    samples = sample_shard(
        small_gvae, catalogue, {}, LIMITS, {},
        seed=1, number=60, shard=0, shards=1, plan=Plan("prior", new=frozenset(new)),
        progress=False,
    )[0]  # fmt: skip
    made = samples[samples["new_monolayers"] > 0]
    assert 0 < len(made) < len(samples)
    for row in made.itertuples():
        # The library alone is enough to read them.
        stack = Stack.from_json(row.specification, small_monolayers)
        assert stack.key() == row.stack_id
        assert sum(not layer.monolayer.name for layer in stack.layers) == row.new_monolayers
