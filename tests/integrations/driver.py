"""Drives the toy allocation of the budget tests on an executor by name; a script, so that it can be killed."""

import functools
import json
import os
import sys
from pathlib import Path

from probscale.budget import allocate
from probscale.integrations import executor_named

if __name__ == "__main__":
    import toy  # beside the budget tests, on the path of this process alone

    folder, name, pause = sys.argv[1:4]
    options = {"folder": Path(folder) / "slurm", "cluster": "local"} if name == "slurm" else {}
    result = allocate(
        toy.POOL[:4],
        functools.partial(toy.runner, folder, float(pause)),
        **{
            "total": 900.0,
            "cost": toy.COST,
            "axis": "step",
            "strategy": "halving",
            "eta": 2.0,
            "resolution": 1.0,
        },
        executor=executor_named(name, workers=2, **options) if name != "none" else None,
        ledger=Path(folder) / "alloc.jsonl",
    )
    summary = {"best": result.best.config, "output": result.best.output, "spent": result.spent}
    print(json.dumps(summary), flush=True)
    os._exit(0) if name == "none" else None
