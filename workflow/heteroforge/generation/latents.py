"""Where latents come from: the prior, the conditional generator, stacks that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from heteroforge.models.gvae_training import TrainedGVAE

__all__ = ["MODES", "Latents", "interpolate"]

MODES = ("aimed", "prior", "density", "conditional", "around", "interpolate")
# Of mode `aimed`: the rest are children of promising training stacks.
SHARE_FROM_PRIOR, SHARE_CONDITIONAL = 0.35, 0.3
CHILD_BLUR = 0.25
# Width of the kernels over the training latents, in standard deviations of these.
DENSITY_BLUR = 0.25


class Latents:
    """A source of latents.

    Args:
        trained: the generative model.
        targets: windows that mode `conditional` draws for.
        mode: one of `MODES`. `aimed` mixes prior, conditional generator and children of two
            training stacks.
        weights: chances of the training stacks to be parents (n).
        traits: what the conditional generator is asked for, as `Traits.wanted` tells it; nothing
            by default.
        seeds: latents (s, latent) of the stacks to stay near or to go between.
        radius: standard deviation from them.
        temperature: factor on the standard deviation of the prior, or of the training latents.

    Raises:
        ValueError: an unknown mode, seeds that a mode needs, or no conditional generator.
    """

    def __init__(
        self,
        trained: TrainedGVAE,
        targets: Mapping[str, Sequence[float | None]],
        *,
        mode: str = "aimed",
        weights: np.ndarray | None = None,
        traits: np.ndarray | None = None,
        seeds: np.ndarray | None = None,
        radius: float = 0.5,
        temperature: float = 1.0,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode {mode!r}: expected one of {', '.join(MODES)}")
        if mode == "conditional" and trained.conditional is None:
            raise ValueError("mode conditional needs a model trained with gvae.conditional_steps")
        given = 0 if seeds is None else len(seeds)
        if (mode == "around" and given == 0) or (mode == "interpolate" and given != 2):
            wanted = "two seeds" if mode == "interpolate" else "at least one seed"
            raise ValueError(f"mode {mode} with {given} seeds: expected {wanted}")
        self.trained, self.mode, self.seeds = trained, mode, seeds
        self.windows = trained.windows(targets)
        self.traits = trained.traits.wanted() if traits is None else traits
        self.radius, self.temperature = radius, temperature
        weights = np.ones(len(trained.latents)) if weights is None else weights
        self.parents = weights / weights.sum()
        settings = trained.model.settings
        self.dimensions = settings.latent_dimensions
        # The place (layer, interface or whole) that each dimension belongs to.
        layers = settings.maximum_layers
        self.places = np.concatenate(
            [
                np.repeat(np.arange(layers), settings.layer_dimensions),
                layers + np.repeat(np.arange(layers - 1), settings.interface_dimensions),
                np.full(settings.global_dimensions, 2 * layers - 1),
            ]
        )

    def draw(self, generator: np.random.Generator, number: int) -> np.ndarray:
        """Latents (number, latent)."""
        if self.mode == "prior":
            return self._prior(generator, number)
        if self.mode == "density":
            return self._density(generator, number)
        if self.mode == "conditional":
            return self._conditional(generator, number)
        if self.mode == "around":
            centres = self.seeds[generator.integers(len(self.seeds), size=number)]
            return centres + self.radius * generator.standard_normal(centres.shape)
        if self.mode == "interpolate":
            path = interpolate(*self.seeds, generator.random(number))
            return path + self.radius * generator.standard_normal(path.shape)
        prior = int(round(SHARE_FROM_PRIOR * number))
        conditional = 0
        asked = not np.isnan(self.windows).all() or self.traits.any()
        if self.trained.conditional is not None and asked:
            conditional = int(round(SHARE_CONDITIONAL * number))
        parts = [
            self._prior(generator, prior),
            self._conditional(generator, conditional) if conditional else None,
            self._children(generator, number - prior - conditional),
        ]
        drawn = np.concatenate([part for part in parts if part is not None])
        return drawn[generator.permutation(number)]

    def _prior(self, generator: np.random.Generator, number: int) -> np.ndarray:
        return self.temperature * generator.standard_normal((number, self.dimensions))

    def _density(self, generator: np.random.Generator, number: int) -> np.ndarray:
        """From a kernel density of the training latents, with their mean and spread.

        Encoders do not fill the prior evenly: a density fitted to what they made generates what is
        more like the training stacks (P. Ghosh et al., From variational to deterministic
        autoencoders, ICLR 2020). Smoothed bootstrap as in B. W. Silverman, Density Estimation
        (1986), section 6.4.1.
        """
        latents = self.trained.latents
        middle, spread = latents.mean(axis=0), latents.std(axis=0)
        away = latents[generator.integers(len(latents), size=number)] - middle
        away = away + DENSITY_BLUR * spread * generator.standard_normal(away.shape)
        return middle + self.temperature * away / np.sqrt(1 + DENSITY_BLUR**2)

    def _conditional(self, generator: np.random.Generator, number: int) -> np.ndarray:
        return self.trained.conditional.draw(number, self.windows, self.traits, generator)

    def _children(self, generator: np.random.Generator, number: int) -> np.ndarray:
        """Children of two training stacks.

        A child takes the place of every layer and interface from one parent or the other,
        blurred, which is how pairs arise that no training stack has.
        """
        latents = self.trained.latents
        mother = latents[generator.choice(len(latents), number, p=self.parents)]
        father = latents[generator.choice(len(latents), number, p=self.parents)]
        places = generator.random((number, int(self.places.max()) + 1))[:, self.places]
        blurred = np.where(places < 0.5, mother, father)
        return blurred + CHILD_BLUR * generator.standard_normal(blurred.shape)


def interpolate(one: np.ndarray, other: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Points (n, latent) between two latents, along the arc between their directions.

    Lengths go from one's to the other's, so that all points are as likely under the prior as the
    ends (straight lines pass too near to the origin). Parallel latents: a straight line.

    Args:
        shares: how far along, 0 to 1 (n).
    """
    lengths = np.linalg.norm(one), np.linalg.norm(other)
    shares = np.asarray(shares, dtype=float)[:, None]
    if min(lengths) < 1e-9:
        return (1 - shares) * one + shares * other
    cosine = np.clip(one @ other / (lengths[0] * lengths[1]), -1.0, 1.0)
    angle = np.arccos(cosine)
    if np.sin(angle) < 1e-6:
        return (1 - shares) * one + shares * other
    arc = np.sin((1 - shares) * angle) * (one / lengths[0])
    arc = (arc + np.sin(shares * angle) * (other / lengths[1])) / np.sin(angle)
    return arc * ((1 - shares) * lengths[0] + shares * lengths[1])
