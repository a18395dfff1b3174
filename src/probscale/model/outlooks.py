"""Joint distribution of a block of functional curves: a mixture of scales per run, correlated across runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probscale.model.continuation import Outlook
from probscale.model.means import Rows
from probscale.model.posterior import Component, Tail
from probscale.model.scores import ScoreProcesses

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Outlooks:
    """Outlooks of several runs on the modelled scale.

    Attributes:
        rows: One row per run.
        scores: Processes behind the expected scores.
        views: Outlooks of each run; their weights sum to one.
        fixed: What all outlooks of a run add to, (runs, points).
        tail: Calibrated spread; its share and spread of wide runs count here.
    """

    rows: Rows
    scores: ScoreProcesses
    views: list[list[Outlook]]
    fixed: Array
    tail: Tail

    def components(self) -> tuple[Component, ...]:
        """Normals that mix to the marginals: the k-th holds the k-th outlook of every run."""
        most = max(len(views) for views in self.views)
        return tuple(self._component(k) for k in range(most))

    def _component(self, k: int) -> Component:
        count, points = self.fixed.shape
        weight = np.zeros((count, 1))
        location, variance, noise = self.fixed.copy(), np.ones((count, points)), np.ones((count, points))
        for i, views in enumerate(self.views):
            if k >= len(views):
                continue
            view = views[k]
            weight[i] = view.weight
            location[i] += view.centre
            own = view.own_variance
            variance[i] = view.shared_variance + (own if view.seen else 0.0)
            noise[i] = view.nugget + (0.0 if view.seen else own)
        return Component(weight, location, variance, noise)

    def draw(self, generator: np.random.Generator, n: int, *, noisy: bool) -> tuple[Array, Array]:
        """Joint draws: centres and deviations from them, (n, runs, points) each.

        Runs share the deviations of what their configurations let expect, and whether those beyond the
        observed scales stray more; scales and remainders are their own.
        """
        _, variance = self.scores.marginals(self.rows)
        shared = self.scores.draw(self.rows, generator, n) / np.sqrt(np.maximum(variance, 1e-300))
        centre, deviation = np.empty((n, *self.fixed.shape)), np.empty((n, *self.fixed.shape))
        for i, views in enumerate(self.views):
            weights = np.array([view.weight for view in views])
            chosen = generator.choice(len(views), size=n, p=weights / weights.sum())
            for k in np.unique(chosen):
                which, view = chosen == k, views[k]
                centre[which, i] = self.fixed[i] + view.centre
                part = shared[which, i] @ (view.loading @ view.common).T
                if noisy or view.seen:
                    part = part + _own(view, generator, int(which.sum()))
                if noisy:
                    part = part + np.sqrt(view.nugget) * generator.standard_normal(part.shape)
                deviation[which, i] = part
        if noisy and np.any(np.asarray(self.tail.share) > 0):
            together = generator.random((n, 1, 1)) < self.tail.share
            deviation = deviation * np.where(together, self.tail.spread, 1.0)
        return centre, deviation

    def covariance(self) -> Array:
        """Joint latent covariance, (runs × points, runs × points)."""
        count, points = self.fixed.shape
        loads = np.stack([sum(v.weight * (v.loading @ v.common) for v in views) for views in self.views])
        out = np.zeros((count * points, count * points))
        for q, correlation in enumerate(self.scores.correlation(self.rows)):
            load = loads[:, :, q]
            block = load[:, :, None, None] * load[None, None] * correlation[:, None, :, None]
            out += block.reshape(out.shape)
        for i, views in enumerate(self.views):
            here = slice(i * points, (i + 1) * points)
            out[here, here] += _particular(views) - loads[i] @ loads[i].T
        return out


def _particular(views: list[Outlook]) -> Array:
    """Latent covariance of one run's points, (points, points)."""
    weights = np.array([view.weight for view in views])
    weights = weights / weights.sum()
    centres = np.stack([view.centre for view in views])
    middle = weights @ centres
    out = np.einsum("k,kp,kr->pr", weights, centres - middle, centres - middle)
    for weight, view in zip(weights, views, strict=True):
        common = view.loading @ view.common
        out = out + weight * common @ common.T
        if view.seen:
            own = view.loading @ view.own
            out = out + weight * (own @ own.T + view.remainder())
    return out


def _own(view: Outlook, generator: np.random.Generator, n: int) -> Array:
    """What is particular to a run: its own scores and the correlated remainder, (n, points)."""
    points, scores = view.loading.shape
    values, vectors = np.linalg.eigh(view.remainder())
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    own = generator.standard_normal((n, scores)) @ (view.loading @ view.own).T
    return own + generator.standard_normal((n, points)) @ root.T
