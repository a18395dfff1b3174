"""Power-law random features: one-pass SGD simulated, and its exact expected loss for a given W."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from probscale.errors import ConfigError, ShapeError
from probscale.randomness import count_of, generator_of
from probscale.theory.equivalent import equivalent_modes
from probscale.theory.spectrum import FloatArray, Modes, check_exponents, check_sizes, check_training
from probscale.theory.volterra import check_rates, check_steps, largest_stable_rate, recursion, require_stable

MOST_ENTRIES = 2**28
"""Entries of the largest W that is drawn, 2 GiB."""


def sample_features(params: int, *, dim: int | None = None, seed: int = 0) -> FloatArray:
    """Random feature matrix W with entries N(0, 1/params); shape (dim, params).

    Args:
        params: Number of trained parameters d.
        dim: Ambient dimension v; four times `params` by default.
        seed: Random state.

    Raises:
        ConfigError: if the sizes are not accepted.
    """
    params, dim = _drawable(*check_sizes(params, dim))
    return generator_of(seed).normal(size=(dim, params)) / np.sqrt(params)


def _drawable(params: int, dim: int) -> tuple[int, int]:
    """Sizes of a W that memory holds.

    Raises:
        ConfigError: for larger ones.
    """
    if params * dim > MOST_ENTRIES:
        raise ConfigError(
            f"features of params={params:g} and dim={dim:g} have {params * dim:.2g} entries, too many to "
            f"draw; accepted are {MOST_ENTRIES:.2g}. expected_loss draws none and takes any size",
            params=params,
            dim=dim,
        )
    return params, dim


def feature_modes(a: float, b: float, features: FloatArray) -> Modes:
    """Eigenvalues and initial errors of the model with this W.

    Args:
        a: Spectrum exponent.
        b: Target exponent.
        features: W; shape (dim, params), dim above params.

    Raises:
        ConfigError: if the exponents are not accepted.
        ShapeError: if W is not a finite matrix with more rows than columns.

    Cost: one singular value decomposition of W.
    """
    a, b = check_exponents(a, b)
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or features.shape[0] <= features.shape[1] or not np.isfinite(features).all():
        raise ShapeError(
            f"features must be a finite (dim, params) matrix, dim above params; got shape {features.shape}",
            shape=features.shape,
        )
    indices = np.arange(1.0, features.shape[0] + 1)
    left, singular, _ = np.linalg.svd(indices[:, None] ** -a * features, full_matrices=False)
    target = indices ** (-a - b)
    along = left.T @ target
    null = float(np.sum((target - left @ along) ** 2))
    return Modes(singular**2, np.ones_like(singular), along**2, null)


def exact_loss(
    a: float,
    b: float,
    *,
    features: FloatArray,
    steps: ArrayLike,
    learning_rate: ArrayLike,
    batch: int = 1,
    label_noise: float = 0.0,
    check_stability: bool = True,
) -> FloatArray:
    """Exact expected loss of one-pass SGD for a given W, by recursion over the eigenmodes.

    Args:
        a: Spectrum exponent.
        b: Target exponent.
        features: W; shape (dim, params).
        steps: Whole steps at which the loss is wanted; 0 is before training.
        learning_rate: A constant, or a schedule with one value per step.
        batch: Samples whose gradients are summed in one step.
        label_noise: Standard deviation of noise on the target; the loss reported excludes it.
        check_stability: Refuse learning rates at which the expected loss diverges.

    Returns:
        Loss at each step, shape of `steps`; expectation over the data, not over W.

    Raises:
        ConfigError: if a value is not accepted or the learning rate is unstable.
        ShapeError: if W is not a finite matrix with more rows than columns.

    Cost: one singular value decomposition and O(max(steps) × params).

    Source: Paquette et al. 2024 (arXiv 2405.15074), section 2; derived for any batch.
    """
    check_training(batch, label_noise)
    modes, rates = feature_modes(a, b, features), check_rates(learning_rate)
    if check_stability:
        require_stable(modes, rates, batch)
    return recursion(modes, check_steps(steps), rates, batch=batch, noise=label_noise)


@dataclass(frozen=True, eq=False)
class _Ensemble:
    """Rotated problems, a row per seed: eigenvalues and signed errors (seeds, params), null (seeds, 1)."""

    eigenvalues: FloatArray
    error: FloatArray
    null: FloatArray


def _rotated(a: float, b: float, features: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Eigenvalues, signed error along each left vector, and the norm of the unreachable target."""
    indices = np.arange(1.0, features.shape[0] + 1)
    left, singular, _ = np.linalg.svd(indices[:, None] ** -a * features, full_matrices=False)
    target = indices ** (-a - b)
    along = left.T @ target
    return singular**2, -along, float(np.linalg.norm(target - left @ along))


