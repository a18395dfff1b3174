"""Spend a compute budget on real training of small GPTs on the standard library's sources.

    python datasets/stdlib_gpt/live_budget.py --minutes 2 --folder live
    python datasets/stdlib_gpt/live_budget.py --minutes 2 --folder live --executor processes --workers 2
    python datasets/stdlib_gpt/live_budget.py --minutes 2 --folder live --executor ray --workers 2
    python datasets/stdlib_gpt/live_budget.py --minutes 2 --folder live --executor slurm --workers 8

With slurm, the folder must be one that the nodes share; --try-slurm-here runs its jobs as local processes.

Kill it at any moment and give the same command again: it resumes, and trains nothing twice but what came
after the last checkpoint of the runs that were training.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import probscale as ps
from probscale.cost import FunctionCost
from probscale.integrations import EXECUTORS, executor_named

TRAINER = Path(__file__).with_name("stdlib_gpt.py")
FLOPS_PER_SECOND = 8e9
CHECKPOINT_SECONDS = 1.0


def load_trainer() -> Any:
    """The trainer of datasets/stdlib_gpt, as a module."""
    if "stdlib_gpt" not in sys.modules:
        spec = importlib.util.spec_from_file_location("stdlib_gpt", TRAINER)
        assert spec is not None
        assert spec.loader is not None
        sys.modules["stdlib_gpt"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["stdlib_gpt"])
    return sys.modules["stdlib_gpt"]


def runner(folder: Path, config: dict[str, Any], until: float, state: dict[str, Any] | None) -> Any:
    """Train a configuration in a folder of its own, named after it: even a first increment resumes."""
    import torch

    torch.set_num_threads(1)
    trainer = load_trainer()
    settings = trainer.Config.from_mapping(config)
    points = trainer.train(settings, int(until), folder / settings.run_id, CHECKPOINT_SECONDS)
    return points, {"folder": str(folder / settings.run_id), "tokens": points[-1][0]}


def pool(widths: list[int], rates: list[float]) -> list[dict[str, Any]]:
    """Configurations: widths × depths × learning rates, with tokens per step and FLOPs per token."""
    trainer = load_trainer()
    configs = [
        {"width": width, "depth": depth, "learning_rate": rate, "batch_size": 8}
        for width in widths
        for depth in (1, 2)
        for rate in rates
    ]
    known = [trainer.Config.from_mapping(config) for config in configs]
    return [
        {
            **config,
            "params": item.n_params,
            "step_tokens": item.tokens_per_step,
            "flops_per_token": item.flops_per_token,
        }
        for config, item in zip(configs, known, strict=True)
    ]


def executor(arguments: argparse.Namespace) -> Callable[[], Executor] | None:
    """The executor that the arguments name."""
    if arguments.executor is None:
        return None
    options: dict[str, Any] = {"workers": arguments.workers}
    if arguments.executor == "slurm":
        options["folder"] = arguments.folder / "slurm"
        options["cluster"] = "local" if arguments.try_slurm_here else "slurm"
    return executor_named(arguments.executor, **options)


def main() -> None:
    """Spend the budget, and print what it bought."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--executor", choices=EXECUTORS, help="where to train; by default in this process")
    parser.add_argument("--workers", type=int, default=2, help="runs that an executor trains side by side")
    parser.add_argument("--try-slurm-here", action="store_true")
    parser.add_argument("--strategy", default="surrogate")
    parser.add_argument("--widths", type=int, nargs="*", default=[32, 48, 64])
    parser.add_argument("--rates", type=float, nargs="*", default=[1e-3, 3e-3, 1e-2])
    arguments = parser.parse_args()
    side_by_side = arguments.workers if arguments.executor else 1
    cost = FunctionCost(lambda configs, at: configs["flops_per_token"].to_numpy()[:, None] * at, unit="FLOPs")
    result = ps.allocate(
        pool(arguments.widths, arguments.rates),
        functools.partial(runner, arguments.folder),
        total=60 * arguments.minutes * FLOPS_PER_SECOND * side_by_side,
        cost=cost,
        axis="tokens",
        output="loss",
        strategy=arguments.strategy,
        resolution="step_tokens",
        timeout=600,
        executor=executor(arguments),
        ledger=arguments.folder / "alloc.jsonl",
    )
    print(result.runs.sort_values("loss").to_string())
    print(f"best: {result.best.output:.4f} nats a byte with {result.best.config}")
    print(f"spent {result.spent:.3g} FLOPs; at most {result.lost:.3g} besides in failed attempts")


if __name__ == "__main__":
    main()
