"""Command line of the ``stdlib_gpt`` data set.

    python train.py list                 the grid, and how far each run is
    python train.py run [--shard i/n]    train what is not finished yet
    python train.py collect              build curves.csv.gz from the work folder

Several ``run`` processes may share a work folder: each run is locked by the
process that trains it, and a kill releases the lock.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import torch  # noqa: E402
from gpt_core import CORPUS_RECORD, Config, load_corpus  # noqa: E402
from stdlib_gpt import read_points, replace_file, train  # noqa: E402

WORK = HERE / "work"
CURVES = HERE / "curves.csv.gz"
M = 2**20
LEARNING_RATES = (1e-3, 3e-3, 1e-2)
# (width, depth): horizon in tokens, (learning rate, batch, seed) beyond the full
# product of LEARNING_RATES and both batch sizes at seed 0.
SMALL_SHAPES: dict[tuple[int, int], tuple[int, tuple[tuple[float, int, int], ...]]] = {
    (32, 1): (4 * M, ((3e-3, 8, 1), (3e-3, 32, 1), (3e-2, 8, 0))),
    (32, 2): (4 * M, ((3e-3, 8, 1), (1e-2, 32, 1))),
    (48, 2): (4 * M, ((3e-3, 8, 1), (1e-2, 8, 1), (3e-2, 8, 0))),
    (64, 2): (3 * M, ((3e-3, 8, 1),)),
    (64, 4): (2 * M, ((3e-3, 8, 1),)),
    (96, 2): (2 * M, ((3e-3, 8, 1),)),
}
# (width, depth): horizon in tokens, all (learning rate, batch, seed).
LARGE_SHAPES: dict[tuple[int, int], tuple[int, tuple[tuple[float, int, int], ...]]] = {
    (128, 2): (2 * M, ((3e-4, 8, 0), (1e-3, 8, 0), (3e-3, 8, 0), (1e-3, 32, 0), (1e-3, 8, 1))),
    (96, 4): (2 * M, ((3e-4, 8, 0), (1e-3, 8, 0), (3e-3, 8, 0))),
    (128, 4): (2 * M, ((3e-4, 8, 0), (1e-3, 8, 0), (3e-3, 8, 0))),
    (128, 6): (M, ((3e-4, 8, 0), (1e-3, 8, 0))),
    (160, 4): (M, ((3e-3, 8, 0), (1e-3, 8, 1))),
    (192, 3): (M, ((1e-3, 8, 0), (1e-2, 8, 0))),
}  # fmt: skip
COLUMNS = (
    "run_id", "width", "depth", "heads", "context", "learning_rate", "batch_size",
    "warmup_steps", "weight_decay", "optimizer", "seed", "N_params", "N_total", "D_tokens",
    "step", "tokens", "flops", "flops_6nd", "seconds", "loss", "train_loss",
)  # fmt: skip


def grid() -> list[Config]:
    """The runs of the data set, in a fixed mixed order of sizes."""
    runs = []
    for (width, depth), (horizon, extra) in SMALL_SHAPES.items():
        chosen = [(rate, batch, 0) for rate in LEARNING_RATES for batch in (8, 32)]
        runs += [_config(width, depth, horizon, *c) for c in (*chosen, *extra)]
    for (width, depth), (horizon, chosen_large) in LARGE_SHAPES.items():
        runs += [_config(width, depth, horizon, *c) for c in chosen_large]
    random.Random(0).shuffle(runs)
    return runs


def _config(width: int, depth: int, horizon: int, rate: float, batch: int, seed: int) -> Config:
    return Config(width=width, depth=depth, learning_rate=rate, batch_size=batch,
                  seed=seed, D_tokens=horizon)  # fmt: skip


def status(config: Config, work: Path) -> tuple[str, int]:
    """Whether a run is finished, and the tokens its last evaluation has seen."""
    points = read_points(work / config.run_id)
    if not points:
        return "not started", 0
    tokens, loss = points[-1]["tokens"], points[-1]["loss"]
    if loss != loss:
        return "diverged", tokens
    return ("finished" if tokens >= config.D_tokens else "partial"), tokens


def try_lock(path: Path) -> BinaryIO | None:
    """Takes the lock of a run; None if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "ab")  # noqa: SIM115
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def run_grid(work: Path, shard: tuple[int, int]) -> None:
    """Trains every run of a shard that is neither finished nor locked."""
    began = time.perf_counter()
    runs = grid()[shard[0] :: shard[1]]
    for number, config in enumerate(runs, start=1):
        lock = try_lock(work / "locks" / f"{config.run_id}.lock")
        if lock is None:
            print(f"{number}/{len(runs)} {config.run_id}: in another process's hands", flush=True)
            continue
        with lock:
            if status(config, work)[0] in ("finished", "diverged"):
                continue
            points = train(config, config.D_tokens, work / config.run_id)
            minutes = (time.perf_counter() - began) / 60
            print(f"{number}/{len(runs)} {config.run_id}: N={config.n_params} "
                  f"loss {points[-1][1]:.4f} after {points[-1][0]} tokens, "
                  f"{minutes:.1f} min in all", flush=True)  # fmt: skip


