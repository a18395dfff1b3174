"""Budget tasks from public logs; the tables are given, none is fetched."""

from __future__ import annotations

import numpy as np
import pandas as pd

from probscale.evaluate.replay.budget import BudgetTask, finite_outputs

NANOGPT_LAW = ((1e18, 1e20), (1e15, 1e20))
GEMSTONES_LAW = ((1e19, 2e21), (1e19, 2e21))
LCBENCH_EPOCHS = 52


def nanogpt_task(frame: pd.DataFrame) -> BudgetTask:
    """NanoGPT grid of widths and depths, log-spaced points; cost 6 · all parameters · tokens."""
    frame = frame.sort_values(["n_embd", "n_layer", "step"])
    configs = frame.drop_duplicates(["n_embd", "n_layer"])[["n_embd", "n_layer", "n_params_total"]]
    at = frame["tokens"].to_numpy(dtype=np.float64).reshape(len(configs), -1)
    loss = frame["val_loss"].to_numpy(dtype=np.float64).reshape(len(configs), -1)
    price = 6.0 * configs["n_params_total"].to_numpy(dtype=np.float64)[:, None] * at
    configs = configs.reset_index(drop=True)
    return BudgetTask(
        "nanogpt_large", configs, "tokens", at, finite_outputs(loss), price, "n_params_total", NANOGPT_LAW
    )


def gemstones_task(frame: pd.DataFrame) -> BudgetTask:
    """Gemstones shapes trained at a constant learning rate; cost 6 · params · tokens."""
    frame = frame[frame["series_kind"] == "hot"].sort_values(["params", "run_id", "tokens"])
    configs = frame.drop_duplicates("run_id")[["d_model", "n_layers", "params"]]
    at = frame["tokens"].to_numpy(dtype=np.float64).reshape(len(configs), -1)
    loss = frame["loss"].to_numpy(dtype=np.float64).reshape(len(configs), -1)
    price = 6.0 * configs["params"].to_numpy(dtype=np.float64)[:, None] * at
    configs = configs.reset_index(drop=True)
    return BudgetTask(
        "gemstones", configs, "tokens", at, finite_outputs(loss), price, "params", GEMSTONES_LAW
    )


def lcbench_task(frame: pd.DataFrame, name: str) -> BudgetTask:
    """Hyperparameter pool of one LCBench data set; cost in epochs."""
    columns = [f"e{epoch}" for epoch in range(LCBENCH_EPOCHS)]
    configs = frame.drop(columns=[*columns, "config_id"]).reset_index(drop=True).assign(dataset=name)
    at = np.tile(np.arange(1.0, LCBENCH_EPOCHS + 1), (len(configs), 1))
    return BudgetTask(
        f"lcbench {name}", configs, "epoch", at, finite_outputs(frame[columns].to_numpy(dtype=np.float64)), at
    )
