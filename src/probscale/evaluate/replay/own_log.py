"""The replay games of a user's own finished log: what would each strategy have learnt or found from it?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.cost import CostModel
from probscale.errors import ConfigError
from probscale.evaluate.replay.active import ActiveTask, Strategy
from probscale.evaluate.replay.active_tasks import ANY_DEPTH_STRATEGIES, WHOLE_RUN_STRATEGIES
from probscale.evaluate.replay.budget import BudgetTask, finite_outputs
from probscale.runs import RunLog

Array = NDArray[np.float64]

ACTIVE_POINTS, BUDGET_POINTS = 12, 64
FEWEST_RUNS, FEWEST_POINTS = 6, 3
LEVELS, DECADES = 60, 2.0
START_RUNS = 3


@dataclass(frozen=True, eq=False)
class Curves:
    """Finished runs with equally many points each.

    Attributes:
        configs: One row per run; the identifier is in the column `run`.
        at: Axis values, (runs, points).
        outputs: Outputs, finite, (runs, points).
        price: Cost from the start of the run to each point, (runs, points).
    """

    configs: pd.DataFrame
    at: Array
    outputs: Array
    price: Array


def curves_of(log: RunLog, cost: CostModel, points: int) -> Curves:
    """Runs of a log at equally many of their own points, even in the logarithm, the last one always.

    Runs with too few points are left out; outputs that are not finite become three times the worst first one.

    Raises:
        ConfigError: if outputs are to be maximised or not positive, or too few runs have curves.
    """
    if log.roles.goal == "max" or not bool((log.points[log.output].dropna() > 0).all()):
        raise ConfigError(
            f"replays compare positive outputs of which less is better; {log.output!r} is not one: replay an "
            "error or a loss, such as 1 − accuracy"
        )
    counts = np.bincount(log.codes, minlength=log.n_runs)
    count = int(min(points, np.median(counts)))
    kept = np.flatnonzero(counts >= count)
    if count < FEWEST_POINTS or len(kept) < FEWEST_RUNS:
        raise ConfigError(
            f"a replay needs at least {FEWEST_RUNS} runs of {FEWEST_POINTS} points; the log has {log.n_runs} "
            f"runs, half of them with {int(np.median(counts))} points or fewer"
        )
    axis = log.points[log.roles.axis].to_numpy(dtype=np.float64)
    output = log.points[log.output].to_numpy(dtype=np.float64)
    where = np.stack([np.flatnonzero(log.codes == run)[_spread(counts[run], count)] for run in kept])
    named = log.configs.iloc[kept].reset_index(names=log.roles.run)
    configs = named.rename(columns={log.roles.run: "run"})
    return Curves(configs, axis[where], finite_outputs(output[where]), cost(named, axis[where]))


def _spread(available: int, count: int) -> NDArray[np.intp]:
    """Positions of `count` of the points, geometric, each one once, the last one among them."""
    wanted = np.round(np.geomspace(1, available, count)).astype(np.intp) - 1
    for position in range(1, count):
        wanted[position] = max(wanted[position], wanted[position - 1] + 1)
    return np.minimum(wanted, np.arange(available - count, available))


@dataclass(frozen=True, eq=False)
class LogGame:
    """Active learning replayed on a log; called, it gives the task and the strategies that play it.

    Attributes:
        log: Finished runs.
        cost: What training costs.
        name: Name in tables.
    """

    log: RunLog
    cost: CostModel
    name: str = "log"

    def __call__(self) -> tuple[ActiveTask, tuple[Strategy, ...]]:
        """Task and strategies: whole runs where a prefix is no shorter run, any depth otherwise."""
        whole = self.log.roles.horizon is not None
        strategies = WHOLE_RUN_STRATEGIES if whole else ANY_DEPTH_STRATEGIES
        return active_task(self.log, self.cost, self.name), strategies


def active_task(log: RunLog, cost: CostModel, name: str = "log") -> ActiveTask:
    """Active learning of the law of a log's frontier; starts from three of the cheaper half of the runs.

    Raises:
        ConfigError: see `curves_of`.
    """
    found = curves_of(log, cost, ACTIVE_POINTS)
    runs, points = found.at.shape
    whole = log.roles.horizon is not None
    cheap = np.argsort(found.price[:, -1], kind="stable")[: max(runs // 2, START_RUNS)]
    first = points - 1 if whole else points // 2
    high = float(found.price.max())
    levels = np.geomspace(max(high * 10**-DECADES, float(found.price[:, 0].min())), high, LEVELS)

    def start(seed: int) -> list[tuple[int, int]]:
        return [(int(c), first) for c in np.random.default_rng(seed).choice(cheap, START_RUNS, replace=False)]

    return ActiveTask(
        name=name,
        configs=found.configs,
        params=log.roles.params,
        axis=log.roles.axis,
        output=log.output,
        at=found.at,
        truth=found.outputs,
        compute=found.price,
        price=found.price,
        depths=np.arange(points) >= (points - 1 if whole else 1),
        start=start,
        levels=levels,
        nearest=False,
        span=(float(levels[0]), float(levels[-1])),
        thresholds=(0.05, 0.01),
    )


def budget_task(log: RunLog, cost: CostModel, name: str = "log") -> BudgetTask:
    """Budget allocation over the runs of a log; with a params role the law learnt is compared too.

    Raises:
        ConfigError: see `curves_of`.
    """
    found = curves_of(log, cost, BUDGET_POINTS)
    high = float(found.price.max())
    span = (max(high * 10**-DECADES, float(found.price[:, 0].min())), high)
    params = log.roles.params if cost.unit == "FLOPs" else None
    configs = found.configs.drop(columns="run")
    law = None if params is None else (span, span)
    return BudgetTask(name, configs, log.roles.axis, found.at, found.outputs, found.price, params, law)
