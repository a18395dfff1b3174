"""`probscale allocate`: spend a budget on real training."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probscale.cli.costs import CostOptions, PlannedCosts
from probscale.cli.options import (
    Debug,
    EmbedderName,
    Ends,
    Eta,
    Goal,
    GoalName,
    Picture,
    Pool,
    PoolAxis,
    Quiet,
    Resolution,
    Seed,
    StrategyName,
    Summary,
    Total,
    Warm,
)
from probscale.cli.plan import number_or_column
from probscale.cli.speech import budget_bar, readable
from probscale.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from probscale.budget import AllocationResult

EXAMPLE = (
    "Example: `probscale allocate pool.csv --runner train.py:runner --total 1e15 --params N --workers 2 "
    "--ledger alloc.jsonl`; killed or not, the same command again goes on from the ledger, and with a larger "
    "`--total` from what was learnt and paid"
)


MOST_RUNGS = 20
"""Decisions that are shown as a table; strategies that decide run by run take hundreds."""

RunnerOption = Annotated[
    str,
    typer.Option(
        help="Function that trains, as module:function or file.py:function; called as points, state = "
        "runner(config, until, state).",
        show_default=False,
    ),
]
OutputOption = Annotated[str, typer.Option(help="Name of the measured output.")]
LedgerOption = Annotated[
    Path, typer.Option(help="File of events, to resume from; a larger --total goes on from it too.")
]
WorkersOption = Annotated[
    int, typer.Option("-w", "--workers", help="Processes that train; 0 trains in this one.", min=0)
]
ExecutorOption = Annotated[
    str,
    typer.Option(help="What trains when there are workers: processes, threads, ray or slurm."),
]
ExecutorSettings = Annotated[
    list[str] | None,
    typer.Option(
        help="Option of the executor as NAME=VALUE, such as folder=jobs or partition=gpu; repeat.",
        show_default=False,
    ),
]
TimeoutOption = Annotated[
    float | None, typer.Option(help="Seconds one increment may take.", show_default=False)
]
RetriesOption = Annotated[int, typer.Option(help="Attempts after the first that failed.", min=0)]
RetryFailedOption = Annotated[
    bool, typer.Option("--retry-failed", help="Try runs again that an earlier call gave up.")
]
OutOption = Annotated[Path, typer.Option("-o", "--out", help="Table of the runs to write.")]
CurvesOption = Annotated[
    Path | None,
    typer.Option(help="Table of everything observed, a log for `probscale fit`.", show_default=False),
]


@readable
def allocate(
    pool: Pool,
    *,
    runner: RunnerOption,
    total: Total,
    axis: PoolAxis = "tokens",
    output: OutputOption = "loss",
    goal: Goal = GoalName.min,
    strategy: StrategyName = "surrogate",
    eta: Eta = 3.0,
    horizon: Ends = None,
    resolution: Resolution = None,
    surrogate: Warm = None,
    ledger: LedgerOption = Path("alloc.jsonl"),
    workers: WorkersOption = 0,
    executor: ExecutorOption = "processes",
    executor_option: ExecutorSettings = None,
    timeout: TimeoutOption = None,
    retries: RetriesOption = 2,
    retry_failed: RetryFailedOption = False,
    costs: PlannedCosts,
    out: OutOption = Path("runs.csv"),
    curves: CurvesOption = None,
    picture: Picture = None,
    summary: Summary = None,
    embedder: EmbedderName = "default",
    seed: Seed = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train the configurations of POOL as the evidence says, until the budget is spent.

    Every decision and outcome is in the ledger before the next step: the same command resumes after a kill,
    and with a larger --total goes on from what was learnt and paid.
    """
    asked = {
        **{"total": total, "axis": axis, "output": output, "goal": goal.value, "strategy": strategy},
        **{"eta": eta, "horizon": number_or_column(horizon), "resolution": number_or_column(resolution)},
        **{"ledger": ledger, "timeout": timeout, "retries": retries, "seed": seed},
        **{"retry_failed": retry_failed},
    }
    asked |= {"executor": executor_of(executor, workers, executor_option or [])}
    files = {"out": out, "curves": curves, "picture": picture, "summary": summary}
    run_allocate(pool, runner, costs, asked, (surrogate, embedder), files, quiet=quiet)


