"""Loaders of ZeroShot_for_PSL: nanoGPT curves and translation curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.catalog.files import reading
from probscale.errors import RunLogError

DEPTHS = {"init_data": (8, 10, 12, 24, 32, 48), "init_data2": (8, 12, 24, 48)}
TOKENS_PER_STEP = 524_288
_EMBEDDED = 50_257 + 1_024
_MODELS = {"mBart50": "mBART50"}


def parameters(width: int, depth: int) -> tuple[int, int]:
    """Parameters of a nanoGPT, with embeddings and without: 12 L d² plus the gains of 2 L + 1 norms."""
    inner = 12 * depth * width**2 + (2 * depth + 1) * width
    return inner + _EMBEDDED * width, inner


def nanogpt(clone: Path, part: str, suffix: str) -> pd.DataFrame:
    """Curves of one folder: a row per width, then the losses of each depth one after the other.

    Raises:
        RunLogError: if the tables do not have the expected shape.
    """
    folder = clone / "Datasets" / "Dataset" / part
    depths = DEPTHS[part]
    with reading(folder / f"layer_over_embd_pdata.{suffix}") as file:
        places = _numbers(file)[:, 1]
        steps = np.rint(np.exp(places)).astype(np.int64).reshape(len(depths), -1)
    with reading(folder / f"layer_over_embd.{suffix}") as file:
        table = _numbers(file)
        if table.shape[1] != 1 + steps.size:
            raise RunLogError(f"{str(file)!r} has {table.shape[1]} columns, expected {1 + steps.size}")
    frames = []
    for row in table:
        width = int(row[0])
        for depth, at, losses in zip(depths, steps, row[1:].reshape(steps.shape), strict=True):
            total, inner = parameters(width, depth)
            described = {"n_embd": width, "n_layer": depth, "N_params": total, "N_nonembedding": inner}
            curve = {"run": f"{width}x{depth}", "tokens": at * TOKENS_PER_STEP, "val_loss": losses}
            frames.append(pd.DataFrame(curve | described))
    return pd.concat(frames, ignore_index=True)


def _numbers(file: Path) -> NDArray[np.float64]:
    table = np.genfromtxt(file, delimiter=",", encoding="utf-8-sig")
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ValueError("not a table of numbers")
    return table


def translation(clone: Path) -> pd.DataFrame:
    """BLEU and chrF by training size; a file holds the scores at 10, 20, 50, 100 ... sentence pairs."""
    curves: dict[tuple[str, str, str], dict[str, pd.Series]] = {}
    for file in sorted((clone / "Datasets" / "Dataset" / "bilingual" / "data_LC").glob("*/*/*.npy")):
        metric, source, target = file.stem.split("_")[:3]
        model = _MODELS.get(file.parent.parent.name, file.parent.parent.name)
        with reading(file):
            curves.setdefault((model, source, target), {})[metric] = _curve(np.load(file))
    frames = []
    for (model, source, target), metrics in curves.items():
        curve = pd.DataFrame(metrics).rename_axis("train_size").reset_index()
        described = {"run": f"{model}:{source}-{target}", "model": model, "src": source, "tgt": target}
        frames.append(curve.assign(**described))
    return pd.concat(frames, ignore_index=True)


def _curve(values: NDArray[np.float64]) -> pd.Series:
    if values.ndim == 2:
        return pd.Series(values[:, 1], index=values[:, 0].astype(np.int64))
    sizes = [digit * 10**power for power in range(1, 9) for digit in (1, 2, 5)]
    return pd.Series(values, index=sizes[: len(values)])
