"""Expected loss of one-pass SGD from its modes: stepwise recursion, log-grid blocks, stability limits."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline
from scipy.optimize import root_scalar

from probscale.errors import ConfigError
from probscale.theory.equivalent import equivalent_modes
from probscale.theory.spectrum import FloatArray, Modes, check_training, numbers_of

_MOST_EXACT_STEPS = 4096


def decay_factors(eigenvalues: FloatArray, rate: float, batch: int) -> FloatArray:
    """1 − q: the share of squared error that one step removes along each mode."""
    return rate * batch * eigenvalues * (2 - rate * (batch + 1) * eigenvalues)


def check_rates(learning_rate: ArrayLike) -> FloatArray:
    """Learning rates as a float array of zero or one dimension.

    Raises:
        ConfigError: unless all are finite and positive (zeros are allowed inside a schedule).
    """
    rates = numbers_of(learning_rate, "learning_rate")
    low = rates <= 0 if rates.ndim == 0 else rates < 0
    if rates.ndim > 1 or rates.size == 0 or not np.isfinite(rates).all() or bool(np.any(low)):
        raise ConfigError(
            "learning_rate must be one positive number, or an array with one non-negative number per step; "
            f"got {learning_rate!r}",
            learning_rate=learning_rate,
        )
    return rates


def check_steps(steps: ArrayLike) -> FloatArray:
    """Steps as a float array.

    Raises:
        ConfigError: unless all are finite and not negative.
    """
    array = numbers_of(steps, "steps")
    if array.size == 0 or not np.isfinite(array).all() or (array < 0).any():
        raise ConfigError(f"steps must be finite and not negative; got {steps!r}", steps=steps)
    return array


def kernel_norm(modes: Modes, learning_rate: float, batch: int = 1) -> float:
    """‖k‖, the share of the loss that gradient noise feeds back; training is stable below one.

    Returns:
        ‖k‖ = Σ gλ/(2 − g(B+1)λ), or infinity where a mode is unstable by itself.
    """
    damping = 2 - learning_rate * (batch + 1) * modes.eigenvalues
    if (damping[modes.counts > 0] <= 0).any():
        return math.inf
    return float(learning_rate * (modes.counts @ (modes.eigenvalues / np.where(damping > 0, damping, 1.0))))


def largest_stable_rate(modes: Modes, batch: int = 1) -> float:
    """Learning rate at which ‖k‖ reaches one, beyond which the expected loss diverges."""
    top = float(modes.eigenvalues[modes.counts > 0].max())
    ceiling = 2 / ((batch + 1) * top)
    upper = min(ceiling * (1 - 1e-12), 2 / modes.trace)
    solution = root_scalar(
        lambda g: kernel_norm(modes, g, batch) - 1, bracket=(0.0, upper), xtol=1e-14 * upper
    )
    return float(solution.root)


def max_learning_rate(a: float, b: float, *, params: int, batch: int = 1, dim: int | None = None) -> float:
    """Largest stable learning rate of the model, from its deterministic equivalent.

    Args:
        a: Spectrum exponent.
        b: Target exponent (irrelevant to stability, but part of the model).
        params: Number of parameters d.
        batch: Samples whose gradients are summed in one step.
        dim: Ambient dimension v; four times `params` by default.

    Raises:
        ConfigError: if the model is not accepted.
    """
    check_training(batch, 0.0)
    return largest_stable_rate(equivalent_modes(a, b, params=params, dim=dim), batch)


def require_stable(modes: Modes, rates: FloatArray, batch: int) -> None:
    """Refuse learning rates at which the expected loss diverges.

    Raises:
        ConfigError: naming the largest stable learning rate.
    """
    peak = float(rates.max())
    if peak > 0 and kernel_norm(modes, peak, batch) >= 1:
        largest = largest_stable_rate(modes, batch)
        raise ConfigError(
            f"learning_rate {peak:g} makes the expected loss diverge (batch {batch}, gradients summed); "
            f"the largest stable learning rate is {largest:.6g}. Use a smaller one, or check_stability=False "
            "to watch it diverge",
            learning_rate=peak,
            largest=largest,
        )


def recursion(
    modes: Modes, steps: FloatArray, rates: FloatArray, *, batch: int = 1, noise: float = 0.0
) -> FloatArray:
    """Exact expected loss at whole steps, one step at a time.

    Args:
        modes: Spectrum seen by the dynamics.
        steps: Whole steps at which the loss is wanted, in any order; shape (...).
        rates: One learning rate, or one per step; shape () or (at least max(steps),).
        batch: Samples summed per step.
        noise: Standard deviation of the label noise.

    Returns:
        Loss at each step, shape of `steps`. Step 0 is the loss before training.

    Raises:
        ConfigError: if a step is not whole or the schedule is shorter than the steps.

    Cost: O(max(steps) × modes).
    """
    if (steps != np.floor(steps)).any():
        raise ConfigError("a learning-rate schedule and the exact recursion need whole steps", steps=steps)
    last = int(steps.max())
    if rates.ndim and len(rates) < last:
        raise ConfigError(
            f"the learning-rate schedule has {len(rates)} entries for {last} steps; give one per step",
            entries=len(rates),
            steps=last,
        )
    lam, variance = modes.eigenvalues, batch * modes.eigenvalues**2 * modes.counts
    error, losses = modes.error.copy(), np.empty(last + 1)
    losses[0] = error.sum() + modes.null
    schedule = np.broadcast_to(rates, (last,)) if not rates.ndim else rates
    previous, keep, feed = math.nan, error, error
    for step in range(last):
        rate = float(schedule[step])
        if rate != previous:
            keep, feed, previous = 1 - decay_factors(lam, rate, batch), rate**2 * variance, rate
        error = keep * error + feed * (losses[step] + noise**2)
        losses[step + 1] = error.sum() + modes.null
    return losses[steps.astype(np.int64)]


def step_grid(last: float, ratio: float) -> FloatArray:
    """Whole steps from 0 to `last`: unit steps first, then blocks growing by `ratio`."""
    dense = min(math.ceil(1 / (ratio - 1)), math.ceil(last))
    grid = np.arange(dense + 1.0)
    if dense < last:
        blocks = max(1, math.ceil(math.log(last / dense) / math.log(ratio)))
        grid = np.append(grid, np.rint(np.geomspace(dense, last, blocks + 1))[1:])
    return np.unique(grid)


def _block_sums(
    decay: FloatArray, lengths: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """q^L and the sums over s < L of q^{L−1−s} times 1, s/L and s(L−s)/2, for every block length and mode."""
    length = lengths[:, None]
    power = np.exp(length * np.log1p(-decay))
    safe = np.where(decay > 0, decay, 1.0)
    flat = (1 - power) / safe
    ramp = (length - flat) / safe
    square = (length**2 - 2 * ramp - flat) / safe
    # Below 1e-2 the closed forms cancel; there Σ C(s, n) q^{L−1−s} = Σ_k C(L, n+1+k) (−decay)^k converges at
    # once.
    small = length * decay < 1e-2
    flat = np.where(small, _binomial_sum(length, decay, 0), flat)
    ramp = np.where(small, _binomial_sum(length, decay, 1), ramp)
    square = np.where(small, 2 * _binomial_sum(length, decay, 2) + ramp, square)
    return power, flat, ramp / length, (length * ramp - square) / 2


def _binomial_sum(length: FloatArray, decay: FloatArray, n: int) -> FloatArray:
    """Σ_k C(L, n+1+k) (−decay)^k to five terms."""
    term = np.ones(np.broadcast_shapes(length.shape, decay.shape))
    for k in range(n + 1):
        term = term * (length - k) / (k + 1)
    total = term
    for k in range(n + 1, n + 5):
        term = -term * decay * (length - k) / (k + 1)
        total = total + term
    return total


def _curvature(grid: FloatArray, losses: FloatArray, k: int) -> float:
    """Second derivative of the loss from the last three points."""
    if k < 2:
        return 0.0
    last, before = grid[k] - grid[k - 1], grid[k - 1] - grid[k - 2]
    slopes = (losses[k] - losses[k - 1]) / last, (losses[k - 1] - losses[k - 2]) / before
    return 2 * (slopes[0] - slopes[1]) / (last + before)


def block_losses(
    modes: Modes, grid: FloatArray, rate: float, *, batch: int = 1, noise: float = 0.0
) -> FloatArray:
    """Expected loss on a grid of whole steps starting at 0.

    Inside a block the loss is a parabola: its end points are implicit, its curvature that of the three
    points before.

    Cost: O(blocks × modes), independent of the number of steps.
    """
    decay = decay_factors(modes.eigenvalues, rate, batch)
    variance = rate**2 * batch * modes.eigenvalues**2 * modes.counts
    power, flat, ramp, bow = _block_sums(decay, np.diff(grid))
    # The end point of a block enters its own equation linearly, so each block is one division.
    feed_start, feed_end, feed_bow = variance * (flat - ramp), variance * ramp, variance * bow
    implicit = 1 - feed_end.sum(axis=1)
    losses, error, extra = np.empty(len(grid)), modes.error.copy(), noise**2
    losses[0] = error.sum() + modes.null
    for k in range(len(grid) - 1):
        known = (
            power[k] * error + feed_start[k] * (losses[k] + extra) - feed_bow[k] * _curvature(grid, losses, k)
        )
        losses[k + 1] = (known.sum() + modes.null + extra * (1 - implicit[k])) / implicit[k]
        error = known + feed_end[k] * (losses[k + 1] + extra)
    return losses


def integrate(
    modes: Modes, steps: FloatArray, rate: float, *, batch: int = 1, noise: float = 0.0, ratio: float = 1.04
) -> FloatArray:
    """Expected loss at any steps under a constant learning rate, by log-grid blocks.

    Args:
        modes: Spectrum seen by the dynamics.
        steps: Steps at which the loss is wanted; up to 4096 distinct ones become grid points, more are read
            off a cubic spline in log-log coordinates.
        rate: Learning rate.
        batch: Samples summed per step.
        noise: Standard deviation of the label noise.
        ratio: Growth of the blocks; 1.04 is accurate to about 1e-4, 1.08 to 7e-4.

    Returns:
        Loss, shape of `steps`.
    """
    grid = step_grid(max(float(steps.max()), 1.0), ratio)
    wanted = np.unique(steps)
    if len(wanted) <= _MOST_EXACT_STEPS and (wanted == np.floor(wanted)).all():
        grid = np.union1d(grid, wanted)
        return block_losses(modes, grid, rate, batch=batch, noise=noise)[np.searchsorted(grid, steps)]
    losses = block_losses(modes, grid, rate, batch=batch, noise=noise)
    return np.exp(CubicSpline(np.log1p(grid), np.log(losses))(np.log1p(steps)))


def expected_loss(
    a: float,
    b: float,
    *,
    params: int,
    steps: ArrayLike,
    learning_rate: ArrayLike | None = None,
    batch: int = 1,
    dim: int | None = None,
    label_noise: float = 0.0,
    ratio: float = 1.04,
    check_stability: bool = True,
) -> FloatArray:
    """Expected loss P of one-pass SGD without sampling W (deterministic equivalent).

    P is E(prediction − target)², without a factor ½; the gradient is summed over the batch.

    Args:
        a: Spectrum exponent: feature j has standard deviation j^-a.
        b: Target exponent: target coefficient j^-b.
        params: Number of trained parameters d, up to 1e9.
        steps: Steps at which the loss is wanted; 0 is before training. Any size up to 1e15 under a constant
            rate.
        learning_rate: A constant, or a schedule with one value per step (then every step is computed); half
            the largest stable one by default.
        batch: Samples whose gradients are summed in one step.
        dim: Ambient dimension v; four times `params` by default. There is no infinite default because the
            limit does not exist for 2a < 1.
        label_noise: Standard deviation of noise on the target; the loss reported excludes it.
        ratio: Growth of the time blocks under a constant rate.
        check_stability: Refuse learning rates at which the loss diverges.

    Returns:
        Loss at each step, shape of `steps`.

    Raises:
        ConfigError: if a value is not accepted, or the learning rate is unstable (the message names the
            largest stable one).

    Cost: 0.05 to 0.3 s for a new (a, b, params, dim), then 2 to 30 ms per curve.

    Source: Paquette et al. 2024 (arXiv 2405.15074), Volterra equation of section 2.

    Example:
        >>> from probscale import theory
        >>> curve = theory.expected_loss(1.0, 0.7, params=10**6, steps=[1, 10**6, 10**12], learning_rate=0.3)
        >>> bool((curve[1:] < curve[:-1]).all())
        True
    """
    check_training(batch, label_noise)
    wanted = check_steps(steps)
    if not (isinstance(ratio, Real) and math.isfinite(ratio) and ratio > 1):
        raise ConfigError(
            f"ratio is {ratio!r}; pass the growth of the blocks, above 1, such as 1.04", ratio=ratio
        )
    modes = equivalent_modes(a, b, params=params, dim=dim)
    rates = check_rates(largest_stable_rate(modes, batch) / 2 if learning_rate is None else learning_rate)
    if check_stability:
        require_stable(modes, rates, batch)
    if rates.ndim or not check_stability:
        return recursion(modes, wanted, rates, batch=batch, noise=label_noise)
    return integrate(modes, wanted, float(rates), batch=batch, noise=label_noise, ratio=ratio)
