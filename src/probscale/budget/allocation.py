"""allocate: spend a budget on real training, one recorded decision after another."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from probscale.budget.bench import Decision, drive
from probscale.budget.history import cost_column, history
from probscale.budget.intake import (
    PoolRoles,
    check_budget,
    check_describes,
    check_earlier,
    check_options,
    fingerprint,
    params_column,
    per_run,
    plain,
    pool_log,
    read_pool,
)
from probscale.budget.live import LiveBench
from probscale.budget.registry import Maker, StrategyMaker, strategy_named
from probscale.budget.rungs import check_eta
from probscale.budget.stages import Stage, grown
from probscale.cost import CostModel, as_cost
from probscale.errors import BudgetError
from probscale.ledger import Ledger, name_of
from probscale.running import Runner, Workers
from probscale.runs import RunLog
from probscale.runs.pools import Configs, row_names

if TYPE_CHECKING:
    from probscale.surrogate import CurveSurrogate


class BestRun(NamedTuple):
    """The best run found: its configuration and its best output, in user units."""

    config: dict[str, Any]
    output: float


@dataclass(frozen=True, eq=False)
class AllocationResult:
    """What a budget bought.

    Attributes:
        best: Best run: configuration and output.
        spent: Cost of all training that was recorded as done, each increment once.
        lost: Most that failed attempts may have cost besides.
        log: Everything observed.
        runs: One row per configuration: name (in `log`), reached, spent, output (its best), points, status
            and problem.
        decisions: What was decided, with the probabilities behind it.
        ledger: File with every event, if one was kept.
        steps: Rows of `table`.
    """

    best: BestRun
    spent: float
    lost: float
    log: RunLog
    runs: pd.DataFrame
    decisions: tuple[Decision, ...]
    ledger: Path | None
    steps: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per decision that trained something, in the columns of `BudgetPlan.table`.

        Columns: rung, or step; runs trained; the axis value they were to reach (median, smallest, largest);
        what they cost, and its share of the budget; `prob_best_kept`, the posterior probability that the best
        run was among those that stayed, where the strategy has a posterior; total, the budget at that time.
        """
        return self.steps.copy()

    def __repr__(self) -> str:
        return (
            f"AllocationResult({self.best}, spent {self.spent:.4g}, {len(self.runs)} configurations, "
            f"{self.log.n_points} points)"
        )


