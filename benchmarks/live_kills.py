"""`probscale allocate` on real training of small GPTs, killed at random ten times and resumed each time.

    python benchmarks/live_kills.py [--kills 10] [--total 2e11] [--workers 2] [--executor processes|ray]
        [--folder live_kills]

The same budget is spent once without kills and once with them. Every optimiser step is counted by the trainer
itself, in a file of its own, so that what was paid is known apart from the ledger.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from scoring import markdown, write_page

from probscale.ledger import read_ledger

STDLIB_GPT = Path(__file__).resolve().parents[1] / "datasets" / "stdlib_gpt"
sys.path.append(str(STDLIB_GPT))

SHAPES = [(32, 1), (32, 2), (48, 1), (48, 2)]
RATES = [1e-3, 3e-3, 1e-2]
PLACES = {"processes": "processes", "ray": "tasks of a local Ray at a time"}
LONGEST_WAIT = 5.0
"""Most seconds from the first new optimiser step to a kill."""


def counted(config: dict[str, Any], until: float, state: Any) -> Any:
    """The runner of the data set, with one byte on disk for every optimiser step that was made."""
    import stdlib_gpt
    import torch

    torch.set_num_threads(1)
    folder = stdlib_gpt.live_folder(stdlib_gpt.Config.from_mapping(config))
    folder.mkdir(parents=True, exist_ok=True)
    plain = stdlib_gpt._Run.advance
    with open(folder / "steps_made", "ab", buffering=0) as file:

        def advance(run: Any) -> None:
            plain(run)
            file.write(b".")

        stdlib_gpt._Run.advance = advance
        try:
            return stdlib_gpt.runner(config, until, state)
        finally:
            stdlib_gpt._Run.advance = plain


def pool() -> pd.DataFrame:
    """Configurations with tokens per step and FLOPs per token."""
    from stdlib_gpt import Config

    rows = []
    for width, depth in SHAPES:
        for rate in RATES:
            config = Config(width=width, depth=depth, learning_rate=rate)
            shape = {"width": width, "depth": depth, "learning_rate": rate, "batch_size": config.batch_size}
            facts = {"params": config.n_params, "step_tokens": config.tokens_per_step}
            rows.append(shape | facts | {"flops_per_token": config.flops_per_token})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Spent:
    """What an allocation did: from its summary, its ledger, the checkpoints and the trainer's own count."""

    facts: dict[str, Any]
    kills: int
    seconds: float
    ledger: float
    checkpoints: float
    made: float
    events: int
    torn: int


def spend(
    folder: Path,
    total: float,
    workers: int,
    strategy: str,
    *,
    kills: int,
    seed: int = 0,
    executor: str = "processes",
) -> Spent:
    """Run the command until it ends by itself; the first `kills` times it is killed instead."""
    folder.mkdir(parents=True)
    table = pool()
    table.to_csv(folder / "pool.csv", index=False)
    command = [
        *(sys.executable, "-m", "probscale", "allocate", folder / "pool.csv"),
        *("--runner", f"{Path(__file__).resolve()}:counted", "--total", total, "--rate", "flops_per_token"),
        *("--unit", "FLOPs", "--resolution", "step_tokens", "--strategy", strategy, "--workers", workers),
        *("--executor", executor, "--ledger", folder / "alloc.jsonl"),
        *("-o", folder / "runs.csv", "--json", folder / "facts.json", "-q"),
    ]
    begin, done, chance = time.monotonic(), 0, random.Random(seed)
    while (code := _once(list(map(str, command)), folder, chance if done < kills else None)) != 0:
        if code != -signal.SIGKILL:
            raise SystemExit((folder / "errors").read_text())
        done += 1
        print(f"killed {done} times, after {_steps(folder)} steps", flush=True)
    seconds = time.monotonic() - begin
    return _found(folder, table, done, seconds)


def _once(command: list[str], folder: Path, chance: random.Random | None) -> int:
    """Start the command; with `chance`, kill it some time after training went on."""
    environment = os.environ | {"STDLIB_GPT_LIVE": str(folder / "live")}
    before = _steps(folder)
    with open(folder / "errors", "w") as errors:
        process = subprocess.Popen(command, env=environment, stderr=errors)
    if chance is not None:
        # Kills fall into the work, not into imports.
        while process.poll() is None and _steps(folder) <= before:
            time.sleep(0.02)
        time.sleep(chance.uniform(0.0, LONGEST_WAIT))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
    return process.wait()


