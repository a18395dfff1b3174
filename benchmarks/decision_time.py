"""Time of decisions: rounds of an allocation at 64 curves, steps of active learning at the replayed sizes.

OMP_NUM_THREADS=1 python benchmarks/decision_time.py
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from scoring import markdown, write_page
from sources import data_root

from probscale.budget.bench import Decision, Order
from probscale.budget.forecast import JointForecaster
from probscale.evaluate.replay.active import replay_active
from probscale.evaluate.replay.active_tables import find_game
from probscale.evaluate.replay.budget import BudgetTask, ReplayBench

RUNS, EPOCHS, ROUNDS = 64, 52, 13
GAMES = [("AL-N", "schram/nanogpt_large.parquet", 1.0), ("AL-G", "gemstones/curves.parquet", 0.3)]


def task() -> BudgetTask:
    """Curves of a hyperparameter sweep: loss falls with epochs, optimum in learning rate and width."""
    generator = np.random.default_rng(0)
    rate, width = generator.uniform(-4, -1, RUNS), generator.uniform(4, 10, RUNS)
    epochs = np.tile(np.arange(1.0, EPOCHS + 1), (RUNS, 1))
    final = 0.3 + 0.1 * (rate + 2.5) ** 2 + 0.02 * (width - 8) ** 2
    loss = final[:, None] + 0.8 * epochs**-0.6 + 0.005 * generator.standard_normal(epochs.shape)
    return BudgetTask(
        "sweep", pd.DataFrame({"rate": 10**rate, "width": 2**width}), "epoch", epochs, loss, epochs
    )


def rounds(first: int) -> pd.DataFrame:
    """Seconds of rounds over 64 curves from their first epochs on, every curve one epoch longer in each."""
    bench, forecaster = ReplayBench(task(), RUNS * float(EPOCHS)), JointForecaster()
    rows = []
    for epoch in range(first, ROUNDS + 1):
        bench.train(Decision(tuple(Order(run, float(epoch)) for run in range(RUNS)), "rung"))
        before = forecaster.fits
        with watched() as seconds:
            forecaster.sample(bench, range(RUNS), np.full(RUNS, float(EPOCHS)), 512, 0)
        rows.append({"fitted": forecaster.fits > before, "seconds": seconds[0], "wall": seconds[1]})
    return pd.DataFrame(rows)


def steps(game: str, file: str, until: float) -> pd.DataFrame:
    """Seconds of the steps of an active-learning replay."""
    task, strategies = find_game(game, data_root() / file)
    (strategy,) = (each for each in strategies if each.name == "frontier / cost")
    return replay_active(task, strategy, 0, until=until).iloc[1:]


@contextmanager
def watched() -> Iterator[list[float]]:
    """Processor and wall-clock seconds of a block, once it is done."""
    seconds: list[float] = []
    wall, processor = time.perf_counter(), time.process_time()
    yield seconds
    seconds += [time.process_time() - processor, time.perf_counter() - wall]


def main() -> None:
    """Measure, print and write the page."""
    torch.set_num_threads(1)
    rows = []
    for first, since in ((1, "from one epoch on"), (8, "from eight epochs on")):
        table = rounds(first)
        for fitted, what in ((False, "conditioned on new points"), (True, "parameters fitted")):
            part = table[table["fitted"] == fitted]
            rows.append([f"round at {RUNS} curves {since}, {what}", len(part), *_spread(part["seconds"])])
        rows.append([f"round at {RUNS} curves {since}, all", len(table), *_spread(table["seconds"])])
    for game, file, until in GAMES:
        found = steps(game, file, until)
        for fitted, what in ((False, "conditioned on new points"), (True, "parameters fitted")):
            part = found[found["fitted"] == fitted]
            rows.append([f"step of {game}, {what}", len(part), *_spread(part["seconds"])])
        rows.append([f"step of {game}, all", len(found), *_spread(found["seconds"])])
    note = (
        "Processor seconds on one thread, which other work on the machine lengthens somewhat. Bars: .05 s a "
        "round at 64 curves, .2 s an active-learning step. A surrogate of earlier runs (`surrogate=`) is "
        "never fitted again; without one, parameters are fitted when the points have doubled (active "
        "learning: grown by half), each time from where they were. Text, transform and spread beyond the "
        "observed sizes are decided anew once the points are three times as many: the longest steps. Fits of "
        "an allocation are hurried: one pass over at most 200 points that stops once three iterations have "
        "gained less than half a unit of log posterior. Followed along a halving of 10 pools of LCBench, 12 "
        "of nanoGPT and 6 of Gemstones, its forecasts of final losses were no worse than those of three "
        "passes (MAE of ln(loss) .157, .064, .041 against .154, .083, .043; NLPD .94, -2.66, -2.92 against "
        "1.15, -2.48, -2.89)."
    )
    header = ["decision", "how many", "mean s", "median s", "largest s"]
    write_page("decision_time", "Time of a decision", [note, markdown(header, rows)])


def _spread(seconds: pd.Series) -> list[str]:
    return [f"{value:.3f}" for value in (seconds.mean(), seconds.median(), seconds.max())]


if __name__ == "__main__":
    main()
