"""What a strategy sees and says: the state of all runs, and orders to train some of them further."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.errors import BudgetError

Array = NDArray[np.float64]

NEGLIGIBLE = 1e-9
"""Share of a budget, or of a cost, that counts as nothing: compute is a sum of many increments."""

ROUNDING = 1e-9
"""Relative rounding that comparisons of costs and axis values allow for."""


@dataclass(frozen=True)
class Order:
    """Train a run until its compute, from the start of the run, reaches `until`."""

    run: int
    until: float


@dataclass(frozen=True)
class Decision:
    """What to train next, all at once, and why.

    Attributes:
        orders: Increments; a run occurs at most once.
        kind: Name of the step, such as "rung 2 of 4".
        kept: Runs that stay in the competition after the step before; others are stopped unless named again.
        prob_best: Posterior probability of being the best, by run, where the strategy has a posterior.
        note: Further facts behind the decision.
    """

    orders: tuple[Order, ...]
    kind: str
    kept: tuple[int, ...] = ()
    prob_best: Mapping[int, float] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict)


class Bench(Protocol):
    """The runs that a strategy spends a budget on: logs replayed, or training for real.

    Runs are numbered by their row in `configs`. Compute is in units of the cost model; outputs are turned so
    that lower is better.
    """

    @property
    def configs(self) -> pd.DataFrame:
        """Configurations, one row per run."""
        ...

    @property
    def axis(self) -> str:
        """Name of the progress axis."""
        ...

    @property
    def goal(self) -> str:
        """Which outputs, in user units, are better: "min" or "max"."""
        ...

    @property
    def params(self) -> str | None:
        """Column with the model size, if the cost has one."""
        ...

    @property
    def in_flops(self) -> bool:
        """Whether compute is counted in FLOPs."""
        ...

    @property
    def total(self) -> float:
        """Budget."""
        ...

    @property
    def remaining(self) -> float:
        """Budget not spent yet."""
        ...

    @property
    def spent(self) -> Array:
        """Compute paid for each run, (runs,)."""
        ...

    @property
    def ends(self) -> Array:
        """Compute at which each run ends, (runs,); infinite if it has no end."""
        ...

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which runs may be trained further: neither ended nor given up, (runs,)."""
        ...

    def points(self, run: int) -> Sequence[tuple[float, float]]:
        """Observed (axis value, output) of a run, the axis rising."""
        ...

    def axis_at(self, runs: Sequence[int], compute: Array) -> Array:
        """Axis values that runs reach with `compute` each, (runs,)."""
        ...

    def train(self, decision: Decision) -> Decision:
        """Carry out a decision; returns the one carried out, which after a resume is the recorded one."""
        ...


Strategy: TypeAlias = Generator[Decision, Decision, None]
"""Yields decisions and receives each as it was carried out; the bench has changed by then."""


def check_decision(decision: object, runs: int) -> Decision:
    """A decision that a bench of so many runs can carry out.

    Raises:
        BudgetError: if it is none, names a run twice or one that is not there, or asks for no compute.
    """
    if not isinstance(decision, Decision):
        raise BudgetError(
            f"the strategy yielded a {type(decision).__name__}; it must yield a Decision, such as "
            'Decision((Order(0, 1e18),), "first")'
        )
    numbers = [order.run for order in decision.orders]
    for order in decision.orders:
        if not (isinstance(order.run, Integral) and 0 <= order.run < runs and numbers.count(order.run) == 1):
            raise BudgetError(
                f"{decision.kind!r} orders run {order.run!r}; runs are numbered 0 to {runs - 1}, each at "
                "most once in a decision",
                run=order.run,
            )
        if not order.until >= 0:
            raise BudgetError(
                f"{decision.kind!r} orders run {order.run} to compute {order.until}; give what it is to cost "
                "from its start, or infinity for all that is left",
                run=order.run,
            )
    return decision


def whole_step(until: float, reached: float, step: float, last: float) -> float:
    """The whole step below `until`, but at least the next one after `reached`; none is beyond `last`.

    A `step` of 0 leaves `until` as it is, and so does a run that is to be trained to its end.
    """
    if step <= 0 or until >= last * (1 - ROUNDING):
        return until
    below, behind = (math.floor(place / step * (1 + ROUNDING)) for place in (until, reached))
    return min(max(below, behind + 1) * step, last)


def trainable(bench: Bench, runs: Sequence[int]) -> list[int]:
    """Those of some runs that can be trained further, in their order."""
    usable = bench.usable
    return [run for run in runs if usable[run]]


def best_outputs(bench: Bench) -> Array:
    """Lowest finite output observed of each run, (runs,); infinite where there is none."""
    return np.array([best_output(bench, run) for run in range(len(bench.configs))], dtype=np.float64)


def best_output(bench: Bench, run: int) -> float:
    """Lowest finite output observed of a run; infinite where there is none."""
    return min((value for _, value in bench.points(run) if math.isfinite(value)), default=math.inf)


def equal_orders(bench: Bench, runs: Sequence[int], compute: float) -> tuple[Order, ...]:
    """Orders that share `compute` equally over runs that can still be trained."""
    able = trainable(bench, runs)
    share = compute / max(len(able), 1)
    return tuple(Order(run, float(min(bench.spent[run] + share, bench.ends[run]))) for run in able)


def level_orders(bench: Bench, runs: Sequence[int], compute: float) -> tuple[Order, ...]:
    """Orders that bring the least trained runs up to one level of compute, together for `compute`.

    So a budget that grew is spent as if it had been as large from the start: who is ahead waits.
    """
    able = trainable(bench, runs)
    if not able:
        return ()
    paid = np.sort(bench.spent[able])
    # The level that the first k runs would share; it holds where the next run lies above it.
    levels = (compute + np.cumsum(paid)) / np.arange(1, len(paid) + 1)
    level = levels[int(np.argmax(np.r_[levels[:-1] <= paid[1:], True]))]
    ahead = NEGLIGIBLE * bench.total
    below = [run for run in able if bench.spent[run] < min(level, bench.ends[run]) - ahead]
    return tuple(Order(run, float(min(level, bench.ends[run]))) for run in below)


def spend_left_over(bench: Bench) -> Strategy:
    """Finish the best-observed unfinished run, and repeat until nothing can be spent."""
    best = best_outputs(bench)
    while bench.remaining > NEGLIGIBLE * bench.total:
        able = np.flatnonzero(bench.usable)
        if not len(able):
            return
        run = int(able[np.argmin(best[able])])
        before = bench.remaining
        until = float(min(bench.ends[run], bench.spent[run] + before))
        yield Decision((Order(run, until),), "left over", kept=(run,))
        best[run] = best_output(bench, run)
        if bench.remaining >= before and bench.usable[run]:
            return


def drive(bench: Bench, strategy: Strategy, most: int | None = None) -> None:
    """Carry out a strategy's decisions, then spend what is left.

    Args:
        bench: Runs.
        strategy: The strategy.
        most: Decisions after which to stop, whatever is left; None for no bound.
    """
    count = 0
    for part in (strategy, spend_left_over(bench)):
        decision = next(part, None) if most is None or count < most else None
        while decision is not None:
            done, count = bench.train(decision), count + 1
            if count == most:
                return
            try:
                decision = part.send(done)
            except StopIteration:
                decision = None
