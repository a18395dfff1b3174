"""Imagined outcomes of a pool: curves drawn before anything is trained, and benches that play them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.budget.bench import NEGLIGIBLE, ROUNDING, Array, Bench, Decision, whole_step
from probscale.budget.forecast import JointForecaster
from probscale.budget.paid import Paid
from probscale.cost import CostModel
from probscale.errors import FitError

if TYPE_CHECKING:
    from probscale.surrogate import CurveSurrogate

POINTS = 24
"""Points of imagined curves."""

FLOOR, AMPLITUDES, EXPONENTS = 1.69, (406.4, 410.7), (0.34, 0.28)
"""E, (A, B) and (α, β) of Hoffmann et al. 2022, approach 3."""

FIRST = 1e-4
"""First point of imagined curves, as a share of the total."""


@dataclass(frozen=True, eq=False)
class Worlds:
    """Joint draws of the curves of a pool.

    Attributes:
        configs: Configurations.
        axis: Name of the axis.
        params: Column of sizes, if the cost has one.
        in_flops: Whether compute is counted in FLOPs.
        total: Budget.
        spent: Compute paid before, (runs,).
        reach: Most compute that each run may have within the budget, (runs,).
        stopped: Runs that may not be trained further, (runs,).
        price: Compute at each point, (runs, points), rising.
        at: Axis value at each point, (runs, points).
        outputs: Lower better, (worlds, runs, points).
        resolution: Step of the axis to whole multiples of which runs are trained, 0 for none, (runs,).
    """

    configs: pd.DataFrame
    axis: str
    params: str | None
    in_flops: bool
    total: float
    spent: Array
    reach: Array
    stopped: NDArray[np.bool_]
    price: Array
    at: Array
    outputs: Array
    resolution: Array


def imagined(
    configs: pd.DataFrame,
    cost: CostModel,
    total: float,
    *,
    axis: str,
    params: str | None,
    last: Array,
    worlds: int,
    surrogate: CurveSurrogate | None,
    seed: int,
    paid: Paid | None = None,
    resolution: Array | None = None,
) -> Worlds:
    """Curves of a pool drawn from a surrogate of earlier runs, or without one from power laws.

    Runs that differ in size, with costs in FLOPs, follow the published Chinchilla law with a log-normal
    balance of its terms (standard deviation .5, shared) and of each run (.05). Other runs follow 1 + a +
    b·t^−.28 with a and b log-normal per run (.25 and .1). What an allocation has `paid` for already is taken
    as observed; without a surrogate one is fitted to it.

    Source: Hoffmann et al. 2022, approach 3, for the law.
    """
    spent = np.zeros(len(configs)) if paid is None else paid.spent
    reach = spent + (total - float(spent.sum()))
    price = reach[:, None] * np.geomspace(FIRST, 1.0, POINTS)
    ends = np.where(
        np.isfinite(last), cost(configs, np.where(np.isfinite(last), last, 0.0)[:, None])[:, 0], np.inf
    )
    price = np.minimum(price, ends[:, None] * np.linspace(1 - 1e-9, 1, POINTS))
    at = cost.axis_at(configs, price)
    asked = configs
    if paid is not None:
        forecaster = JointForecaster(surrogate, seed=seed)
        surrogate = forecaster.updated(paid)
        asked = forecaster.named(paid, surrogate.log.roles.run)
    if surrogate is not None:
        sign = 1.0 if surrogate.log.roles.goal == "min" else -1.0
        # Columns that only costs need are not configuration.
        known = {surrogate.log.roles.run, *surrogate.log.roles.described}
        asked = asked[[name for name in asked if name in known]]
        outputs = sign * surrogate.predict(asked, at).latent().sample(worlds, seed=seed)
    else:
        sized = params is not None and cost.unit == "FLOPs"
        sizes = configs[params].to_numpy(dtype=np.float64) if sized else None
        outputs = _power_laws(at, sizes, worlds, np.random.default_rng(seed))
    stopped = np.zeros(len(configs), dtype=bool) if paid is None else paid.stopped
    flops = cost.unit == "FLOPs"
    steps = np.zeros(len(configs)) if resolution is None else resolution
    return Worlds(configs, axis, params, flops, total, spent, reach, stopped, price, at, outputs, steps)


def _power_laws(at: Array, sizes: Array | None, worlds: int, generator: np.random.Generator) -> Array:
    """Curves of similar runs, or of runs that differ in size, (worlds, runs, points)."""
    if sizes is None:
        height = 0.5 * np.exp(0.25 * generator.standard_normal((worlds, len(at), 1)))
        progress = 0.5 * (at / np.median(at[:, -1])) ** -EXPONENTS[1]
        return 1.0 + height + progress * np.exp(0.1 * generator.standard_normal((worlds, len(at), 1)))
    # The balance of both terms, and with it the best size, is uncertain in all runs together.
    balance = np.exp(0.5 * generator.standard_normal((worlds, 1, 1)))
    own = np.exp(0.05 * generator.standard_normal((2, worlds, len(at), 1)))
    size_term = AMPLITUDES[0] * (sizes ** -EXPONENTS[0])[:, None] * balance
    return FLOOR + own[0] * size_term + own[1] * AMPLITUDES[1] * at ** -EXPONENTS[1]


class WorldBench:
    """One world played: curves appear as compute is paid; satisfies `bench.Bench`."""

    goal = "min"

    def __init__(self, worlds: Worlds, number: int) -> None:
        self.configs = worlds.configs
        self.axis = worlds.axis
        self.params = worlds.params
        self.in_flops = worlds.in_flops
        self.total = worlds.total
        self.spent: Array = worlds.spent.copy()
        self.decisions: list[Decision] = []
        self.paid: list[Array] = []
        self._worlds = worlds
        self._curves = worlds.outputs[number]
        # Compute at the next whole step of each run: strategies ask often which runs may go on.
        self._following = np.zeros(len(worlds.price))
        self._look_ahead(range(len(worlds.price)))

    @property
    def begun(self) -> Array:
        """Compute paid for each run before the game."""
        return self._worlds.spent

    @property
    def remaining(self) -> float:
        """Budget not spent yet."""
        return max(self.total - float(self.spent.sum()), 0.0)

    @property
    def ends(self) -> Array:
        """Compute at which runs end; those that the whole budget does not finish have none."""
        last = self._worlds.price[:, -1]
        return np.where(last < self._worlds.reach * (1 - 1e-6), last, np.inf)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which runs are unfinished and may go on."""
        payable = self._following - self.spent <= self._affordable
        return (self.spent < self.ends * (1 - ROUNDING)) & ~self._worlds.stopped & payable

    def points(self, run: int) -> list[tuple[float, float]]:
        """Points paid for; the last is where the run stands."""
        price, paid = self._worlds.price[run], self.spent[run]
        if paid <= 0:
            return []
        value = float(np.interp(paid, price, self._curves[run]))
        place = float(np.interp(paid, np.r_[0.0, price], np.r_[0.0, self._worlds.at[run]]))
        seen = price < paid * (1 - ROUNDING)
        before = zip(self._worlds.at[run, seen].tolist(), self._curves[run, seen].tolist(), strict=True)
        return [*before, (place, value)]

    def axis_at(self, runs: Sequence[int], compute: Array) -> Array:
        """Axis values reached with some compute each."""
        return np.array(
            [
                np.interp(paid, np.r_[0.0, self._worlds.price[run]], np.r_[0.0, self._worlds.at[run]])
                for run, paid in zip(runs, compute, strict=True)
            ]
        )

    def train(self, decision: Decision) -> Decision:
        """Pay for orders in turn, each as far as the budget goes."""
        before = self.spent.copy()
        for order in decision.orders:
            room = min(order.until, self.ends[order.run]) - self.spent[order.run]
            room = min(max(room, 0.0), self.remaining)
            if room > 0 and self._worlds.resolution[order.run] > 0:
                room = self._whole(order.run, self.spent[order.run] + room) - self.spent[order.run]
                room = min(room, self.remaining) if room <= self._affordable else 0.0
            self.spent[order.run] += room
        self._look_ahead([order.run for order in decision.orders])
        self.decisions.append(decision)
        self.paid.append(self.spent - before)
        return decision

    @property
    def _affordable(self) -> float:
        return self.remaining * (1 + ROUNDING) + NEGLIGIBLE * self.total

    def _look_ahead(self, runs: Iterable[int]) -> None:
        """Price the next whole step of runs that have steps."""
        for run in runs:
            if self._worlds.resolution[run] > 0:
                self._following[run] = self._whole(run, self.spent[run])

    def _whole(self, run: int, paid: float) -> float:
        """Compute at the whole step that some compute reaches, or at the next; infinite beyond the budget."""
        price, at = np.r_[0.0, self._worlds.price[run]], np.r_[0.0, self._worlds.at[run]]
        reached, until = self.axis_at([run, run], np.array([self.spent[run], paid])).tolist()
        last = float(at[-1]) if np.isfinite(self.ends[run]) else np.inf
        target = whole_step(until, reached, float(self._worlds.resolution[run]), last)
        return float(np.interp(target, at, price)) if target <= at[-1] * (1 + ROUNDING) else np.inf

    def final(self) -> Array:
        """Output of each run if the whole budget were its own, (runs,)."""
        return self._curves[:, -1]


