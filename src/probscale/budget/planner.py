"""plan_budget: what a strategy would do with a budget, before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from probscale.budget.bench import ROUNDING, drive
from probscale.budget.forecast import first_point
from probscale.budget.history import cost_column
from probscale.budget.intake import (
    check_budget,
    check_earlier,
    check_seed,
    params_column,
    per_run,
    read_pool,
)
from probscale.budget.paid import Paid, read_paid
from probscale.budget.registry import Maker, StrategyMaker, strategy_named
from probscale.budget.rungs import check_eta
from probscale.budget.worlds import WorldBench, WorldForecaster, Worlds, imagined
from probscale.cost import CostModel, as_cost
from probscale.errors import BudgetError
from probscale.ledger import name_of
from probscale.runs.pools import Configs

if TYPE_CHECKING:
    from probscale.surrogate import CurveSurrogate


IMAGINED = "published power laws with the usual variation"
DRAWN = "the surrogate's posterior"

# No name that an axis may have, such as "step".
_GAME, _STEP, _KEPT = " game", " step", " kept"


@dataclass(frozen=True, eq=False)
class BudgetPlan:
    """How a strategy is expected to spend a budget.

    Attributes:
        strategy: Its name.
        total: Budget, in the unit of the cost.
        unit: That unit.
        axis: Name of the axis.
        prob_best: Probability that the result is from the run that would be best with the whole budget.
        regret: Expected distance of the result from the best that the whole budget on one run gives, as a
            share.
        rungs: Rows of `table`.
        basis: What the probabilities rest on.
        spent: What was paid before, of the total.
    """

    strategy: str
    total: float
    unit: str
    axis: str
    prob_best: float
    regret: float
    rungs: pd.DataFrame
    basis: str
    spent: float = 0.0

    def table(self) -> pd.DataFrame:
        """One row per rung, in order of time.

        Columns: rung; runs trained in it; the axis value they are trained to (median, smallest, largest); the
        compute it costs, and its share of the total; `prob_best_kept`, the probability that the run which
        would be best with the whole budget is still among those competing. Where rungs depend on what is
        observed, values are means over imagined outcomes, and `happens` is the share of outcomes with such a
        rung.
        """
        return self.rungs.copy()

    def __repr__(self) -> str:
        return (
            f"BudgetPlan({self.strategy}, {self.total:g} {self.unit}, {len(self.rungs)} rungs, "
            f"P(best) {self.prob_best:.2f})"
        )


def plan_budget(
    pool: Configs,
    *,
    total: float,
    cost: CostModel,
    strategy: str | StrategyMaker = "surrogate",
    surrogate: CurveSurrogate | None = None,
    eta: float = 3.0,
    axis: str = "tokens",
    horizon: str | float | None = None,
    resolution: str | float | None = None,
    worlds: int = 200,
    seed: int = 0,
    ledger: str | Path | None = None,
) -> BudgetPlan:
    """Play a strategy on imagined curves of the pool, and report what it does.

    Strategies that forecast share one forecaster here, which knows how the imagined curves vary; plans of
    those that differ in their forecasts alone ("halving_power", "halving_joint") therefore agree. How well
    each foretells real curves is what a replay says.

    Args:
        pool: Configurations, a frame or a list of dicts.
        total: Budget in the unit of `cost`.
        cost: What training to a place on the axis costs.
        strategy: Name in `budget.STRATEGIES`, or a function of a `Bench` and a generator that yields
            decisions.
        surrogate: Surrogate of earlier runs, whose posterior the curves are drawn from; without one they are
            power laws with the variation usual between configurations, and probabilities are to be read as
            such.
        eta: One in eta runs goes on, for strategies with rungs; one in two where "surrogate" goes by size.
        axis: Name of the progress axis.
        horizon: Furthest axis value of a run: a number, or a column of the pool; None sets no end.
        resolution: Step of the axis to whole multiples of which runs are trained (such as tokens in an
            optimiser step): a number, or a column of the pool; None for none.
        worlds: Imagined outcomes.
        seed: Of the outcomes and the strategy's random choices.
        ledger: Ledger of an allocation of the same pool that is to go on with this total: the curves are
            drawn given all that it observed, and the plan begins where it stands.

    Raises:
        BudgetError: if the budget or strategy is not accepted, the ledger is of another allocation or has
            paid the total already, or no run can be trained with what is left.
        ConfigError: if the cost does not accept the pool.

    Cost: O(worlds × decisions × runs).

    Example:
        >>> import probscale as ps
        >>> pool, cost = [{"params": n} for n in (1e7, 3e7, 1e8)], ps.FlopsCost(params="params")
        >>> plan = plan_budget(pool, total=1e18, cost=cost, strategy="halving", worlds=20)
        >>> plan.table()[["rung", "runs", "FLOPs"]].shape, 0 <= plan.prob_best <= 1
        ((1, 3), True)
    """
    configs, cost, total = read_pool(pool), as_cost(cost), check_budget(total)
    check_eta(eta)
    check_earlier(surrogate, configs, axis=axis, output=None, goal=None, horizon=horizon)
    maker = strategy_named(strategy)
    _check_worlds(worlds)
    check_seed(seed)
    params = params_column(cost, configs)
    last = per_run(configs, horizon, "horizon", np.inf)
    steps = per_run(configs, resolution, "resolution", 0.0)
    paid = None
    if ledger is not None:
        paid = read_paid(ledger, configs, cost, total=total, axis=axis, params=params)
    means = {"surrogate": surrogate, "seed": seed, "paid": paid, "resolution": steps}
    drawn = imagined(configs, cost, total, axis=axis, params=params, last=last, worlds=worlds, **means)
    _check_begins(drawn)
    earliest = None if surrogate is None else first_point(surrogate.log)
    forecaster = WorldForecaster(drawn, earliest) if maker.forecasts else None
    games = [_played(drawn, number, maker, forecaster, eta, seed) for number in range(worlds)]
    won = np.array([_won(game) for game in games])
    unit = cost_column(cost.unit, axis)
    return BudgetPlan(
        name_of(strategy),
        total,
        unit,
        axis,
        float(won[:, 0].mean()),
        float(won[:, 1].mean()),
        _rungs(games, axis, unit, total),
        _basis(surrogate, paid),
        0.0 if paid is None else float(paid.spent.sum()),
    )


def _check_worlds(worlds: object) -> None:
    if not isinstance(worlds, Integral) or worlds < 2:
        raise BudgetError(
            f"worlds is {worlds!r}; probabilities need a whole number of imagined outcomes, at least 2",
            worlds=worlds,
        )


def _check_begins(drawn: Worlds) -> None:
    """Refuse a total with which no run can be trained."""
    if not WorldBench(drawn, 0).usable.any():
        raise BudgetError(
            f"no run of the pool can be trained with a total of {drawn.total:g}: each has ended, was given "
            "up, or its next whole step costs more than is left; raise the total",
            total=drawn.total,
        )


def _basis(surrogate: CurveSurrogate | None, paid: Paid | None) -> str:
    if paid is not None:
        return f"{DRAWN} given what the allocation observed"
    return IMAGINED if surrogate is None else DRAWN


def _played(
    drawn: Worlds, number: int, maker: Maker, forecaster: WorldForecaster | None, eta: float, seed: int
) -> WorldBench:
    """One world, with the strategy's decisions."""
    bench = WorldBench(drawn, number)
    drive(bench, maker.make(bench, np.random.default_rng([seed, number]), forecaster, eta))
    return bench


