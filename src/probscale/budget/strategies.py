"""Strategies that need no model: uniform, halving, Hyperband, ASHA, one run; and halving by a forecast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

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
    best_output,
    best_outputs,
    equal_orders,
    level_orders,
    trainable,
)
from probscale.budget.forecast import Forecaster, forecast
from probscale.errors import BudgetError, ProbscaleError

Shared: TypeAlias = Callable[[Bench, Sequence[int], float], tuple[Order, ...]]

SAMPLES = 512
"""Joint draws behind the probability of being best."""

HORIZON = 0.7
"""Share of what remains that a survivor can expect to get: the horizon at which runs are compared."""

TOKENS_PER_PARAM = 20.0
"""The rule of Hoffmann et al. 2022."""


def everyone(bench: Bench) -> list[int]:
    """All runs that can be trained."""
    return [int(run) for run in np.flatnonzero(bench.usable)]


def entrants(bench: Bench) -> list[int]:
    """Runs that compete at the start of a strategy: those that can be trained, and those already observed.

    Only where a budget grew has any been observed, and what has ended may still be the best.
    """
    return [int(run) for run in np.flatnonzero(bench.usable | np.isfinite(best_outputs(bench)))]


def shares_of(bench: Bench) -> Shared:
    """How the runs of a rung share its compute: equally, or where some are ahead, up to one level."""
    return level_orders if (bench.spent > 0).any() else equal_orders


def permuted(runs: Sequence[int], generator: np.random.Generator) -> list[int]:
    """Runs in random order, so that stable sorts break ties at random."""
    return [int(run) for run in generator.permutation(np.array(runs, dtype=np.intp))]


def ranked(runs: Sequence[int], scores: Array) -> list[int]:
    """Runs by score, best (lowest) first; ties keep their order."""
    return [runs[index] for index in np.argsort(scores, kind="stable")]


def uniform(bench: Bench, generator: np.random.Generator) -> Strategy:
    """The same compute for every run."""
    runs = everyone(bench)
    yield Decision(shares_of(bench)(bench, runs, bench.remaining), "uniform", kept=tuple(runs))


def one_random(bench: Bench, generator: np.random.Generator) -> Strategy:
    """Everything on one run drawn at random, or on the one that has got most where a budget grew."""
    runs = permuted(everyone(bench), generator)
    run = ranked(runs, -bench.spent[runs])[0]
    yield _all_on(bench, run, "one run at random")


def one_chinchilla(bench: Bench, generator: np.random.Generator) -> Strategy:
    """Everything on the run whose size is nearest to √(total / 120), the rule of 20 tokens a parameter.

    Source: Hoffmann et al. 2022, approach 2, as tokens = 20 · params in total = 6 · params · tokens.
    """
    runs = permuted(everyone(bench), generator)
    run = ranked(runs, np.abs(size_distance(bench)[runs]))[0]
    yield _all_on(bench, run, "one run of the Chinchilla size")


def size_distance(bench: Bench) -> Array:
    """Logarithm of each run's size over √(C / 120), (runs,), C what it has cost and all that is left.

    Raises:
        BudgetError: if the cost is not in FLOPs or names no column of sizes.
    """
    if not bench.in_flops:
        raise BudgetError(
            "this strategy needs model sizes and a budget in FLOPs; give a cost that has both, such as "
            'FlopsCost(params=...), or another strategy, such as "early_commitment"'
        )
    within_reach = bench.spent + bench.remaining
    return np.log(run_sizes(bench)) - 0.5 * np.log(within_reach / (6 * TOKENS_PER_PARAM))


def run_sizes(bench: Bench) -> Array:
    """Model sizes, (runs,).

    Raises:
        BudgetError: if the cost names no column of sizes.
    """
    if bench.params is None:
        raise BudgetError(
            "this strategy needs model sizes; give a cost that names their column, such as "
            'FlopsCost(params=...), or another strategy, such as "surrogate"'
        )
    return bench.configs[bench.params].to_numpy(dtype=np.float64)


def _all_on(bench: Bench, run: int, kind: str) -> Decision:
    until = float(min(bench.spent[run] + bench.remaining, bench.ends[run]))
    return Decision((Order(run, until),), kind, kept=(run,))


def halving(
    bench: Bench, generator: np.random.Generator, *, eta: float = 2.0, runs: Sequence[int] | None = None
) -> Strategy:
    """Successive halving by the best output observed.

    Source: Jamieson and Talwalkar 2016, algorithm 1.
    """
    alive = permuted(entrants(bench) if runs is None else runs, generator)
    rounds, budget = rungs.halving_rounds(len(alive), eta), bench.remaining
    yield from _halved(bench, alive, rounds, eta, budget, shares_of(bench))


def _halved(
    bench: Bench, alive: list[int], rounds: int, eta: float, budget: float, shared: Shared = equal_orders
) -> Strategy:
    """Rounds of halving that spend at most `budget` in all."""
    start = bench.remaining
    for number in range(rounds):
        left = min(budget - (start - bench.remaining), bench.remaining)
        orders = shared(bench, alive, left / (rounds - number))
        alive = list((yield Decision(orders, f"rung {number + 1} of {rounds}", kept=tuple(alive))).kept)
        alive = ranked(alive, best_outputs(bench)[alive])[: rungs.kept(len(alive), eta)]


def hyperband(bench: Bench, generator: np.random.Generator, *, eta: float = 3.0) -> Strategy:
    """Brackets of halving, each with its share; runs keep the training that an earlier bracket gave them.

    Source: Li et al. 2018, algorithm 1.
    """
    pool, budget, shared = everyone(bench), bench.remaining, shares_of(bench)
    for bracket in rungs.hyperband(len(pool), eta):
        members = trainable(bench, permuted(pool, generator))[: bracket.runs]
        if members:
            yield from _halved(bench, members, bracket.rounds, eta, budget * bracket.share, shared)


def asha(bench: Bench, generator: np.random.Generator, *, eta: float = 3.0) -> Strategy:
    """ASHA as one worker carries it out: promote where possible, else start the next run.

    Source: Li et al. 2020, algorithm 2.
    """
    waiting = permuted(entrants(bench), generator)
    levels = rungs.asha_levels(len(waiting), bench.total, eta)
    reached: list[list[int]] = [[] for _ in levels]
    promoted: list[set[int]] = [set() for _ in levels]
    best = best_outputs(bench)
    while bench.remaining > NEGLIGIBLE * bench.total:
        run, level = None, 0
        for below in range(len(levels) - 2, -1, -1):
            run = rungs.promotable([(float(best[r]), r) for r in reached[below]], promoted[below], eta)
            if run is not None:
                level = below + 1
                promoted[below].add(run)
                break
        if run is None:
            if not waiting:
                return
            run = waiting.pop(0)
        reached[level].append(run)
        until = float(min(levels[level], bench.ends[run]))
        if bench.usable[run] and until > bench.spent[run]:
            yield Decision((Order(run, until),), f"level {level + 1} of {len(levels)}", kept=(run,))
            best[run] = best_output(bench, run)


def horizons(bench: Bench, runs: Sequence[int], share: float) -> Array:
    """Compute of each run if it got a share of what remains, (runs,)."""
    where = np.array(runs, dtype=np.intp)
    return np.minimum(bench.spent[where] + share * bench.remaining, bench.ends[where])


def chances(draws: Array) -> Array:
    """Share of draws in which each run is the best, (runs,)."""
    return np.bincount(np.argmin(draws, axis=1), minlength=draws.shape[1]) / len(draws)


def probabilities(runs: Sequence[int], shares: Array) -> dict[int, float]:
    """Probabilities by run."""
    return {int(run): float(share) for run, share in zip(runs, shares, strict=True)}


def forecast_halving(
    bench: Bench,
    generator: np.random.Generator,
    *,
    forecaster: Forecaster,
    eta: float = 2.0,
    horizon: float = HORIZON,
) -> Strategy:
    """Successive halving by the forecast at the horizon in place of the best output observed."""
    alive, shared = permuted(entrants(bench), generator), shares_of(bench)
    rounds = rungs.halving_rounds(len(alive), eta)
    chance: dict[int, float] = {}
    note: dict[str, str] = {}
    for number in range(rounds):
        orders = shared(bench, alive, bench.remaining / (rounds - number))
        decision = Decision(orders, f"rung {number + 1} of {rounds}", tuple(alive), chance, note)
        alive = list((yield decision).kept)
        if len(alive) == 1:
            continue
        scores, chance, note = _scores(bench, alive, forecaster, horizon, generator)
        alive = ranked(alive, scores)[: rungs.kept(len(alive), eta)]


def _scores(
    bench: Bench, alive: list[int], forecaster: Forecaster, share: float, generator: np.random.Generator
) -> tuple[Array, dict[int, float], dict[str, str]]:
    """Expected outputs at the horizon with the chances to be best, or the observed outputs and why."""
    seed = int(generator.integers(2**31))
    draws = forecast(forecaster, bench, alive, horizons(bench, alive, share), n=SAMPLES, seed=seed)
    if isinstance(draws, ProbscaleError):
        return best_outputs(bench)[alive], {}, {"ranked by": "observed outputs", "because": str(draws)}
    return draws.mean(axis=0), probabilities(alive, chances(draws)), {"ranked by": "forecast"}


def smallest_set(shares: Array, mass: float) -> NDArray[np.intp]:
    """Positions of the fewest runs that hold `mass` of the probability of being best, likeliest first."""
    order = np.argsort(-shares, kind="stable")
    needed = int(np.searchsorted(np.cumsum(shares[order]), mass - 1e-12)) + 1
    return order[: min(needed, len(order))]