def allocate(
    pool: Configs,
    runner: Runner,
    *,
    total: float,
    cost: CostModel,
    axis: str = "tokens",
    output: str = "loss",
    strategy: str | StrategyMaker = "surrogate",
    executor: Executor | Callable[[], Executor] | None = None,
    ledger: str | Path | None = "alloc.jsonl",
    seed: int = 0,
    goal: str = "min",
    surrogate: CurveSurrogate | None = None,
    eta: float = 3.0,
    horizon: str | float | None = None,
    resolution: str | float | None = None,
    timeout: float | None = None,
    retries: int = 2,
    retry_failed: bool = False,
    watch: Callable[[Mapping[str, Any]], None] | None = None,
) -> AllocationResult:
    """Spend a budget on a pool of runs: start, extend and stop them as the evidence says.

    The call may be killed at any point; the same call again resumes from the ledger. Each increment is
    counted once: one that was in flight is run again from the last state the ledger holds, so that a runner
    that finds its own newer checkpoint pays only for the rest. Runs that raise are tried again from their
    last state, runs that hang are given up, and runs whose output is no longer finite are stopped; the others
    go on.

    The same call with a larger total goes on from the ledger too, whether the smaller one was spent or not:
    what is paid counts towards it, and the strategy begins anew with all that was observed.

    Args:
        pool: Configurations, a frame or a list of dicts.
        runner: `points, state = runner(config, until, state)`: trains `config` from `state` (None at first)
            until the axis reaches `until`, and evaluates there; points are (axis value, output), the state is
            JSON.
        total: Budget in the unit of `cost`, with all that the ledger says was paid.
        cost: What training to a place on the axis costs.
        axis: Name of the progress axis.
        output: Name of the measured quantity.
        strategy: Name in `budget.STRATEGIES`, or a function of a `Bench` and a generator that yields
            decisions.
        executor: Any executor, or a function that makes one, and with that a new one after workers died or
            hang, such as `functools.partial(process_workers, 4)`; None trains in this process, one run after
            the other.
        ledger: File of events; None keeps none beyond the call.
        seed: Of all random choices.
        goal: "min" or "max".
        surrogate: Surrogate of earlier runs, for strategies that forecast.
        eta: One in eta runs goes on, for strategies with rungs; one in two where "surrogate" goes by size.
        horizon: Furthest axis value of a run: a number, or a column of the pool; None sets no end.
        resolution: Step of the axis to whole multiples of which runs are trained (such as tokens in an
            optimiser step): a number, or a column of the pool; None for none.
        timeout: Seconds that one increment may take.
        retries: Attempts after the first before a run is given up.
        retry_failed: Runs that an earlier call gave up may be tried again, once per call, each from its last
            state and with as many attempts as at first, within what is left of the total. Without it they
            stay out, however much the budget grows.
        watch: Called with each decision and outcome as the ledger holds it, on a resume with the earlier ones
            too.

    Returns:
        The best run, what was spent, every run with its state, and all points observed as a `RunLog`.

    Raises:
        BudgetError: if the budget or strategy is not accepted, the ledger belongs to other settings, was
            given more before or is in use, or no run gave a finite output.
        ConfigError: if the pool is no table, or the cost or the surrogate does not accept it.
        RunLogError: if a column of the pool cannot describe a run.

    Example:
        >>> import probscale as ps
        >>> def train(config, until, state):
        ...     return [(until, 1.7 + 400 / config["params"] ** 0.34 + 410 / until**0.28)], None
        >>> pool, cost = [{"params": n} for n in (1e7, 3e7, 1e8)], ps.FlopsCost(params="params")
        >>> result = allocate(pool, train, total=1e18, cost=cost, strategy="halving", ledger=None)
        >>> result.best.config, round(result.best.output, 1), f"{result.spent:.3g}"
        ({'params': 30000000.0}, 3.9, '1e+18')
    """
    configs, cost, total = read_pool(pool), as_cost(cost), check_budget(total)
    maker, params = strategy_named(strategy), params_column(cost, configs)
    check_options(runner, goal, seed, retries)
    check_earlier(surrogate, configs, axis=axis, output=output, goal=goal, horizon=horizon)
    roles: PoolRoles = {"axis": axis, "output": output, "goal": goal, "params": params, "horizon": horizon}
    check_describes(configs, **roles)
    settings = {
        **{"strategy": name_of(strategy), "total": total, "axis": axis, "output": output, "goal": goal},
        **{"seed": seed, "eta": check_eta(eta), "surrogate": None if surrogate is None else repr(surrogate)},
        **{"pool": fingerprint(configs), "cost": cost.digest(configs)},
        **{"horizon": horizon, "resolution": resolution},
    }
    shape = {
        **{"params": params, "last": per_run(configs, horizon, "horizon", math.inf)},
        "resolution": per_run(configs, resolution, "resolution", 0.0),
        "visible": [{str(k): plain(v) for k, v in row.items()} for row in configs.to_dict("records")],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alloc.jsonl" if ledger is None else Path(ledger)
        with (
            closing(Workers(runner, executor, timeout)) as workers,
            Ledger(path, settings=settings, free=("total",)) as book,
        ):
            shape |= {"workers": workers, "ledger": book, "retries": retries, "watch": watch}
            budgets = grown(book, total, retry_failed=retry_failed)
            bench = LiveBench(configs, cost, budgets[0].total, axis, goal, **shape)
            _drive(bench, maker, budgets, seed=seed, surrogate=surrogate, eta=eta)
            return _concluded(bench, book, roles, cost.unit, kept=ledger is not None)


def _drive(
    bench: LiveBench,
    maker: Maker,
    budgets: Sequence[Stage],
    *,
    seed: int,
    surrogate: CurveSurrogate | None,
    eta: float,
) -> None:
    """Carry out or replay what each budget allows, in turn."""
    for number, stage in enumerate(budgets):
        bench.given(stage)
        # The first draws as it would if it stayed the only one.
        generator = np.random.default_rng([seed, number] if number else seed)
        if bench.usable.any():
            drive(bench, maker(bench, generator, surrogate, eta), stage.decisions)


def _concluded(
    bench: LiveBench, ledger: Ledger, roles: PoolRoles, unit: str, *, kept: bool
) -> AllocationResult:
    output = roles["output"]
    sign = 1.0 if bench.goal == "min" else -1.0
    values = [[sign * y for _, y in run.points if math.isfinite(y)] for run in bench.runs]
    best = np.array([min(column, default=math.inf) for column in values])
    if not np.isfinite(best).any():
        if ledger.events() and ledger.events()[-1]["event"] != "finished":
            ledger.append({"event": "finished", "run": None, "spent": float(bench.spent.sum())})
        raise _nothing_found(bench, output, path=ledger.path if kept else None)
    row = int(np.argmin(best))
    winner = BestRun(dict(bench.visible[row]), float(sign * best[row]))
    spent = float(bench.spent.sum())
    if ledger.events()[-1]["event"] != "finished":
        ledger.append({"event": "finished", "run": row, "output": winner.output, "spent": spent})
    runs = pd.DataFrame(
        {
            "name": row_names(bench.configs),
            bench.axis: [run.reached for run in bench.runs],
            "spent": bench.spent,
            output: np.where(np.isfinite(best), sign * best, np.nan),
            "points": [len(run.points) for run in bench.runs],
            "status": [run.status for run in bench.runs],
            "problem": [run.problem for run in bench.runs],
        }
    )
    first = float(ledger.settings["total"])
    return AllocationResult(
        winner,
        spent,
        bench.lost,
        observed_log(bench, roles),
        runs,
        tuple(bench.decisions),
        ledger.path if kept else None,
        history(ledger.events(), first=first, axis=bench.axis, unit=cost_column(unit, bench.axis)),
    )


def _nothing_found(bench: LiveBench, output: str, *, path: Path | None) -> BudgetError:
    """Why there is no best run."""
    problems = [run.problem for run in bench.runs if run.problem]
    diverged = sum(run.status == "diverged" for run in bench.runs)
    begun = int((bench.spent > 0).sum())
    if problems:
        why = f"the first failure: {problems[0]}" + ("" if path is None else f". See {path}")
    elif diverged:
        why = f"{diverged} of {begun} runs that began diverged: the last {output} was not finite"
    elif begun:
        why = f"{begun} runs were trained, but the runner returned no points; it must evaluate at `until`"
    else:
        why = f"{bench.total:g} does not pay for the first step of any run; raise the total"
    return BudgetError(f"no run gave a finite {output}; {why}", problems=problems)


def observed_log(bench: LiveBench, roles: PoolRoles) -> RunLog:
    """All points of an allocation as a run log."""
    rows = [(row, at, value) for row, known in enumerate(bench.runs) for at, value in known.points]
    return pool_log(bench.configs, rows, **roles)
