"""Active-learning replays over seeds: run in parallel, kept on disk, and summed up in tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from probscale.errors import ConfigError
from probscale.evaluate.replay.active import ActiveTask, Strategy, replay_active
from probscale.evaluate.replay.active_tasks import (
    ANY_DEPTH_STRATEGIES,
    WHOLE_RUN_STRATEGIES,
    gemstones_task,
    nanogpt_task,
)
from probscale.evaluate.replay.published import published
from probscale.evaluate.replay.spenders import listed
from probscale.ledger import Ledger
from probscale.running import computing_workers

Array = NDArray[np.float64]

GAMES = {"AL-N": (nanogpt_task, WHOLE_RUN_STRATEGIES), "AL-G": (gemstones_task, ANY_DEPTH_STRATEGIES)}

Load: TypeAlias = Callable[[], tuple[ActiveTask, tuple[Strategy, ...]]]

BUDGETS = np.geomspace(0.05, 1.0, 60)
"""Shares of the full price at which errors are averaged."""

KNOWN = 1e-8
"""Relative width of a slope's interval below which the slope is known."""


def find_game(name: str, path: str | Path) -> tuple[ActiveTask, tuple[Strategy, ...]]:
    """A game by name, read from its log, and the strategies that play it.

    Raises:
        ConfigError: for an unknown name, or a file that is not the published log.
    """
    if name not in GAMES:
        raise ConfigError(f"there is no active-learning replay {name!r}; known are {', '.join(GAMES)}")
    load, strategies = GAMES[name]
    with published(name, path):
        return load(path), strategies


def replay_strategies(
    game: str,
    path: str | Path,
    *,
    seeds: Sequence[int],
    strategies: Sequence[str] | None = None,
    store: str | Path | None = None,
    workers: int = 1,
    growth: float = 1.5,
    progress: bool = False,
) -> pd.DataFrame:
    """Replays of several strategies over paired seeds.

    Args:
        game: "AL-N" or "AL-G".
        path: Log of the game.
        seeds: Seeds; the same seed starts alike in every strategy.
        strategies: Names; all of the game's by default.
        store: File in which finished replays are kept; those already there are not run again.
        workers: Processes, each on one thread.
        growth: See `replay_active`.
        progress: Show a progress bar.

    Returns:
        One row per strategy, seed and state of knowledge; see `replay_active`.

    Raises:
        ConfigError: for an unknown game or strategy.
        BudgetError: if the store belongs to other settings or other runs.
    """
    load = partial(find_game, game, path)
    options = {"store": store, "workers": workers, "growth": growth, "progress": progress}
    return replay_loaded(load, game, seeds=seeds, strategies=strategies, **options)


def replay_loaded(
    load: Load,
    game: str,
    *,
    seeds: Sequence[int],
    strategies: Sequence[str] | None = None,
    store: str | Path | None = None,
    workers: int = 1,
    growth: float = 1.5,
    progress: bool = False,
) -> pd.DataFrame:
    """`replay_strategies` of any game.

    Args:
        load: Gives the task and the strategies that play it; called in every worker.
        game: Name of the game, in the store.
        seeds: See `replay_strategies`, as for the others.
        strategies: Names.
        store: File of finished replays.
        workers: Processes.
        growth: See `replay_active`.
        progress: Show a progress bar.

    Raises:
        ConfigError: for an unknown strategy.
        BudgetError: if the store belongs to other settings or other runs.
    """
    task, known = load()
    named = {strategy.name: strategy for strategy in known}
    unknown = [name for name in strategies or () if name not in named]
    if unknown:
        raise ConfigError(f"{game} has no strategy {unknown[0]!r}; {listed(unknown[0], list(named))}")
    wanted = [(name, int(seed)) for seed in seeds for name in strategies or named]
    settings = {"game": game, "growth": growth, "runs": task.digest}
    ledger = None if store is None else Ledger(store, settings=settings, former={"runs": None})
    done: dict[tuple[str, int], list[dict[str, Any]]] = {}
    try:
        if ledger is not None:
            done = {(e["strategy"], e["seed"]): e["rows"] for e in ledger.events() if "rows" in e}
        jobs = [(load, named[name], seed, growth) for name, seed in wanted if (name, seed) not in done]
        for strategy, seed, rows in _finished(jobs, workers, progress):
            done[strategy, seed] = rows
            if ledger is not None:
                ledger.append({"strategy": strategy, "seed": seed, "rows": rows})
    finally:
        if ledger is not None:
            ledger.close()
    return pd.DataFrame([row for key in wanted for row in done[key]])


