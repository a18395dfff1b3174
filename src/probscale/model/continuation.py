"""Curves of a functional model, given what the scores are expected to be and what a run has shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from probscale.model.basis import Basis
from probscale.model.straying import (
    NEGLIGIBLE,
    Prefix,
    RunDeviations,
    kinds_given,
    settled,
    shown_by,
    telling,
)

Array = NDArray[np.float64]

_RARE = 4e-3
"""Share of a kind below which a run that has shown nothing is not expected to be of it."""


@dataclass(frozen=True)
class Outlook:
    """Distribution of one run's curve at some points: offset + loading · scores + remainder.

    Attributes:
        offset: What does not depend on the scores, (points,).
        loading: Effect of each score, (points, scores).
        location: Expected scores, (scores,).
        common: Square root of the part of the scores' covariance that configurations share: multiplied with
            standard normal deviations of the expected scores, (scores, scores).
        own: Square root of the part that is this run's, (scores, scores).
        wander: Variance of the correlated remainder, (points,).
        remainder: Its covariance when called, (points, points).
        nugget: Variance of measurement noise, (points,).
        weight: Probability of this outlook among those of the run.
        seen: Whether the run has observed points; then what is its own is part of the latent curve, otherwise
            of what differs between repetitions.
    """

    offset: Array
    loading: Array
    location: Array
    common: Array
    own: Array
    wander: Array
    remainder: Callable[[], Array]
    nugget: Array
    weight: float = 1.0
    seen: bool = False

    def drifting(self, drift: Array) -> Outlook:
        """The outlook of a run that may drift away along a course as well.

        Args:
            drift: One standard deviation of it, (points,).
        """
        scores, shared = self.common.shape
        own = np.zeros((scores + 1, scores + 1))
        own[:scores, :scores] = self.own
        own[scores, scores] = 1.0
        return replace(
            self,
            loading=np.column_stack([self.loading, drift]),
            location=np.append(self.location, 0.0),
            common=np.vstack([self.common, np.zeros(shared)]),
            own=own,
        )

    def leaning(self, other: Outlook, share: Array, wider: Array) -> Outlook:
        """An outlook that is this one where `share` is zero and another where it is one.

        Args:
            other: The other outlook of the run.
            share: How much of it counts, from zero to one, (points,).
            wider: Factor on its variance, (points,).
        """
        keep, take = 1 - share, share * np.sqrt(wider)
        mine, theirs = len(self.common), len(other.common)
        own = np.zeros((mine + theirs, mine + theirs))
        own[:mine, :mine], own[mine:, mine:] = self.own, other.own

        def remainder() -> Array:
            return np.outer(keep, keep) * self.remainder() + np.outer(take, take) * other.remainder()

        return replace(
            self,
            offset=keep * self.centre + share * other.centre,
            loading=np.column_stack([keep[:, None] * self.loading, take[:, None] * other.loading]),
            location=np.zeros(mine + theirs),
            common=np.vstack([self.common, other.common]),
            own=own,
            wander=keep**2 * self.wander + take**2 * other.wander,
            remainder=remainder,
            nugget=keep * self.nugget + share * wider * other.nugget,
        )

    @property
    def centre(self) -> Array:
        """Expected curve, (points,)."""
        return self.offset + self.loading @ self.location

    @property
    def shared_variance(self) -> Array:
        """Variance that configurations share, (points,)."""
        return ((self.loading @ self.common) ** 2).sum(1)

    @property
    def own_variance(self) -> Array:
        """Variance that is this run's: of its scores and of its remainder, (points,)."""
        return ((self.loading @ self.own) ** 2).sum(1) + self.wander

    @property
    def variance(self) -> Array:
        """Variance of a measurement, (points,)."""
        return self.shared_variance + self.own_variance + self.nugget


def new_run(
    basis: Basis, v: Array, mean: Array, roots: list[Array], shared: Array, rough: Array
) -> list[Outlook]:
    """Outlooks of a run that has shown nothing yet, one per kind.

    Args:
        basis: Basis functions and remainder.
        v: Progress of the asked points, (points,).
        mean: Expected scores, (scores,).
        roots: Square root of their covariance under each kind, run deviation included, (scores, scores) each.
        shared: Share of each variance that configurations share, (scores,).
        rough: Factor of each kind on the remainder, (kinds,).
    """
    design, fade, noise = basis.at(v), _fade(basis, v), basis.noise_at(v)
    nothing = np.zeros(len(v))
    wander, nugget = basis.correlated * noise * fade**2, (1 - basis.correlated) * noise * fade**2

    def remainder(factor: float) -> Callable[[], Array]:
        return lambda: basis.roughened(factor).remainder(v, v) * np.outer(fade, fade)

    return [
        Outlook(
            nothing,
            design,
            mean,
            root * np.sqrt(shared),
            root * np.sqrt(1 - shared),
            factor**2 * wander,
            remainder(factor),
            factor**2 * nugget,
        )
        for root, factor in zip(roots, rough, strict=True)
    ]