@dataclass(frozen=True, eq=False)
class WorldForecaster:
    """Forecasts within imagined worlds: a run's output at the horizon regressed on its last one.

    It stands in for the surrogate that a live allocation would fit, whose posterior a linear regression of
    jointly normal draws reproduces for one observation a run.

    Attributes:
        worlds: Imagined outcomes.
        earliest: Where on the axis earlier runs were first observed, if the worlds come from a surrogate of
            such; then they count before any training.
    """

    worlds: Worlds
    earliest: float | None = None

    def sample(self, bench: Bench, runs: Sequence[int], compute: Array, n: int, seed: int) -> Array:
        """Draws of the runs' outputs; see `Forecaster.sample`."""
        if self.earliest is None and not any(bench.points(run) for run in range(len(bench.configs))):
            raise FitError("nothing was observed yet that could be forecast from")
        generator = np.random.default_rng(seed)
        draws = np.empty((n, len(runs)))
        # The same worlds for every run: what runs share does not tell them apart.
        drawn = generator.integers(len(self.worlds.outputs), size=n)
        for index, (run, horizon) in enumerate(zip(runs, compute, strict=True)):
            future = _at(self.worlds, run, float(horizon))
            if bench.spent[run] > 0:
                past = _at(self.worlds, run, float(bench.spent[run]))
                slope = float(np.cov(past, future)[0, 1] / max(np.var(past, ddof=1), 1e-300))
                seen = bench.points(run)[-1][1]
                future = future + slope * (seen - past)
            draws[:, index] = future[drawn]
        return draws


def _at(worlds: Worlds, run: int, compute: float) -> Array:
    """Output of a run at some compute in every world, (worlds,)."""
    price = worlds.price[run]
    right = int(np.clip(np.searchsorted(price, compute), 1, len(price) - 1))
    share = np.clip((compute - price[right - 1]) / (price[right] - price[right - 1]), 0.0, 1.0)
    curves = worlds.outputs[:, run]
    return (1 - share) * curves[:, right - 1] + share * curves[:, right]
