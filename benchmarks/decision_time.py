"""Time of decisions: rounds of an allocation at 64 curves, steps of active learning at the replayed sizes.

OMP_NUM_THREADS=1 python benchmarks/decision_time.py
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

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
REPEATS = 3
GAMES = [("AL-N", "schram/nanogpt_large.parquet", 1.0), ("AL-G", "gemstones/curves.parquet", 0.3)]


BEFORE = (
    "Beside the code before (2a8fdda), both in turns in one run on a machine with four other jobs; of each "
    "step the least of three. Answers agree to 1e-9 where parameters are kept, to 1e-4 where they are "
    "fitted (the optimiser stops elsewhere in the last digits); comparing a replay's law with the truth, "
    "which is no part of a decision, counted before and does not now (up to .02 s a step of AL-N). An "
    "`ActiveLoop` on two outputs took 20.4 s of processor for 33 turns and three fits, and takes 6.2 s: "
    "fits begin where they ended, .3 s instead of 6 s each after the first."
)
SINCE = (
    "Since then derivatives of laws are written out. Beside the code before that (a8f0ad1), in the same hour "
    "at a load of ten: rounds with fits .130 to .113 s from one epoch on and .166 to .148 from eight, all "
    "rounds .057 to .051 and .071 to .063; steps of AL-N .130 to .117 (largest 1.33 to 1.19), of AL-G .080 "
    "to .066 (.73 to .56). Means and standard deviations agree to 2e-5 with up to "
    "83 points."
)

# Processor seconds of the code as of 2a8fdda and of this one: mean and largest of each.
BESIDE = [
    ["round from one epoch on, conditioned on new points", ".034", ".024", ".040", ".029"],
    ["round from one epoch on, parameters fitted", ".142", ".118", ".200", ".166"],
    ["round from one epoch on, all", ".067", ".053", ".200", ".166"],
    ["round from eight epochs on, all", ".092", ".068", ".216", ".172"],
    ["step of AL-N, conditioned on new points", ".085", ".036", ".090", ".042"],
    ["step of AL-N, parameters fitted", ".644", ".455", "1.364", "1.025"],
    ["step of AL-N, all", ".174", ".103", "1.364", "1.025"],
    ["step of AL-G, conditioned on new points", ".047", ".027", ".050", ".029"],
    ["step of AL-G, parameters fitted", ".451", ".300", ".733", ".519"],
    ["step of AL-G, all", ".093", ".059", ".733", ".519"],
]


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


def least(measure: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table of steps, each with the least seconds of several runs: other work only ever adds to them."""
    tables = [measure() for _ in range(REPEATS)]
    return tables[0].assign(seconds=np.min([table["seconds"] for table in tables], axis=0))


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
        table = least(partial(rounds, first))
        for fitted, what in ((False, "conditioned on new points"), (True, "parameters fitted")):
            part = table[table["fitted"] == fitted]
            rows.append([f"round at {RUNS} curves {since}, {what}", len(part), *_spread(part["seconds"])])
        rows.append([f"round at {RUNS} curves {since}, all", len(table), *_spread(table["seconds"])])
    for game, file, until in GAMES:
        found = least(partial(steps, game, file, until))
        for fitted, what in ((False, "conditioned on new points"), (True, "parameters fitted")):
            part = found[found["fitted"] == fitted]
            rows.append([f"step of {game}, {what}", len(part), *_spread(part["seconds"])])
        rows.append([f"step of {game}, all", len(found), *_spread(found["seconds"])])
    note = (
        "Processor seconds on one thread, of each step the least of three runs; work of others on the "
        "machine lengthens them, this time by more than half. Bars: .05 s a round at 64 curves, .2 s an "
        "active-learning step. A surrogate of earlier runs (`surrogate=`) is never fitted again; without "
        "one, parameters are fitted when the points have doubled (active learning: grown by half), each "
        "time from where they were. Text, transform and spread beyond the observed sizes are decided anew "
        "once the points are three times as many: the longest steps. Fits of an allocation are hurried: one "
        "pass over at most 200 points that stops once three iterations have gained less than half a unit of "
        "log posterior. Followed along a halving of 10 pools of LCBench, 12 of nanoGPT and 6 of Gemstones, "
        "its forecasts of final losses were no worse than those of three passes (MAE of ln(loss) .157, "
        ".064, .041 against .154, .083, .043; NLPD .94, -2.66, -2.92 against 1.15, -2.48, -2.89)."
    )
    header = ["decision", "how many", "mean s", "median s", "largest s"]
    beside = markdown(["decision", "mean s before", "now", "largest s before", "now"], BESIDE)
    page = [note, markdown(header, rows), BEFORE, beside, SINCE]
    write_page("decision_time", "Time of a decision", page)


def _spread(seconds: pd.Series) -> list[str]:
    return [f"{value:.3f}" for value in (seconds.mean(), seconds.median(), seconds.max())]


if __name__ == "__main__":
    main()
