"""How much wider predictions beyond the observed sizes must be: folds that leave the largest sizes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.devices import threads_for
from probscale.model.means import SHORT_BREAK, LawMean
from probscale.model.posterior import Tail
from probscale.model.tails import Beyond, fit_beyond, fit_break
from probscale.surrogate.averaging import Mixture
from probscale.surrogate.prepare import Prepared, choose_subset

Array = NDArray[np.float64]

MOST_FOLDS = 3
"""Folds, largest sizes first."""

FEWEST_HELD = 2
"""Points of larger sizes that make a fold."""

FEWEST_LEFT = 8
"""Points of smaller sizes that a fold must leave to learn from."""

WINDOW = 1.5
"""A fold asks for sizes up to this factor below its largest."""

MOST_LEARNT = 250
"""Points that a fold learns from."""

MOST_ASKED = 150
"""Points that a fold asks for."""


def scale_folds(size: Array) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Positions to learn from and positions to ask for: larger sizes from smaller ones, largest first.

    Args:
        size: Logarithm of the model size of each point, (points,); without any there are no folds.
    """
    folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
    top = float(size.max(initial=-np.inf))
    while len(folds) < MOST_FOLDS:
        smaller = size < top - np.log(WINDOW) - 1e-6
        if smaller.sum() < FEWEST_LEFT or np.ptp(size[smaller]) < 0.2:
            break
        asked = ~smaller & (size <= top + 1e-6)
        if asked.sum() >= FEWEST_HELD:
            folds.append((np.flatnonzero(smaller), np.flatnonzero(asked)))
        top = float(size[smaller].max())
    return folds


@dataclass(frozen=True)
class FoldResiduals:
    """How models foretold sizes larger than they had seen, all folds together.

    Attributes:
        residual: On the modelled scale, (points,).
        variance: Latent variance of each, (points,).
        noise: Noise variance of each, (points,).
        squared: Squared e-folds by which each lay beyond the largest that had been seen, and below the
            shortest for its size, (points, 2).
        share: One over the number of points in the fold of each, (points,).
        folds: Number of folds.
    """

    residual: Array
    variance: Array
    noise: Array
    squared: Array
    share: Array
    folds: int


def fold_residuals(
    points: Prepared, fit: Callable[[Prepared], Mixture], generator: np.random.Generator
) -> FoldResiduals:
    """Each fold predicts sizes by a model that never saw them or larger ones, parameters included.

    Args:
        points: Modelled points.
        fit: Fits all parameters on some points.
        generator: Thins large folds.

    Cost: three fits of at most 250 points.
    """
    parts: list[tuple[Array, ...]] = []
    for smaller, larger in scale_folds(points.data.rows.size.numpy().astype(np.float64)):
        chosen = choose_subset(points.codes[smaller], MOST_LEARNT, generator).numpy()
        asked = generator.permutation(larger)[:MOST_ASKED]
        with threads_for(len(chosen)):
            found = fit(points.take(smaller[chosen]))
        held, law = points.data.take(torch.from_numpy(asked)), found.states[0].process.mean
        mean, variance, noise = found.moments(held.rows)
        squared = np.zeros((len(asked), 2))
        for name, distance in law.beyond(held.rows).items() if isinstance(law, LawMean) else ():
            squared[:, int(name == SHORT_BREAK)] += distance.numpy() ** 2
        share = np.full(len(asked), 1.0 / len(asked))
        parts.append((held.y.numpy() - mean, variance, noise, squared, share))
    none = [np.empty(0)] * 3 + [np.empty((0, 2)), np.empty(0)]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)] or none
    return FoldResiduals(*columns, folds=len(parts))


def extrapolation_factor(
    points: Prepared,
    tail: Tail,
    fit: Callable[[Prepared], Mixture],
    generator: np.random.Generator,
    expected: Beyond,
) -> float:
    """Factor on the spread of predictions beyond the observed sizes; see `fold_residuals`.

    Args:
        points: Modelled points.
        tail: Spread within the observed scales.
        fit: Fits all parameters on some points.
        generator: Thins large folds.
        expected: What is expected of the factor.
    """
    found = fold_residuals(points, fit, generator)
    parts = (found.residual, found.variance, found.noise)
    return fit_beyond(*parts, tail, folds=found.folds, weights=found.share, expected=expected)


def extrapolation_break(
    points: Prepared,
    tail: Tail,
    fit: Callable[[Prepared], Mixture],
    generator: np.random.Generator,
    expected: Beyond,
) -> tuple[float, float, float]:
    """Factor as in `extrapolation_factor`, and how much a law may break beyond the observed sizes.

    The last number is how much it may break for runs shorter, for their size, than any observed.

    Args:
        points: Modelled points of finals.
        tail: Spread within the observed scales.
        fit: Fits all parameters on some points.
        generator: Thins large folds.
        expected: What is expected of the factor.
    """
    found = fold_residuals(points, fit, generator)
    parts = (found.residual, found.variance, found.noise, found.squared)
    return fit_break(*parts, tail, folds=found.folds, weights=found.share, expected=expected)
