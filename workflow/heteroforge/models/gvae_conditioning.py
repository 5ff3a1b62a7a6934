"""Latents for a target: windows of several properties and traits, by a Wasserstein GAN.

A generator turns noise and a target into a latent of the graph VAE; a critic tells such latents
from those of training stacks that meet the target. Windows are told by Gaussian bases averaged
over them, traits (number of layers, alignment, elements) by embeddings, and all are fused with the
latent by low-rank multimodal fusion (Z. Liu et al., ACL 2018, p. 2247). Training is that of
I. Gulrajani et al. (NeurIPS 2017): gradient penalty 10, five critic steps per generator step.
The generator is guided, too, by how far a property head sees its latents outside the window, and by
a classifier of traits: the critic alone took thousands of steps to heed the target.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import nn

from heteroforge.models.encoder import multilayer_perceptron
from heteroforge.models.training import seed_everything
from heteroforge.models.traits import Traits

__all__ = [
    "ConditionalGenerator",
    "Fusion",
    "TargetEncoder",
    "outside",
    "random_windows",
    "standard_windows",
    "train_conditional",
]

GRADIENT_PENALTY, CRITIC_STEPS = 10.0, 5
LEARNING_RATE = 4e-3
# The generator that is kept is the running mean over about twenty steps: the last one swings.
AVERAGING = 0.95
# Gaussian bases on standardised values; open ends of windows lie at ± END.
BASES, FIRST_BASIS, END = 12, -2.75, 3.5
NOISE_DIMENSIONS, WIDTH, TARGET_WIDTH, RANK = 8, 32, 8, 4
SHARE_UNSPECIFIED, SHARE_OPEN = 0.25, 0.3
NARROWEST, WIDEST = 0.1, 2.0
GUIDANCE, TRAIT_GUIDANCE = 5.0, 5.0
CLASSIFIER_STEPS = 300


class TargetEncoder(nn.Module):
    """Vectors of a target: one per property and one per kind of traits."""

    def __init__(self, properties: int, trait_sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.trait_sizes = tuple(trait_sizes)
        self.spacing = -2 * FIRST_BASIS / (BASES - 1)
        self.register_buffer("centres", FIRST_BASIS + self.spacing * torch.arange(BASES))
        features = BASES + 2
        self.weights = nn.Parameter(torch.randn(properties, features, width) / features**0.5)
        self.traits = nn.Parameter(torch.randn(sum(trait_sizes), width))

    def bases(self, windows: torch.Tensor) -> torch.Tensor:
        """Means of the Gaussian bases over windows, width of these, and whether there is one.

        Args:
            windows: standardised [low, high] (…, 2), ±inf for open ends, NaN where none is set.

        Returns:
            (…, BASES + 2), all zero where no window is set.
        """
        known = ~torch.isnan(windows).any(-1, keepdim=True)
        low, high = windows.nan_to_num(0.0, END, -END).clamp(-END, END).chunk(2, dim=-1)
        high = torch.maximum(high, low + 1e-2)
        root = math.sqrt(2.0) * self.spacing
        area = torch.erf((high - self.centres) / root) - torch.erf((low - self.centres) / root)
        mean = area * self.spacing * math.sqrt(math.pi / 2) / (high - low)
        return torch.cat([mean, (high - low) / END, torch.ones_like(low)], dim=-1) * known

    def forward(self, windows: torch.Tensor, traits: torch.Tensor) -> torch.Tensor:
        """Vectors (b, p + kinds, width) of windows (b, p, 2) and requested traits (b, traits)."""
        told = torch.einsum("bpf,pfw->bpw", self.bases(windows), self.weights)
        kinds = [
            asked @ weights
            for asked, weights in zip(
                traits.split(self.trait_sizes, dim=1),
                self.traits.split(self.trait_sizes),
                strict=True,
            )
        ]
        return torch.cat([told, torch.stack(kinds, dim=1)], dim=1)


class Fusion(nn.Module):
    """Low-rank multimodal fusion: Σ over ranks of the product of all parts' projections.

    Args:
        own: size of the vector that is told about the target.
        parts, width: number and size of the target's vectors.
        out: size of the result.
    """

    def __init__(self, own: int, parts: int, width: int, out: int) -> None:
        super().__init__()
        self.own = nn.Linear(own, RANK * out)
        self.weights = nn.Parameter(torch.randn(parts, width, RANK * out) / width**0.5)
        # Projections start near one, so that in the product none is drowned by the others.
        self.shifts = nn.Parameter(torch.ones(parts, RANK * out))
        self.mix = nn.Parameter(torch.ones(RANK) / RANK)
        self.shift = nn.Parameter(torch.zeros(out))

    def forward(self, own: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(b, own), (b, parts, width) → (b, out)."""
        projected = torch.einsum("bpw,pwo->bpo", target, self.weights) + self.shifts
        product = (self.own(own) * projected.prod(dim=1)).unflatten(1, (RANK, -1))
        return torch.einsum("r,bro->bo", self.mix, product) + self.shift


