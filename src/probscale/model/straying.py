"""How runs of a functional model stray from what their configurations say, learnt from left-out runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from probscale.model.basis import UNSTABLE, Basis
from probscale.model.robust import STD_PER_MEDIAN

Array = NDArray[np.float64]

SCALES = (0.4, 0.8, 1.6, 4.0, 12.0)
"""Factors s of the kinds of runs: on deviations of scores."""

ROUGHNESS = (0.5, 1.0, 2.0, 5.0, 15.0, 50.0)
"""Factors ρ of the kinds of runs: on the standard deviation of the remainder."""

_PSEUDO = 0.1
"""Runs of each kind that are counted beside those seen: no share becomes zero."""

SPIKES = 6.0
"""Distance from its neighbours, in robust standard deviations, from which on a point is a spike."""

FEWEST_SETTLED = 4
"""Points of a run below which none is called a spike."""

NEGLIGIBLE = 1e-3
"""Share of a kind below which it is left out."""

TYPICAL = 0.75
"""Quantile over left-out runs of the variances up to which factors of runs apply."""

_REGULAR = 10
"""Runs of an identity pattern that are counted beside those seen: few runs do not bend it."""

_DEVIATION_ROUNDS, _FRESH_ROUNDS = 40, 60
"""Rounds of expectation and maximisation for pattern and shares of kinds, and for shares of new runs."""


@dataclass(frozen=True, eq=False)
class RunDeviations:
    """How runs stray from what their configurations say: most a little, some much, and in which pattern.

    Scores of a run are N(mean, s² D^½ C D^½) with D the variances that the processes claim and C the pattern
    found in left-out runs; the standard deviation of its remainder is ρ times the usual one. Both factors
    differ between runs: s is large where a configuration fares unlike its neighbours, ρ where a run is
    unstable. A prefix tells which.

    Attributes:
        pattern: C, (scores, scores).
        kinds: Pairs (s, ρ), (kinds, 2).
        weights: Share of runs of each kind, (kinds,).
        typical: Variances up to which the factor s and the pattern's diagonal apply, (scores,): what a
            process claims beyond them, far from all runs, is its own honest doubt.
        fresh: The same for runs that have shown nothing, as their single points suggest, (kinds,).
        trust: How many independent points a point of a prefix counts for.
    """

    pattern: Array
    kinds: Array
    weights: Array
    typical: Array
    fresh: Array
    trust: float = 1.0

    @cached_property
    def half(self) -> Array:
        """Symmetric square root of the pattern's correlations: aligned with the scores, (scores, scores)."""
        spread = np.sqrt(self.pattern.diagonal())
        values, vectors = np.linalg.eigh(self.pattern / np.outer(spread, spread))
        return (vectors * np.sqrt(np.maximum(values, 1e-9))) @ vectors.T

    def root(self, prior: Array, scale: float) -> Array:
        """Square root of the covariance of a run's scores, (scores, scores).

        Args:
            prior: Variances that the processes claim, run deviation included, (scores,).
            scale: Factor s of the run's kind.
        """
        inner = np.minimum(prior, self.typical)
        variance = scale**2 * self.pattern.diagonal() * inner + prior - inner
        return np.sqrt(variance)[:, None] * self.half


class Prefix(NamedTuple):
    """Observed points of a run, less the baseline of their curve and its level.

    Attributes:
        v: Progress, ascending, (points,).
        residual: What is left of their values, modelled scale, (points,).
    """

    v: Array
    residual: Array

    def take(self, which: NDArray[np.bool_]) -> Prefix:
        """Some of the points."""
        return Prefix(self.v[which], self.residual[which])


@dataclass(frozen=True)
class Shown:
    """What the points of one run say, with the remainder at factor one.

    Attributes:
        precision: Information about the scores, (scores, scores).
        moment: Precision times scores, (scores,).
        square: Residual squared in units of the remainder.
        volume: Log determinant of the remainder's covariance.
        count: Number of points.
    """

    precision: Array
    moment: Array
    square: float
    volume: float
    count: int

    def tempered(self, trust: float) -> Shown:
        """The same points with their information multiplied by a factor."""
        return Shown(
            trust * self.precision,
            trust * self.moment,
            trust * self.square,
            self.volume - self.count * float(np.log(trust)),
            self.count,
        )


