"""Strategies that commit as early as the joint posterior allows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from probscale.budget import rungs
from probscale.budget.bench import (
    NEGLIGIBLE,
    Array,
    Bench,
    Decision,
    Order,
    Strategy,
    best_outputs,
    equal_orders,
)
from probscale.budget.forecast import Forecaster, forecast
from probscale.budget.strategies import (
    HORIZON,
    SAMPLES,
    chances,
    everyone,
    horizons,
    permuted,
    probabilities,
    ranked,
    run_sizes,
    smallest_set,
)
from probscale.errors import ProbscaleError

MASS = 0.9


def early_commitment(
    bench: Bench,
    generator: np.random.Generator,
    *,
    forecaster: Forecaster,
    eta: float = 2.0,
    horizon: float = HORIZON,
    mass: float = MASS,
) -> Strategy:
    """Halving that keeps only runs which together hold `mass` of the probability of being best at the
    horizon.

    Survivors of a round are min(halving's count, that set), by interleaving predicted and observed rankings;
    the
    observed leader stays if there is room. What the others would have cost flows to the survivors.
    """
    alive = permuted(everyone(bench), generator)
    rounds = rungs.halving_rounds(len(alive), eta)
    chance: dict[int, float] = {}
    for number in range(rounds):
        orders = equal_orders(bench, alive, bench.remaining / (rounds - number))
        decision = Decision(orders, f"rung {number + 1} of {rounds}", tuple(alive), chance)
        alive = list((yield decision).kept)
        if len(alive) > 1:
            alive, chance = _survivors(bench, alive, forecaster, eta, horizon, mass, generator)


def _survivors(
    bench: Bench,
    alive: list[int],
    forecaster: Forecaster,
    eta: float,
    horizon: float,
    mass: float,
    generator: np.random.Generator,
) -> tuple[list[int], dict[int, float]]:
    observed = ranked(alive, best_outputs(bench)[alive])
    most = rungs.kept(len(alive), eta)
    seed = int(generator.integers(2**31))
    draws = forecast(forecaster, bench, alive, horizons(bench, alive, horizon), SAMPLES, seed)
    if isinstance(draws, ProbscaleError):
        return observed[:most], {}
    shares = chances(draws)
    count = min(most, len(smallest_set(shares, mass)))
    predicted = [alive[index] for index in np.argsort(-shares, kind="stable")]
    return interleaved(predicted, observed, count), probabilities(alive, shares)


def interleaved(predicted: Sequence[int], observed: Sequence[int], count: int) -> list[int]:
    """The first `count` distinct runs taken from two rankings in turn, the predicted one first."""
    merged = [run for pair in zip(predicted, observed, strict=True) for run in pair]
    return list(dict.fromkeys(merged))[:count]


def expected_improvement(
    bench: Bench,
    generator: np.random.Generator,
    *,
    forecaster: Forecaster,
    probe: float = 0.1,
    step: float = 0.25,
    most: int = 12,
) -> Strategy:
    """Probe every run, then train, step by step, the run that would improve most if it got all that remains.

    Args:
        bench: Runs.
        generator: Source of randomness.
        forecaster: Joint forecasts.
        probe: Share of the budget for the first, equal probe.
        step: Share of what remains that a step costs.
        most: Steps; the last one spends everything.
    """
    runs = permuted(everyone(bench), generator)
    yield Decision(equal_orders(bench, runs, probe * bench.remaining), "probe", kept=tuple(runs))
    for number in range(most):
        able = [run for run in runs if bench.usable[run]]
        if not able or bench.remaining <= NEGLIGIBLE * bench.total:
            return
        gains, shares = _improvements(bench, able, forecaster, generator)
        run = ranked(able, -gains)[0]
        amount = bench.remaining * (step if number < most - 1 else 1.0)
        until = float(min(bench.spent[run] + amount, bench.ends[run]))
        decision = Decision(
            (Order(run, until),), f"step {number + 1}", tuple(able), probabilities(able, shares)
        )
        yield decision


def _improvements(
    bench: Bench, runs: list[int], forecaster: Forecaster, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Expected improvement on the best output so far of each run at the end of the budget, and chances to be best."""
    best = best_outputs(bench)
    seed = int(generator.integers(2**31))
    draws = forecast(forecaster, bench, runs, horizons(bench, runs, 1.0), SAMPLES, seed)
    if isinstance(draws, ProbscaleError):
        return -best[runs], np.zeros(len(runs))
    gains = np.maximum(best.min() - draws, 0.0).mean(axis=0)
    # Where no draw improves, the order of the means decides.
    return gains - 1e-9 * draws.mean(axis=0), chances(draws)


def race(
    bench: Bench,
    generator: np.random.Generator,
    *,
    forecaster: Forecaster,
    probe: float = 0.1,
    rounds: int = 4,
    mass: float = MASS,
    prior: Array | None = None,
    leader: bool = True,
    openers: int | None = None,
) -> Strategy:
    """A cheap probe of every run, then rounds among the runs that may still turn out best.

    Args:
        bench: Runs.
        generator: Source of randomness.
        forecaster: Joint forecasts; with a surrogate of earlier runs they rank the pool before anything is
            spent.
        probe: Share of the budget for the first, equal probe.
        rounds: Rounds after the probe; each spends an equal part of what remains.
        mass: Probability of being best that the survivors hold together.
        prior: Weight of each run before any training, (runs,); multiplies the probabilities.
        leader: Whether the best-observed run is kept while there is room.
    """
    runs = permuted(everyone(bench), generator)
    weight = np.ones(len(bench.configs)) if prior is None else prior
    alive, chance = _opening(bench, runs, forecaster, weight, mass, generator)
    if openers is not None:
        alive = ranked(runs, -weight[runs])[:openers]
    for number in range(rounds + 1):
        left = bench.remaining
        amount = probe * left if number == 0 else left / (rounds + 1 - number)
        kind = "probe" if number == 0 else f"round {number} of {rounds}"
        decision = Decision(equal_orders(bench, alive, amount), kind, tuple(alive), chance)
        alive = list((yield decision).kept)
        if len(alive) > 1:
            alive, chance = _contenders(bench, alive, forecaster, weight, mass, leader, generator)


def _opening(
    bench: Bench,
    runs: list[int],
    forecaster: Forecaster,
    weight: Array,
    mass: float,
    generator: np.random.Generator,
) -> tuple[list[int], dict[int, float]]:
    """Runs worth a probe: all, unless a prior or a surrogate of earlier runs speaks before the first of them."""
    shares = np.full(len(runs), 1 / len(runs))
    if getattr(forecaster, "surrogate", None) is not None:
        seed = int(generator.integers(2**31))
        draws = forecast(forecaster, bench, runs, horizons(bench, runs, 1.0), SAMPLES, seed)
        if not isinstance(draws, ProbscaleError):
            shares = chances(draws)
    shares = _weighted(shares, weight[runs])
    if np.ptp(shares) < 1e-12:
        return runs, {}
    where = smallest_set(shares, 1 - (1 - mass) / 5)
    return [runs[index] for index in where], probabilities(runs, shares)


def _weighted(shares: Array, weight: Array) -> Array:
    product = shares * weight
    return product / product.sum() if product.sum() > 0 else weight / weight.sum()


def _contenders(
    bench: Bench,
    alive: list[int],
    forecaster: Forecaster,
    weight: Array,
    mass: float,
    leader: bool,
    generator: np.random.Generator,
) -> tuple[list[int], dict[int, float]]:
    observed = ranked(alive, best_outputs(bench)[alive])
    seed = int(generator.integers(2**31))
    draws = forecast(forecaster, bench, alive, horizons(bench, alive, 1.0), SAMPLES, seed)
    most = max(1, math.ceil(len(alive) / 2))
    if isinstance(draws, ProbscaleError):
        return observed[:most], {}
    shares = _weighted(chances(draws), weight[alive])
    count = min(most, len(smallest_set(shares, mass)))
    predicted: NDArray[np.intp] = np.argsort(-shares, kind="stable")
    survivors = [alive[index] for index in predicted[:count]]
    if leader and count > 1 and observed[0] not in survivors:
        survivors[-1] = observed[0]
    return survivors, probabilities(alive, shares)


def size_prior(bench: Bench, spread: float = 0.8) -> Array:
    """Weight of each run by the distance of its size from √(total / 120), (runs,).

    Args:
        bench: Runs with sizes.
        spread: Standard deviation in the logarithm of the size.

    Raises:
        BudgetError: if the cost names no column of sizes.
    """
    distance = np.log(run_sizes(bench)) - 0.5 * math.log(bench.total / 120.0)
    # The pool may lie beyond the rule on one side: only differences within it matter.
    return np.exp(-0.5 * ((distance**2) - (distance**2).min()) / spread**2)