def collect(work: Path, target: Path) -> int:
    """Writes the long-format file of all finished runs; returns their number."""
    done = [c for c in grid() if status(c, work)[0] in ("finished", "diverged")]
    if not done:
        raise SystemExit(f"no finished run under {work}; start with `python train.py run`")
    done.sort(key=lambda c: (c.n_params, c.learning_rate, c.batch_size, c.seed))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for config in done:
        for point in read_points(work / config.run_id):
            writer.writerow(_row(config, point))
    # A fixed time stamp makes equal data equal bytes.
    packed = gzip.compress(text.getvalue().encode(), mtime=0)
    replace_file(target, lambda p: p.write_bytes(packed))
    return len(done)


def _row(config: Config, point: dict[str, Any]) -> dict[str, Any]:
    row = {k: v for k, v in vars(config).items() if k in COLUMNS}
    row |= {"run_id": config.run_id, "optimizer": "AdamW",
            "N_params": config.n_params, "N_total": config.n_total}  # fmt: skip
    row |= point
    row["flops_6nd"] = 6 * config.n_params * point["tokens"]
    row["loss"], row["train_loss"] = (f"{point[k]:.6f}" for k in ("loss", "train_loss"))
    return row


def record_corpus() -> None:
    """Records the corpus once; afterwards ``load_corpus`` warns of another one."""
    if not CORPUS_RECORD.exists():
        text = json.dumps(load_corpus().facts, indent=2) + "\n"
        replace_file(CORPUS_RECORD, lambda p: p.write_text(text, encoding="utf-8"))


def parse_shard(text: str) -> tuple[int, int]:
    """Parses ``i/n`` with 0 <= i < n."""
    try:
        part, parts = (int(piece) for piece in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected i/n such as 0/2, got {text!r}") from None
    if not 0 <= part < parts:
        raise argparse.ArgumentTypeError(f"expected 0 <= i < n in i/n, got {text!r}")
    return part, parts


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description="Train and collect the stdlib_gpt runs.")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of checkpoints and logs")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train what is not finished")
    run.add_argument("--shard", type=parse_shard, default=(0, 1), help="i/n: part i of n")
    run.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    gather = commands.add_parser("collect", help="build the long-format file")
    gather.add_argument("--output", type=Path, default=CURVES)
    commands.add_parser("list", help="show the grid")
    options = parser.parse_args(arguments)
    if options.command == "run":
        torch.set_num_threads(options.threads)
        record_corpus()
        run_grid(options.work, options.shard)
    elif options.command == "collect":
        print(f"{collect(options.work, options.output)} of {len(grid())} runs collected")
    else:
        for config in sorted(grid(), key=lambda c: (c.n_params, c.run_id)):
            state, tokens = status(config, options.work)
            print(f"{config.run_id:28s} N={config.n_params:<8d} "
                  f"{tokens:>8d}/{config.D_tokens:<8d} {state}")  # fmt: skip


if __name__ == "__main__":
    main()
