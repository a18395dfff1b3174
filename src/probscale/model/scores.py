"""Gaussian processes of the scores of a functional model: one per basis function, runs as observations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.exact import ExactState, Look
from probscale.model.gp import CurveProcess, Observations
from probscale.model.means import Rows

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

_LEAST_NEWS = 1e-3
"""Share of a run's precision below which further points of it are not worth another observation."""

WIDEST_SITE = 1e4
"""Largest variance of a site, in units of that of what other runs expect."""


@dataclass(frozen=True)
class Sites:
    """What the points of runs say about their scores: one normal per run and score.

    Attributes:
        location: Observed scores, (runs, scores).
        variance: Variance of the observation around the run's true score, (runs, scores).
    """

    location: Array
    variance: Array


def sites_of(precision: Array, moment: Array, location: Array, variance: Array) -> Sites:
    """Factorised sites whose marginals agree with the joint posterior of each run's scores.

    Args:
        precision: Information of each run's points, (runs, scores, scores).
        moment: Precision times scores, (runs, scores).
        location: What the other runs expect, (runs, scores).
        variance: Variance of that, run deviation included, (runs, scores).

    Source: expectation propagation with Gaussian factors, Minka 2001: exact marginals for one run at a time.
    """
    scores = variance.shape[1]
    joint = np.linalg.inv(precision + np.eye(scores) / variance[:, :, None])
    mean = np.einsum("iqp,ip->iq", joint, moment + location / variance)
    marginal = np.einsum("iqq->iq", joint)
    gained = np.maximum(1 / marginal - 1 / variance, 1 / (WIDEST_SITE * variance))
    return Sites((mean / marginal - location / variance) / gained, 1 / gained)