def shown_by(basis: Basis, v: Array, residual: Array) -> tuple[Shown, Shown]:
    """Summaries of a run's points, taken for a calm run and for an unstable one.

    Cost: O(points³).
    """
    unit = replace(basis.roughened(UNSTABLE), noise=basis.noise)
    return _summary(basis, v, residual), _summary(unit, v, residual)


def _summary(basis: Basis, v: Array, residual: Array) -> Shown:
    design = basis.at(v)
    factor = np.linalg.cholesky(basis.covariance(v))
    white = np.linalg.solve(factor, np.column_stack([design, residual]))
    scores, last = white[:, :-1], white[:, -1]
    volume = 2 * float(np.log(factor.diagonal()).sum())
    return Shown(scores.T @ scores, scores.T @ last, float(last @ last), volume, len(v))


def settled(basis: Basis, v: Array, residual: Array) -> NDArray[np.bool_]:
    """Which points of a run are no spikes: those near the median of their four neighbours, (points,).

    Several spikes say what kind of run it is, and nothing about where it goes; a lone one says neither.

    Args:
        basis: Basis functions and remainder.
        v: Progress of the points, ascending, (points,).
        residual: Values without baseline and level, (points,).
    """
    if len(v) < FEWEST_SETTLED:
        return np.ones(len(v), dtype=bool)
    padded = np.pad(residual, 2, constant_values=np.nan)
    beside = np.stack([padded[k : k + len(v)] for k in (0, 1, 3, 4)])
    apart = np.abs(residual - np.nanmedian(beside, axis=0))
    usual = np.maximum(np.sqrt(basis.noise_at(v)), STD_PER_MEDIAN * np.median(apart))
    return apart <= SPIKES * usual


def telling(basis: Basis, seen: Prefix) -> Prefix:
    """Points that say what kind of run it is: all but a lone spike; see `settled`."""
    still = settled(basis, *seen)
    return seen.take(still) if np.sum(~still) == 1 else seen


def log_evidence(runs: RunDeviations, shown: tuple[Shown, Shown], mean: Array, prior: Array) -> Array:
    """Log density of a run's points under each kind, (kinds,).

    Args:
        runs: Kinds and pattern.
        shown: The points.
        mean: Expected scores, (scores,).
        prior: Their variances as the processes claim them, run deviation included, (scores,).
    """
    return _evidence(runs, [shown], mean[None], prior[None])[0][0]


def kinds_given(runs: RunDeviations, shown: tuple[Shown, Shown], mean: Array, prior: Array) -> Array:
    """Share of each kind given a run's points, which count as far as prefixes are trusted, (kinds,).

    Args:
        runs: Kinds, their shares and the trust.
        shown: The points.
        mean: Expected scores, (scores,).
        prior: Their variances, run deviation included, (scores,).
    """
    tempered = shown[0].tempered(runs.trust), shown[1].tempered(runs.trust)
    log_weights = np.log(runs.weights) + log_evidence(runs, tempered, mean, prior)
    return np.exp(log_weights - np.asarray(logsumexp(log_weights)))


def _evidence(
    runs: RunDeviations, shown: list[tuple[Shown, Shown]], mean: Array, prior: Array
) -> tuple[Array, Array, Array]:
    """Log densities (runs, kinds), posterior means and covariances of deviations in units of D^½."""
    unstable = runs.kinds[:, 1] >= UNSTABLE
    parts = []
    for view in (0, 1):
        which = np.flatnonzero(unstable == bool(view))
        parts.append((which, _evidence_of(runs, runs.kinds[which], [s[view] for s in shown], mean, prior)))
    order = np.argsort(np.concatenate([which for which, _ in parts]), kind="stable")
    density, centre, covariance = (
        np.concatenate([part[i] for _, part in parts], axis=1)[:, order] for i in range(3)
    )
    return density, centre, covariance


