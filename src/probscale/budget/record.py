"""How well forecasts of rungs have done: errors that are too large widen the draws that follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probscale.budget.bench import Array, Bench, Order
from probscale.budget.forecast import Forecaster, forecast
from probscale.budget.strategies import SAMPLES
from probscale.errors import ProbscaleError

FEWEST_TO_JUDGE = 4
"""Runs with new outputs that a verdict on forecasts needs."""


@dataclass(frozen=True)
class Expectation:
    """Forecast of a rung before it: runs, their last outputs, means and standard deviations of the next."""

    runs: tuple[int, ...]
    places: tuple[float, ...]
    last: Array
    mean: Array
    std: Array


def foreseen(
    bench: Bench, orders: Sequence[Order], forecaster: Forecaster, generator: np.random.Generator
) -> Expectation | None:
    """What a rung is forecast to show of runs that were observed before."""
    known = [order for order in orders if bench.points(order.run)]
    if len(known) < FEWEST_TO_JUDGE:
        return None
    runs = tuple(order.run for order in known)
    compute = np.array([order.until for order in known])
    seed = int(generator.integers(2**31))
    draws = forecast(forecaster, bench, runs, compute, n=SAMPLES, seed=seed)
    if isinstance(draws, ProbscaleError):
        return None
    last = [bench.points(run)[-1] for run in runs]
    places, outputs = tuple(at for at, _ in last), np.array([value for _, value in last])
    return Expectation(runs, places, outputs, draws.mean(axis=0), draws.std(axis=0))


@dataclass(frozen=True)
class Record:
    """How well forecasts of rungs have done.

    Attributes:
        trusted: Whether forecasts count.
        squares: Squared standardised errors so far.
        count: How many.
    """

    trusted: bool
    squares: float = 0.0
    count: int = 0

    @property
    def spread(self) -> float:
        """Factor, 1 to 4, that makes forecasts as wide as their errors; ten errors of size 1 are assumed."""
        return float(np.clip(math.sqrt((self.squares + 10.0) / (self.count + 10.0)), 1.0, 4.0))

    def after(self, expected: Expectation, bench: Bench, earned: bool) -> Record:
        """The record after a rung that showed new outputs of some of the runs."""
        after = [bench.points(run)[-1] for run in expected.runs]
        new = np.array([at > place for (at, _), place in zip(after, expected.places, strict=True)])
        outputs = np.array([value for _, value in after])
        new &= np.isfinite(outputs) & np.isfinite(expected.last)
        if new.sum() < FEWEST_TO_JUDGE:
            return self
        errors = (outputs - expected.mean)[new] / np.maximum(expected.std[new], 1e-300)
        # One outlying run says little of the others.
        squares = np.minimum(errors**2, 25.0)
        trusted = self.trusted
        if earned:
            better = _agreement(expected.mean[new], outputs[new]) > _agreement(
                expected.last[new], outputs[new]
            )
            trusted = better or (trusted and self.count == 0)
        return Record(trusted, self.squares + float(squares.sum()), self.count + int(new.sum()))


def _agreement(a: Array, b: Array) -> float:
    """Rank correlation."""
    return float(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])
