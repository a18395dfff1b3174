"""Budgets that grow: half of a budget is spent as if it were all, then the other half comes.

    python benchmarks/grown_budgets.py [--seeds 6]

Beside the loss with the whole budget known from the start: with the half alone, with the second half spent by
the same strategy that goes on from the first, and with all of the second half on the best run of the first.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from scoring import markdown, write_page
from sources import read

from probscale.budget.bench import drive
from probscale.budget.registry import strategy_named
from probscale.evaluate.replay.budget import BudgetTask, ReplayBench
from probscale.evaluate.replay.budget_tasks import gemstones_task, lcbench_task, nanogpt_task

SETS = ["adult", "car", "higgs", "jannis", "phoneme", "volkert"]
PLAIN = ["uniform", "halving", "hyperband", "asha"]
WAYS = ["half alone", "half, then the rest", "half, then best run"]


def settings() -> Iterator[tuple[str, BudgetTask, int, float]]:
    """Log, task, runs in the pool, and budget: a share of the pool's full compute if at most 1."""
    for name in SETS:
        task = lcbench_task(read(f"lcbench/{name}.parquet"), name)
        yield from (("LCBench", task, 64, share) for share in (0.05, 0.1, 0.2))
    task = nanogpt_task(read("schram/nanogpt_large.parquet"))
    yield from (("nanoGPT", task, 20, total) for total in (2e19, 1e20))
    task = gemstones_task(read("gemstones/curves.parquet"))
    yield from (("Gemstones", task, 16, share) for share in (0.1, 0.2))


def found(pool: BudgetTask, totals: list[float], strategy: str, seed: int, *, follow: bool = False) -> float:
    """Lowest loss when budgets come one after another; with `follow` the later ones go to the best run."""
    bench = ReplayBench(pool, totals[0])
    for number, total in enumerate(totals):
        bench.total = total
        generator = np.random.default_rng([seed, 1 + number])
        maker = strategy_named(strategy)
        if bench.usable.any():
            drive(bench, iter(()) if follow and number else maker(bench, generator, None, 2.0))
    assert bench.spent.sum() <= totals[-1] * (1 + 1e-9)
    return bench.found()


def games(seeds: int, learning: int) -> pd.DataFrame:
    """Losses in percent above those with the whole budget from the start, a row per game."""
    rows = []
    for log, task, runs, total in settings():
        for seed in range(seeds):
            pool = task.subset(np.random.default_rng(seed).choice(len(task.configs), runs, replace=False))
            budget = total * float(pool.price[:, -1].sum()) if total <= 1 else total
            halves = [budget / 2, budget]
            for strategy in [*PLAIN, "surrogate"] if seed < learning else PLAIN:
                whole = found(pool, [budget], strategy, seed)
                losses = [
                    found(pool, halves[:1], strategy, seed),
                    found(pool, halves, strategy, seed),
                    found(pool, halves, strategy, seed, follow=True),
                ]
                gaps = [100 * (loss / whole - 1) for loss in losses]
                rows.append({"log": log, "strategy": strategy, **dict(zip(WAYS, gaps, strict=True))})
    return pd.DataFrame(rows)


def main() -> None:
    """Play, average, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6, help="Pools of each setting.")
    parser.add_argument("--learning", type=int, default=3, help="Of them with fitted surrogates.")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    grouped = games(chosen.seeds, chosen.learning).groupby(["log", "strategy"], sort=False)
    means, errors, counts = grouped[WAYS].mean(), grouped[WAYS].sem(), grouped.size()
    rows = [
        [*key, counts[key], *(f"{means[way][key]:+.2f} ± {errors[way][key]:.2f}" for way in WAYS)]
        for key in means.index
    ]
    note = (
        "Loss in percent above that of the same strategy with the whole budget known from the start (η = 2; "
        "mean and standard error over pools and budgets). Half alone: what was found when the second half "
        "came. Then the rest: the strategy goes on from the ledger, as `allocate` does with a larger total. "
        "Then best run: the second half finishes the best run observed, and the next. Budgets: 5, 10 and 20 "
        "% of 64 LCBench runs of six data sets; 2e19 and 1e20 FLOPs on 20 nanoGPT runs; 10 and 20 % of 16 "
        "Gemstones runs."
    )
    reading = (
        "On LCBench a budget that grows ends within about one per cent of one known from the start, or "
        "below; all of the rest on the best run of the first half leaves halving, ASHA and the surrogate "
        "8 to 9 % above. On nanoGPT the default has committed by then to a size that is too small for the "
        "whole budget, and what that costs is not won back: it goes on with that run, as the last column "
        "does."
    )
    header = ["log", "strategy", "games", *WAYS]
    write_page("grown_budgets", "Budgets that grow", [note, markdown(header, rows), reading])


if __name__ == "__main__":
    main()
