"""allocate: spend a budget on real training, one recorded decision after another."""

from __future__ import annotations

import hashlib
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

from probscale.budget.bench import Array, Decision, drive
from probscale.budget.forecast import free_name
from probscale.budget.live import LiveBench
from probscale.budget.registry import strategy_named
from probscale.budget.rungs import check_eta
from probscale.cost import CostModel, as_cost
from probscale.errors import BudgetError, ConfigError
from probscale.ledger import Ledger
from probscale.running import Runner, Workers, check_runner
from probscale.runs import RunLog

if TYPE_CHECKING:
    from probscale.surrogate import CurveSurrogate

Pool = pd.DataFrame | Sequence[Mapping[str, Any]]


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
        runs: One row per configuration: reached, spent, output (its best), status and problem.
        decisions: What was decided, with the probabilities behind it.
        ledger: File with every event, if one was kept.
    """

    best: BestRun
    spent: float
    lost: float
    log: RunLog
    runs: pd.DataFrame
    decisions: tuple[Decision, ...]
    ledger: Path | None

    def __repr__(self) -> str:
        return (
            f"AllocationResult({self.best}, spent {self.spent:.4g}, {len(self.runs)} configurations, "
            f"{self.log.n_points} points)"
        )


def allocate(
    pool: Pool,
    runner: Runner,
    *,
    total: float,
    cost: CostModel,
    axis: str = "tokens",
    output: str = "loss",
    strategy: str = "surrogate",
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
    watch: Callable[[Mapping[str, Any]], None] | None = None,
) -> AllocationResult:
    """Spend a budget on a pool of runs: start, extend and stop them as the evidence says.

    The call may be killed at any point; the same call again resumes from the ledger. Each increment is
    counted once: one
    that was in flight is run again from the last state the ledger holds, so that a runner that finds its own
    newer
    checkpoint pays only for the rest. Runs that raise are tried again from their last state, runs that hang
    are given
    up, and runs whose output is no longer finite are stopped; the others go on.

    Args:
        pool: Configurations, a frame or a list of dicts.
        runner: `points, state = runner(config, until, state)`: trains `config` from `state` (None at first)
            until the
            axis reaches `until`; points are (axis value, output), the state is JSON. Evaluates at `until`.
        total: Budget in the unit of `cost`.
        cost: What training to a place on the axis costs.
        axis: Name of the progress axis.
        output: Name of the measured quantity.
        strategy: Name in `registry.STRATEGIES`.
        executor: Any executor, or a function that makes one, and with that a new one after workers died or
            hang, such as `functools.partial(process_workers, 4)`; None trains in this process, one run after
            the other.
        ledger: File of events; None keeps none beyond the call.
        seed: Of all random choices.
        goal: "min" or "max".
        surrogate: Surrogate of earlier runs, for strategies that forecast.
        eta: One in eta runs goes on, for strategies with rungs.
        horizon: Furthest axis value of a run: a number, or a column of the pool; None sets no end.
        resolution: Step of the axis to whole multiples of which runs are trained (such as tokens in an
            optimiser step):
            a number, or a column of the pool; None for none.
        timeout: Seconds that one increment may take.
        retries: Attempts after the first before a run is given up.
        watch: Called with each decision and outcome as the ledger holds it, on a resume with the earlier ones
            too.

    Raises:
        BudgetError: if the budget, pool or strategy is not accepted, the ledger belongs to other settings or
            is in use,
            or no run gave a finite output.
        ConfigError: if the cost does not accept the pool.
    """
    configs, cost = read_pool(pool), as_cost(cost)
    check_budget(total)
    maker = strategy_named(strategy)
    _check_options(runner, goal)
    settings = {
        **{"strategy": strategy, "total": float(total), "axis": axis, "output": output, "goal": goal},
        **{"seed": seed, "eta": check_eta(eta), "surrogate": None if surrogate is None else repr(surrogate)},
        **{"pool": fingerprint(configs), "cost": _fingerprint_costs(cost, configs)},
        **{"horizon": horizon, "resolution": resolution},
    }
    shape = {
        "params": params_column(cost, configs),
        "last": per_run(configs, horizon, "horizon", math.inf),
        "resolution": per_run(configs, resolution, "resolution", 0.0),
        "visible": [{str(k): plain(v) for k, v in row.items()} for row in configs.to_dict("records")],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alloc.jsonl" if ledger is None else Path(ledger)
        with closing(Workers(runner, executor, timeout)) as workers, Ledger(path, settings=settings) as book:
            means = {"workers": workers, "ledger": book, "retries": retries, "watch": watch}
            bench = LiveBench(configs, cost, total, axis, goal, **shape, **means)
            drive(bench, maker(bench, np.random.default_rng(seed), surrogate, eta))
            return _concluded(bench, book, output, kept=ledger is not None)


def _check_options(runner: object, goal: str) -> None:
    if goal not in ("min", "max"):
        raise BudgetError(f'goal is {goal!r}; accepted are "min" and "max"', goal=goal)
    check_runner(runner)


def read_pool(pool: Pool) -> pd.DataFrame:
    """Pool as a frame with rows numbered from 0.

    Raises:
        BudgetError: if it is empty or not a table.
    """
    if isinstance(pool, pd.DataFrame):
        frame = pool.reset_index(drop=True)
    elif isinstance(pool, Sequence) and all(isinstance(row, Mapping) for row in pool):
        frame = pd.DataFrame(list(pool))
    else:
        raise BudgetError(f"the pool must be a DataFrame or a list of dicts, got {type(pool).__name__}")
    if not len(frame):
        raise BudgetError("the pool is empty; a budget needs at least one configuration to spend it on")
    return frame


def check_budget(total: float) -> None:
    """Refuse a budget that is not a positive number.

    Raises:
        BudgetError: then.
    """
    if not (math.isfinite(total) and total > 0):
        raise BudgetError(
            f"total is {total}; a budget is a positive number in the unit of the cost", total=total
        )


def params_column(cost: CostModel, configs: pd.DataFrame) -> str | None:
    """Column of model sizes that a cost names, directly or through the cost it is made of."""
    for part in (cost, getattr(cost, "flops", None), getattr(cost, "seconds", None)):
        name = getattr(part, "params", None)
        if isinstance(name, str) and name in configs:
            return name
    return None


def per_run(configs: pd.DataFrame, value: str | float | None, role: str, default: float) -> Array:
    """A positive number per run from a column or a number, (runs,).

    Raises:
        ConfigError: if the column is missing or a value is not positive.
    """
    if value is None:
        return np.full(len(configs), default)
    if isinstance(value, str):
        if value not in configs:
            raise ConfigError(f"the pool has no column {value!r}, named as {role}", column=value)
        numbers = pd.to_numeric(configs[value], errors="coerce").to_numpy(dtype=np.float64)
    else:
        numbers = np.full(len(configs), float(value))
    if not (numbers > 0).all():
        row = int(np.flatnonzero(~(numbers > 0))[0])
        raise ConfigError(f"{role} must be positive; configuration {row} has {numbers[row]}", row=row)
    return numbers


def plain(value: Any) -> Any:
    """A value of a frame as plain Python."""
    return value.item() if isinstance(value, np.generic) else value


def fingerprint(configs: pd.DataFrame) -> str:
    """Digest of a pool: the same configurations in the same order give the same."""
    return hashlib.sha256(configs.to_json(orient="split", double_precision=15).encode()).hexdigest()[:16]


def _fingerprint_costs(cost: CostModel, configs: pd.DataFrame) -> str:
    """Digest of what the pool costs; objects that hold a cost have no stable text of their own."""
    costs = cost(configs, np.array([1.0, 1000.0]))
    return hashlib.sha256(np.array2string(costs, precision=12, threshold=10**9).encode()).hexdigest()[:16]


def _concluded(bench: LiveBench, ledger: Ledger, output: str, *, kept: bool) -> AllocationResult:
    sign = 1.0 if bench.goal == "min" else -1.0
    values = [[sign * y for _, y in run.points if math.isfinite(y)] for run in bench.runs]
    best = np.array([min(column, default=math.inf) for column in values])
    if not np.isfinite(best).any():
        problems = [run.problem for run in bench.runs if run.problem]
        raise BudgetError(
            f"no run gave a finite {output}; "
            + (
                f"the first failure: {problems[0]}. See {ledger.path}"
                if problems
                else "the budget may be too small"
            ),
            problems=problems,
        )
    row = int(np.argmin(best))
    winner = BestRun(dict(bench.visible[row]), float(sign * best[row]))
    if not any(event["event"] == "finished" for event in ledger.events()):
        spent = float(bench.spent.sum())
        ledger.append({"event": "finished", "run": row, "output": winner.output, "spent": spent})
    runs = pd.DataFrame(
        {
            bench.axis: [run.reached for run in bench.runs],
            "spent": bench.spent,
            output: np.where(np.isfinite(best), sign * best, np.nan),
            "points": [len(run.points) for run in bench.runs],
            "status": [run.status for run in bench.runs],
            "problem": [run.problem for run in bench.runs],
        }
    )
    return AllocationResult(
        winner,
        float(bench.spent.sum()),
        bench.lost,
        observed_log(bench, output),
        runs,
        tuple(bench.decisions),
        ledger.path if kept else None,
    )


def observed_log(bench: LiveBench, output: str) -> RunLog:
    """All points of an allocation as a run log."""
    columns = [str(name) for name in bench.configs.columns]
    run = free_name("run", [*columns, bench.axis, output])
    rows = [(row, at, value) for row, known in enumerate(bench.runs) for at, value in known.points]
    table = bench.configs.iloc[[row for row, _, _ in rows]].reset_index(drop=True)
    table = table.drop(columns=[name for name in (bench.axis, output) if name in table])
    table[run] = [f"pool row {row}" for row, _, _ in rows]
    table[bench.axis] = [at for _, at, _ in rows]
    table[output] = [value for _, _, value in rows]
    return RunLog.from_frame(
        table,
        run=run,
        axis=bench.axis,
        output=output,
        goal="min" if bench.goal == "min" else "max",
        params=bench.params,
        config=[name for name in columns if name not in (bench.params, bench.axis, output)],
        nonfinite="diverged",
    )
