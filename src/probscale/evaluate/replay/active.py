"""Replay of active learning on finished logs: what would each strategy have learnt, at what cost?"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.design.actions import Actions
from probscale.design.cells import joint_cells
from probscale.design.criteria import Situation, find_criterion
from probscale.digest import curves_digest
from probscale.envelope import Crossings, area_between, best_of, crossings, line_through
from probscale.errors import expecting_new_values
from probscale.runs import RunLog
from probscale.surrogate import CurveSurrogate, fit_surrogate

Array = NDArray[np.float64]

DRAWS = 256


@dataclass(frozen=True, eq=False)
class ActiveTask:
    """A finished log turned into a game: curves are hidden until they are paid for.

    Attributes:
        name: Name in tables.
        configs: One row per run, with a column `run`.
        params: Column of model size; None if there is none.
        axis: Name of the progress axis.
        output: Name of the measured quantity.
        at: Axis values, (configs, points).
        truth: Outputs, (configs, points).
        compute: Compute at each point, as the law sees it, (configs, points).
        price: Cumulative cost of training to each point, as the budget sees it, (configs, points).
        depths: Points at which a run may be stopped, (points,).
        start: Seed to the first (configuration, point) pairs.
        levels: Compute at which the frontier is compared, (levels,).
        nearest: Whether curves are read at the nearest point instead of interpolated.
        span: Compute over which the area between laws is taken.
        thresholds: Area between laws and frontier error that count as learnt.
    """

    name: str
    configs: pd.DataFrame
    params: str | None
    axis: str
    output: str
    at: Array
    truth: Array
    compute: Array
    price: Array
    depths: NDArray[np.bool_]
    start: Callable[[int], list[tuple[int, int]]]
    levels: Array
    nearest: bool
    span: tuple[float, float]
    thresholds: tuple[float, float]

    @cached_property
    def crossings(self) -> Crossings:
        """Where curves meet the levels."""
        return crossings(self.compute, self.levels, nearest=self.nearest)

    @cached_property
    def frontier(self) -> Array:
        """Logarithm of the true frontier, (levels,)."""
        return np.log(best_of(self.crossings.at(self.truth))[0])

    @cached_property
    def law(self) -> tuple[float, float]:
        """Slope and intercept of the true law."""
        slope, intercept = line_through(np.log(self.levels), self.frontier)
        return float(slope), float(intercept)

    @property
    def digest(self) -> str:
        """What tells this game from one on other runs."""
        stops = np.broadcast_to(self.depths, self.at.shape)
        return curves_digest(self.configs, self.at, self.truth, self.compute, self.price, stops, self.levels)

    def actions(self) -> Actions:
        """Legal actions before anything is paid."""
        configs, points = self.at.shape
        return Actions(
            self.at,
            self.price,
            np.zeros(configs),
            np.zeros(configs),
            np.broadcast_to(self.depths, (configs, points)),
            np.ones(configs, dtype=bool),
        )

    def log(self, cells: NDArray[np.bool_]) -> RunLog:
        """The measured cells as a run log."""
        config, point = np.nonzero(cells)
        frame = self.configs.iloc[config].reset_index(drop=True)
        frame[self.axis], frame[self.output] = self.at[config, point], self.truth[config, point]
        return RunLog.from_frame(frame, run="run", axis=self.axis, output=self.output, params=self.params)


@dataclass(frozen=True)
class Strategy:
    """How the next action is chosen.

    Attributes:
        name: Name in tables.
        criterion: A criterion of `design`, or "random", or "cheapest".
        cost_power: Scores are divided by cost to this power; for "random", probabilities are.
        full: Only whole runs.
    """

    name: str
    criterion: str
    cost_power: float = 1.0
    full: bool = False

    def choose(self, situation: Situation, generator: np.random.Generator) -> tuple[int, int]:
        """Configuration and point of the next action."""
        table = situation.actions.table
        cost = table["cost"].to_numpy(dtype=np.float64)
        usable = np.ones(len(table), dtype=bool)
        if self.full:
            usable = (table["point"] == table["point"].max()).to_numpy()
        if self.criterion == "random":
            weights = np.where(usable, cost**-self.cost_power, 0.0)
            position = int(generator.choice(len(table), p=weights / weights.sum()))
        else:
            value = (
                np.ones(len(table))
                if self.criterion == "cheapest"
                else find_criterion(self.criterion)(situation)
            )
            position = int(np.argmax(np.where(usable, value / cost**self.cost_power, -np.inf)))
        row = table.iloc[position]
        return int(row["config"]), int(row["point"])


@dataclass(frozen=True)
class Belief:
    """The surrogate of a replay and how it is kept up to date.

    Attributes:
        surrogate: Current surrogate.
        fitted: Points its parameters were fitted on.
    """

    surrogate: CurveSurrogate
    fitted: int


def updated(belief: Belief | None, log: RunLog, more: RunLog | None, growth: float) -> Belief:
    """Belief after more data: parameters are fitted again once the log has grown by `growth`, else kept."""
    if belief is None or more is None or log.n_points >= growth * belief.fitted:
        start = None if belief is None else belief.surrogate
        return Belief(fit_surrogate(log, embedder=None, seed=0, start=start), log.n_points)
    return Belief(belief.surrogate.condition(more), belief.fitted)


class Stopwatch:
    """Processor seconds spent inside `with` blocks, summed.

    Attributes:
        seconds: Sum so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._start = time.process_time()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.process_time() - self._start


