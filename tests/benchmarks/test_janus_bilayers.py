"""The rebuilt J2DH-8 set: its composition, its geometry and its metrics."""

from dataclasses import replace

import janus_bilayers as benchmark
import numpy as np
import pytest

from heteroforge.models.stack_inputs import at_contact_gaps
from heteroforge.structures import build


@pytest.fixture(scope="module")
def catalogue():
    return benchmark.janus_catalogue(benchmark.janus_monolayers())


@pytest.fixture(scope="module")
def codes(catalogue):
    return benchmark.janus_codes(catalogue)


@pytest.fixture(scope="module")
def bilayers(catalogue, codes):
    chosen = np.random.default_rng(0).choice(len(codes), 12, replace=False)
    return [at_contact_gaps(catalogue.decode(codes[i])) for i in chosen]


@pytest.mark.benchmark
def test_set_has_the_published_size(catalogue, codes):
    assert len(catalogue.monolayers) == 45
    assert sum(layer.has_equal_faces for layer in catalogue.monolayers.values()) == 9
    assert len(catalogue) == 81
    assert len(codes) == 19926 == len(set(codes))


@pytest.mark.benchmark
def test_bilayers_have_eight_atoms_and_their_own_key(bilayers):
    assert len({stack.key() for stack in bilayers}) == len(bilayers)
    assert all(len(build(stack)) == 8 for stack in bilayers)


@pytest.mark.benchmark
def test_split_is_six_to_two_to_two():
    parts = benchmark.random_split(1000, seed=3)
    assert [len(part) for part in parts] == [600, 200, 200]
    assert sorted(np.concatenate(parts)) == list(range(1000))


@pytest.mark.benchmark
def test_bonds_are_kept_in_mixed_layers():
    layer = benchmark.janus_monolayer(("S", "In", "Ga", "Te"))
    for metal, chalcogen, radii in ((1, 0, 1.42 + 1.05), (2, 3, 1.22 + 1.38)):
        rise = abs(layer.heights[metal] - layer.heights[chalcogen])
        bond = np.hypot(layer.a / 3**0.5, rise)
        assert bond == pytest.approx(radii + benchmark.BOND_EXCESS_A, abs=1e-6)


@pytest.mark.benchmark
def test_matcher_counts_matches_and_failures(bilayers):
    stack = bilayers[0]
    moved = replace(stack, interfaces=(replace(stack.interfaces[0], gap_a=4.0),))
    metrics = benchmark.match_metrics([stack, stack, stack], [stack, moved, None])
    assert metrics["match_percent"] == pytest.approx(200 / 3)
    assert 0.0 < metrics["rmse"] < 0.1
    assert benchmark.structure_is_valid(build(stack))
    crushed = build(stack)
    crushed.positions[1] = crushed.positions[0] + [0.1, 0.0, 0.0]
    assert not benchmark.structure_is_valid(crushed)


@pytest.mark.benchmark
def test_distance_of_a_set_to_itself_is_zero(bilayers):
    distances = benchmark.wasserstein_distances(bilayers, bilayers)
    assert set(distances.values()) == {0.0}
    assert benchmark.wasserstein_distances(bilayers, bilayers[:1])["density_wasserstein"] > 0