def _ensemble(a: float, b: float, draws: Iterable[FloatArray], repeats: int) -> _Ensemble:
    """Rotate each W in turn, so that only one is held in memory."""
    rotated = [_rotated(a, b, features) for features in draws] * repeats
    eigenvalues, error, null = (np.array(part) for part in zip(*rotated, strict=True))
    return _Ensemble(eigenvalues, error, null[:, None])


def _recorded(steps: ArrayLike) -> np.ndarray:
    """Whole steps to record: 1..steps for a single number, the steps themselves for an array."""
    wanted = check_steps(steps)
    if (wanted != np.floor(wanted)).any() or wanted.ndim > 1 or wanted.max() < 1:
        raise ConfigError(
            f"steps must be a whole number or an array of whole numbers; got {steps!r}", steps=steps
        )
    return np.arange(1, int(wanted) + 1) if not wanted.ndim else wanted.astype(np.int64)


def simulate_sgd(
    a: float,
    b: float,
    *,
    params: int,
    steps: ArrayLike,
    learning_rate: ArrayLike | None = None,
    dim: int | None = None,
    batch: int = 1,
    seeds: int = 1,
    label_noise: float = 0.0,
    features: FloatArray | None = None,
    seed: int = 0,
    check_stability: bool = True,
) -> FloatArray:
    """Loss curves of simulated one-pass SGD, one row per seed.

    Gaussian data are invariant under rotation, so SGD is run in the left singular basis of D^½W, where a
    sample needs params + 1 normal numbers instead of dim; the law of the curves is exactly that of SGD on
    (W, x).

    Args:
        a: Spectrum exponent.
        b: Target exponent.
        params: Number of trained parameters d.
        steps: A number r records the loss after steps 1..r; an array records the loss at those steps (0 is
            the start).
        learning_rate: A constant, or a schedule with one value per step; half the largest stable one by
            default.
        dim: Ambient dimension v; four times `params` by default.
        batch: Samples whose gradients are summed in one step.
        seeds: Number of independent runs.
        label_noise: Standard deviation of noise on the target; the loss recorded excludes it.
        features: One W shared by all seeds, shape (dim, params); otherwise every seed draws its own.
        seed: Random state of everything drawn.
        check_stability: Refuse learning rates at which the expected loss diverges.

    Returns:
        Population loss; shape (seeds, steps recorded).

    Raises:
        ConfigError: if a value is not accepted or the learning rate is unstable.
        ShapeError: if `features` does not have shape (dim, params).

    Cost: O(steps × seeds × batch × params), plus one decomposition of W per seed.
    """
    check_training(batch, label_noise)
    a, b = check_exponents(a, b)
    params, dim = check_sizes(params, dim if features is None else len(np.atleast_1d(features)))
    if features is not None and np.shape(features) != (dim, params):
        raise ShapeError(
            f"features must have shape (dim, params={params}); got {np.shape(features)}",
            shape=np.shape(features),
        )
    if features is None:
        _drawable(params, dim)
    record, rng = _recorded(steps), generator_of(seed)
    modes = (
        equivalent_modes(a, b, params=params, dim=dim) if features is None else feature_modes(a, b, features)
    )
    rates = check_rates(largest_stable_rate(modes, batch) / 2 if learning_rate is None else learning_rate)
    if check_stability:
        require_stable(modes, rates, batch)
    seeds = count_of(seeds, "seeds")
    if rates.ndim and len(rates) < record.max():
        raise ConfigError(
            f"the learning-rate schedule has {len(rates)} entries for {record.max()} steps; give one a step",
            entries=len(rates),
        )
    if features is None:
        draws = (rng.normal(size=(dim, params)) / np.sqrt(params) for _ in range(seeds))
        problems = _ensemble(a, b, draws, 1)
    else:
        problems = _ensemble(a, b, [features], seeds)
    schedule = rates[: int(record.max())] if rates.ndim else np.broadcast_to(rates, (int(record.max()),))
    return _run(problems, schedule, batch=batch, noise=label_noise, rng=rng)[:, record]


def _run(
    problems: _Ensemble, schedule: FloatArray, *, batch: int, noise: float, rng: np.random.Generator
) -> FloatArray:
    """Loss of every seed before training and after each step of the schedule."""
    error, hidden = problems.error, problems.null[:, 0] ** 2
    residual = np.sqrt(problems.null**2 + noise**2)
    losses = np.empty((len(error), len(schedule) + 1))
    losses[:, 0] = (error**2).sum(axis=1) + hidden
    for step, rate in enumerate(schedule):
        data = rng.standard_normal((len(error), batch, error.shape[1]))
        miss = np.einsum("sbd,sd->sb", data, error) + residual * rng.standard_normal((len(error), batch))
        error = error - rate * problems.eigenvalues * np.einsum("sb,sbd->sd", miss, data)
        losses[:, step + 1] = np.einsum("sd,sd->s", error, error) + hidden
    return losses
