"""Low-rank functional model of residual curves: basis functions, noise along them, scores of ragged runs.

    r_i(v) = Σ_q ψ_q(v) w_iq + e_i(v),    ψ_0(1) = 1,  ψ_q(1) = 0 for q > 0

so that the first score is the end point itself and the others say how a run got there.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

KNOTS = 33
"""Knots over the observed progress: the way of a run is read to three per cent of it."""

NOISE_FLOOR = 1e-6
"""Smallest variance of the remainder, modelled scale."""

UNSTABLE = 3.0
"""Factor on the remainder from which on a run is unstable."""

SPIKE = 0.05
"""Progress over which the remainder of an unstable run stays correlated."""

_FREEDOM = 4.0
"""Degrees of freedom of the Student-t weights of runs."""

_ROUGHNESS = 3.0
"""Penalty on squared second differences of functions, in units of the median precision of points."""

_POOLED = 5.0
"""Points that the variance over all knots counts for at each of them."""

_BLUR, _REACH = 1.5, 4
"""Standard deviation and half width, in knots, of the kernel that smooths logarithms of variances."""

_ROUNDS = 30
"""Rounds of expectation and maximisation."""


def hat_weights(knots: Array, v: Array) -> tuple[Positions, Array]:
    """Left knot and weight of the right one for linear interpolation, (points,) each; constant outside."""
    position = np.clip(np.interp(v, knots, np.arange(len(knots))), 0, len(knots) - 1)
    left = np.minimum(position.astype(np.intp), len(knots) - 2)
    return left, position - left


def interpolated(values: Array, hats: tuple[Positions, Array]) -> Array:
    """Values on knots, (knots, ...), read off at points given by `hat_weights`, (points, ...)."""
    left, weight = hats
    right = weight.reshape(-1, *(1,) * (values.ndim - 1))
    return (1 - right) * values[left] + right * values[left + 1]


@dataclass(frozen=True)
class Basis:
    """Basis functions on knots.

    Attributes:
        knots: Progress values, ascending, (knots,).
        functions: Values of each function at the knots, (functions, knots).
        variance: Variance of each score over runs, (functions,).
        noise: Variance of what the functions leave over, (knots,).
        correlated: Share of that variance that is correlated along a run; covariances take its root, see
            `benchmarks/results/general_curves.md`.
        length: Distance in progress over which it is correlated.
        rest: Share of it that the end itself has; none where the first score is the measured end.
    """

    knots: Array
    functions: Array
    variance: Array
    noise: Array
    correlated: float = 0.0
    length: float = 0.1
    rest: float = 0.0

    def at(self, v: Array) -> Array:
        """Basis functions at progress values, (points, functions)."""
        return interpolated(self.functions.T, hat_weights(self.knots, v))

    def noise_at(self, v: Array) -> Array:
        """Variance of the remainder at progress values, (points,)."""
        return interpolated(self.noise, hat_weights(self.knots, v))

    def roughened(self, factor: float) -> Basis:
        """The basis of a run whose remainder is wider by a factor; spikes of unstable runs last longer."""
        length = self.length if factor < UNSTABLE else max(self.length, SPIKE)
        return replace(self, noise=self.noise * factor**2, length=length)

    def remainder(self, v: Array, other: Array) -> Array:
        """Covariance of the correlated part of the remainder of one run, (points, other points)."""
        scale = np.sqrt(np.outer(self.noise_at(v), self.noise_at(other)) * self.correlated)
        return scale * np.exp(-np.abs(v[:, None] - other[None]) / self.length)

    def covariance(self, v: Array) -> Array:
        """Covariance of the remainder of one run, (points, points)."""
        return self.remainder(v, v) + np.diag((1 - self.correlated) * self.noise_at(v))

    def information(self, v: Array, residual: Array) -> tuple[Array, Array]:
        """What the points of a run say about its scores: precision (functions²) and its product with them."""
        design = self.at(v)
        solved = np.linalg.solve(self.covariance(v), np.column_stack([design, residual]))
        return design.T @ solved[:, :-1], design.T @ solved[:, -1]


@dataclass(frozen=True)
class _Points:
    """Points of ragged curves between knots.

    Attributes:
        left: Knot to the left of each point, (points,).
        weight: Share that the knot to the right has in it, (points,).
        residual: Curves without their baseline, (points,).
        codes: Run of each point, (points,), from zero.
        knots: Number of knots.
    """

    left: Positions
    weight: Array
    residual: Array
    codes: Positions
    knots: int

    @property
    def hats(self) -> tuple[Positions, Array]:
        """As `hat_weights` gives them."""
        return self.left, self.weight

    @property
    def sides(self) -> tuple[tuple[Positions, Array], tuple[Positions, Array]]:
        """Either neighbour of each point, and its share in it."""
        return (self.left, 1 - self.weight), (self.left + 1, self.weight)

    @property
    def runs(self) -> int:
        """Number of runs."""
        return int(self.codes.max()) + 1

    def summed(self, values: Array) -> Array:
        """Values of points summed over the knots beside them, (knots,)."""
        first, second = (np.bincount(knot, share * values, self.knots) for knot, share in self.sides)
        return np.asarray(first + second, dtype=np.float64)


def fit_basis(v: Array, residual: Array, codes: Positions, *, rank: int, std: float | None = None) -> Basis:
    """Principal functions of ragged curves.

    Args:
        v: Progress of each point, one at the end, (points,).
        residual: Curves without their baseline, (points,).
        codes: Run of each point, (points,), from zero.
        rank: Number of functions.
        std: Standard deviation of the scores that follow the first, which scales their functions; by default
            functions have one size, and scores what is left.

    Cost: O(points × rank² + (knots × rank)³) in each of `_ROUNDS` rounds.

    Source: probabilistic principal components with missing data (Tipping and Bishop 1999; James, Hastie and
        Sugar 2000 for sparse curves), Student-t weights per run, a roughness penalty on the functions.
    """
    knots = _knots(v)
    points = _Points(*hat_weights(knots, v), residual, codes, len(knots))
    phi = _first_functions(points, rank)
    noise = np.full(len(knots), max(float(np.var(residual)) * 0.05, NOISE_FLOOR))
    for _ in range(_ROUNDS):
        precision = 1 / interpolated(noise, points.hats)
        scores, posterior = _expected(points, interpolated(phi, points.hats), precision)
        second = posterior + scores[:, :, None] * scores[:, None, :]
        trust = (_FREEDOM + rank) / (_FREEDOM + (scores**2).sum(1))
        point_trust = np.minimum(trust, 1.0)[codes] * precision
        phi = _maximised(points, scores, second, point_trust)
        # Scores keep unit variance over runs that are not outlying.
        spread = np.average(second, axis=0, weights=np.minimum(trust, 1.0))
        phi = phi @ np.linalg.cholesky(spread + 1e-9 * np.eye(rank))
        design = interpolated(phi, points.hats)
        scores, posterior = _expected(points, design, precision)
        noise = _noise(points, design, scores, posterior)
    functions, variance = _anchored(knots, phi, std)
    basis = Basis(knots, functions, variance, noise)
    return _with_correlation(basis, v, residual, codes)


def _knots(v: Array) -> Array:
    """Even knots over the observed progress, one of them at the end."""
    low, high = float(v.min()), max(float(v.max()), 1.0)
    low = min(low, 0.9)
    inner = np.linspace(low, 1.0, KNOTS)
    return inner if high <= 1 + 1e-6 else np.append(inner, np.linspace(1.0, high, 7)[1:])


def _first_functions(points: _Points, rank: int) -> Array:
    """Starting functions: principal components of curves read off at the knots, gaps filled along them."""
    runs, count = points.runs, points.knots
    total, mass = np.zeros((runs, count)), np.zeros((runs, count))
    for knot, share in points.sides:
        np.add.at(total, (points.codes, knot), share * points.residual)
        np.add.at(mass, (points.codes, knot), share)
    table = np.full((runs, count), np.nan)
    seen = mass > 0.2
    table[seen] = total[seen] / mass[seen]
    grid = np.arange(count)
    for row in table[np.isfinite(table).any(axis=1) & ~np.isfinite(table).all(axis=1)]:
        known = np.isfinite(row)
        row[~known] = np.interp(grid[~known], grid[known], row[known])
    table[~np.isfinite(table)] = 0.0
    for index, row in enumerate(total):
        if not seen[index].any():
            table[index] = row
    limit = 5 * np.median(np.abs(table), axis=0) + 1e-12
    _, values, vectors = np.linalg.svd(np.clip(table, -limit, limit), full_matrices=False)
    got = min(rank, len(values))
    phi = np.zeros((count, rank))
    phi[:, :got] = (values[:got, None] * vectors[:got]).T / np.sqrt(runs)
    return phi + 1e-6 * np.cos(np.outer(grid, np.arange(1, rank + 1)))


def _expected(points: _Points, design: Array, precision: Array) -> tuple[Array, Array]:
    """Scores of unit variance given the points: means, (runs, rank), and covariances, (runs, rank, rank)."""
    gram, moment = _run_sums(design, precision, points.residual, points.codes, points.runs)
    posterior = np.asarray(np.linalg.inv(gram + np.eye(design.shape[1])), np.float64)
    return np.einsum("iqp,ip->iq", posterior, moment), posterior


def _run_sums(
    design: Array, precision: Array, residual: Array, codes: Positions, runs: int
) -> tuple[Array, Array]:
    """Per run: design' W design, (runs, rank, rank), and design' W residual, (runs, rank)."""
    rank = design.shape[1]
    gram, moment = np.empty((runs, rank, rank)), np.empty((runs, rank))
    for q in range(rank):
        weighted = design[:, q] * precision
        moment[:, q] = np.bincount(codes, weighted * residual, runs)
        for p in range(q + 1):
            gram[:, q, p] = gram[:, p, q] = np.bincount(codes, weighted * design[:, p], runs)
    return gram, moment


def _maximised(points: _Points, scores: Array, second: Array, precision: Array) -> Array:
    """Functions that fit the expected scores best, with a penalty on their second differences.

    Args:
        points: Curves.
        scores: Expected scores, (runs, rank).
        second: Their expected products, (runs, rank, rank).
        precision: Weight of each point, (points,).

    Returns:
        Shape (knots, rank).
    """
    rank, count, codes = scores.shape[1], points.knots, points.codes
    system = np.zeros((count, rank, count, rank))
    target = np.zeros((count, rank))
    for knot, share in points.sides:
        for q in range(rank):
            product = precision * share * points.residual * scores[codes, q]
            target[:, q] += np.bincount(knot, product, count)
    for (one, share), (other, other_share) in itertools.product(points.sides, repeat=2):
        mass, pair = precision * share * other_share, one * count + other
        for q, p in zip(*np.tril_indices(rank), strict=True):
            block = np.bincount(pair, mass * second[codes, q, p], count**2).reshape(count, count)
            system[:, q, :, p] += block
            if p != q:
                system[:, p, :, q] += block
    bend = np.diff(np.eye(count), 2, axis=0)
    scale = _ROUGHNESS * float(np.median(precision))
    for q in range(rank):
        system[:, q, :, q] += scale * bend.T @ bend + 1e-9 * scale * np.eye(count)
    size = count * rank
    solved = np.linalg.solve(system.reshape(size, size), target.ravel())
    return np.asarray(solved.reshape(count, rank), dtype=np.float64)


def _noise(points: _Points, design: Array, scores: Array, posterior: Array) -> Array:
    """Variance of the remainder at the knots: robust, smooth, and never far below its neighbours', (knots,).

    Args:
        points: Curves.
        design: Functions at the points, (points, rank).
        scores: Expected scores, (runs, rank).
        posterior: Their covariances, (runs, rank, rank).
    """
    codes = points.codes
    left = (points.residual - (design * scores[codes]).sum(1)) ** 2
    spread = np.einsum("nq,nqp,np->n", design, posterior[codes], design)
    # A squared error counts as twice the deviation that one point in fifty exceeds, at the most.
    square = np.minimum(left + spread, np.quantile(left, 0.98) * 4)
    mass, total = points.summed(np.ones(len(codes))), points.summed(square)
    raw = (total + _POOLED * float(square.mean())) / (mass + _POOLED)
    kernel = np.exp(-0.5 * (np.arange(-_REACH, _REACH + 1) / _BLUR) ** 2)
    padded = np.pad(np.log(raw), _REACH, mode="edge")
    smooth = np.exp(np.convolve(padded, kernel / kernel.sum(), mode="valid"))
    return np.maximum(smooth, NOISE_FLOOR)


def _anchored(knots: Array, phi: Array, std: float | None) -> tuple[Array, Array]:
    """Rotate functions so that the first score is the value at progress one, and the rest vanish there."""
    end = interpolated(phi, hat_weights(knots, np.ones(1)))[0]
    variance = max(float(end @ end), 1e-12)
    first = phi @ end / variance
    rest = phi - np.outer(first, end)
    vectors, values, _ = np.linalg.svd(rest, full_matrices=False)
    keep = values[: phi.shape[1] - 1]
    scale = np.sqrt(len(knots))
    functions = np.vstack([first[None], (vectors[:, : len(keep)] * scale).T])
    variances = np.append(variance, (keep / scale) ** 2)
    useful = variances > 1e-4 * variances[1:].sum() if len(keep) else np.array([True])
    useful[0] = True
    if std is not None:
        functions[1:] *= np.sqrt(variances[1:, None]) / std
        variances[1:] = std**2
    return np.asarray(functions[useful], dtype=np.float64), np.asarray(variances[useful], dtype=np.float64)


def scores_of(basis: Basis, v: Array, residual: Array, codes: Positions) -> Array:
    """Scores of runs as their own points tell them, shrunk towards zero, (runs, scores)."""
    gram, moment = _run_sums(basis.at(v), 1 / basis.noise_at(v), residual, codes, int(codes.max()) + 1)
    scores = np.linalg.solve(gram + np.diag(1 / basis.variance), moment[..., None])[..., 0]
    return np.asarray(scores, dtype=np.float64)


def _with_correlation(basis: Basis, v: Array, residual: Array, codes: Positions) -> Basis:
    """The basis with the correlation of what it leaves over, from neighbouring points of runs."""
    design, scores = basis.at(v), scores_of(basis, v, residual, codes)
    z = np.clip((residual - (design * scores[codes]).sum(1)) / np.sqrt(basis.noise_at(v)), -4, 4)
    counts = np.bincount(codes)
    long = counts[codes] >= 3 * len(basis.variance)
    pairs = np.flatnonzero((codes[1:] == codes[:-1]) & long[1:])
    if len(pairs) < 200:
        return basis
    gap, product = v[pairs + 1] - v[pairs], z[pairs + 1] * z[pairs]
    level = float((z[pairs] ** 2).mean())
    edges = np.quantile(gap, np.linspace(0, 1, 9))
    place = np.clip(np.searchsorted(edges, gap) - 1, 0, 7)
    mass = np.bincount(place, minlength=8)
    mean_gap = np.bincount(place, gap, 8) / np.maximum(mass, 1)
    correlation = np.bincount(place, product, 8) / np.maximum(mass, 1) / max(level, 1e-12)
    best, choice = np.inf, (0.0, 0.1)
    for share in np.linspace(0, 0.98, 15):
        for length in np.geomspace(0.003, 0.3, 15):
            error = float((mass * (correlation - share * np.exp(-mean_gap / length)) ** 2).sum())
            if error < best:
                best, choice = error, (float(share), float(length))
    return Basis(basis.knots, basis.functions, basis.variance, basis.noise, *choice)