@dataclass(frozen=True)
class ScoreProcesses:
    """Posteriors of all scores.

    Attributes:
        states: One Gaussian process per score; all have the same rows.
        members: Code of the run behind each row, (rows,).
        excess: Share of each process's noise that is deviation of runs rather than error of sites, (scores,).
    """

    states: tuple[ExactState, ...]
    members: Array
    excess: Array

    @torch.no_grad()
    def noise(self) -> Array:
        """Noise variance of each process where nothing is left untold, error of sites included, (scores,)."""
        first = (plain_noise(state.process, state.data.rows) for state in self.states)
        return np.array([float(noise[0]) for noise in first])

    @torch.no_grad()
    def untold(self, rows: Rows) -> Array:
        """Variance of scores that values which were not given would have told, (rows, scores)."""
        return np.stack([state.process.noise.untold(rows).numpy() for state in self.states], axis=1)

    def deviation(self) -> Array:
        """Variance of a run's scores around what its configuration says, (scores,)."""
        return self.noise() * self.excess

    def left_out(self, groups: Positions) -> tuple[Array, Array]:
        """Scores expected of each row given the rows of all other groups, and their variance.

        Args:
            groups: Group of each row, (rows,).

        Returns:
            Shapes (rows, scores).

        Cost: O(rows³) per score.
        """
        location, variance = [], []
        for state in self.states:
            residual, left = state.leave_groups_out(groups)
            location.append((state.data.y - residual).numpy())
            variance.append(np.maximum(left.numpy(), 1e-12))
        return np.stack(location, 1), np.stack(variance, 1) + self.untold(self.states[0].data.rows)

    def marginals(self, rows: Rows, looks: Sequence[Look] | None = None) -> tuple[Array, Array]:
        """Mean and variance of the scores a configuration is expected to have, (rows, scores) each.

        Args:
            rows: Configurations.
            looks: What `looks` says of them, where that is known.
        """
        parts = [state.marginals(rows) for state in self.states] if looks is None else _moments(looks)
        variance = np.stack([v.numpy() for _, v in parts], 1)
        return np.stack([m.numpy() for m, _ in parts], 1), variance + self.untold(rows)

    def means(self, rows: Rows) -> Array:
        """Mean of the scores a configuration is expected to have, (rows, scores); see `marginals`."""
        return np.stack([state.means(rows).numpy() for state in self.states], axis=1)

    def before(self) -> ScoreProcesses:
        """The posteriors before any run was observed beside those of the fit."""
        states = tuple(state.before() for state in self.states)
        return replace(self, states=states, members=self.members[: len(states[0].data)])

    def looks(self, rows: Rows) -> tuple[Look, ...]:
        """What each process says of rows, and what else it takes to observe them."""
        return tuple(state.look(rows) for state in self.states)

    def draw(self, rows: Rows, generator: np.random.Generator, n: int) -> Array:
        """Joint deviations from the mean over rows, (n, rows, scores)."""
        drawn = np.stack([state.draw(rows, generator, n) for state in self.states], axis=-1)
        untold = self.untold(rows)
        return drawn + np.sqrt(untold) * generator.standard_normal(drawn.shape) if untold.any() else drawn

    @torch.no_grad()
    def correlation(self, rows: Rows) -> Array:
        """Correlation between rows of each expected score, (scores, rows, rows)."""
        out = []
        for state, untold in zip(self.states, self.untold(rows).T, strict=True):
            joint = state.covariance(rows, rows).cpu().numpy() + np.diag(untold)
            scale = np.sqrt(np.maximum(joint.diagonal(), 1e-300))
            out.append(joint / np.outer(scale, scale))
        return np.stack(out)

    @torch.no_grad()
    def without(self, codes: Array, location: Array, variance: Array) -> tuple[Array, Array]:
        """Expected scores of runs with their own observations taken out, (codes, scores) each.

        Args:
            codes: Run codes.
            location: Expected scores with all observations, for runs without any, (codes, scores).
            variance: Their variances.

        Cost: O(observations²) per run and score.

        Source: Rasmussen and Williams 2006, eq. 5.12, by blocks.
        """
        location, variance = location.copy(), variance.copy()
        own = [np.flatnonzero(self.members == code) for code in codes]
        asked = [i for i, where in enumerate(own) if len(where)]
        if not asked:
            return location, variance
        every = np.concatenate([own[i] for i in asked])
        parts = np.split(np.arange(len(every)), np.cumsum([len(own[i]) for i in asked])[:-1])
        columns = torch.zeros(len(self.members), len(every), dtype=torch.float64)
        columns[torch.from_numpy(every), torch.arange(len(every))] = 1.0
        untold = self.untold(self.states[0].data.rows)
        for q, state in enumerate(self.states):
            here = columns.to(state.device)
            half = state.factor.forward(here).cpu()
            noise = (state.process.noise(state.data.rows) / state.data.weight).numpy()
            solved, y = state.solved.cpu().numpy(), state.data.y.numpy()
            for i, part in zip(asked, parts, strict=True):
                where = own[i]
                block = (half[:, part].mT @ half[:, part]).numpy()
                covariance = np.linalg.inv(block)
                location[i, q] = y[where[0]] - (covariance @ solved[where])[0]
                variance[i, q] = max(covariance[0, 0] - noise[where[0]], 1e-12) + untold[where[0], q]
        return location, variance

    @torch.no_grad()
    def observe(
        self, codes: Array, rows: Rows, sites: Sites, looks: Sequence[Look] | None = None
    ) -> ScoreProcesses:
        """Posteriors once the sites of runs are what they are now; earlier sites of them are superseded.

        Information adds up, so that a longer prefix enters as what it says beyond the shorter one.

        Args:
            codes: Run codes, one row each.
            rows: Their configurations.
            sites: What their points say by now.
            looks: What each process says of the rows, where that is known.

        Cost: O(observations²) per score for a few runs.
        """
        noise = self.deviation()
        precision = 1 / (noise + sites.variance)
        moment = precision * sites.location
        known = [np.flatnonzero(self.members == code) for code in codes]
        states = []
        for q, state in enumerate(self.states):
            level = plain_noise(state.process, state.data.rows).numpy()
            old = state.data.weight.numpy() / level
            y = state.data.y.numpy()
            had = np.array([old[where].sum() for where in known])
            told = np.array([(old[where] * y[where]).sum() for where in known])
            news = np.maximum(precision[:, q] - had, _LEAST_NEWS * precision[:, q])
            value = np.where(
                precision[:, q] - had > _LEAST_NEWS * precision[:, q],
                (moment[:, q] - told) / news,
                np.divide(told, had, out=np.zeros_like(told), where=had > 0),
            )
            here = plain_noise(state.process, rows).numpy()
            weight = torch.from_numpy(np.maximum(news * here, 1e-9))
            seen = Observations(rows, torch.from_numpy(value), weight)
            states.append(state.extend(seen, None if looks is None else looks[q]))
        return replace(self, states=tuple(states), members=np.concatenate([self.members, codes]))


def plain_noise(process: CurveProcess, rows: Rows) -> torch.Tensor:
    """Noise variance of rows if nothing were left untold, (rows,)."""
    return process.noise(rows) - process.noise.untold(rows)


def _moments(looks: Sequence[Look]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(look.mean.cpu(), look.variance.cpu()) for look in looks]
