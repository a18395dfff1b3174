"""Replay of budget allocation on finished logs: what would each strategy have found with the same compute?

The protocol is the same for all: training pays increments, everything counts, a run pays at least to its
first recorded point, no strategy spends more than the budget, what is left finishes the best-observed runs,
and the result is the lowest output observed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.digest import curves_digest
from probscale.errors import BudgetError
from probscale.ledger import Ledger

Array = NDArray[np.float64]
Decision = TypeVar("Decision")
Spender = Callable[["ReplayBench", int], None]
"""Spends the budget of a bench; the integer seeds its random choices."""

ROUNDING = 1e-9
"""Relative rounding that comparisons of compute allow for."""

LAW_POINTS = 100
"""Levels of compute at which a frontier is read off."""

DIVERGED = 3.0
"""Output of a diverged cell, in worst first outputs."""


@dataclass(frozen=True, eq=False)
class BudgetTask:
    """Finished curves, and what training to each of their points costs.

    Attributes:
        name: Name in tables.
        configs: One row per run, known before training.
        axis: Name of the progress axis.
        at: Axis values, (runs, points), rising.
        outputs: Outputs, (runs, points), lower better, finite.
        price: Compute from the start of the run to each point, (runs, points), rising.
        params: Column of model sizes, if runs differ in it.
        law: Range of compute over which the scaling law is fitted, and the range over which it is compared;
            None for runs without a law in compute.
    """

    name: str
    configs: pd.DataFrame
    axis: str
    at: Array
    outputs: Array
    price: Array
    params: str | None = None
    law: tuple[tuple[float, float], tuple[float, float]] | None = None

    @property
    def digest(self) -> str:
        """What tells these runs from others."""
        return curves_digest(self.configs, self.at, self.outputs, self.price)

    def subset(self, runs: NDArray[np.intp]) -> BudgetTask:
        """The task over some of its runs."""
        configs = self.configs.iloc[runs].reset_index(drop=True)
        parts = (self.at[runs], self.outputs[runs], self.price[runs])
        return BudgetTask(self.name, configs, self.axis, *parts, self.params, self.law)


class ReplayBench:
    """Runs of a task whose curves appear as compute is paid; satisfies `budget.bench.Bench`.

    Args:
        task: Runs of the pool.
        total: Budget.

    Attributes:
        seconds: Time that the strategy took before each of its decisions.
    """

    goal = "min"

    def __init__(self, task: BudgetTask, total: float) -> None:
        self.task = task
        self.total = float(total)
        self.spent: Array = np.zeros(len(task.configs))
        self.seconds: list[float] = []
        self._clock = time.perf_counter()

    @property
    def configs(self) -> pd.DataFrame:
        """Configurations of the pool."""
        return self.task.configs

    @property
    def axis(self) -> str:
        """Name of the progress axis."""
        return self.task.axis

    @property
    def params(self) -> str | None:
        """Column of model sizes."""
        return self.task.params

    @property
    def in_flops(self) -> bool:
        """Whether prices are FLOPs, as they are for runs with sizes."""
        return self.task.params is not None

    @property
    def remaining(self) -> float:
        """Budget not spent yet."""
        return max(self.total - float(self.spent.sum()), 0.0)

    @property
    def ends(self) -> Array:
        """Compute of each full run."""
        return self.task.price[:, -1]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which runs are unfinished and, if not begun, affordable up to their first point."""
        begun = self.spent > 0
        unfinished = self.spent < self.ends * (1 - ROUNDING)
        return unfinished & (begun | (self.task.price[:, 0] <= self.remaining * (1 + ROUNDING)))

    def points(self, run: int) -> list[tuple[float, float]]:
        """Points of a run that have been paid for."""
        seen = int(np.sum(self.task.price[run] <= self.spent[run] * (1 + ROUNDING)))
        return list(
            zip(self.task.at[run, :seen].tolist(), self.task.outputs[run, :seen].tolist(), strict=True)
        )

    def axis_at(self, runs: Sequence[int], compute: Array) -> Array:
        """Axis values reached with some compute; costs are proportional to the axis beyond the last point."""
        out = np.empty(len(runs))
        for index, (run, paid) in enumerate(zip(runs, compute, strict=True)):
            price, at = np.r_[0.0, self.task.price[run]], np.r_[0.0, self.task.at[run]]
            beyond = paid / price[-1] * at[-1] if paid > price[-1] else None
            out[index] = np.interp(paid, price, at) if beyond is None else beyond
        return out

    def train(self, decision: Any) -> Any:
        """Pay for a decision's orders in turn, each as far as the budget goes."""
        self.seconds.append(time.perf_counter() - self._clock)
        for order in decision.orders:
            run = order.run
            if not self.usable[run]:
                continue
            until = min(max(order.until, self.task.price[run, 0]), self.ends[run])
            self.spent[run] = min(max(until, self.spent[run]), self.spent[run] + self.remaining)
        self._clock = time.perf_counter()
        return decision

    def found(self) -> float:
        """Lowest output observed; infinite if nothing was."""
        return min((y for run in range(len(self.spent)) for _, y in self.points(run)), default=np.inf)

    def reference(self) -> float:
        """Lowest output that the whole budget on a single run reaches."""
        affordable = self.task.price <= self.total * (1 + ROUNDING)
        return float(np.min(self.task.outputs, where=affordable, initial=np.inf))


