"""Strategies that commit as early as the joint posterior, or a prior over sizes, allows."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from probscale.budget import rungs
from probscale.budget.bench import (
    NEGLIGIBLE,
    Array,
    Bench,
    Decision,
    Order,
    Strategy,
    best_outputs,
    level_orders,
    trainable,
)
from probscale.budget.forecast import Forecaster, earliest, forecast
from probscale.budget.record import FEWEST_TO_JUDGE, Record, foreseen
from probscale.budget.strategies import (
    HORIZON,
    SAMPLES,
    TOKENS_PER_PARAM,
    chances,
    entrants,
    everyone,
    horizons,
    permuted,
    probabilities,
    ranked,
    run_sizes,
    shares_of,
    size_distance,
    smallest_set,
)
from probscale.errors import ProbscaleError

STARTED_MASS = 0.7
"""However little the budget, runs that hold this much of the chance to be best start."""

CAREFUL_MASS = 0.995
"""Mass of the default: .9 gains as much at small budgets, but at large ones it may drop the best run."""

EXPONENTS = 0.34 + 0.28
"""Sum of the exponents of size and data of the published law."""

LADDER = (1 / 8, 1 / 5, 1 / 3)
"""Sizes of the ladder, as shares of the size that the prior favours."""


@dataclass(frozen=True)
class Commitment:
    """How readily early commitment commits.

    Attributes:
        eta: At most one in eta runs goes on.
        horizon: Share of what remains that a run is assumed to get when runs are compared.
        mass: Probability of being best that the survivors hold together.
        earned: Whether a forecast counts only after it ranked the outputs of a rung better than the outputs
            before it did. A surrogate of earlier runs counts from the start.
        interleaved: Whether survivors are taken from the predicted and the observed ranking in turn, or are
            the observed leader and then the best predicted.
        screened: Whether only the likeliest start where earlier runs are known: as many as the first rung's
            equal shares take to a first point.
        generous: Whether runs that the forecast would drop stay, the best observed first, as long as the
            budget takes the winner among all that stay to its end: what they would free buys nothing.
    """

    eta: float = 2.0
    horizon: float = HORIZON
    mass: float = 0.9
    earned: bool = False
    interleaved: bool = True
    screened: bool = False
    generous: bool = False


def early_commitment(
    bench: Bench,
    generator: np.random.Generator,
    *,
    forecaster: Forecaster,
    settings: Commitment | None = None,
    runs: Sequence[int] | None = None,
) -> Strategy:
    """Halving that keeps only runs which together are likely enough to hold the best at the horizon.

    Survivors of a round are min(halving's count, smallest set that holds `mass`), by interleaving the
    predicted and the observed ranking; the observed leader stays if there is room. What the others would have
    cost flows to the survivors. Each round also forecasts what the next will show: errors that are too
    large widen the draws that follow. A surrogate of earlier runs may spare runs their start (`screened`):
    first points, which every run that starts has to pay, often say little of the end.

    Args:
        bench: Runs.
        generator: Source of randomness.
        forecaster: Joint forecasts.
        settings: How readily to commit.
        runs: Runs that compete; all by default.
    """
    settings = settings or Commitment()
    alive = permuted(entrants(bench) if runs is None else runs, generator)
    chance: dict[int, float] = {}
    why = ""
    warm, shared = earliest(forecaster) is not None, shares_of(bench)
    record = Record(trusted=warm or not settings.earned)
    if shared is level_orders:
        # A budget that grew: all that was observed says who competes.
        left, most = rungs.halving_rounds(len(alive), settings.eta), len(alive)
        alive, chance, why = _survivors(bench, alive, forecaster, settings, record, left, generator, most)
    elif warm and settings.screened:
        alive, chance = _screened(bench, alive, forecaster, settings, generator)
    rounds = rungs.halving_rounds(len(alive), settings.eta)
    for number in range(rounds):
        orders = shared(bench, alive, bench.remaining / (rounds - number))
        expected = foreseen(bench, orders, forecaster, generator)
        note = {"forecast trusted": record.trusted, "spread": record.spread}
        note |= {"because": why} if why else {}
        decision = Decision(orders, f"rung {number + 1} of {rounds}", tuple(alive), chance, note)
        alive = list((yield decision).kept)
        if len(alive) == 1:
            continue
        if expected is not None:
            record = record.after(expected, bench, settings.earned)
        left, most = rounds - number - 1, rungs.kept(len(alive), settings.eta)
        alive, chance, why = _survivors(bench, alive, forecaster, settings, record, left, generator, most)


def _screened(
    bench: Bench,
    alive: list[int],
    forecaster: Forecaster,
    settings: Commitment,
    generator: np.random.Generator,
) -> tuple[list[int], dict[int, float]]:
    """Runs worth a start by what earlier runs tell of configurations, with the chances of all to be best."""
    start, draws = earliest(forecaster), drawn(bench, alive, forecaster, settings.horizon, generator)
    if isinstance(draws, ProbscaleError) or start is None:
        return alive, {}
    shares = chances(draws)
    likeliest = np.argsort(-shares, kind="stable")
    count = affordable([alive[index] for index in likeliest], bench, start, settings.eta)
    count = max(count, len(smallest_set(shares, STARTED_MASS)), FEWEST_TO_JUDGE)
    return [alive[index] for index in sorted(likeliest[:count])], probabilities(alive, shares)


def affordable(runs: Sequence[int], bench: Bench, start: float, eta: float) -> int:
    """How many of the runs, in their order, the first equal shares of a halving take to an axis value.

    A run that starts pays to its first point whatever its share: the first rung of more runs than this takes
    from the others what it spends on points that say the least.
    """

    def too_many(count: int) -> bool:
        share = bench.remaining / (count * rungs.halving_rounds(count, eta))
        return bool((bench.axis_at(runs[:count], np.full(count, share)) < start * (1 - NEGLIGIBLE)).any())

    # Shares fall with the count, and runs that come in may be dearer: more than too many are too many.
    return bisect.bisect_left(range(1, len(runs) + 1), True, key=too_many)


def _survivors(
    bench: Bench,
    alive: list[int],
    forecaster: Forecaster,
    settings: Commitment,
    record: Record,
    rounds: int,
    generator: np.random.Generator,
    count: int,
) -> tuple[list[int], dict[int, float], str]:
    """Runs that go on, at most `count`, the chances of all to be best, and why there are none, if so."""
    observed = ranked(alive, best_outputs(bench)[alive])
    if not record.trusted:
        return observed[:count], {}, ""
    draws = drawn(bench, alive, forecaster, settings.horizon, generator)
    if isinstance(draws, ProbscaleError):
        return observed[:count], {}, str(draws)
    centre = draws.mean(axis=0)
    shares = chances(centre + record.spread * (draws - centre))
    few = min(count, len(smallest_set(shares, settings.mass)))
    chance, predicted = probabilities(alive, shares), ranked(alive, centre)
    if settings.interleaved:
        return interleaved(predicted, observed, few), chance, ""
    likeliest = sorted(predicted, key=lambda run: -chance[run])
    kept = with_leader(likeliest, observed[0], few, count)
    if not settings.generous:
        return kept, chance, ""
    surest = [*kept, *(run for run in observed if run not in kept)][:count]
    return surest[: finishable(surest, bench, rounds, settings.eta, len(kept))], chance, ""


def finishable(runs: Sequence[int], bench: Bench, rounds: int, eta: float, least: int) -> int:
    """How many of the runs, in their order, may compete so that a halving still takes its winner to its end.

    Args:
        runs: Runs, the surest first.
        bench: What they have cost and what is left.
        rounds: Rounds of the halving.
        eta: At most one in eta runs goes on.
        least: Runs that compete in any case.
    """

    def ends(count: int) -> bool:
        alive, left = np.array(runs[:count], dtype=np.intp), bench.remaining
        missing = bench.ends[alive] - bench.spent[alive]
        for number in range(rounds):
            paid = np.minimum(left / (rounds - number) / len(missing), missing)
            left -= float(paid.sum())
            missing = (missing - paid)[: rungs.kept(len(missing), eta)]
        return bool(missing[0] <= NEGLIGIBLE * bench.total)

    return next((count for count in range(len(runs), least, -1) if ends(count)), least)


def drawn(
    bench: Bench,
    runs: Sequence[int],
    forecaster: Forecaster,
    share: float,
    generator: np.random.Generator,
) -> Array | ProbscaleError:
    """Draws of outputs at the horizon, (draws, runs); or why nothing can be forecast."""
    seed = int(generator.integers(2**31))
    return forecast(forecaster, bench, runs, horizons(bench, runs, share), n=SAMPLES, seed=seed)


def interleaved(predicted: Sequence[int], observed: Sequence[int], count: int) -> list[int]:
    """The first `count` distinct runs taken from two rankings in turn, the predicted one first."""
    merged = [run for pair in zip(predicted, observed, strict=True) for run in pair]
    return list(dict.fromkeys(merged))[:count]


def with_leader(likeliest: Sequence[int], leader: int, few: int, most: int) -> list[int]:
    """The first `few` runs and the leader, who takes the last place if there are `most` already."""
    kept = list(likeliest[:few])
    if leader in kept or most == 1:
        return kept
    return [*kept[: most - 1], leader]


def expected_improvement(
    bench: Bench,
    generator: np.random.Generator,
    *,
    forecaster: Forecaster,
    probe: float = 0.1,
    step: float = 0.25,
    most: int = 12,
) -> Strategy:
    """Probe every run, then train, step by step, the run that would improve most with all that remains.

    Args:
        bench: Runs.
        generator: Source of randomness.
        forecaster: Joint forecasts.
        probe: Share of the budget for the first, equal probe; zero begins with the run forecast as the best.
        step: Share of what remains that a step costs.
        most: Steps; the last one spends everything.
    """
    runs = permuted(everyone(bench), generator)
    if probe > 0:
        orders = shares_of(bench)(bench, runs, probe * bench.remaining)
        yield Decision(orders, "probe", kept=tuple(runs))
    for number in range(most):
        able = trainable(bench, runs)
        if not able or bench.remaining <= NEGLIGIBLE * bench.total:
            return
        best = best_outputs(bench)
        draws, note = drawn(bench, able, forecaster, 1.0, generator), {}
        if isinstance(draws, ProbscaleError):
            scores, chance, note = best[able], {}, {"because": str(draws)}
        else:
            # Where nothing is known, or no draw improves on it, the order of the means decides.
            known = best.min() if np.isfinite(best).any() else draws.max()
            gains = np.maximum(known - draws, 0.0).mean(axis=0) - 1e-9 * draws.mean(axis=0)
            scores, chance = -gains, probabilities(able, chances(draws))
        run = ranked(able, scores)[0]
        amount = bench.remaining * (step if number < most - 1 else 1.0)
        until = float(min(bench.spent[run] + amount, bench.ends[run]))
        yield Decision((Order(run, until),), f"step {number + 1}", tuple(able), chance, note)


def size_prior(
    bench: Bench,
    generator: np.random.Generator,
    *,
    forecaster: Forecaster,
    ladder: float = 0.1,
    spread: float = 0.5,
) -> Strategy:
    """A ladder of small runs, then everything on the run that forecast and size prior favour together.

    Up to three runs well below the favoured size train to their compute-optimal length: they teach the law
    for a tenth of the budget, where probes of large runs would end before the law begins. Where sizes repeat,
    that is where other choices matter too, runs near the favoured size compete by early commitment instead,
    of which one in two goes on.

    Args:
        bench: Runs with sizes, costs in FLOPs.
        generator: Source of randomness.
        forecaster: Joint forecasts.
        ladder: Largest share of the budget spent on the ladder.
        spread: Standard deviation of the prior, in the logarithm of the size.

    Raises:
        BudgetError: if the cost is not in FLOPs of sized models.

    Source: Hoffmann et al. 2022 (20 tokens a parameter) for the prior.
    """
    runs = permuted(everyone(bench), generator)
    weight = size_weights(bench, spread)
    sizes = run_sizes(bench)[runs]
    if len(np.unique(sizes)) < 0.8 * len(sizes):
        near = [run for run in runs if weight[run] >= 0.3 * weight[runs].max()]
        yield from early_commitment(bench, generator, forecaster=forecaster, runs=near)
        return
    orders = ladder_orders(bench, runs, weight, ladder * bench.remaining)
    if orders:
        yield Decision(orders, "ladder", kept=tuple(runs))
    able = trainable(bench, runs)
    if not able:
        return
    draws = drawn(bench, able, forecaster, 1.0, generator)
    failed = isinstance(draws, ProbscaleError)
    shares = np.full(len(able), 1 / len(able)) if failed else chances(draws)
    # A forecast from a few small runs is never so sure as to rule out what the prior favours.
    shares = (shares + 0.02) * weight[able]
    shares /= shares.sum()
    chosen = able[int(np.argmax(shares))]
    until = float(min(bench.spent[chosen] + bench.remaining, bench.ends[chosen]))
    note = {"because": str(draws)} if failed else {}
    yield Decision((Order(chosen, until),), "commit", (chosen,), probabilities(able, shares), note)


def size_weights(bench: Bench, spread: float) -> Array:
    """Prior weight of each run by the distance of its size from √(C / 120), (runs,); the largest is 1.

    Where runs were trained before, C differs between them: less of it costs what the squared distance costs
    that loses as much.

    Source: Hoffmann et al. 2022, approach 3: near the optimum of E + A/N^α + B/D^β a distance d in ln N costs
    as much as a factor exp(½ (α + β) d²) of compute.
    """
    reach = np.log(bench.spent + bench.remaining)
    squares = size_distance(bench) ** 2 + (reach.max() - reach) / (0.5 * EXPONENTS)
    # The pool may lie beyond the rule on one side: only differences within it matter.
    return np.exp(-0.5 * (squares - squares.min()) / spread**2)


def ladder_orders(bench: Bench, runs: Sequence[int], weight: Array, budget: float) -> tuple[Order, ...]:
    """Orders for runs well below the favoured size, to 20 tokens a parameter, together within a budget."""
    sizes = run_sizes(bench)
    favoured = float(sizes[max(runs, key=lambda run: weight[run])])
    until = 6 * TOKENS_PER_PARAM * sizes**2
    price = np.maximum(until - bench.spent, 0.0)
    orders: dict[int, Order] = {}
    for share in LADDER:
        small = [
            run for run in runs if run not in orders and sizes[run] < favoured / 1.5 and price[run] <= budget
        ]
        if small:
            run = min(small, key=lambda run: abs(math.log(sizes[run] / (share * favoured))))
            orders[run] = Order(run, float(min(until[run], bench.ends[run])))
            budget -= max(orders[run].until - bench.spent[run], 0.0)
    return tuple(order for order in orders.values() if order.until > bench.spent[order.run])


def default_strategy(
    bench: Bench,
    generator: np.random.Generator,
    *,
    forecaster: Forecaster,
    settings: Commitment | None = None,
) -> Strategy:
    """The size prior where sizes differ by a factor of two or more, early commitment elsewhere."""
    if bench.in_flops and bench.params is not None:
        sizes = run_sizes(bench)[everyone(bench)]
        if len(sizes) and sizes.max() >= 2 * sizes.min():
            yield from size_prior(bench, generator, forecaster=forecaster)
            return
    careful = replace(
        settings or Commitment(),
        **{"earned": True, "mass": CAREFUL_MASS, "interleaved": False, "screened": True, "generous": True},
    )
    yield from early_commitment(bench, generator, forecaster=forecaster, settings=careful)
