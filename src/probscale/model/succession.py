"""Draws of a mixture whose shares change along the axis: one posterior succeeds another within a curve."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from probscale.model.posterior import Component, Tail

Array = NDArray[np.float64]

JITTER = 1e-10
"""Jitter of covariances of components, relative to their mean diagonal."""


@dataclass(frozen=True)
class Succession:
    """Joint draws of components with shares of their own at every point.

    A draw falls on one side of all shares at once, so that it changes from one component to the next at most
    once where shares rise or fall along the axis; components use the same random numbers, so that it goes on
    as it began.

    Attributes:
        components: The mixture; weights, (configs, points) each, add up to one.
        tail: Calibrated spread; its share and spread of wide runs count here.
    """

    components: tuple[Component, ...]
    tail: Tail

    @cached_property
    def _edges(self) -> Array:
        """Where each component begins and ends between zero and one, (components + 1, configs, points)."""
        weights = np.stack([np.asarray(part.weight) for part in self.components])
        inner = np.cumsum(weights, axis=0)[:-1]
        shape = (1, *weights.shape[1:])
        return np.concatenate([np.zeros(shape), inner, np.ones(shape)])

    def draw(self, generator: np.random.Generator, n: int, *, noisy: bool) -> tuple[Array, Array]:
        """Centres and deviations from them, (n, configs, points) each."""
        shape = self.components[0].location.shape
        chosen = (generator.random((n, 1, 1, 1)) > self._edges[1:-1]).sum(axis=1)
        seed = int(generator.integers(2**63))
        deviations = []
        for part in self.components:
            assert part.draw is not None
            deviations.append(part.draw(np.random.default_rng(seed), n))
        deviation = np.take_along_axis(np.stack(deviations), chosen[None], axis=0)[0]
        centre = self._chosen([part.location for part in self.components], chosen)
        if noisy:
            noise = np.sqrt(self._chosen([part.noise for part in self.components], chosen))
            deviation = deviation + noise * generator.standard_normal((n, *shape))
            deviation = deviation * self.tail.widths(generator, n, shape[0])
        return centre, deviation

    def covariance(self) -> Array:
        """Joint latent covariance, (configs × points, configs × points)."""
        edges = self._edges.reshape(len(self._edges), -1)
        weights = np.diff(edges, axis=0)
        locations = np.stack([part.location.ravel() for part in self.components])
        drifts = locations - (weights * locations).sum(axis=0)
        factors = [_factor(part) for part in self.components]
        total = np.zeros((edges.shape[1], edges.shape[1]))
        for k, (left, own) in enumerate(zip(factors, drifts, strict=True)):
            for j, (right, other) in enumerate(zip(factors, drifts, strict=True)):
                both = overlap(edges[k], edges[k + 1], edges[j], edges[j + 1])
                total += both * (left @ right.T + np.outer(own, other))
        return total

    @staticmethod
    def _chosen(values: list[Array], chosen: NDArray[np.intp]) -> Array:
        stacked = np.broadcast_to(np.stack(values)[:, None], (len(values), *chosen.shape))
        return np.take_along_axis(stacked, chosen[None], axis=0)[0]


def overlap(begin: Array, end: Array, other_begin: Array, other_end: Array) -> Array:
    """Length that two intervals share, for each pair of points, (points, points)."""
    ends = np.minimum(end[:, None], other_end[None, :])
    return np.maximum(ends - np.maximum(begin[:, None], other_begin[None, :]), 0.0)


def _factor(part: Component) -> Array:
    assert part.covariance is not None
    covariance = part.covariance()
    scale = JITTER * (1e-2 + float(covariance.diagonal().mean()))
    return np.asarray(
        np.linalg.cholesky(0.5 * (covariance + covariance.T) + scale * np.eye(len(covariance))),
        dtype=np.float64,
    )
