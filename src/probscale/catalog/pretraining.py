"""Loaders of language-model pre-training runs: one function per upstream repository."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probscale.catalog.files import reading
from probscale.errors import RunLogError

MARIN_SEQUENCE = 4_096
STEPLAW_SEQUENCE = 2_048
MISFITTING_BATCH = 1_048_576
_MARIN_WIDTHS = {"130m": 512, "300m": 768, "520m": 1_024, "1.2b": 1_536}
_STEPLAW = re.compile(
    r"h(?P<h>\d+)_ffnh(?P<ffn>\d+)_numh(?P<heads>\d+)_numl(?P<layers>\d+)_lr(?P<lr>[\d.eE+-]+)_bs(?P<bs>\d+)_ti(?P<ti>\d+)"
    r"(?:_mlr(?P<mlr>[\d.eE+-]+))?"
)


def ncpl(clone: Path) -> pd.DataFrame:
    """Runs of losscast-bench with what its configurations guess recomputed from the run names."""
    frames = []
    for file in sorted(clone.glob("data/*/*/config.json")):
        with reading(file.parent / "losses.json") as curve:
            losses = {int(step): float(loss) for step, loss in _json(curve).items()}
        steps = np.array(sorted(step for step in losses if step > 0))
        with reading(file):
            config = _json(file)
            name = config["run_id"]
            described = _steplaw_run(name, config) if "_steplaw_" in name else _marin_run(name, config)
            tokens = steps / config["schedule"]["total_steps"] * described["D_tokens"]
        frames.append(pd.DataFrame({"tokens": tokens, "loss": [losses[int(s)] for s in steps], **described}))
    return pd.concat(frames, ignore_index=True).drop_duplicates(["run", "tokens"], ignore_index=True)


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8-sig"))


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    """What both sources record and upstream did not guess."""
    optimizer, schedule, model = config["optimizer"], config["schedule"], config["model"]
    kept: dict[str, Any] = {
        key: optimizer.get(key) for key in ("lr", "weight_decay", "beta1", "beta2", "eps", "grad_clip")
    }
    kept |= {key: optimizer.get(key) for key in ("adam_lr", "preconditioner_lr")}
    kept |= {"lr_schedule": schedule["lr_schedule"], "warmup_steps": schedule["warmup_steps"]}
    kept |= {key: model[key] for key in ("n_layers", "d_model", "n_heads")}
    return {"optimizer": optimizer["name"], **kept, "min_lr_ratio": schedule["final_lr_ratio"]}


def transformer_size(layers: int, width: int, feedforward: int) -> int:
    """Parameters of gated transformers without embeddings: L (4 h² + 3 h f)."""
    return layers * (4 * width**2 + 3 * width * feedforward)


def _marin_run(name: str, config: dict[str, Any]) -> dict[str, Any]:
    kept = _settings(config)
    size = re.search(r"-(\d[\d.]*[mb])-", name)
    width = _MARIN_WIDTHS[size.group(1)] if size else int(kept["d_model"])
    total = transformer_size(kept["n_layers"], width, 4 * width)
    steps = config["schedule"]["total_steps"]
    batch = _marin_batch(name, total, steps, config["data"])
    return {
        "run": name.removeprefix("ncpl_marin_"),
        "source": "marin",
        **kept,
        "d_model": width,
        "d_ff": 4 * width,
        "N_params": total,
        "D_tokens": steps * batch * MARIN_SEQUENCE,
        "batch_size": batch,
    }


def _marin_batch(name: str, total: int, steps: int, data: dict[str, Any]) -> int:
    """Sequences per step: tokens in the name are 20, 40, 80 ... per parameter, rounded down to billions."""
    stated = re.search(r"-(\d+)B-", name)
    ratio = data["batch_tokens"] / data["seq_len"]
    if stated is None:
        return round(ratio)
    for multiple in (1, 2, 4, 8, 16, 32):
        tokens = 20 * multiple * total
        if int(tokens / 1e9) == int(stated.group(1)):
            return 2 ** round(float(np.log2(tokens / (steps * MARIN_SEQUENCE))))
    return round(ratio)


def _steplaw_run(name: str, config: dict[str, Any]) -> dict[str, Any]:
    match = _STEPLAW.search(name)
    if match is None:
        raise RunLogError(f"run name {name!r} is not of StepLaw's form")
    width, feedforward, layers = (int(match[key]) for key in ("h", "ffn", "layers"))
    rate = float(match["lr"])
    return {
        "run": name.removeprefix("ncpl_steplaw_"),
        "source": "steplaw",
        **_settings(config),
        "n_layers": layers,
        "d_model": width,
        "n_heads": int(match["heads"]),
        "d_ff": feedforward,
        "lr": rate,
        "min_lr_ratio": float(match["mlr"]) / rate if match["mlr"] else config["schedule"]["final_lr_ratio"],
        "N_params": transformer_size(layers, width, feedforward),
        "D_tokens": int(match["ti"]) * int(match["bs"]) * STEPLAW_SEQUENCE,
        "batch_size": int(match["bs"]),
    }


def steplaw(clone: Path) -> pd.DataFrame:
    """Final losses of StepLaw's dense models."""
    names = {"exp_name": "run", "N": "N_params", "smooth loss": "smooth_loss", "h": "d_model", "ffnh": "d_ff"}
    names |= {"numh": "n_heads", "numl": "n_layers", "bs": "batch_size"}
    with reading(clone / "data" / "dense_lr_bs_loss.csv") as file:
        table = pd.read_csv(file)
        table = table.rename(columns=names).assign(tokens=table["bs"] * table["ti"] * STEPLAW_SEQUENCE)
        return table.drop(columns=["D", "D/N", "ti"]).drop_duplicates("run", ignore_index=True)


