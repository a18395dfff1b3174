"""How much wider than claimed curves stray, along a run and by how much of it was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, ndtr, ndtri

from probscale.model.basis import hat_weights
from probscale.model.continuation import Outlook

Array = NDArray[np.float64]

ALONG = np.array([0.2, 0.6, 0.9, 1.0])
"""Progress values between which factors of new runs are interpolated."""

SEEN = np.array([0.35, 0.6, 0.85])
"""The same for the progress up to which a run was seen."""

AHEAD = np.array([0.0, 0.4, 1.0])
"""The same for how far a point lies ahead of that, as a share of what is left of the run."""

COUNTS = np.log([1.0, 6.0, 30.0, 200.0])
"""The same for the logarithm of the number of points seen."""

LEVELS = (0.5, 0.9, 0.9)
"""Intervals that should hold what they promise; the wider ones count double."""

OPTIMISM = 0.05
"""Prior mean of log factors: baseline, functions and parameters were fitted on the runs that judge them."""

PRIOR_STD = 0.5
"""Prior standard deviation of the mean of the log factors."""

STEP_STD = 0.25
"""Prior standard deviation of the difference of each from this mean."""

SLOPE_STD = 0.05
"""Prior standard deviation of what an e-fold of length adds to log factors. Runs left out of the whole fit
ask for half of what those that shaped it do (StepLaw .15 to .2 in place of .32, so that points and runs are
both covered); this much caution halves it for the 400 runs that judge."""

_SMOOTH = 0.1


@dataclass(frozen=True)
class LengthTrend:
    """How factors differ between short and long runs: short ones stray more from what is expected.

    Attributes:
        low: Logarithm of the length up to which runs count as equally short.
        high: The same for long ones.
        new: What an e-fold of length adds to the log factors of new runs.
        begun: The same for begun ones.
    """

    low: float = 0.0
    high: float = 0.0
    new: float = 0.0
    begun: float = 0.0

    @classmethod
    def over(cls, lengths: Array) -> LengthTrend:
        """No trend as yet, over the logarithms of the lengths of runs, (runs,)."""
        low, high = np.quantile(lengths, [0.05, 0.95])
        return cls(float(low), float(high))

    def beyond_middle(self, lengths: Array) -> Array:
        """E-folds by which runs are longer than those in the middle, within the observed, (runs,)."""
        return np.clip(lengths, self.low, self.high) - (self.low + self.high) / 2


@dataclass(frozen=True, eq=False)
class CurveSpread:
    """Factors on the spread of curves.

    Attributes:
        new: Logarithms for runs that have shown nothing, at `ALONG`, (4,).
        begun: Logarithms for begun runs, at `SEEN` × `AHEAD`, then what `COUNTS` add, (13,).
        length: What the length of a run adds.
    """

    new: Array
    begun: Array
    length: LengthTrend = LengthTrend()

    @classmethod
    def plain(cls) -> CurveSpread:
        """As claimed."""
        return cls(np.zeros(len(ALONG)), np.zeros(len(SEEN) * len(AHEAD) + len(COUNTS)))

    def widened(self, log_factor: float) -> CurveSpread:
        """The spread with that of begun runs wider."""
        begun = self.begun.copy()
        begun[: len(SEEN) * len(AHEAD)] += log_factor
        return replace(self, begun=begun)

    def described(self) -> dict[str, float]:
        """Typical factors of begun runs: midway through the rest by how much was seen, and at the end."""
        told, middle = [], np.array([(self.length.low + self.length.high) / 2])
        for seen, ahead, count in ((0.35, 0.4, 4), (0.6, 0.4, 15), (0.85, 0.4, 60), (0.6, 1.0, 15)):
            v = np.array([seen + ahead * (1 - seen)])
            told.append(self.factors(v[None], np.array([seen]), np.array([count]), middle).item())
        return dict(zip(("little seen", "half seen", "most seen", "end"), told, strict=True))

    def factors(self, v: Array, seen: Array, count: Array, lengths: Array) -> Array:
        """Factors on standard deviations, (runs, points).

        Args:
            v: Progress of the asked points, (runs, points).
            seen: Progress up to which each run was seen, (runs,); NaN for new ones.
            count: Number of points seen, (runs,).
            lengths: Logarithms of the ends of the runs, (runs,).
        """
        longer = self.length.beyond_middle(lengths)
        until, number, longer = (np.broadcast_to(p[:, None], v.shape).ravel() for p in (seen, count, longer))
        begun = np.isfinite(until)
        out = longer * np.where(begun, self.length.begun, self.length.new)
        out[~begun] += new_weights(v.ravel()[~begun]) @ self.new
        out[begun] += begun_weights(v.ravel()[begun], until[begun], number[begun]) @ self.begun
        return np.exp(out).reshape(v.shape)


def new_weights(v: Array) -> Array:
    """Weight of each entry of `CurveSpread.new` at points, (points, 4)."""
    return _hats(ALONG, v)


def begun_weights(v: Array, seen: Array, count: Array) -> Array:
    """Weight of each entry of `CurveSpread.begun` at points, (points, 13)."""
    ahead = np.clip((v - seen) / np.maximum(1 - seen, 1e-3), 0.0, 1.0)
    pairs = _hats(SEEN, seen)[:, :, None] * _hats(AHEAD, ahead)[:, None, :]
    number = _hats(COUNTS, np.log(np.maximum(count, 1)))
    return np.concatenate([pairs.reshape(len(v), len(SEEN) * len(AHEAD)), number], axis=1)


def _hats(knots: Array, at: Array) -> Array:
    left, weight = hat_weights(knots, at)
    out = np.zeros((len(at), len(knots)))
    rows = np.arange(len(at))
    out[rows, left] += 1 - weight
    out[rows, left + 1] += weight
    return out


@dataclass(frozen=True)
class Foretold:
    """Left-out points and what was foretold of them: a mixture of normals each.

    Attributes:
        weights: Share of each normal, (kinds, points).
        centres: Their means, (kinds, points).
        variances: Their variances, (kinds, points).
        values: What came, (points,).
        say: Say of each point, (points,); adds up to one per run.
        hats: Weights of the log factors at each point, (points, factors).
    """

    weights: Array
    centres: Array
    variances: Array
    values: Array
    say: Array
    hats: Array


def foretold(views: list[Outlook], values: Array, hats: Array, wide: Array | float = 1.0) -> Foretold:
    """Points of one left-out run as its outlooks foretell them.

    Args:
        views: Outlooks of the run.
        values: What came, (points,).
        hats: Weights of the log factors at each point, (points, factors).
        wide: Factor on the standard deviations, (points,).
    """
    count = len(values)
    weights = np.stack([np.full(count, view.weight) for view in views])
    spread = [view.variance for view in views]
    centres = np.stack([view.centre for view in views])
    return Foretold(
        weights, centres, np.square(wide) * np.stack(spread), values, np.full(count, 1 / count), hats
    )


def together(parts: Sequence[Foretold]) -> Foretold:
    """Points of several runs side by side."""
    most = max(len(part.weights) for part in parts)

    def table(name: str, empty: float) -> Array:
        tables = [getattr(part, name) for part in parts]
        padded = [np.pad(t, ((0, most - len(t)), (0, 0)), constant_values=empty) for t in tables]
        return np.concatenate(padded, axis=1)

    return Foretold(
        table("weights", 0.0),
        table("centres", 0.0),
        table("variances", 1.0),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "say", "hats")),
    )


def contaminated(points: Foretold, share: float, spread: float) -> Foretold:
    """The same where a share of what was foretold strays more.

    Args:
        points: Left-out points.
        share: How many do.
        spread: Factor on their standard deviations.

    Source: the contaminated normal, Tukey 1960.
    """
    weights = np.concatenate([(1 - share) * points.weights, share * points.weights])
    variances = np.concatenate([points.variances, spread**2 * points.variances])
    return replace(points, weights=weights, centres=np.concatenate([points.centres] * 2), variances=variances)


def needed(points: Foretold, level: float) -> Array:
    """Log factor that puts each point on the edge of its central interval, (points,).

    Source: conformal prediction with the width of the interval as the scale, Romano et al. 2019.
    """
    middle = (points.weights * points.centres).sum(0)
    low, high = (mixture_quantile(points, 0.5 + side * level / 2) for side in (-1, 1))
    above = points.values >= middle
    width = np.where(above, high - middle, middle - low)
    return np.log(np.maximum(np.abs(points.values - middle), 1e-12) / np.maximum(width, 1e-12))


def mixture_quantile(points: Foretold, q: float) -> Array:
    """Value that is undercut with probability `q`, (points,)."""
    std = np.sqrt(points.variances)
    here = points.weights > 0
    each = points.centres + ndtri(q) * std
    low = np.where(here, each, np.inf).min(0)
    high = np.where(here, each, -np.inf).max(0)
    for _ in range(40):
        middle = 0.5 * (low + high)
        below = (points.weights * ndtr((middle - points.centres) / std)).sum(0) < q
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)


def fit_factors(points: Foretold, centre: float = OPTIMISM, slopes: int = 0) -> Array:
    """Log factors under which intervals of left-out points hold what they promise, (factors,).

    Quantile regression of the needed log factor on the hats, at the 50 % and 90 % levels together; a prior
    holds the factors together where few runs tell, and near one where none does.

    Args:
        points: Left-out points.
        centre: Prior mean of the mean log factor.
        slopes: How many of the last hats are no weights but multiply slopes, expected to be zero.

    Source: Koenker and Bassett 1978, the check function smoothed as by Fernandes et al. 2021.
    """
    targets = [(level, needed(points, level)) for level in LEVELS]
    count = points.hats.shape[1] - slopes

    def objective(p: Array) -> tuple[float, Array]:
        fitted = points.hats @ p
        loss, slope = 0.0, np.zeros(len(fitted))
        for level, target in targets:
            left = (target - fitted) / _SMOOTH
            loss += float(points.say @ (_SMOOTH * (level * left + np.logaddexp(0.0, -left))))
            slope -= points.say * (level - expit(-left))
        mean, steep = p[:count].mean(), p[count:] / SLOPE_STD
        apart = (p[:count] - mean) / STEP_STD
        prior = 0.5 * float(apart @ apart + steep @ steep) + 0.5 * ((mean - centre) / PRIOR_STD) ** 2
        pull = apart / STEP_STD + (mean - centre) / PRIOR_STD**2 / count
        return loss + prior, points.hats.T @ slope + np.append(pull, steep / SLOPE_STD)

    start, bounds = np.zeros(count + slopes), [(-1.5, 2.0)] * (count + slopes)
    best = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(best.x, dtype=np.float64)
