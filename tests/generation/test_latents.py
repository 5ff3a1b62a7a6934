"""Latents: every mode draws what it says."""

import numpy as np
import pytest

from heteroforge.generation.latents import MODES, Latents, interpolate


def test_arc_between_latents_keeps_ends_and_lengths():
    generator = np.random.default_rng(0)
    one, other = 2.0 * generator.standard_normal(8), generator.standard_normal(8)
    path = interpolate(one, other, np.linspace(0, 1, 11))
    assert np.allclose(path[0], one) and np.allclose(path[-1], other)
    lengths = np.linalg.norm(path, axis=1)
    assert np.allclose(np.diff(lengths), lengths[1] - lengths[0])
    directions = path / lengths[:, None]
    steps = np.arccos((directions[1:] * directions[:-1]).sum(1))
    assert np.allclose(steps, steps[0])
    assert np.allclose(interpolate(one, 2 * one, np.array([0.5])), 1.5 * one)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_repeatable(mode, small_gvae):
    seeds = small_gvae.latents[:2]
    source = Latents(small_gvae, {"gap_ev": [1.0, None]}, mode=mode, seeds=seeds)
    first = source.draw(np.random.default_rng(4), 50)
    assert first.shape == (50, small_gvae.latents.shape[1]) and np.isfinite(first).all()
    assert np.array_equal(first, source.draw(np.random.default_rng(4), 50))
    assert not np.array_equal(first, source.draw(np.random.default_rng(5), 50))


def test_around_stays_near_and_temperature_shrinks(small_gvae):
    seeds = small_gvae.latents[:1]
    near = Latents(small_gvae, {}, mode="around", seeds=seeds, radius=0.1)
    assert np.abs(near.draw(np.random.default_rng(0), 200) - seeds).std() < 0.12
    cold = Latents(small_gvae, {}, mode="prior", temperature=0.5)
    assert cold.draw(np.random.default_rng(0), 500).std() == pytest.approx(0.5, abs=0.02)


def test_the_density_keeps_mean_and_spread_of_the_training_latents(small_gvae):
    drawn = Latents(small_gvae, {}, mode="density").draw(np.random.default_rng(0), 20000)
    latents = small_gvae.latents
    assert np.allclose(drawn.mean(0), latents.mean(0), atol=0.05 * latents.std(0).max() + 1e-3)
    assert np.allclose(drawn.std(0), latents.std(0), rtol=0.05, atol=1e-3)


def test_modes_that_cannot_be_are_refused(small_gvae):
    with pytest.raises(ValueError, match="mode 'magic': expected one of aimed"):
        Latents(small_gvae, {}, mode="magic")
    with pytest.raises(ValueError, match="interpolate with 1 seeds: expected two seeds"):
        Latents(small_gvae, {}, mode="interpolate", seeds=small_gvae.latents[:1])
