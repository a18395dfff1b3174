"""`probscale replay`: what each strategy would have done on runs that are finished."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probscale.cli.costs import CostOptions
from probscale.cli.options import (
    Debug,
    FinishedRoles,
    Picture,
    Quiet,
    RoleOptions,
    Table,
)
from probscale.cli.speech import readable
from probscale.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

EXAMPLE = (
    "Example: `probscale replay budget runs.parquet --run run_id --axis tokens --output loss --params N "
    "--seeds 20 --store games.jsonl`; `probscale replay AL-G gemstones/curves.parquet --seeds 12`"
)

GameArgument = Annotated[
    str,
    typer.Argument(
        help='"active" or "budget" for a log of your own; AL-N, AL-G, BA-nanogpt, BA-gemstones or BA-lcbench '
        "for a published one, as its protocol says.",
        show_default=False,
    ),
]
LogFiles = Annotated[
    list[str], typer.Argument(help="Finished runs; the one file of a published log.", show_default=False)
]
SeedsOption = Annotated[int, typer.Option(help="Games per strategy and setting, paired by seed.", min=1)]
StrategiesOption = Annotated[
    list[str] | None,
    typer.Option("--strategy", help="Strategy to play; repeat. Default: all.", show_default=False),
]
RunsOption = Annotated[
    list[int] | None,
    typer.Option(
        "--runs",
        help="Runs in the pool of a budget game; repeat. Default: the protocol's.",
        show_default=False,
    ),
]
BudgetsOption = Annotated[
    list[float] | None,
    typer.Option(
        "--budget",
        help="Budget of a budget game; up to 1 a share of the pool's full cost; repeat.",
        show_default=False,
    ),
]
StoreOption = Annotated[
    Path | None,
    typer.Option(help="File of finished games: the same command plays only the rest.", show_default=False),
]
WorkersOption = Annotated[int, typer.Option("-w", "--workers", help="Processes that play.", min=1)]


@readable
def replay(
    game: GameArgument,
    log: LogFiles,
    *,
    roles: FinishedRoles,
    costs: CostOptions,
    seeds: SeedsOption = 5,
    strategy: StrategiesOption = None,
    runs: RunsOption = None,
    budget: BudgetsOption = None,
    store: StoreOption = None,
    workers: WorkersOption = 1,
    picture: Picture = None,
    out: Table = Path("replay.csv"),
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Play strategies on finished runs whose curves are hidden until they are paid for.

    GAME "active" asks how fast the scaling law is learnt, "budget" how good a run is found within a budget;
    both need runs of which less output is better. Prints a table over seeds, and writes every game.
    """
    asked = Asked(game, tuple(log), seeds, tuple(strategy or ()), store, workers, quiet)
    run_replay(asked, roles, costs, (runs or [], budget or []), (out, picture))


@dataclass(frozen=True)
class Asked:
    """What is to be played."""

    game: str
    log: tuple[str, ...]
    seeds: int
    strategies: tuple[str, ...]
    store: Path | None
    workers: int
    quiet: bool


PUBLISHED_ACTIVE = {"AL-N": ("random", "random ∝ 1/cost"), "AL-G": ("cheapest next action",)}
"""Games of active learning and the strategies that the others are compared with."""
PUBLISHED_BUDGET: dict[str, list[tuple[int, float]]] = {
    "BA-nanogpt": [(size, total) for size in (5, 10, 20) for total in (1e19, 1e20)],
    "BA-gemstones": [(size, share) for size in (10, 16) for share in (0.05, 0.1, 0.2)],
    "BA-lcbench": [(64, share) for share in (0.05, 0.1, 0.2)],
}
SHARES = (0.05, 0.1, 0.2)
MOST_RUNS = 16


def run_replay(
    asked: Asked,
    roles: RoleOptions,
    costs: CostOptions,
    settings: tuple[Sequence[int], Sequence[float]],
    files: tuple[Path, Path | None],
) -> None:
    """Play, print, write."""
    from probscale.cli.tables import shown
    from probscale.cli.work import check_picture, check_suffix, draw_picture, write_table

    out, picture = files
    check_suffix(out)
    if picture is not None:
        check_picture(picture)
    if asked.game == "active" or asked.game in PUBLISHED_ACTIVE:
        results, table, draw = play_active(asked, roles, costs)
    elif asked.game == "budget" or asked.game in PUBLISHED_BUDGET:
        results, table, draw = play_budget(asked, roles, costs, settings)
    else:
        known = ", ".join(("active", "budget", *PUBLISHED_ACTIVE, *PUBLISHED_BUDGET))
        raise ConfigError(f"there is no game {asked.game!r} to replay; accepted are {known}", game=asked.game)
    write_table(results, out)
    if picture is not None:
        draw_picture(picture, draw)
    if not asked.quiet:
        typer.echo(shown(table, rows=60))
        typer.echo(f"wrote {out}" + (f" and {picture}" if picture is not None else ""))


