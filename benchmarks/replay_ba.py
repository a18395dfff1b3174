"""Budget allocation replayed on public logs, beside its baselines.

    python benchmarks/replay_ba.py --suite nano --seeds 20
    python benchmarks/replay_ba.py --suite gemstones --seeds 20
    python benchmarks/replay_ba.py --suite lcbench --seeds 20

Finished games are kept in benchmarks/results/ba_<suite>.jsonl, so that a second call plays only the missing
ones.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from scoring import markdown
from sources import data_root, read

import probscale
from probscale.evaluate.replay.budget import ReplayBench, Spender, gain_table, gains, replay_budgets
from probscale.evaluate.replay.budget_tasks import gemstones_task, lcbench_task, nanogpt_task
from probscale.evaluate.replay.spenders import SIZED, SPENDERS, StrategySpender
from probscale.runs import RunLog
from probscale.surrogate import CurveSurrogate, fit_surrogate, load_surrogate

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
EARLIER_RUNS = 24
EARLIER_EPOCHS = (1, 2, 3, 5, 8, 13, 24, 52)
PLAIN = [
    "halving, eta 2",
    "halving, eta 3",
    "uniform",
    "hyperband",
    "asha, eta 2",
    "asha, eta 3",
    "one_random",
]


@functools.cache
def sources_digest() -> str:
    """Short digest of the package's sources: a surrogate kept by other sources is not the present one."""
    folder = Path(probscale.__file__).parent
    parts = (file.read_bytes() for file in sorted(folder.rglob("*.py")))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


@functools.cache
def earlier_surrogate(held_out: str) -> CurveSurrogate:
    """Surrogate of a few curves of every LCBench data set but one; kept in the temporary folder."""
    path = Path(tempfile.gettempdir()) / f"probscale_ba_{sources_digest()}_{held_out}.safetensors"
    if path.exists():
        return load_surrogate(path)
    parts = []
    for name in LCBENCH:
        if name == held_out:
            continue
        task = lcbench_task(read(f"lcbench/{name}.parquet"), name)
        rows = np.random.default_rng([0, len(name)]).choice(len(task.configs), EARLIER_RUNS, replace=False)
        part = task.configs.iloc[np.repeat(rows, len(EARLIER_EPOCHS))].reset_index(drop=True)
        part["run"] = [f"{name} {row}" for row in rows for _ in EARLIER_EPOCHS]
        part["epoch"] = np.tile(np.array(EARLIER_EPOCHS, dtype=float), EARLIER_RUNS)
        part["loss"] = task.outputs[rows][:, np.array(EARLIER_EPOCHS) - 1].ravel()
        parts.append(part)
    frame = pd.concat(parts, ignore_index=True)
    log = RunLog.from_frame(frame, run="run", axis="epoch", output="loss", levels=("dataset",))
    surrogate = fit_surrogate(log, embedder=None)
    surrogate.save(path)
    return surrogate


def of_other_sets(bench: ReplayBench) -> CurveSurrogate:
    """Surrogate of the data sets that a game is not played on."""
    return earlier_surrogate(str(bench.configs["dataset"].iloc[0]))


WARM = {"surrogate, warm": StrategySpender("surrogate", earlier=of_other_sets)}


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
    parser.add_argument("--first-seed", type=int, default=0)
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
    known = SPENDERS | ({} if sized else WARM)
    names = arguments.strategies or [name for name in known if sized or name not in SIZED]
    spenders: dict[str, Spender] = {name: known[name] for name in names}
    ledger = arguments.ledger or RESULTS / f"ba_{arguments.suite}.jsonl"
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    options = {"settings": settings, "seeds": seeds, "ledger": ledger}
    if arguments.workers > 1:
        with ProcessPoolExecutor(arguments.workers) as executor:
            results = replay_budgets(tasks, spenders, executor=executor, **options)
    else:
        results = replay_budgets(tasks, spenders, **options)
    show(results, arguments.suite)


def show(results: pd.DataFrame, name: str) -> None:
    """Print the tables."""
    pd.options.display.width = 200
    if name == "lcbench" and "surrogate, warm" in set(results.strategy):
        print(per_set(results))
    known = [item for item in PLAIN if item in set(results.strategy)]
    for base in ("halving, eta 2", known):
        label = base if isinstance(base, str) else "best plain strategy of each setting"
        print(f"\ngain over {label}, {results.seed.nunique()} seeds")
        groups = results.groupby("total") if name == "lcbench" else [("all", results)]
        for total, part in groups:
            table = gain_table(part, base)
            pooled = table.groupby("strategy").mean(numeric_only=True) if name == "lcbench" else table
            print(f"budget {total}\n{pooled.round(4).to_string()}")


def per_set(results: pd.DataFrame, strategy: str = "surrogate, warm") -> str:
    """Gain over the best plain strategy of each data set and budget, beside what zero regret would gain."""
    known = [item for item in PLAIN if item in set(results.strategy)]
    played = gains(results, known)
    part = played[played.strategy == strategy]
    zero = part.output / (1 + part.regret)
    part = part.assign(zero=100 * (part.output_base - zero) / part.output_base)
    grouped = part.groupby(["task", "total"])
    mean, error, most = grouped["gain"].mean(), grouped["gain"].sem(), grouped["zero"].mean()
    budgets = sorted(part.total.unique())
    rows = [
        [task.removeprefix("lcbench "), *(_cell(mean, error, most, (task, total)) for total in budgets)]
        for task in sorted(part.task.unique())
    ]
    pooled = [f"{part[part.total == total].gain.mean():+.2f}" for total in budgets]
    header = ["data set", *(f"{100 * total:g} % of the compute" for total in budgets)]
    return markdown(header, [*rows, ["mean", *pooled]])


def _cell(mean: pd.Series, error: pd.Series, most: pd.Series, key: tuple[str, float]) -> str:
    return f"{mean[key]:+.2f} ± {error[key]:.2f} (of {most[key]:.2f})"


if __name__ == "__main__":
    main()
