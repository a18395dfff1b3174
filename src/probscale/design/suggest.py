"""suggest: which runs to do next, and how far."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probscale.cost import CostModel, as_cost
from probscale.design.actions import OVERHEAD, Actions
from probscale.design.cells import joint_cells
from probscale.design.criteria import Situation, Value, find_criterion
from probscale.design.pool import (
    MOST_CELLS,
    Constraints,
    Depths,
    actions_of,
    depths_of,
    grid_of,
    known_columns,
    limit_of,
    progress_of,
    read_pool,
    thinned,
)
from probscale.envelope import crossings, given_levels
from probscale.errors import ConfigError
from probscale.runs.order import table_order
from probscale.runs.pools import Configs
from probscale.surrogate import CurveSurrogate
from probscale.surrogate.curves import check_fitted
from probscale.surrogate.posterior import said_left_out

Array = NDArray[np.float64]

LEVELS = 60
"""Levels of compute at which the frontier matters, by default."""

DECADES = 2.0
"""How far below the dearest run they begin."""


@dataclass(frozen=True)
class Choice:
    """One chosen action: positions of configuration and point, its score and cost."""

    config: int
    point: int
    score: float
    cost: float


@dataclass(frozen=True)
class Compared:
    """What is compared of a pool, in an order that does not depend on the pool's.

    Attributes:
        rows: Configurations.
        places: Their rows in the pool.
        situation: What is believed of them, and what may be done.
        notes: What the user should know.
    """

    rows: pd.DataFrame
    places: NDArray[np.intp]
    situation: Situation
    notes: list[str]

    def answer(self, configs: list[int], **columns: Any) -> pd.DataFrame:
        """Rows of the pool with further columns, and the notes."""
        answer = self.rows.iloc[configs].copy().assign(**columns)
        if self.notes:
            answer.attrs["notes"] = self.notes
        return answer


def suggest(
    surrogate: CurveSurrogate,
    pool: Configs,
    n: int = 1,
    criterion: str | Value = "frontier",
    *,
    cost: CostModel,
    at: ArrayLike | None = None,
    depths: Depths | None = None,
    cost_power: float = 1.0,
    overhead: float = OVERHEAD,
    compute: ArrayLike | None = None,
    targets: Configs | None = None,
    max_cost: float | None = None,
    budget: float | None = None,
    allowed: Mapping[str, Collection[Any]] | None = None,
    where: Callable[[pd.DataFrame], Any] | None = None,
    samples: int = 256,
    seed: int = 0,
) -> pd.DataFrame:
    """The next runs that teach most per unit of cost.

    An action is a run and how far to train it; a row that names a run of the log continues it and pays the
    increment. Batches are chosen greedily: each choice takes into account, exactly, how much the ones before
    it will narrow the posterior.

    Args:
        surrogate: What is known.
        pool: Configurations that could be trained. Columns the surrogate never saw serve costs and
            constraints only.
        n: Number of actions; fewer if the pool is exhausted.
        criterion: Name in `design.CRITERIA`, or a function of a `Situation`, such as `design.acquisition`
            makes of an acquisition function of BoTorch.
        cost: Cost model.
        at: Grid on the axis, (points,) or (configs, points); by default from the log, see
            `design.pool.grid_of`.
        depths: Where runs may stop: "full", "any" or axis values; by default any point, or whole runs only
            where the log has a horizon.
        cost_power: Scores are divided by cost to this power; 0 ignores cost.
        overhead: What starting or resuming a run costs besides training, as a share of the price of the whole
            run; it counts in scores, not in the budget.
        compute: Costs at which the frontier matters; by default the last two decades up to the dearest run.
        targets: Configurations whose end matters to the criterion "target"; some 150 at most.
        max_cost: Most that one action may cost.
        budget: Most that all of them may cost together.
        allowed: Column to the values it may take.
        where: Function of the pool, one truth value per row; for example a bound on memory.
        samples: Posterior draws behind the probability of being on the frontier.
        seed: Seed of the draws.

    Returns:
        Chosen rows of the pool, best first, with columns until, score (value per cost, a start included) and
        cost (of the increment). `attrs["notes"]` says if the pool was too large for one joint posterior and
        was thinned at random, and which settings it leaves out.

    Raises:
        ConfigError: for an unknown criterion, an empty pool, or constraints or a budget that leave nothing.

    Cost: O(observations × cells² + actions × points × cells), cells = configurations × points; 0.1 s for 330
        cells.

    Source: Seo et al. 2000 for the variance criteria; Krause et al. 2008 for greedy batches.

    Example:
        >>> import probscale as ps
        >>> log = ps.simulate_runs("law", n_runs=10, points=3, seed=0)
        >>> surrogate = ps.fit_surrogate(log, embedder=None)
        >>> pool = [{"params": n, "learning_rate": 2e-3, "horizon": 1e9} for n in (3e7, 3e8)]
        >>> batch = suggest(surrogate, pool, n=2, cost=ps.FlopsCost(params="params"))
        >>> list(batch.columns)
        ['params', 'learning_rate', 'horizon', 'until', 'score', 'cost']
    """
    if not isinstance(n, Integral) or n < 1:
        raise ConfigError(f"n is {n!r}; ask for at least one action, by a whole number", n=n)
    value = find_criterion(criterion, aimed=targets is not None)
    left = limit_of(budget, "budget")
    compared = _compared(
        surrogate,
        pool,
        Constraints(min(left, limit_of(max_cost, "max_cost")), allowed, where),
        cost,
        at,
        depths,
        compute,
        targets,
        samples,
        seed,
    )
    situation = compared.situation
    chosen = list(greedy(situation, value, n, cost_power, left, overhead))
    return compared.answer(
        [choice.config for choice in chosen],
        until=[situation.actions.at[choice.config, choice.point] for choice in chosen],
        score=[choice.score for choice in chosen],
        cost=[choice.cost for choice in chosen],
    )


def score_actions(
    surrogate: CurveSurrogate,
    pool: Configs,
    criterion: str | Value = "frontier",
    *,
    cost: CostModel,
    at: ArrayLike | None = None,
    depths: Depths | None = None,
    cost_power: float = 1.0,
    overhead: float = OVERHEAD,
    compute: ArrayLike | None = None,
    targets: Configs | None = None,
    samples: int = 256,
    seed: int = 0,
) -> pd.DataFrame:
    """What every possible next step is worth by itself; `suggest` chooses among these.

    Args:
        surrogate: What is known.
        pool: Configurations that could be trained.
        criterion: As for `suggest`, and so are the others.
        cost: Cost model.
        at: Grid on the axis.
        depths: Where runs may stop.
        cost_power: Scores are divided by cost to this power.
        overhead: Cost of a start.
        compute: Costs at which the frontier matters.
        targets: Configurations whose end matters to the criterion "target".
        samples: Posterior draws.
        seed: Seed of the draws.

    Returns:
        One row per legal action: the row of the pool, until, score and cost.

    Raises:
        ConfigError: for an unknown criterion, an empty pool, or an overhead or power that is none.
    """
    value = find_criterion(criterion, aimed=targets is not None)
    compared = _compared(surrogate, pool, Constraints(), cost, at, depths, compute, targets, samples, seed)
    table = compared.situation.actions.table
    table["score"] = scored(compared.situation, value, cost_power, overhead)
    table = table.iloc[np.argsort(compared.places[table["config"].to_numpy()], kind="stable")]
    told = {name: table[name].to_numpy() for name in ("until", "score", "cost")}
    return compared.answer(table["config"].tolist(), **told)


def _compared(
    surrogate: CurveSurrogate,
    pool: Configs,
    constraints: Constraints,
    cost: CostModel,
    at: ArrayLike | None,
    depths: Depths | None,
    compute: ArrayLike | None,
    targets: Configs | None,
    samples: int,
    seed: int,
) -> Compared:
    """The rows of a pool that are compared, and what is believed about them."""
    check_fitted(surrogate, "suggest")
    log, cost = surrogate.log, as_cost(cost)
    frame = read_pool(pool, log)
    grid = grid_of(frame, log, at)
    order = table_order(frame, log.roles.run, grid)
    # Costs and constraints may be functions that know the pool by its rows.
    actions = actions_of(
        frame, log, cost, grid=grid, depths=depths_of(grid, log, depths), constraints=constraints
    )
    legal = np.asarray(actions.legal.any(axis=1))
    if not legal.any():
        raise ConfigError(nothing_left(actions))
    kept = thinned(order, grid.shape[1], keep=progress_of(frame, log) > 0, legal=legal, seed=seed)
    places = order[np.isin(order, kept)]
    rows, actions = frame.iloc[places], actions.ordered(places)
    situation = situation_of(
        surrogate, rows, actions, compute=compute, targets=targets, samples=samples, seed=seed
    )
    few = len(kept) < len(frame)
    notes = [f"{len(kept)} of {len(frame)} configurations, drawn at random, were compared"] if few else []
    return Compared(rows, places, situation, [*notes, *situation.notes])


def nothing_left(actions: Actions) -> str:
    """Why no action is legal, and what would make one."""
    free = replace(actions, dearest=np.inf).table
    if not len(free):
        return "every configuration of the pool is trained to its last point; widen the pool, or at="
    return (
        f"the cheapest action costs {free['cost'].min():.4g}, more than the {actions.dearest:.4g} allowed; "
        "raise max_cost= or budget="
    )


def situation_of(
    surrogate: CurveSurrogate,
    frame: pd.DataFrame,
    actions: Actions,
    *,
    compute: ArrayLike | None = None,
    targets: Configs | None = None,
    samples: int = 256,
    seed: int = 0,
) -> Situation:
    """Beliefs over a pool's grid and the actions on it; targets join the grid, but may not be trained.

    Draws follow the order of the pool: give it, and the actions, in an order of its own.
    """
    log, pool_size = surrogate.log, len(frame)
    asked = known_columns(frame, log)
    grid = actions.at
    if targets is not None:
        extra = known_columns(read_pool(targets, log), log)
        if len(extra) > (most := MOST_CELLS // grid.shape[1]):
            raise ConfigError(
                f"targets has {len(extra):,} configurations; at {grid.shape[1]} points each at most {most} "
                "fit into one joint posterior. Pass those that matter most, or fewer points with at="
            )
        extra = extra.iloc[table_order(extra, log.roles.run)]
        ends = grid_of(extra, log, None)[:, -1:]
        asked = pd.concat([asked, extra], ignore_index=True)
        grid = np.concatenate([grid, ends * grid.max(axis=0) / grid.max()])
        actions = actions.padded(grid)
    cells, curves = joint_cells(surrogate, asked, grid)
    levels = default_levels(actions.total[:pool_size]) if compute is None else given_levels(compute)
    aimed = np.zeros(grid.shape, dtype=bool)
    aimed[pool_size:, -1] = True
    return Situation(
        cells,
        actions,
        curves.latent().sample(samples, seed=seed),
        crossings(actions.total, levels),
        levels,
        log.roles.goal,
        incumbent_of(surrogate),
        aimed,
        runs=log.n_runs,
        notes=tuple(f"forecasts are {told}" for told in said_left_out(curves.left_out, len(asked))),
    )


def scored(situation: Situation, value: Value, cost_power: float, overhead: float) -> Array:
    """Value per cost of each legal action, (actions,).

    Raises:
        ConfigError: for a power or overhead that is none, or a criterion that does not give one value per
            action.
    """
    if not (np.isfinite(overhead) and overhead >= 0):
        raise ConfigError(f"overhead is {overhead}; pass a share of a whole run's price, such as {OVERHEAD}")
    if not np.isfinite(cost_power):
        raise ConfigError(f"cost_power is {cost_power}; pass 1 to divide by cost, or 0 to ignore it")
    worth = np.asarray(value(situation), dtype=np.float64)
    count = int(situation.actions.legal.sum())
    if worth.shape != (count,):
        raise ConfigError(f"the criterion gave shape {worth.shape} for {count} actions; give one value each")
    if np.isnan(worth).all():
        raise ConfigError("the criterion gave no number for any action; see what it does with the situation")
    # An increment that is free (a cost model may round to zero) is worth any value.
    return worth / np.maximum(situation.actions.effort(overhead), 1e-300) ** cost_power


def greedy(
    situation: Situation,
    value: Value,
    n: int,
    cost_power: float,
    budget: float = np.inf,
    overhead: float = OVERHEAD,
) -> Iterator[Choice]:
    """Actions chosen one after another, each as if the ones before were done; together within a budget.

    Raises:
        ConfigError: as `scored` does.
    """
    for _ in range(int(n)):
        situation = replace(situation, actions=situation.actions.within(budget))
        config, point = np.nonzero(situation.actions.legal)
        if not len(config):
            return
        price = situation.actions.total[config, point] - situation.actions.paid[config]
        score = scored(situation, value, cost_power, overhead)
        best = int(np.argmax(np.where(np.isfinite(score), score, -np.inf)))
        choice = Choice(int(config[best]), int(point[best]), float(score[best]), float(price[best]))
        yield choice
        budget -= choice.cost
        situation = situation.after(choice.config, choice.point)
        # A batch is trained side by side: one increment per run.
        situation = replace(situation, actions=situation.actions.without(choice.config))


def default_levels(total: Array) -> Array:
    """Costs at which the frontier matters: two decades up to the dearest run, fewer if runs begin later.

    Raises:
        ConfigError: if no run of the pool costs anything.
    """
    high = float(total.max())
    if high <= 0:
        raise ConfigError(
            "every run of the pool costs nothing, so nothing can be weighed against cost; pass a cost that "
            "rises with the axis, such as cost=lambda configs, at: at"
        )
    low = max(high * 10**-DECADES, float(total[:, 0].min()))
    return np.geomspace(low, high, LEVELS)


def incumbent_of(surrogate: CurveSurrogate) -> float:
    """Best output in the log; NaN if there is no finite one."""
    values = surrogate.log.points[surrogate.log.output].to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan")
    return float(values.min() if surrogate.log.roles.goal == "min" else values.max())
