"""A toy trainer with a checkpoint file, that logs every unit of work it does; run as a script it drives an allocation."""

import functools
import json
import math
import os
import sys
import time
from pathlib import Path

from probscale.budget import allocate, process_workers
from probscale.cost import FlopsCost

POOL = [{"id": i, "N": 10.0 * (1 + i % 3), "lr": 0.1 * (i + 1)} for i in range(8)]
COST = FlopsCost(params="N", per_param_token=1.0)
TOTAL = 2400.0


def loss(config, step):
    return 1.0 + 0.3 * abs(math.log(config["lr"] / 0.4)) + 2.0 / config["N"] ** 0.5 + 3.0 * step**-0.5


def runner(folder, pause, config, until, state):
    """One line of `work-<id>` per step; the number of its lines is the checkpoint."""
    path = Path(folder) / f"work-{config['id']}"
    done = len(path.read_bytes()) // 2 if path.exists() else 0
    assert done >= (0 if state is None else state["steps"])
    for _ in range(done, math.ceil(until)):
        time.sleep(pause)
        with open(path, "ab", buffering=0) as file:
            file.write(b"x\n")
    # The whole curve each time: known points are the caller's to leave out.
    return [(float(s), loss(config, s)) for s in range(1, math.ceil(until) + 1)], {"steps": math.ceil(until)}


def paid(folder):
    """Compute that the runner paid, from its own log."""
    return sum(
        config["N"] * len((Path(folder) / f"work-{config['id']}").read_bytes()) / 2
        for config in POOL
        if (Path(folder) / f"work-{config['id']}").exists()
    )


def run(folder, *, strategy="halving", pause=0.0, processes=0, total=TOTAL, **options):
    executor = functools.partial(process_workers, processes) if processes else None
    work = functools.partial(runner, str(folder), pause)
    arguments = {
        "axis": "step",
        "cost": COST,
        "total": total,
        "strategy": strategy,
        "eta": 2,
        "resolution": 1.0,
    }
    return allocate(
        POOL, work, executor=executor, ledger=Path(folder) / "alloc.jsonl", **arguments, **options
    )


if __name__ == "__main__":
    folder, strategy, pause, processes = sys.argv[1:5]
    result = run(folder, strategy=strategy, pause=float(pause), processes=int(processes))
    summary = {"best": result.best.config, "output": result.best.output, "spent": result.spent}
    print(json.dumps(summary), flush=True)
    os._exit(0)