def _finished(jobs: list[tuple[Any, ...]], workers: int, progress: bool) -> Any:
    """Results of replays in the order in which they end."""
    bar = tqdm(total=len(jobs), desc="replays", disable=None if progress else True)
    if workers <= 1:
        for job in jobs:
            yield _replay(job)
            bar.update()
        return
    with computing_workers(workers, torch.set_num_threads, 1) as pool:
        for future in as_completed([pool.submit(_replay, job) for job in jobs]):
            yield future.result()
            bar.update()


def _replay(job: tuple[Any, ...]) -> tuple[str, int, list[dict[str, Any]]]:
    load, strategy, seed, growth = job
    task, _ = load()
    rows = replay_active(task, strategy, seed, growth=growth).to_dict("records")
    return strategy.name, seed, [{str(key): value for key, value in row.items()} for row in rows]


def area_under(spent: Array, error: Array, budgets: Array = BUDGETS) -> float:
    """Mean error over budgets: at each that of the last state paid for within it, the first before that."""
    position = np.searchsorted(spent, budgets * (1 + 1e-12), side="right") - 1
    return float(np.mean(error[np.maximum(position, 0)]))


def sustained(spent: Array, error: Array, threshold: float) -> float:
    """Share of the price from which the error stays at or below a threshold; infinite if it never does."""
    above = np.flatnonzero(error > threshold)
    first = above[-1] + 1 if len(above) else 0
    return float(spent[first]) if first < len(spent) else float("inf")


def slope_coverage(states: pd.DataFrame, slope: float) -> float:
    """Share of states whose interval of the slope holds the true one, while the law is uncertain.

    States in which it is known to rounding error are left out: there the interval is a point.

    Args:
        states: States of one replay.
        slope: True slope.
    """
    lower, upper = (states[name].to_numpy(dtype=np.float64) for name in ("slope_lower", "slope_upper"))
    margin = KNOWN * abs(slope)
    unknown = upper - lower > margin
    inside = (lower - margin <= slope) & (slope <= upper + margin)
    return float(inside[unknown].mean()) if unknown.any() else float("nan")


def measures(task: ActiveTask, results: pd.DataFrame) -> pd.DataFrame:
    """Summary of each replay: one row per strategy and seed."""
    rows = []
    for (strategy, seed), states in results.groupby(["strategy", "seed"], sort=False):
        part = states.sort_values("spent", kind="stable")
        columns = (part[name].to_numpy(dtype=np.float64) for name in ("spent", "abc", "abc_log", "frmse"))
        spent, area, logarithmic, error = columns
        early = np.geomspace(spent[0], 1.0, 60)
        rows.append(
            {
                "strategy": strategy,
                "seed": seed,
                "auc": area_under(spent, area),
                "auc_log": area_under(spent, logarithmic),
                "auc_early": area_under(spent, area, early),
                "sustained_abc": sustained(spent, area, task.thresholds[0]),
                "sustained_abc_log": sustained(spent, logarithmic, task.thresholds[0]),
                "sustained_frmse": sustained(spent, error, task.thresholds[1]),
                "slope_coverage": slope_coverage(part, task.law[0]),
                "seconds": float(part["seconds"].iloc[1:].mean()),
            }
        )
    return pd.DataFrame(rows)


def active_table(task: ActiveTask, results: pd.DataFrame, baselines: Sequence[str]) -> pd.DataFrame:
    """Table of strategies: means over seeds with standard errors, ratios to baselines on the same seeds.

    Args:
        task: The game.
        results: Output of `replay_strategies`.
        baselines: Strategies to divide by.
    """
    found = measures(task, results)
    groups = found.groupby("strategy", sort=False)
    mean, error = groups.mean(numeric_only=True), groups["auc"].sem()
    auc = mean["auc"].to_numpy(dtype=np.float64)
    table = pd.DataFrame(
        {"AUC AbC": [_with_error(m, e) for m, e in zip(auc, error, strict=True)]}, index=mean.index
    )
    for name in [name for name in baselines if name in mean.index]:
        table[f"AUC / {name}"] = auc / auc[mean.index.get_loc(name)]
    table["AUC AbC, from the start"] = mean["auc_early"]
    table["AUC AbC of ln(loss)"] = mean["auc_log"]
    table[f"sustained AbC ≤ {task.thresholds[0]:g}"] = mean["sustained_abc"]
    table[f"sustained AbC of ln(loss) ≤ {task.thresholds[0]:g}"] = mean["sustained_abc_log"]
    table[f"sustained fRMSE ≤ {task.thresholds[1]:g}"] = mean["sustained_frmse"]
    table["slope in 95 % interval"] = mean["slope_coverage"]
    table["s / step"] = mean["seconds"]
    table["seeds"] = groups.size()
    return table.reset_index()


def _with_error(value: float, error: float) -> str:
    """A mean with its standard error, which one seed does not have."""
    return f"{value:.4f} ± {error:.4f}" if np.isfinite(error) else f"{value:.4f}"