def play(task: BudgetTask, spender: Spender, *, runs: int, total: float, seed: int) -> dict[str, Any]:
    """One game: a pool drawn from the task, one strategy, one budget.

    Args:
        task: Runs to draw from.
        spender: The strategy.
        runs: Size of the pool, drawn without replacement by `default_rng(seed)`.
        total: Budget; a share of the pool's full compute if at most 1.
        seed: Of the pool and the strategy: the same pool for every strategy.

    Raises:
        BudgetError: if the pool is larger than the task, or the spender spent more than the budget.
    """
    if not 1 <= runs <= len(task.configs):
        raise BudgetError(
            f"a pool of {runs} runs cannot be drawn from the {len(task.configs)} of {task.name}"
        )
    pool = task.subset(np.random.default_rng(seed).choice(len(task.configs), runs, replace=False))
    budget = total * float(pool.price[:, -1].sum()) if total <= 1 else total
    bench = ReplayBench(pool, budget)
    spender(bench, seed)
    paid = float(bench.spent.sum())
    if paid > budget * (1 + 1e-6):
        raise BudgetError(f"the strategy spent {paid:g} of a budget of {budget:g}")
    best, reference = bench.found(), bench.reference()
    return {
        "output": best,
        "regret": (best - reference) / reference,
        "law_abc": law_distance(task, pool, bench.spent),
        "spent": paid / budget,
        "started": int((bench.spent > 0).sum()),
        "decision_seconds": max(bench.seconds, default=0.0),
    }


def law_distance(task: BudgetTask, pool: BudgetTask, spent: Array) -> float:
    """Area over ln compute between the law of the task and that of what was trained; NaN without one."""
    if task.law is None:
        return float("nan")
    fitted, compared = task.law
    truth = frontier_line(task.price, task.outputs, task.price[:, -1], fitted)
    law = frontier_line(pool.price, pool.outputs, spent, fitted)
    if truth is None or law is None:
        return float("nan")
    grid = np.linspace(np.log(compared[0]), np.log(compared[1]), 2001)
    gap = np.abs(np.polyval(np.subtract(law, truth), grid))
    return float(np.trapezoid(gap, grid))


def frontier_line(price: Array, outputs: Array, spent: Array, span: tuple[float, float]) -> Array | None:
    """Slope and intercept of ln(best output) against ln compute, over the part of the span that was trained.

    Curves are interpolated in logarithms between points that were paid for.
    """
    reach = min(float(spent.max()), span[1])
    if reach <= span[0] * (1 + 1e-6):
        span = (max(reach, 1e-300) / 10, reach)
    grid = np.linspace(np.log(span[0]), np.log(min(reach, span[1])), LAW_POINTS)
    best = np.full(LAW_POINTS, np.inf)
    for cost, curve, paid in zip(price, outputs, spent, strict=True):
        seen = cost <= paid * (1 + ROUNDING)
        if seen.any():
            values = np.interp(grid, np.log(cost[seen]), np.log(curve[seen]), left=np.inf, right=np.inf)
            best = np.minimum(best, values)
    finite = np.isfinite(best)
    return np.polyfit(grid[finite], best[finite], 1) if finite.sum() >= 2 else None


