"""How much wider predictions beyond the observed sizes must be: folds that leave the largest sizes out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.exact import ExactState
from probscale.model.posterior import Tail
from probscale.model.tails import fit_beyond
from probscale.surrogate.prepare import Prepared, choose_subset

Array = NDArray[np.float64]

MOST_FOLDS = 3
FEWEST_HELD = 2
FEWEST_LEFT = 8
WINDOW = 1.5
"""A fold asks for sizes up to this factor below its largest."""

MOST_LEARNT = 250
MOST_ASKED = 150


def scale_folds(size: Array) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Positions to learn from and positions to ask for: larger sizes from smaller ones, largest first.

    Args:
        size: Logarithm of the model size of each point, (points,).
    """
    folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
    top = float(size.max())
    while len(folds) < MOST_FOLDS:
        smaller = size < top - np.log(WINDOW) - 1e-6
        if smaller.sum() < FEWEST_LEFT or np.ptp(size[smaller]) < 0.2:
            break
        asked = ~smaller & (size <= top + 1e-6)
        if asked.sum() >= FEWEST_HELD:
            folds.append((np.flatnonzero(smaller), np.flatnonzero(asked)))
        top = float(size[smaller].max())
    return folds


def extrapolation_factor(
    points: Prepared,
    tail: Tail,
    fit: Callable[[Prepared], ExactState],
    generator: np.random.Generator,
) -> float:
    """Factor on the spread of predictions beyond the observed sizes, at least one.

    Each fold predicts sizes by a model that never saw them or larger ones, parameters included.

    Args:
        points: Modelled points.
        tail: Spread within the observed scales.
        fit: Fits all parameters on some points.
        generator: Thins large folds.

    Cost: three fits of at most 250 points.
    """
    parts: list[tuple[Array, Array, Array, Array]] = []
    for smaller, larger in scale_folds(points.data.rows.size.numpy().astype(np.float64)):
        chosen = choose_subset(points.codes[smaller], MOST_LEARNT, generator).numpy()
        asked = generator.permutation(larger)[:MOST_ASKED]
        state = fit(points.take(smaller[chosen]))
        held = points.data.take(torch.from_numpy(asked))
        mean, variance = state.marginals(held.rows)
        with torch.no_grad():
            noise = state.process.noise(held.rows).numpy()
        share = np.full(len(asked), 1.0 / len(asked))
        parts.append(((held.y - mean).numpy(), variance.numpy(), noise, share))
    if not parts:
        empty = np.empty(0)
        return fit_beyond(empty, empty, empty, tail, folds=0)
    residual, variance, noise, share = (np.concatenate([part[i] for part in parts]) for i in range(4))
    return fit_beyond(residual, variance, noise, tail, folds=len(parts), weights=share)
