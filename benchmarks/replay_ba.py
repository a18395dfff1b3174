"""Budget allocation replayed on public logs, beside its baselines.

    python benchmarks/replay_ba.py --suite nano --seeds 20
    python benchmarks/replay_ba.py --suite gemstones --seeds 20
    python benchmarks/replay_ba.py --suite lcbench --seeds 20

Finished games are kept in benchmarks/results/ba_<suite>.jsonl, so that a second call plays only the missing
ones.
"""

from __future__ import annotations

import argparse
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sources import data_root, read

from probscale.budget.bench import drive
from probscale.budget.registry import strategy_named
from probscale.evaluate.replay.budget import ReplayBench, Spender, gain_table, replay_budgets
from probscale.evaluate.replay.budget_tasks import gemstones_task, lcbench_task, nanogpt_task

RESULTS = Path(__file__).parent / "results"
LCBENCH = [
    "Fashion-MNIST",
    "adult",
    "airlines",
    "car",
    "higgs",
    "jannis",
    "phoneme",
    "segment",
    "vehicle",
    "volkert",
]
STRATEGIES = {
    "halving, eta 2": ("halving", 2.0),
    "halving, eta 3": ("halving", 3.0),
    "uniform": ("uniform", 2.0),
    "hyperband": ("hyperband", 3.0),
    "asha, eta 2": ("asha", 2.0),
    "asha, eta 3": ("asha", 3.0),
    "one_random": ("one_random", 2.0),
    "one_chinchilla": ("one_chinchilla", 2.0),
    "halving_power": ("halving_power", 2.0),
    "halving_ensemble": ("halving_ensemble", 2.0),
    "halving_joint": ("halving_joint", 2.0),
    "early_commitment": ("early_commitment", 2.0),
    "expected_improvement": ("expected_improvement", 2.0),
    "size_prior": ("size_prior", 2.0),
    "surrogate": ("surrogate", 2.0),
}
PLAIN = [
    "halving, eta 2",
    "halving, eta 3",
    "uniform",
    "hyperband",
    "asha, eta 2",
    "asha, eta 3",
    "one_random",
]


def spend(name: str, eta: float, bench: ReplayBench, seed: int) -> None:
    """Play one strategy."""
    torch.set_num_threads(1)
    generator = np.random.default_rng([seed, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drive(bench, strategy_named(name)(bench, generator, None, eta))


def suite(name: str, budgets: list[float] | None, sets: list[str]) -> tuple[list, list[tuple[int, float]]]:
    """Tasks and settings."""
    if name == "nano":
        tasks = [nanogpt_task(read("schram/nanogpt_large.parquet"))]
        return tasks, [(size, total) for size in (5, 10, 20) for total in (budgets or [1e19, 1e20])]
    if name == "gemstones":
        tasks = [gemstones_task(read("gemstones/curves.parquet"))]
        return tasks, [(size, share) for size in (10, 16) for share in (budgets or [0.05, 0.1, 0.2])]
    tasks = [lcbench_task(read(f"lcbench/{item}.parquet"), item) for item in sets]
    return tasks, [(64, share) for share in (budgets or [0.05, 0.1, 0.2])]


def main() -> None:
    """Play, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", choices=["nano", "gemstones", "lcbench"], required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--strategies", nargs="*")
    parser.add_argument("--budgets", type=float, nargs="*")
    parser.add_argument("--sets", nargs="*", default=LCBENCH)
    parser.add_argument("--ledger", type=Path)
    arguments = parser.parse_args()
    if not data_root().exists():
        raise SystemExit(f"the development data is not at {data_root()}; set PROBSCALE_DATA")
    tasks, settings = suite(arguments.suite, arguments.budgets, arguments.sets)
    sized = tasks[0].params is not None
    names = arguments.strategies or [
        name for name in STRATEGIES if sized or name not in ("one_chinchilla", "size_prior")
    ]
    spenders: dict[str, Spender] = {name: partial(spend, *STRATEGIES[name]) for name in names}
    ledger = arguments.ledger or RESULTS / f"ba_{arguments.suite}.jsonl"
    options = {"settings": settings, "seeds": range(arguments.seeds), "ledger": ledger}
    if arguments.workers > 1:
        with ProcessPoolExecutor(arguments.workers) as executor:
            results = replay_budgets(tasks, spenders, executor=executor, **options)
    else:
        results = replay_budgets(tasks, spenders, **options)
    show(results, arguments.suite)


def show(results: pd.DataFrame, name: str) -> None:
    """Print the tables."""
    pd.options.display.width = 200
    for base in ("halving, eta 2", PLAIN):
        known = [item for item in PLAIN if item in set(results.strategy)]
        base = known if isinstance(base, list) else base
        if not set([base] if isinstance(base, str) else base) & set(results.strategy):
            continue
        label = base if isinstance(base, str) else "best plain strategy of each setting"
        print(f"\ngain over {label}, {results.seed.nunique()} seeds")
        groups = results.groupby("total") if name == "lcbench" else [("all", results)]
        for total, part in groups:
            table = gain_table(part, base)
            pooled = table.groupby("strategy").mean(numeric_only=True) if name == "lcbench" else table
            print(f"budget {total}\n{pooled.round(4).to_string()}")
            if name == "lcbench" and "surrogate" in set(part.strategy):
                print(table[table.strategy == "surrogate"].round(4).to_string(index=False))


if __name__ == "__main__":
    main()
