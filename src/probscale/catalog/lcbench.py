"""Loader of LCBench's JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from probscale.catalog.files import reading
from probscale.errors import RunLogError

SETTINGS = (
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
    "num_layers",
    "max_units",
    "max_dropout",
)
LOSS = "Train/val_cross_entropy"


def lcbench(clone: Path) -> pd.DataFrame:
    """Validation cross-entropy by epoch of every task and configuration in a file of LCBench.

    The JSON is {task: {configuration number: {"config": ..., "log": {"epoch": [...], tag: [...]}, ...}}}. Of
    several files in the folder the smallest is read: the others hold the same runs with more tags.

    The files are not part of the repository and none was at hand when this was written: the structure is the
    one that the repository's `api.py` reads.

    Raises:
        RunLogError: if the file has another structure.
    """
    file = min(clone.glob("*.json"), key=lambda path: path.stat().st_size)
    with reading(file):
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    frames = []
    try:
        for task, runs in content.items():
            for number, run in runs.items():
                frames.append(_curve(task, number, run))
    except (KeyError, AttributeError, TypeError) as error:
        raise RunLogError(
            f"{file.name!r} is not an LCBench file ({error!r} missing)", path=str(file)
        ) from error
    return pd.concat(frames, ignore_index=True)


def _curve(task: str, number: str, run: dict[str, Any]) -> pd.DataFrame:
    log = run["log"]
    described = {name: run["config"][name] for name in SETTINGS if name in run["config"]}
    curve = {"run": f"{task}:{number}", "epoch": [int(epoch) for epoch in log["epoch"]]}
    return pd.DataFrame(curve | {"val_cross_entropy": log[LOSS], "task": task} | described)