def _steps(folder: Path) -> int:
    """Optimiser steps made so far."""
    return sum(path.stat().st_size for path in (folder / "live").glob("*/steps_made"))


def _found(folder: Path, table: pd.DataFrame, kills: int, seconds: float) -> Spent:
    import torch
    from stdlib_gpt import Config

    record = read_ledger(folder / "alloc.jsonl")
    made = checkpoints = 0.0
    for row in table.to_dict("records"):
        config = Config.from_mapping({str(k): v for k, v in row.items()})
        for place in (folder / "live").glob(f"{config.run_id}-*"):
            price = config.tokens_per_step * config.flops_per_token
            made += (place / "steps_made").stat().st_size * price
            checkpoints += torch.load(place / "checkpoint.pt", weights_only=True)["step"] * price
    return Spent(
        facts=json.loads((folder / "facts.json").read_text()),
        kills=kills,
        seconds=seconds,
        ledger=sum(e["cost"] for e in record.events if e["event"] == "done"),
        checkpoints=checkpoints,
        made=made,
        events=len(record.events),
        torn=sum(e["event"] == "torn" for e in record.events),
    )


def main() -> None:
    """Spend twice, compare, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--total", type=float, default=2e11)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--strategy", default="early_commitment")
    parser.add_argument("--executor", default="processes", choices=["processes", "ray"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("live_kills"))
    chosen = parser.parse_args()
    shutil.rmtree(chosen.folder, ignore_errors=True)
    spent = partial(
        spend,
        total=chosen.total,
        workers=chosen.workers,
        strategy=chosen.strategy,
        executor=chosen.executor,
    )
    whole = spent(chosen.folder / "whole", kills=0)
    killed = spent(chosen.folder / "killed", kills=chosen.kills, seed=chosen.seed)
    report(whole, killed, chosen)


def report(whole: Spent, killed: Spent, chosen: argparse.Namespace) -> None:
    """The page."""
    rows = [
        ["seconds", f"{whole.seconds:.0f}", f"{killed.seconds:.0f}"],
        ["FLOPs in the ledger", f"{whole.ledger:.6g}", f"{killed.ledger:.6g}"],
        ["FLOPs in the checkpoints", f"{whole.checkpoints:.6g}", f"{killed.checkpoints:.6g}"],
        ["FLOPs of all optimiser steps made", f"{whole.made:.6g}", f"{killed.made:.6g}"],
        ["events in the ledger", str(whole.events), str(killed.events)],
        ["lines of the ledger cut short by a kill", str(whole.torn), str(killed.torn)],
        ["best loss", f"{whole.facts['output']:.6f}", f"{killed.facts['output']:.6f}"],
        ["best run", _short(whole), _short(killed)],
    ]
    columns = ("tokens", "spent", "loss", "points", "status")
    same = [[run.get(c) for c in columns] for run in whole.facts["runs"]] == [
        [run.get(c) for c in columns] for run in killed.facts["runs"]
    ]
    repeated = (killed.made - killed.checkpoints) / killed.checkpoints
    text = (
        f"`probscale allocate` with strategy {chosen.strategy!r} on {len(whole.facts['runs'])} "
        f"configurations of the stdlib GPT, {chosen.total:.3g} FLOPs, {chosen.workers} "
        f"{PLACES[chosen.executor]}, once left alone and once killed with SIGKILL {killed.kills} times, each "
        "at a random moment of the training, and started again with the same command."
    )
    verdict = (
        f"Tokens, cost, best loss, number of points and status of every run are "
        f"{'the same to the last digit' if same else 'NOT the same'} in both. The ledger counts each "
        "increment once: it differs from the checkpoints by "
        f"{abs(killed.ledger - killed.checkpoints) / killed.checkpoints:.1g}. Steps made again after a kill, "
        f"because they came after the last checkpoint (one every 2 s of training): {repeated:.1%} of the "
        "compute; the ledger does not count them."
    )
    ray = chosen.executor == "ray"
    write_page(
        "live_kills_ray" if ray else "live_kills",
        f"Live allocation{' through Ray' if ray else ''}, killed and resumed",
        [text, markdown(["", "left alone", "killed"], rows), verdict],
    )


def _short(spent: Spent) -> str:
    best = spent.facts["best"]
    return f"width {best['width']}, depth {best['depth']}, learning rate {best['learning_rate']:g}"


if __name__ == "__main__":
    main()
