"""What both active-learning replays share: arguments, running, the page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pandas as pd
from scoring import markdown, write_page
from sources import data_root

from probscale.evaluate.replay.active_tables import active_table, find_game, replay_strategies


def main(game: str, file: str, *, page: str, title: str, seeds: int, baselines: Sequence[str]) -> None:
    """Replay a game and write its page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--strategies", nargs="*", default=None)
    parser.add_argument("--store", default=None, help="file that keeps finished replays, to resume from")
    parser.add_argument("--note", default="", help="sentence for the page, such as the load of the machine")
    chosen = parser.parse_args()
    path = data_root() / file
    if not path.is_file():
        sys.exit(f"{game} needs the log {file} in the data folder (PROBSCALE_DATA); it is not there")
    task, _ = find_game(game, path)
    results = replay_strategies(
        game,
        path,
        seeds=range(chosen.seeds),
        strategies=chosen.strategies,
        store=chosen.store,
        workers=chosen.workers,
        progress=True,
    )
    table = active_table(task, results, baselines)
    shape = (
        f"{len(task.configs)} runs × {task.at.shape[1]} points; the full grid costs "
        f"{task.price[:, -1].sum():.3g} FLOPs; true law: slope {task.law[0]:.5f}, intercept "
        f"{task.law[1]:.4f}, over {len(task.levels)} levels of compute from {task.levels[0]:.3g} to "
        f"{task.levels[-1]:.3g}."
    )
    reading = (
        "AbC: area between the losses of the fitted and the true log-linear law, over "
        f"{task.span[0]:.3g} to {task.span[1]:.3g} in ln(compute). AUC: its mean over 60 geometric "
        "budgets from 5 % to 100 % of the grid (step function); `from the start`: budgets from the price of "
        "the start. "
        "fRMSE: root mean square error of the log-frontier. Sustained: share of the grid's price from "
        "which a criterion holds to the end. Slope in 95 % interval: of the states in which the law is "
        "not yet known exactly. ±: standard error over seeds."
    )
    write_page(page, title, [shape, reading, _markdown(table), *filter(None, [chosen.note])])


def _markdown(table: pd.DataFrame) -> str:
    rows = [
        [f"{v:.3f}" if isinstance(v, float) else str(v) for v in row] for row in table.itertuples(index=False)
    ]
    return markdown([str(name) for name in table.columns], rows)