def replay_budgets(
    tasks: Iterable[BudgetTask],
    spenders: Mapping[str, Spender],
    *,
    settings: Iterable[tuple[int, float]],
    seeds: Iterable[int] = range(20),
    ledger: str | Path | None = None,
    executor: Executor | None = None,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Play every strategy on every task, setting and seed.

    Args:
        tasks: Tasks.
        spenders: Strategies by name.
        settings: (runs in the pool, budget) pairs; budgets of at most 1 are shares of the pool's full
            compute.
        seeds: Seeds, shared by all strategies.
        ledger: File that keeps finished games: a second call plays only the missing ones.
        executor: Plays games side by side.
        progress: Called with a line per finished game.

    Returns:
        One row per game: task, runs, total, seed, strategy and the fields of `play`.

    Raises:
        BudgetError: if the ledger holds games of other runs under the name of a task.
    """
    tasks, seeds = list(tasks), list(seeds)
    games = [
        (task, name, runs, total, seed)
        for task in tasks
        for runs, total in settings
        for seed in seeds
        for name in spenders
    ]
    book = None if ledger is None else Ledger(ledger, settings={"replay": "budget"})
    try:
        rows = [] if book is None else [event for event in book.events() if "strategy" in event]
        digests = {task.name: task.digest for task in tasks}
        _check_same_runs(rows, digests, ledger)
        done = {_key(row) for row in rows}
        wanted = {(task.name, runs, total, seed, name) for task, name, runs, total, seed in games}
        missing = [game for game in games if (game[0].name, *game[2:], game[1]) not in done]
        for row in _played(missing, spenders, executor):
            if book is not None:
                book.append(row | {_RUNS: digests[row["task"]]})
            rows.append(row)
            if progress is not None:
                progress(f"{row['task']} {row['strategy']} seed {row['seed']}: regret {row['regret']:.4f}")
    finally:
        if book is not None:
            book.close()
    kept = [row for row in rows if _key(row) in wanted]
    return pd.DataFrame([{name: row[name] for name in row if name != _RUNS} for row in kept])


_RUNS = "runs digest"


def _check_same_runs(
    rows: Iterable[Mapping[str, Any]], digests: Mapping[str, str], ledger: str | Path | None
) -> None:
    """Refuse games that were played on other runs of the same name; what older files hold is taken."""
    for row in rows:
        mine = digests.get(row["task"])
        if mine is not None and row.get(_RUNS, mine) != mine:
            raise BudgetError(
                f"the games in {ledger} were played on other runs, or at other costs, than those given as "
                f"{row['task']!r} now; give these a file of their own",
                path=str(ledger),
                task=row["task"],
            )


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["task"], row["runs"], row["total"], row["seed"], row["strategy"]


def _played(
    games: list[tuple[BudgetTask, str, int, float, int]],
    spenders: Mapping[str, Spender],
    executor: Executor | None,
) -> Iterable[dict[str, Any]]:
    jobs = [(task, name, spenders[name], runs, total, seed) for task, name, runs, total, seed in games]
    return map(_row, jobs) if executor is None else executor.map(_row, jobs)


def _row(job: tuple[BudgetTask, str, Spender, int, float, int]) -> dict[str, Any]:
    task, name, spender, runs, total, seed = job
    game = play(task, spender, runs=runs, total=total, seed=seed)
    return {"task": task.name, "runs": runs, "total": total, "seed": seed, "strategy": name, **game}


def gains(results: pd.DataFrame, baseline: str | Sequence[str] = "halving, eta 2") -> pd.DataFrame:
    """Gain over a baseline in percent of its output, per task, setting, seed and strategy.

    Args:
        results: Of `replay_budgets`.
        baseline: A strategy, or several: then the best of them on average in each setting and task.
    """
    keys = ["task", "runs", "total"]
    names = [baseline] if isinstance(baseline, str) else list(baseline)
    means = results[results.strategy.isin(names)].groupby([*keys, "strategy"])["output"].mean().reset_index()
    best = means.loc[means.groupby(keys)["output"].idxmin(), [*keys, "strategy"]]
    base = results.merge(best, on=[*keys, "strategy"])[[*keys, "seed", "output"]]
    merged = results.merge(base, on=[*keys, "seed"], suffixes=("", "_base"))
    return merged.assign(gain=100 * (merged.output_base - merged.output) / merged.output_base)


def gain_table(results: pd.DataFrame, baseline: str | Sequence[str] = "halving, eta 2") -> pd.DataFrame:
    """Per task and strategy: mean gain with its standard error, worst setting, law, regret."""
    table = gains(results, baseline)
    by_setting = table.groupby(["task", "strategy", "runs", "total"])["gain"].mean()
    grouped = table.groupby(["task", "strategy"])
    return pd.DataFrame(
        {
            "gain %": grouped["gain"].mean(),
            "± se": grouped["gain"].sem(),
            "worst setting %": by_setting.groupby(["task", "strategy"]).min(),
            "law AbC": grouped["law_abc"].median(),
            "regret %": 100 * grouped["regret"].mean(),
            "median regret %": 100 * grouped["regret"].median(),
            "decision s": grouped["decision_seconds"].max(),
        }
    ).reset_index()


def finite_outputs(outputs: Array) -> Array:
    """Outputs with diverged cells replaced by three times the worst first output."""
    first = outputs[:, 0]
    return np.where(np.isfinite(outputs), outputs, DIVERGED * first[np.isfinite(first)].max())