def gemstones(clone: Path) -> pd.DataFrame:
    """Constant-learning-rate curves of the Gemstones, beyond 100 billion tokens where the clone has it."""
    folder = clone / "wandb_dfs"
    files = [folder / f"wandb_df_for_fitting_{part}.jsonl" for part in ("hot_477", "hot_100b+_477")]
    names = {"run_name": "run", "params_active_precise": "params", "final_loss": "loss", "width": "d_model"}
    names |= {"depth": "n_layers"}
    frames = []
    for file in (file for file in files if file.exists()):
        with reading(file):
            table = pd.read_json(file, lines=True, encoding="utf-8-sig").rename(columns=names)
            frames.append(table[["run", "tokens", "loss", "params", "d_model", "n_layers"]])
    kept = pd.concat(frames, ignore_index=True)
    return kept.drop_duplicates(["run", "tokens"]).sort_values(["run", "tokens"], ignore_index=True)


def misfitting(clone: Path) -> pd.DataFrame:
    """C4 losses of the factorial grid, ambiguous runs left out.

    Written against the columns of the upstream file and an independent copy of its rows; the file itself was
    not at hand.
    """
    with reading(clone / "data" / "scaling_results.csv") as file:
        return _misfitting_runs(pd.read_csv(file))


def _misfitting_runs(table: pd.DataFrame) -> pd.DataFrame:
    key = ["sweep", "model", "peak_lr", "total_steps"]
    point = [*key, "current_steps"]
    table = table.dropna(subset=["loss", "N", "total_steps", "current_steps"]).drop_duplicates(
        [*point, "loss"]
    )
    twice = table.groupby(key)["current_steps"].transform(lambda steps: steps.duplicated().any()).astype(bool)
    table = table[~twice].sort_values(point)
    run = table["sweep"] + "|" + table["model"] + "|lr" + table["peak_lr"].map("{:g}".format)
    return pd.DataFrame(
        {
            "run": run + "|S" + table["total_steps"].astype(int).astype(str),
            "tokens": table["current_steps"].astype(np.int64) * MISFITTING_BATCH,
            "loss": table["loss"],
            "params": table["N"],
            "params_nonembedding": table["N_no_emb"],
            "planned_tokens": table["total_steps"].astype(np.int64) * MISFITTING_BATCH,
            "peak_lr": table["peak_lr"],
        }
    ).reset_index(drop=True)


def multi_power(clone: Path) -> pd.DataFrame:
    """Curves by size and schedule; the last number of a name is the length, in `wsdcon` the second rate."""
    frames = []
    for file in sorted(clone.glob("loss_curve_repo/csv_*/*.csv")):
        with reading(file):
            frames.append(_multi_power_run(file))
    return pd.concat(frames, ignore_index=True)


def _multi_power_run(file: Path) -> pd.DataFrame:
    size = int(file.parent.name.removeprefix("csv_"))
    kind, *numbers = file.stem.split("_")
    curve = pd.read_csv(file)
    if not len(curve):
        raise ValueError("no rows")
    planned = int(numbers[-1]) if kind != "wsdcon" else int(curve["step"].iloc[-1])
    described = {
        "params": size * 1e6,
        "schedule_kind": kind,
        "schedule": file.stem,
        "planned_steps": planned,
    }
    described |= {"peak_lr": curve["lr"].max(), "final_lr": curve["lr"].iloc[-1]}
    return curve[["step", "loss"]].assign(run=f"{size}M_{file.stem}", **described)


def chinchilla(clone: Path) -> pd.DataFrame:
    """Final losses digitised from Chinchilla's Figure 4."""
    with reading(clone / "data" / "svg_extracted_data.csv") as file:
        table = pd.read_csv(file)
        params, flops = table["Model Size"], table["Training FLOP"]
        run = [f"chin_{i:03d}" for i in range(len(table))]
        tokens = flops / (6 * params)
        return pd.DataFrame({"run": run, "tokens": tokens, "loss": table["loss"], "params": params})