def run_allocate(
    pool: str,
    runner: str,
    costs: CostOptions,
    asked: dict[str, Any],
    earlier: tuple[Path | None, str],
    files: Mapping[str, Path | None],
    *,
    quiet: bool,
) -> None:
    """Train, print, write."""
    from probscale.budget import allocate as spend
    from probscale.cli.evidence import read_table, warm_surrogate
    from probscale.cli.tables import records, shown, write_json
    from probscale.cli.work import check_picture, check_place, check_suffix, draw_picture, write_table
    from probscale.running import named_runner

    for path in (files["out"], files["curves"]):
        if path is not None:
            check_suffix(path)
    if files["picture"] is not None:
        check_picture(files["picture"])
    if files["summary"] is not None:
        check_place(files["summary"])
    cost, frame, train = costs.model(), read_table(pool), named_runner(runner)
    warm = warm_surrogate(*earlier)
    with watching(asked["total"], cost.unit, quiet=quiet) as watch:
        result = spend(frame, train, cost=cost, surrogate=warm, watch=watch, **asked)
    table = beside(frame, result.runs)
    write_table(table, Path(str(files["out"])))
    if files["curves"] is not None:
        write_table(result.log.to_frame(), files["curves"])
    if files["picture"] is not None:
        from probscale.plot import plot_allocation

        draw_picture(files["picture"], lambda ax: plot_allocation(result, cost_unit=cost.unit, ax=ax))
    facts = {"best": result.best.config, "output": result.best.output, "spent": result.spent}
    facts |= {"lost": result.lost, "unit": cost.unit, "runs": records(table)}
    facts |= {"rungs": records(result.table())}
    if files["summary"] is not None:
        write_json(facts, files["summary"])
    if not quiet:
        typer.echo(shown(table.sort_values(asked["output"], ascending=asked["goal"] == "min")))
        if len(result.table()) <= MOST_RUNGS:
            typer.echo(shown(result.table()))
        typer.echo(told(result, asked["output"], cost.unit))
        written = [str(path) for path in files.values() if path is not None]
        typer.echo(f"wrote {', '.join(written)}; every event is in {asked['ledger']}")


def beside(pool: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Runs with their configurations in front; a configuration column of the same name says so."""
    import pandas as pd

    # Progress and curves call a run by its place in the pool.
    numbered = pd.DataFrame({"run": range(len(pool))})
    clashes = {name: f"{name} (pool)" for name in ("run", *runs) if name in pool}
    return pd.concat([numbered, pool.reset_index(drop=True).rename(columns=clashes), runs], axis=1)


def executor_of(name: str, workers: int, options: Sequence[str]) -> Callable[[], Executor] | None:
    """What makes the executor of a name; None trains in this process.

    Raises:
        ConfigError: for an unknown name or option.
    """
    given = dict(read_option(text) for text in options)
    if name == "processes" and not given:
        from probscale.running import process_workers

        # Fresh processes: a copy of this one would hold the threads of its progress bar and linear algebra.
        return functools.partial(process_workers, workers, method="spawn") if workers else None
    from probscale.integrations import executor_named

    return executor_named(name, **({"workers": workers} if workers else {}), **given)


def read_option(text: str) -> tuple[str, Any]:
    """Name and value of NAME=VALUE; numbers are numbers.

    Raises:
        ConfigError: if there is no name or no value.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ConfigError(f"--executor-option {text!r} is not understood; give NAME=VALUE", option=text)
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


@contextmanager
def watching(total: float, unit: str, *, quiet: bool) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A bar of the budget spent, and a line per decision and failure on standard error.

    Yields:
        Function of an event of the ledger.
    """
    if quiet:
        yield lambda event: None
        return
    with budget_bar(f"of {total:.4g} {unit}", total) as (advance, say):

        def watch(event: Mapping[str, Any]) -> None:
            advance(float(event["cost"]) if event["event"] == "done" else 0.0)
            line = line_of(event, unit)
            if line:
                say(line)

        yield watch


def line_of(event: Mapping[str, Any], unit: str) -> str:
    """An event in words; nothing for an increment that went well."""
    from probscale.cli.tables import number

    if event["event"] == "decision" and event["orders"]:
        runs = [order["run"] for order in event["orders"]]
        price = number(float(sum(order["cost"] for order in event["orders"])))
        chances = event["prob_best"]
        names = ", ".join(map(str, runs[:8])) + (" ..." if len(runs) > 8 else "")
        best = max(chances, key=chances.get, default=None)
        chance = "" if best is None else f"; run {best} is the best with probability {chances[best]:.2f}"
        return f"{event['kind']}: train run{'s' if len(runs) > 1 else ''} {names} for {price} {unit}{chance}"
    if event["event"] == "budget":
        before, total = (number(float(event[name])) for name in ("before", "total"))
        if event.get("retried"):
            again = ", ".join(map(str, event["retried"]))
            return f"given up before and tried again, within {total} {unit} in all: run {again}"
        return f"the budget grows from {before} to {total} {unit}; what was paid counts"
    if event["event"] == "failed":
        end = "given up" if event["final"] else "it is tried again"
        return f"run {event['run']} {event['problem']}: {event['message']}; {end}"
    return ""


def told(result: AllocationResult, output: str, unit: str) -> str:
    """A result in words."""
    from probscale.cli.tables import number

    config = ", ".join(f"{name} {number(value)}" for name, value in result.best.config.items())
    lost = f"; at most {number(result.lost)} besides in failed attempts" if result.lost else ""
    return f"best {output}: {result.best.output:.5g} with {config}\nspent {number(result.spent)} {unit}{lost}"
