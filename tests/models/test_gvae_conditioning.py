"""Conditioning: windows as bases, fusion, and a generator whose latents meet the target."""

import numpy as np
import pytest
import torch

from heteroforge.models.gvae_conditioning import (
    RANK,
    Fusion,
    TargetEncoder,
    outside,
    random_windows,
    standard_windows,
    train_conditional,
)
from heteroforge.models.traits import Traits

# Stacks of two layers of which nothing else is known.
TWO_LAYERS = Traits(("Ga", "S"))


def two_layers(number: int) -> np.ndarray:
    return np.repeat(TWO_LAYERS.wanted(2)[None], number, axis=0)


def test_bases_are_means_over_the_window():
    encoder = TargetEncoder(1, TWO_LAYERS.sizes, 4)
    low, high = -0.4, 0.9
    grid = torch.linspace(low, high, 20001)
    spacing = float(encoder.centres[1] - encoder.centres[0])
    expected = torch.exp(-((grid[:, None] - encoder.centres) ** 2) / (2 * spacing**2)).mean(0)
    found = encoder.bases(torch.tensor([[low, high]]))[0]
    assert torch.allclose(found[:-2], expected, atol=1e-4)
    assert torch.equal(encoder.bases(torch.tensor([[float("nan")] * 2])), torch.zeros(1, 14))
    half = encoder.bases(torch.tensor([[0.0, float("inf")]]))[0]
    assert torch.isfinite(half).all() and half[-3] > half[0]


def test_fusion_is_the_sum_of_products():
    fusion = Fusion(own=3, parts=2, width=2, out=5)
    own, target = torch.randn(4, 3), torch.randn(4, 2, 2)
    first = fusion.own(own)
    second, third = (target[:, i] @ fusion.weights[i] + fusion.shifts[i] for i in range(2))
    product = (first * second * third).reshape(4, RANK, 5)
    expected = (product * fusion.mix[None, :, None]).sum(1) + fusion.shift
    assert torch.allclose(fusion(own, target), expected, atol=1e-5)


def test_random_windows_hold_their_values():
    generator = np.random.default_rng(0)
    values = generator.standard_normal((2000, 2))
    values[:100, 1] = np.nan
    windows = random_windows(values, generator)
    assert np.isnan(windows[:100, 1]).all()
    known = ~np.isnan(windows).any(-1)
    assert 0.6 < known[100:].mean() < 0.9
    assert (windows[known][:, 0] <= values[known]).all()
    assert (values[known] <= windows[known][:, 1]).all()
    assert np.isinf(windows[known]).any() and not np.isinf(windows[known]).all(1).any()


def test_windows_of_targets():
    windows = standard_windows(
        {"gap_ev": [1.0, None], "other": [0, 1]}, ("gap_ev", "vbm_ev"), [2.0, -5.0], [0.5, 1.0]
    )
    assert windows[0].tolist() == [-2.0, np.inf] and np.isnan(windows[1]).all()


def test_generator_moves_latents_into_the_window():
    """Latents of which the first coordinate is the property."""
    draw = np.random.default_rng(1)
    latents = draw.standard_normal((400, 2)).astype(np.float32)
    values = latents[:, :1].astype(float)
    generator, history = train_conditional(
        latents,
        values,
        two_layers(400),
        TWO_LAYERS,
        steps=100,
        seed=0,
        expect=lambda latent: latent[:, :1],
        progress=False,
    )
    above, below = (
        generator.draw(400, np.array([window]), TWO_LAYERS.wanted(2), np.random.default_rng(0))[
            :, 0
        ]
        for window in ((0.8, np.inf), (-np.inf, -0.8))
    )
    assert above.mean() > below.mean() + 0.5
    assert (above > 0.8).mean() > 1.5 * (latents[:, 0] > 0.8).mean()
    assert above.std() > 0.1 and history[-1]["penalty"] < 5.0


def test_generator_heeds_traits():
    """Latents of which the sign of the first coordinate says whether the stack holds gallium."""
    draw = np.random.default_rng(2)
    latents = draw.standard_normal((400, 2)).astype(np.float32)
    traits = two_layers(400)
    traits[:, -2:] = np.stack([latents[:, 0] > 0, latents[:, 0] <= 0], axis=1)
    generator, _ = train_conditional(
        latents, np.zeros((400, 0)), traits, TWO_LAYERS, steps=300, seed=0, progress=False
    )
    with_gallium, with_sulphur = (
        generator.draw(
            400,
            np.zeros((0, 2)),
            TWO_LAYERS.wanted(elements=elements),
            np.random.default_rng(0),
        )[:, 0]
        for elements in (("Ga",), ("S",))
    )
    assert (with_gallium > 0).mean() > 0.8 and (with_sulphur < 0).mean() > 0.8


def test_random_requests_are_met_by_the_stacks_they_are_made_for():
    generator = np.random.default_rng(0)
    own = np.repeat(TWO_LAYERS.wanted(2, "II", {"Ga", "S"})[None], 2000, axis=0)
    requests = TWO_LAYERS.random_requests(own, generator)
    assert (requests <= own).all()
    assert requests[:, own[0] > 0].mean(0) == pytest.approx([0.5, 0.5, 0.25, 0.25], abs=0.05)
    assert TWO_LAYERS.wanted(3, "I", {"Mo"}).sum() == 2.0


def test_distance_from_windows():
    windows = torch.tensor([[[0.0, 1.0], [-torch.inf, 2.0]], [[torch.nan] * 2, [1.0, torch.inf]]])
    values = torch.tensor([[-1.0, 5.0], [9.0, 0.5]])
    assert outside(values, windows).tolist() == [4.0, 0.5]


def test_same_seed_same_generator():
    latents = np.random.default_rng(1).standard_normal((50, 2)).astype(np.float32)
    first, second, other = (
        train_conditional(
            latents,
            latents[:, :1],
            two_layers(50),
            TWO_LAYERS,
            steps=2,
            seed=seed,
            progress=False,
        )[0].state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