def finished_runs(asked: Asked, roles: RoleOptions, costs: CostOptions) -> tuple[Any, Any]:
    """Log and cost of a user's own game."""
    from probscale.cli.work import read_log

    missing = [f"--{name}" for name in ("run", "axis", "output") if getattr(roles, name) is None]
    if missing:
        raise ConfigError(f"the game {asked.game!r} reads a log by its roles; give {', '.join(missing)}")
    costs.check()
    log = read_log(asked.log, roles.arguments())
    return log, costs.model(asked.log, run=roles.run, axis=roles.axis)


def one_file(asked: Asked) -> str:
    """The file of a published log."""
    if len(asked.log) != 1 or not Path(asked.log[0]).is_file():
        raise ConfigError(
            f"{asked.game} is played on one file, its published log; got {', '.join(asked.log)}"
        )
    return asked.log[0]


def play_active(
    asked: Asked, roles: RoleOptions, costs: CostOptions
) -> tuple[pd.DataFrame, pd.DataFrame, Any]:
    """Games of active learning: every state, the table, and how to draw them."""
    from functools import partial

    from probscale.evaluate.replay.active_tables import active_table, find_game, replay_loaded
    from probscale.evaluate.replay.own_log import LogGame

    if asked.game in PUBLISHED_ACTIVE:
        load: Any = partial(find_game, asked.game, one_file(asked))
        baselines = PUBLISHED_ACTIVE[asked.game]
    else:
        load = LogGame(*finished_runs(asked, roles, costs))
        baselines = ("random", "cheapest", "random full runs", "cheapest next action")
    results = replay_loaded(
        load,
        asked.game,
        seeds=range(asked.seeds),
        strategies=asked.strategies or None,
        store=asked.store,
        workers=asked.workers,
        progress=not asked.quiet,
    )
    task, _ = load()

    def draw(ax: Axes) -> Axes:
        from probscale.plot import plot_learning

        return plot_learning(results, ax=ax)

    return results, active_table(task, results, baselines), draw


def play_budget(
    asked: Asked,
    roles: RoleOptions,
    costs: CostOptions,
    settings: tuple[Sequence[int], Sequence[float]],
) -> tuple[pd.DataFrame, pd.DataFrame, Any]:
    """Games of budget allocation: every game, the table, and how to draw it."""
    from tqdm import tqdm

    from probscale.evaluate.replay.budget import gain_table, replay_budgets
    from probscale.evaluate.replay.spenders import spenders_named

    task = budget_game(asked, roles, costs)
    spenders = spenders_named(asked.strategies, sized=task.params is not None)
    base = "halving, eta 2"
    if base not in spenders:
        spenders |= spenders_named([base], sized=True)
    pairs = settings_of(asked.game, settings, len(task.configs))
    with tqdm(
        total=len(pairs) * asked.seeds * len(spenders), desc="games", disable=asked.quiet or None
    ) as bar:
        options = {"settings": pairs, "seeds": range(asked.seeds), "ledger": asked.store}
        with players(asked.workers) as executor:

            def played(_: str) -> None:
                bar.update()

            results = replay_budgets([task], spenders, executor=executor, progress=played, **options)
    table = gain_table(results, base)

    def draw(ax: Axes) -> Axes:
        from probscale.plot import plot_gains

        return plot_gains(table, ax=ax)

    return results, table.drop(columns="task"), draw


def players(workers: int) -> Any:
    """Processes that play games, or none."""
    from contextlib import nullcontext

    import torch

    from probscale.running import computing_workers

    return nullcontext() if workers < 2 else computing_workers(workers, torch.set_num_threads, 1)


def budget_game(asked: Asked, roles: RoleOptions, costs: CostOptions) -> Any:
    """The task of a budget game."""
    from probscale.evaluate.replay import budget_tasks, own_log
    from probscale.evaluate.replay.published import published
    from probscale.runs import read_frame

    if asked.game == "budget":
        return own_log.budget_task(*finished_runs(asked, roles, costs))
    path = one_file(asked)
    frame = read_frame(path)
    with published(asked.game, path):
        if asked.game == "BA-lcbench":
            return budget_tasks.lcbench_task(frame, Path(path).stem)
        make = budget_tasks.nanogpt_task if asked.game == "BA-nanogpt" else budget_tasks.gemstones_task
        return make(frame)


def settings_of(
    game: str, given: tuple[Sequence[int], Sequence[float]], available: int
) -> list[tuple[int, float]]:
    """Sizes of the pool and budgets: those given, the others as the protocol says."""
    bad = [value for value in (*given[0], *given[1]) if not (math.isfinite(value) and value > 0)]
    if bad:
        raise ConfigError(f"{bad[0]:g} is neither a number of runs nor a budget; give positive numbers")
    usual = PUBLISHED_BUDGET.get(game, [(min(MOST_RUNS, available), share) for share in SHARES])
    sizes = given[0] or sorted({size for size, _ in usual})
    totals = given[1] or sorted({total for _, total in usual})
    return [(size, total) for size in sizes for total in totals]
