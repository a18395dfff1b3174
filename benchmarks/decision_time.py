"""Time of one decision at 64 curves: conditioning on new points, and joint draws at the horizon.

OMP_NUM_THREADS=1 python benchmarks/decision_time.py
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import torch

from probscale.budget.bench import Decision, Order
from probscale.budget.forecast import JointForecaster
from probscale.evaluate.replay.budget import BudgetTask, ReplayBench

RUNS, EPOCHS, PREFIX = 64, 52, 8


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


def main() -> None:
    """Print processor and wall-clock seconds of a first fit and of the decisions after it."""
    torch.set_num_threads(1)
    bench, forecaster = ReplayBench(task(), RUNS * float(EPOCHS)), JointForecaster()
    for epoch in range(PREFIX, PREFIX + 6):
        bench.train(Decision(tuple(Order(run, float(epoch)) for run in range(RUNS)), "rung"))
        wall, processor = time.perf_counter(), time.process_time()
        forecaster.sample(bench, range(RUNS), np.full(RUNS, float(EPOCHS)), 512, 0)
        what = "fit and draws" if epoch == PREFIX else "condition and draws"
        seconds = time.process_time() - processor, time.perf_counter() - wall
        print(f"{what}: {seconds[0]:.3f} s processor, {seconds[1]:.3f} s wall")


if __name__ == "__main__":
    main()
