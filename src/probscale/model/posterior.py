"""Posterior over a block of curves, in user units: Gaussian processes, mixed, seen through a transform."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from probscale.model.marginals import mixture_crps, mixture_log_density
from probscale.model.transforms import OutputTransform

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]

_BISECTIONS = 60
"""Halvings of the bracket of a quantile: to the last digit of a double."""


@dataclass(frozen=True)
class Component:
    """One Gaussian process of the mixture, at the asked points.

    Attributes:
        weight: Its share of the mixture; a number, or one per configuration, (configs, 1), or per point.
        location: Latent mean on the modelled scale, (configs, points).
        variance: Latent variance, (configs, points).
        noise: Variance of observation noise, (configs, points).
        draw: Joint latent deviations from `location`, (n, configs, points), from a generator; None where the
            block draws all components together.
        covariance: Joint latent covariance of all points, (cells, cells), the points of a configuration next
            to each other; computed when called. None where the block has it.
    """

    weight: float | Array
    location: Array
    variance: Array
    noise: Array
    draw: Draw | None = None
    covariance: Callable[[], Array] | None = None


class JointDraws(Protocol):
    """Draws of all components of a block together."""

    def draw(self, generator: np.random.Generator, n: int, *, noisy: bool) -> tuple[Array, Array]:
        """Centres and deviations from them, (n, configs, points) each."""
        ...

    def covariance(self) -> Array:
        """Joint latent covariance, (configs × points, configs × points)."""
        ...


@dataclass(frozen=True)
class Tail:
    """What leave-one-out residuals say about the spread of new points.

    Attributes:
        scale: Factor on all standard deviations; a number, one per configuration, (configs, 1), or one per
            point, (configs, points).
        share: Share of runs that stray more; likewise.
        spread: Factor on the standard deviations of these; likewise.
    """

    scale: float | Array = 1.0
    share: float | Array = 0.0
    spread: float | Array = 1.0

    @property
    def variance(self) -> Array:
        """Factor on all variances, runs that stray more among them; of the shape of the factors."""
        return np.square(self.scale) * (1 + self.share * (np.square(self.spread) - 1))

    def widths(self, generator: np.random.Generator, n: int, configs: int) -> Array:
        """Factors on the deviations of drawn runs, (n, configs, 1)."""
        return np.where(generator.random((n, configs, 1)) < self.share, self.spread, 1.0)


class Block(ABC):
    """Posterior of some configurations, whose marginals mix normals on the modelled scale.

    Attributes:
        transform: Between output and modelled scale.
        noisy: Whether noise is included (predictive) or not (latent).
        prob_diverge: Probability that a run of each configuration diverges, (configs,); None: zero.
    """

    transform: OutputTransform
    noisy: bool
    prob_diverge: Array | None

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(configs, points)."""

    @abstractmethod
    def latent(self) -> Block:
        """The same block without observation noise."""

    @abstractmethod
    def joint(self) -> tuple[Array, Array, Array]:
        """Mean, covariance and noise on the modelled scale, calibrated spread included.

        Returns:
            Latent mean, (configs, points), its covariance, (cells, cells), and the variance that a
            measurement adds, (configs, points).

        Cost: that of the components' covariances, O(observations × cells²) or more.
        """

    @abstractmethod
    def gaussians(self) -> list[tuple[float | Array, Array, Array]]:
        """Weight, location and variance of each normal that the marginals mix."""

    @abstractmethod
    def sample(self, generator: np.random.Generator, n: int) -> Array:
        """Joint draws, (n, configs, points)."""

    def mean(self) -> Array:
        """Expected output, (configs, points)."""
        return sum((w * self.transform.mean(m, v) for w, m, v in self.gaussians()), np.zeros(self.shape))

    def std(self) -> Array:
        """Standard deviation of the output, (configs, points)."""
        centre = self.mean()
        total = np.zeros(self.shape)
        for weight, location, variance in self.gaussians():
            middle = self.transform.inverse(location)
            drift = self.transform.mean(location, variance) - middle
            spread = self.transform.second_moment(location, variance) - drift**2
            total += weight * (np.maximum(spread, 0.0) + (middle + drift - centre) ** 2)
        return np.sqrt(total)

    def cdf(self, output: Array) -> Array:
        """Probability that the output is at most `output`, broadcast to (configs, points)."""
        u = np.broadcast_to(np.asarray(output, dtype=np.float64), self.shape)
        y = self.transform.forward(u)
        total = np.zeros(self.shape)
        for weight, location, variance in self.gaussians():
            total += weight * ndtr((y - location) / np.sqrt(np.maximum(variance, 1e-300)))
        # Below the transform's floor a logarithm is NaN: such outputs have no probability.
        below = 0.0 if self.transform.rising else 1.0
        total = np.where(np.isnan(y), 0.0, total)
        share = np.where(np.isnan(y), below, total if self.transform.rising else 1 - total)
        lowest, highest = self.transform.bounds
        return np.where(u >= highest, 1.0, np.where(u < lowest, 0.0, share))

    def log_density(self, output: Array) -> Array:
        """Logarithm of the density of outputs, broadcast to (configs, points); NaN stays NaN."""
        u = np.broadcast_to(np.asarray(output, dtype=np.float64), self.shape)
        return mixture_log_density(self.transform, self.gaussians(), u)

    def crps(self, output: Array) -> Array:
        """Continuous ranked probability score of outputs, broadcast to (configs, points); NaN stays NaN."""
        u = np.broadcast_to(np.asarray(output, dtype=np.float64), self.shape)
        return mixture_crps(self.transform, self.gaussians(), u)

    def quantile(self, q: float) -> Array:
        """The output that is undercut with probability q, (configs, points)."""
        target = q if self.transform.rising else 1 - q
        normals = [(w, m, np.sqrt(np.maximum(v, 1e-300))) for w, m, v in self.gaussians()]
        z = float(ndtri(target))
        each = np.stack([m + z * std for _, m, std in normals])
        if len(normals) == 1:
            return self.transform.inverse(each[0])
        low, high = each.min(axis=0), each.max(axis=0)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            mass = sum((w * ndtr((middle - m) / std) for w, m, std in normals), np.zeros(self.shape))
            low, high = np.where(mass < target, middle, low), np.where(mass < target, high, middle)
        return self.transform.inverse(0.5 * (low + high))