@dataclass(frozen=True)
class Passage:
    """What the observed points of a run say, whatever the spread of its scores.

    Attributes:
        offset: Their remainder, carried to the asked points, (points,).
        loading: Effect of each score beyond what the observed points fix, (points, scores).
        precision: Information about the scores, (scores, scores).
        moment: Precision times scores, less what was expected, (scores,).
        remainder: Covariance of the correlated remainder that is left, (points, points).
        nugget: Variance of measurement noise, (points,).
    """

    offset: Array
    loading: Array
    precision: Array
    moment: Array
    remainder: Array
    nugget: Array

    def outlook(self, mean: Array, root: Array, shared: Array) -> Outlook:
        """The run, given what its configuration lets expect.

        Args:
            mean: Scores expected from the other runs, (scores,).
            root: Square root of their covariance, run deviation included, (scores, scores).
            shared: Share of each variance that configurations share, (scores,).
        """
        # In units of the prior's root the posterior is near the identity where little was seen.
        precision = root.T @ self.precision @ root
        values, vectors = np.linalg.eigh(0.5 * (precision + precision.T))
        shrink = 1 / (1 + np.maximum(values, 0.0))
        location = mean + root @ (vectors * shrink) @ vectors.T @ (root.T @ self.moment)
        left = root @ (vectors * np.sqrt(shrink)) @ vectors.T
        return Outlook(
            self.offset,
            self.loading,
            location,
            left * np.sqrt(shared),
            left * np.sqrt(1 - shared),
            np.maximum(self.remainder.diagonal(), 0.0),
            lambda: self.remainder,
            self.nugget,
            seen=True,
        )


def passage(
    basis: Basis, v: Array, seen: Array, residual: Array, mean: Array, trust: float = 1.0, rough: float = 1.0
) -> Passage:
    """What the observed points of a run say; exact given what other runs say.

    Args:
        basis: Basis functions and remainder.
        v: Progress of the asked points, (points,).
        seen: Progress of the observed points, (observed,).
        residual: Observed values without baseline and centre, (observed,).
        mean: Scores expected from the other runs, (scores,).
        trust: Factor on the information of the observed points.
        rough: Factor on the remainder that `basis` holds; towards the end it fades to one.

    Cost: O(observed³).
    """
    design, fade = basis.at(seen), _calming(basis, v, rough)
    across = fade[:, None] * basis.remainder(v, seen)
    gain = np.linalg.solve(basis.covariance(seen) / trust, np.column_stack([design, residual, across.T]))
    scores = len(mean)
    return Passage(
        across @ gain[:, scores],
        basis.at(v) - across @ gain[:, :scores],
        design.T @ gain[:, :scores],
        design.T @ (gain[:, scores] - gain[:, :scores] @ mean),
        basis.remainder(v, v) * np.outer(fade, fade) - across @ gain[:, scores + 1 :],
        (1 - basis.correlated) * basis.noise_at(v) * fade**2,
    )


def _fade(basis: Basis, v: Array) -> Array:
    """How much of the remainder a new run still has: at the end the first score is most of the value."""
    left = np.clip((1.0 - v) / max(basis.length, 1e-3), 0.0, 1.0)
    return np.sqrt(basis.rest + (1 - basis.rest) * left)


def _calming(basis: Basis, v: Array, rough: float) -> Array:
    """Factor on the remainder of a run with observed points: at the end no run is rougher than usual."""
    if rough <= 1:
        return np.ones(len(v))
    fade = _fade(basis, v)
    return np.sqrt(fade**2 + (1 - fade**2) / rough**2)


def outlooks_of(
    basis: Basis,
    runs: RunDeviations,
    v: Array,
    seen: Prefix | None,
    mean: Array,
    variance: Array,
    deviation: Array,
) -> list[Outlook]:
    """Outlooks of one run, one per kind that is not negligible.

    Args:
        basis: Basis functions and remainder.
        runs: How runs stray.
        v: Progress of the asked points, (points,).
        seen: Observed points; None for a new run.
        mean: Scores expected from the other runs, (scores,).
        variance: Their variance, (scores,).
        deviation: Variance of a run's scores around them, (scores,).
    """
    prior = variance + deviation
    shared = variance / prior
    if seen is None:
        common = np.flatnonzero(runs.fresh > _RARE)
        roots = [runs.root(prior, scale) for scale in runs.kinds[common, 0]]
        views = new_run(basis, v, mean, roots, shared, runs.kinds[common, 1])
        shares = runs.fresh[common] / runs.fresh[common].sum()
        return [replace(view, weight=float(w)) for view, w in zip(views, shares, strict=True)]
    weights = kinds_given(runs, shown_by(basis, *telling(basis, seen)), mean, prior)
    keep = np.flatnonzero(weights > NEGLIGIBLE)
    still = settled(basis, *seen)
    seen = seen.take(still)
    out, passages = [], {}
    for (scale, rough), weight in zip(runs.kinds[keep], weights[keep] / weights[keep].sum(), strict=True):
        if rough not in passages:
            passages[rough] = passage(basis.roughened(rough), v, *seen, mean, runs.trust, rough)
        view = passages[rough].outlook(mean, runs.root(prior, scale), shared)
        out.append(replace(view, weight=float(weight)))
    return out
