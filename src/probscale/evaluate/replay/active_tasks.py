"""The two active-learning games: nanoGPT shapes trained to the end, Gemstones shapes trained to any depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from probscale.evaluate.replay.active import ActiveTask, Strategy

BATCH_TOKENS = 524_288
"""Tokens of a step of the nanoGPT runs."""

PLANNED_STEPS = 19_041
"""Steps of each of them."""


def nanogpt_task(path: str | Path) -> ActiveTask:
    """AL-N: 30 shapes, whole runs; the price of a run is that of its planned 19,041 steps.

    Args:
        path: `nanogpt_large.parquet`.

    Source: runs of Schram et al. 2025.
    """
    table = pd.read_parquet(path)
    table["run"] = table["n_embd"].astype(str) + "x" + table["n_layer"].astype(str)
    configs = table.groupby("run", sort=False)[["n_embd", "n_layer", "n_params_total"]].first().reset_index()
    truth = table.pivot(index="run", columns="step", values="val_loss").loc[configs["run"]]
    steps = truth.columns.to_numpy(dtype=np.float64)
    size = configs["n_params_total"].to_numpy(dtype=np.float64)
    compute = 6 * size[:, None] * BATCH_TOKENS * steps
    price = 6 * size[:, None] * BATCH_TOKENS * PLANNED_STEPS * np.linspace(1 / len(steps), 1, len(steps))
    cheapest = np.argsort(size, kind="stable")[:12]
    shallow = np.flatnonzero(configs["n_layer"] == 8)
    last = len(steps) - 1

    def start(seed: int) -> list[tuple[int, int]]:
        chosen = shallow if seed == 0 else np.random.default_rng(seed).choice(cheapest, 4, replace=False)
        return [(int(config), last) for config in chosen]

    return ActiveTask(
        name="AL-N",
        configs=configs,
        params="n_params_total",
        axis="step",
        output="loss",
        at=np.broadcast_to(steps, truth.shape),
        truth=truth.to_numpy(),
        compute=compute,
        price=price,
        depths=np.arange(len(steps)) == last,
        start=start,
        levels=np.geomspace(1e18, 1e20, 100),
        nearest=True,
        span=(1e15, 1e20),
        thresholds=(0.05, 0.005),
    )


def gemstones_task(path: str | Path) -> ActiveTask:
    """AL-G: shapes trained at a constant learning rate, so that every prefix is a legal stop.

    The shared copy ends at one billion parameters: 16 shapes instead of 22. Levels of compute beyond the
    dearest run are left out.

    Args:
        path: `curves.parquet`.

    Source: runs of McLeish et al. 2025 (Gemstones).
    """
    table = pd.read_parquet(path).query("series_kind == 'hot'").sort_values(["run_id", "tokens"])
    table = table.rename(columns={"run_id": "run"})
    configs = table.groupby("run", sort=False)[["d_model", "n_layers", "params"]].first().reset_index()
    chosen = np.unique(np.round(np.geomspace(1, 175, 12))).astype(int) - 1
    tokens = np.stack([part["tokens"].to_numpy()[chosen] for _, part in table.groupby("run", sort=False)])
    truth = np.stack([part["loss"].to_numpy()[chosen] for _, part in table.groupby("run", sort=False)])
    size = configs["params"].to_numpy(dtype=np.float64)
    compute = 6 * size[:, None] * tokens
    smallest = np.argsort(size, kind="stable")[:12]

    def start(seed: int) -> list[tuple[int, int]]:
        return [(int(c), 5) for c in np.random.default_rng(seed).choice(smallest, 3, replace=False)]

    levels = np.geomspace(1e19, 2e21, 60)
    levels = levels[levels <= compute.max()]
    return ActiveTask(
        name="AL-G",
        configs=configs,
        params="params",
        axis="tokens",
        output="loss",
        at=tokens,
        truth=truth,
        compute=compute,
        price=compute,
        depths=np.isin(np.arange(len(chosen)) + 1, (4, 6, 8, 10, 12)),
        start=start,
        levels=levels,
        nearest=False,
        span=(float(levels[0]), float(levels[-1])),
        thresholds=(0.05, 0.01),
    )


WHOLE_RUN_STRATEGIES = (
    Strategy("random", "random", 0.0),
    Strategy("random ∝ 1/cost", "random", 1.0),
    Strategy("cheapest", "cheapest"),
    Strategy("max variance", "variance", 0.0),
    Strategy("max variance / cost", "variance"),
    Strategy("integrated variance / cost", "integrated variance"),
    Strategy("frontier / √cost", "frontier", 0.5),
    Strategy("frontier / cost", "frontier"),
    Strategy("law / cost", "law"),
    Strategy("survey, then law / cost", "survey, then law"),
)

ANY_DEPTH_STRATEGIES = (
    Strategy("random full runs", "random", 0.0, full=True),
    Strategy("random any depth ∝ 1/cost", "random", 1.0),
    Strategy("cheapest next action", "cheapest"),
    Strategy("max variance / cost", "variance"),
    Strategy("integrated variance / cost", "integrated variance"),
    Strategy("frontier / cost", "frontier"),
    Strategy("law / cost", "law"),
    Strategy("survey, then law / cost", "survey, then law"),
)