@final
@dataclass(frozen=True)
class CurveBlock(Block):
    """Joint posterior of some configurations that share a model.

    Attributes:
        transform: Between output and modelled scale.
        components: The mixture.
        tail: Calibrated spread.
        noisy: Whether noise is included (predictive) or not (latent).
        prob_diverge: Probability that a run of each configuration diverges, (configs,); None: zero.
        draws: Draws of all components together, where these share more than a number.
    """

    transform: OutputTransform
    components: tuple[Component, ...]
    tail: Tail
    noisy: bool = True
    prob_diverge: Array | None = None
    draws: JointDraws | None = None

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        configs, points = self.components[0].location.shape
        return configs, points

    def latent(self) -> CurveBlock:  # noqa: D102
        return replace(self, noisy=False)

    def joint(self) -> tuple[Array, Array, Array]:  # noqa: D102
        if self.draws is not None:
            centre = sum((part.weight * part.location for part in self.components), np.zeros(self.shape))
            total = self.draws.covariance()
        else:
            centre, total = self._mixed()
        scale = np.broadcast_to(self.tail.scale, self.shape).ravel()
        noise = self.tail.variance * sum(part.weight * part.noise for part in self.components)
        return centre, total * np.outer(scale, scale), noise

    def _mixed(self) -> tuple[Array, Array]:
        """Mean and covariance of the latent mixture of components that each know their own."""
        shares = np.array([part.weight for part in self.components])
        shares = shares / shares.sum()
        centre = np.average([part.location for part in self.components], axis=0, weights=shares)
        total = np.zeros((centre.size, centre.size))
        for share, part in zip(shares, self.components, strict=True):
            drift = (part.location - centre).ravel()
            assert part.covariance is not None
            total += share * (part.covariance() + np.outer(drift, drift))
        return centre, total

    def gaussians(self) -> list[tuple[float | Array, Array, Array]]:  # noqa: D102
        out: list[tuple[float | Array, Array, Array]] = []
        factor = np.square(self.tail.scale)
        for part in self.components:
            if not self.noisy:
                out.append((part.weight, part.location, factor * part.variance))
                continue
            narrow = factor * (part.variance + part.noise)
            out.append((part.weight * (1 - self.tail.share), part.location, narrow))
            if np.any(np.asarray(self.tail.share) > 0):
                wide = np.square(self.tail.spread) * narrow
                out.append((part.weight * self.tail.share, part.location, wide))
        return out

    def sample(self, generator: np.random.Generator, n: int) -> Array:  # noqa: D102
        if self.draws is not None:
            centre, deviation = self.draws.draw(generator, n, noisy=self.noisy)
            return self.transform.inverse(centre + self.tail.scale * deviation)
        weights = np.array([part.weight for part in self.components])
        counts = generator.multinomial(n, weights / weights.sum())
        draws = [
            self._draws(part, generator, int(count))
            for part, count in zip(self.components, counts, strict=True)
        ]
        values = np.concatenate(draws)
        return self.transform.inverse(values[generator.permutation(n)])

    def _draws(self, part: Component, generator: np.random.Generator, n: int) -> Array:
        if n == 0:
            return np.empty((0, *self.shape))
        assert part.draw is not None
        return self.shifted(part, part.draw(generator, n), generator)

    def shifted(self, part: Component, deviation: Array, generator: np.random.Generator) -> Array:
        """Draws on the modelled scale from latent deviations of a component, (n, configs, points)."""
        n = len(deviation)
        if self.noisy:
            noise = np.sqrt(part.noise) * generator.standard_normal((n, *self.shape))
            deviation = (deviation + noise) * self.tail.widths(generator, n, self.shape[0])
        return part.location + self.tail.scale * deviation