def replay_active(
    task: ActiveTask, strategy: Strategy, seed: int, *, growth: float = 1.5, until: float = 1.0
) -> pd.DataFrame:
    """One replay of one strategy.

    Args:
        task: The game.
        strategy: Who plays.
        seed: Start and random choices; equal seeds start alike in all strategies.
        growth: Growth of the log that has the surrogate fitted again.
        until: Share of the whole price at which to stop.

    Returns:
        One row per state of knowledge: share of the price spent; area between the laws, in loss (abc) and in
        its logarithm (abc_log); frontier error (frmse); slope and its 95 % interval; seconds of the decision
        and the update that led there, and whether parameters were fitted in it.
    """
    generator = np.random.default_rng([seed, 1])
    actions = task.actions()
    seen = np.zeros(task.at.shape, dtype=bool)
    for config, point in task.start(seed):
        seen.ravel()[actions.block(config, point)] = True
        actions = actions.taken(config, point)
    belief = updated(None, task.log(seen), None, growth)
    total, rows = task.price[:, -1].sum(), []
    seconds, fitted = 0.0, True
    while True:
        clock = Stopwatch()
        with clock:
            situation = situation_in(task, belief.surrogate, actions, seen)
        spent = float(actions.paid.sum() / total)
        # Comparing with the truth is no part of the decision.
        rows.append(
            law_errors(task, situation.draws) | {"spent": spent, "seconds": seconds, "fitted": fitted}
        )
        if not actions.legal.any() or spent >= until:
            break
        with clock:
            config, point = strategy.choose(situation, generator)
            fresh = np.zeros_like(seen)
            fresh.ravel()[actions.block(config, point)] = True
            seen, actions = seen | fresh, actions.taken(config, point)
            before, belief = belief, updated(belief, task.log(seen), task.log(fresh), growth)
        fitted, seconds = belief.fitted != before.fitted, clock.seconds
    return pd.DataFrame(rows).assign(task=task.name, strategy=strategy.name, seed=seed)


def situation_in(
    task: ActiveTask, surrogate: CurveSurrogate, actions: Actions, seen: NDArray[np.bool_]
) -> Situation:
    """What a surrogate says of a game in which the cells `seen`, (runs, points), are known."""
    with expecting_new_values():
        cells, curves = joint_cells(surrogate, task.configs, task.at)
    draws = np.where(seen, task.truth, curves.latent().sample(DRAWS, seed=0))
    best = float(task.truth[seen].min())
    return Situation(
        cells,
        actions,
        draws,
        task.crossings,
        task.levels,
        "min",
        best,
        np.zeros_like(seen),
        task.span,
        int(seen.any(axis=1).sum()),
    )


def law_errors(task: ActiveTask, draws: Array) -> dict[str, float]:
    """Errors of the law and the frontier that draws of all curves imply.

    Args:
        task: The game, which knows the truth.
        draws: Joint draws of all curves, measured points as measured, (draws, configs, points).

    Returns:
        Area between the laws in loss (abc) and in its logarithm (abc_log), frontier error (frmse), slope and
        its 95 % interval.
    """
    frontier = np.log(best_of(task.crossings.at(draws))[0])
    slopes, intercepts = line_through(np.log(task.levels), frontier)
    law = float(slopes.mean()), float(intercepts.mean())
    low, high = np.log(task.span)
    lower, upper = np.quantile(slopes, [0.025, 0.975])
    x = np.linspace(low, high, 501)
    believed, true = (np.exp(slope * x + intercept) for slope, intercept in (law, task.law))
    return {
        "abc": float(np.trapezoid(np.abs(believed - true), x)),
        "abc_log": area_between(law, task.law, (low, high)),
        "frmse": float(np.sqrt(np.mean((frontier.mean(axis=0) - task.frontier) ** 2))),
        "slope": law[0],
        "slope_lower": float(lower),
        "slope_upper": float(upper),
    }