def _evidence_of(
    runs: RunDeviations, kinds: Array, shown: list[Shown], mean: Array, prior: Array
) -> tuple[Array, Array, Array]:
    """The same for kinds of one sort."""
    pattern = np.linalg.inv(runs.pattern)
    root = np.sqrt(prior)
    precision = np.stack([s.precision for s in shown])
    moment = np.stack([s.moment for s in shown])
    square = np.array([s.square for s in shown]) - np.einsum(
        "iq,iq->i", mean, 2 * moment - np.einsum("iqp,ip->iq", precision, mean)
    )
    moment = root * (moment - np.einsum("iqp,ip->iq", precision, mean))
    precision = root[:, :, None] * precision * root[:, None, :]
    scales, rough = kinds[:, 0], kinds[:, 1] ** 2
    joint = precision[:, None] / rough[:, None, None] + pattern / scales[:, None, None] ** 2
    covariance = np.asarray(np.linalg.inv(joint), np.float64)
    told = moment[:, None] / rough[:, None]
    centre = np.einsum("isqp,isp->isq", covariance, told)
    fit = square[:, None] / rough - np.einsum("isq,isq->is", told, centre)
    size = np.array([s.count for s in shown])[:, None] * np.log(rough)
    volume = np.linalg.slogdet(joint)[1] + np.linalg.slogdet(runs.pattern)[1]
    volume = volume + 2 * len(runs.pattern) * np.log(scales)
    base = np.array([s.volume for s in shown])[:, None]
    return -0.5 * (fit + size + volume + base), centre, covariance


def fit_deviations(shown: list[tuple[Shown, Shown]], mean: Array, prior: Array) -> RunDeviations:
    """Pattern and shares of kinds under which left-out runs are most likely.

    Args:
        shown: What the points of each run say.
        mean: Scores expected without its cell, (runs, scores).
        prior: Their variances as the processes claim them, run deviation included, (runs, scores).

    Cost: O(runs × kinds × scores³) in each of `_DEVIATION_ROUNDS` rounds.

    Source: a finite scale mixture in place of a Student-t, by expectation and maximisation; pseudo-runs of
        the identity keep the pattern regular.
    """
    count = prior.shape[1]
    kinds = np.array([(s, r) for s in SCALES for r in ROUGHNESS])
    typical = np.quantile(prior, TYPICAL, axis=0)
    even = np.full(len(kinds), 1 / len(kinds))
    runs = RunDeviations(np.eye(count), kinds, even, typical, even)
    for _ in range(_DEVIATION_ROUNDS):
        density, centre, covariance = _evidence(runs, shown, mean, prior)
        joint = density + np.log(runs.weights)
        share = np.exp(joint - np.asarray(logsumexp(joint, axis=1, keepdims=True)))
        second = covariance + centre[..., :, None] * centre[..., None, :]
        pattern = np.einsum("is,isqp->qp", share / kinds[:, 0] ** 2, second) + _REGULAR * np.eye(count)
        weights = share.sum(axis=0) + _PSEUDO
        weights = weights / weights.sum()
        runs = RunDeviations(pattern / (len(shown) + _REGULAR), kinds, weights, typical, weights)
    return runs


def fresh_weights(runs: RunDeviations, density: list[Array]) -> RunDeviations:
    """Runs whose shares of kinds, while nothing was seen, are those of the mixture of single points.

    Whole runs decide `weights`: there a run of one large deviation is of a wide kind. Intervals of new runs
    are about single points; their mixture has shares of its own.

    Args:
        runs: How runs stray.
        density: Per run the log densities of left-out points under each kind, (kinds, points) each.

    Source: composite likelihood of the margins, Varin, Reid and Firth 2011; each run counts once.
    """
    table = np.concatenate(density, axis=1)
    say = np.concatenate([np.full(part.shape[1], 1 / part.shape[1]) for part in density])
    weights = runs.weights
    for _ in range(_FRESH_ROUNDS):
        joint = table + np.log(weights)[:, None]
        share = np.exp(joint - np.asarray(logsumexp(joint, axis=0)))
        weights = share @ say + _PSEUDO
        weights = weights / weights.sum()
    return replace(runs, fresh=weights)


def plain_deviations(scores: int) -> RunDeviations:
    """Runs that stray as the processes claim."""
    return RunDeviations(np.eye(scores), np.ones((1, 2)), np.ones(1), np.full(scores, np.inf), np.ones(1))