class Concatenation(nn.Module):
    """What fusion is compared with: all parts side by side through one layer."""

    def __init__(self, own: int, parts: int, width: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(own + parts * width, out)

    def forward(self, own: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.cat([own, target.flatten(1)], dim=1))


class _Conditioned(nn.Module):
    """A network of a vector and a target."""

    def __init__(
        self, inputs: int, outputs: int, properties: int, trait_sizes: Sequence[int], fused: bool
    ) -> None:
        super().__init__()
        self.target = TargetEncoder(properties, trait_sizes, TARGET_WIDTH)
        self.own = nn.Linear(inputs, WIDTH)
        kind = Fusion if fused else Concatenation
        self.fusion = kind(WIDTH, properties + len(trait_sizes), TARGET_WIDTH, WIDTH)
        self.head = multilayer_perceptron(WIDTH + inputs, WIDTH, WIDTH, outputs)

    def forward(
        self, own: torch.Tensor, windows: torch.Tensor, traits: torch.Tensor
    ) -> torch.Tensor:
        fused = self.fusion(torch.relu(self.own(own)), self.target(windows, traits))
        return self.head(torch.cat([fused, own], dim=1))


class ConditionalGenerator(nn.Module):
    """Draws latents for a target.

    Args:
        latent_dimensions: of the graph VAE.
        properties: number of properties a window can be set for.
        trait_sizes: of `Traits`.
        fused: low-rank multimodal fusion, or concatenation, which ablations compare it with.
    """

    def __init__(
        self,
        latent_dimensions: int,
        properties: int,
        trait_sizes: Sequence[int],
        fused: bool = True,
    ) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(latent_dimensions))
        self.register_buffer("spread", torch.ones(latent_dimensions))
        self.network = _Conditioned(
            NOISE_DIMENSIONS, latent_dimensions, properties, trait_sizes, fused
        )

    def forward(self, noise: torch.Tensor, windows: torch.Tensor, traits: torch.Tensor):
        return self.middle + self.spread * self.network(noise, windows, traits)

    @torch.no_grad()
    def draw(
        self, number: int, windows: np.ndarray, traits: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """Latents (number, latent) for one target.

        Args:
            windows: standardised [low, high] per property (p, 2), ±inf open, NaN none.
            traits: request of `Traits.wanted`.
            generator: of the noise.
        """
        noise = generator.standard_normal((number, NOISE_DIMENSIONS)).astype(np.float32)
        noise, window, request = (
            torch.from_numpy(np.asarray(part, dtype=np.float32)).to(self.middle.device)
            for part in (noise, windows, traits)
        )
        drawn = self(
            noise, window.expand(number, *window.shape), request.expand(number, len(request))
        )
        return drawn.cpu().numpy()


def standard_windows(
    targets: Mapping[str, Sequence[float | None]],
    properties: Sequence[str],
    middle: np.ndarray,
    scale: np.ndarray,
) -> np.ndarray:
    """Windows (p, 2) of targets in standardised values; NaN for properties without a window."""
    windows = np.full((len(properties), 2), np.nan)
    for i, name in enumerate(properties):
        if name in targets:
            low, high = targets[name]
            windows[i] = -np.inf if low is None else low, np.inf if high is None else high
    return (windows - np.asarray(middle)[:, None]) / np.asarray(scale)[:, None]


def random_windows(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Windows (n, p, 2) of many widths that hold given standardised values (n, p).

    A part of them is open at one end or not set at all; unknown values have none.
    """
    width = np.exp(generator.uniform(np.log(NARROWEST), np.log(WIDEST), values.shape))
    low = values - generator.random(values.shape) * width
    windows = np.stack([low, low + width], axis=-1)
    fate = generator.random(values.shape)
    windows[fate < SHARE_OPEN / 2, 0] = -np.inf
    windows[(fate >= SHARE_OPEN / 2) & (fate < SHARE_OPEN), 1] = np.inf
    windows[(fate > 1 - SHARE_UNSPECIFIED) | np.isnan(values)] = np.nan
    return windows


def outside(values: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
    """How far values (b, p) lie outside windows (b, p, 2), summed over properties (b)."""
    low, high = windows.unbind(-1)
    below = torch.where(torch.isfinite(low), (low - values).clamp(min=0.0), 0.0)
    above = torch.where(torch.isfinite(high), (values - high).clamp(min=0.0), 0.0)
    return (below + above).sum(1)


def train_conditional(
    latents: np.ndarray,
    values: np.ndarray,
    traits: np.ndarray,
    vocabulary: Traits,
    *,
    steps: int,
    seed: int,
    batch_size: int = 64,
    expect: Callable[[torch.Tensor], torch.Tensor] | None = None,
    fused: bool = True,
    progress: bool = True,
) -> tuple[ConditionalGenerator, list[dict[str, float]]]:
    """Train a generator of latents on those of the training stacks.

    Args:
        latents: posterior means (n, latent).
        values: standardised properties (n, p), NaN where unknown.
        traits: of the stacks (n, traits).
        vocabulary: what these are.
        steps: of the generator; the critic takes five times as many.
        seed: of everything random.
        expect: standardised properties (b, p) of latents (b, latent), differentiable; None trains
            without guidance.
        fused: see `ConditionalGenerator`.

    Returns:
        The generator, and per fiftieth step the critic's distance and the gradient penalty.
    """
    draw = seed_everything(seed, 17)
    latents = np.asarray(latents, dtype=np.float32)
    sizes = vocabulary.sizes
    generator = ConditionalGenerator(latents.shape[1], values.shape[1], sizes, fused)
    critic = _Conditioned(latents.shape[1], 1, values.shape[1], sizes, fused)
    classifier = _train_classifier(latents, traits, vocabulary.known(traits))
    generator.middle.copy_(torch.from_numpy(latents.mean(0)))
    generator.spread.copy_(torch.from_numpy(latents.std(0) + 1e-3))
    averaged = deepcopy(generator)
    # Adam without momentum, as Gulrajani et al. use it.
    rates = {"lr": LEARNING_RATE, "betas": (0.0, 0.9)}
    of_generator = torch.optim.Adam(generator.parameters(), **rates)
    of_critic = torch.optim.Adam(critic.parameters(), **rates)
    history = []

    def batch():
        rows = draw.integers(len(latents), size=batch_size)
        windows = torch.from_numpy(random_windows(values[rows], draw).astype(np.float32))
        requests = vocabulary.random_requests(traits[rows], draw)
        noise = draw.standard_normal((batch_size, NOISE_DIMENSIONS)).astype(np.float32)
        real = torch.from_numpy(latents[rows])
        return real, torch.from_numpy(noise), windows, torch.from_numpy(requests)

    for step in range(steps):
        for _ in range(CRITIC_STEPS):
            real, noise, windows, asked = batch()
            with torch.no_grad():
                made = generator(noise, windows, asked)
            mixed = torch.lerp(real, made, torch.rand(len(real), 1)).requires_grad_()
            slope = torch.autograd.grad(
                critic(mixed, windows, asked).sum(), mixed, create_graph=True
            )[0]
            penalty = GRADIENT_PENALTY * ((slope.norm(dim=1) - 1) ** 2).mean()
            both = critic(torch.cat([real, made]), windows.repeat(2, 1, 1), asked.repeat(2, 1))
            distance = both[: len(real)].mean() - both[len(real) :].mean()
            of_critic.zero_grad()
            (penalty - distance).backward()
            of_critic.step()
        _, noise, windows, asked = batch()
        of_generator.zero_grad()
        made = generator(noise, windows, asked)
        loss = -critic(made, windows, asked).mean()
        missing = -nn.functional.logsigmoid(classifier(made)) * asked
        loss = loss + TRAIT_GUIDANCE * missing.sum(1).mean()
        if expect is not None:
            loss = loss + GUIDANCE * outside(expect(made), windows).mean()
        loss.backward()
        of_generator.step()
        with torch.no_grad():
            for mean, value in zip(averaged.parameters(), generator.parameters(), strict=True):
                mean.lerp_(value, 1 - AVERAGING)
        if step % 50 == 0 or step == steps - 1:
            row = {"step": step, "distance": float(distance.detach())}
            history.append(row | {"penalty": float(penalty.detach())})
            if progress:
                print(
                    f"conditional: step {step + 1}/{steps}  distance {row['distance']:.3f}",
                    file=sys.stderr,
                    flush=True,
                )
    averaged.eval()
    return averaged, history


def _train_classifier(latents: np.ndarray, traits: np.ndarray, known: np.ndarray) -> nn.Module:
    """A network that tells the traits (logits) of latents, learned where they are known; frozen."""
    inputs = torch.from_numpy(latents)
    wanted, weights = (torch.from_numpy(np.asarray(a, np.float32)) for a in (traits, known))
    network = nn.Sequential(
        nn.BatchNorm1d(inputs.shape[1], affine=False),
        multilayer_perceptron(inputs.shape[1], WIDTH, wanted.shape[1]),
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    for _ in range(CLASSIFIER_STEPS):
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(network(inputs), wanted, weights).backward()
        optimiser.step()
    return network.eval().requires_grad_(False)