def _won(game: WorldBench) -> tuple[float, float]:
    """Whether the result comes from the run that is best with the whole budget, and the regret."""
    final = game.final()
    found = [min((y for _, y in game.points(run)), default=np.inf) for run in range(len(final))]
    best = float(final.min())
    return float(np.argmin(found) == np.argmin(final)), (min(found) - best) / abs(best)


def _rungs(games: list[WorldBench], axis: str, unit: str, total: float) -> pd.DataFrame:
    """Means over games of decisions of the same kind."""
    rows: list[dict[str, object]] = []
    for number, game in enumerate(games):
        best, spent = int(np.argmin(game.final())), game.begun
        for step, (decision, paid) in enumerate(zip(game.decisions, game.paid, strict=True)):
            before, spent = spent, spent + paid
            runs = [order.run for order in decision.orders if paid[order.run] > 0]
            if not runs:
                continue
            reach = game.axis_at(runs, spent[runs])
            rows.append(
                {
                    **{_GAME: number, _STEP: step, "rung": decision.kind, "runs": len(runs)},
                    **{axis: np.median(reach), f"{axis} (least)": reach.min()},
                    **{f"{axis} (most)": reach.max(), unit: paid.sum()},
                    # A run that has ended is out of the race, but not dropped.
                    _KEPT: best in decision.kept or before[best] >= game.ends[best] * (1 - ROUNDING),
                }
            )
    table = pd.DataFrame(rows)
    per_game = table.groupby(["rung", _GAME], sort=False).agg(
        {
            **{_STEP: "min", "runs": "sum", axis: "median", f"{axis} (least)": "min"},
            **{f"{axis} (most)": "max", unit: "sum", _KEPT: "max"},
        }
    )
    grouped = per_game.groupby("rung", sort=False)
    means = grouped.mean().sort_values(_STEP, kind="stable")
    out = means.drop(columns=[_STEP, _KEPT]).reset_index()
    out["share"] = out[unit] / total
    out["prob_best_kept"] = means[_KEPT].to_numpy()
    out["happens"] = grouped.size().reindex(means.index).to_numpy() / len(games)
    return out
