"""Logs whose levels carry text, each with some values of a level never seen in training.

A fold holds training runs, the runs of the held-out values that become known one after another (`known`, in
order), and the runs that are asked for. All choices follow from a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sources
from sources import read, roles_of

MOST_TRAIN, MOST_ASKED, MOST_KNOWN = 200, 60, 20
Roles = dict[str, Any]
Table = tuple[pd.DataFrame, Roles, str]


@dataclass(frozen=True, eq=False)
class Fold:
    """One or several values of a level left out together.

    Attributes:
        values: The values left out.
        train: Runs of the other values.
        known: Runs of the left-out values in the order in which they become known; the column `order` counts
            them within their value.
        asked: Runs whose outputs are to be foretold, never among the known.
        roles: Keyword arguments of `RunLog.from_frame`.
        level: Name of the level.
    """

    values: tuple[str, ...]
    train: pd.DataFrame
    known: pd.DataFrame
    asked: pd.DataFrame
    roles: Roles
    level: str


def ncpl() -> Table:
    """Final losses of the Marin runs; the level is the optimizer."""
    source = sources.ncpl_final_rows()
    frame = source.frame[(source.frame.source == "marin") & ~source.keep_out.truncated.to_numpy()]
    roles = source.roles | {"levels": ("optimizer",)}
    return frame.drop(columns="source"), roles, "optimizer"


def nmt_lc() -> Table:
    """Best perplexities of translation models; the level is the corpus, described by languages and size."""
    source = sources.nmt_lc_best_rows()
    about = read("nmt_lc/runs.parquet")[["run_id", "src", "trg", "dataset_size"]]
    frame = source.frame.merge(about, on="run_id")
    return frame[frame.perplexity_optimal < 1e3], source.roles, "dataset"


def routed_lm() -> Table:
    """Last losses of routed language models; the level is the router."""
    source = sources.routed_lm()
    frame = source.frame.sort_values(["run_id", "tokens"]).groupby("run_id", sort=False).tail(1)
    return frame, source.roles, "router_type"


def lcdb(level: str = "learner") -> Table:
    """Log-losses of classifiers trained on all the data; levels are learner and data set, with its name."""
    frame = read("lcdb/lcdb.parquet").dropna(subset=["logloss_test"])
    frame = frame.sort_values(["run_id", "size_train"]).groupby("run_id", sort=False).tail(1)
    chosen = np.random.default_rng(0).permutation(np.sort(frame.openmlid.unique()))[:60]
    frame = (
        frame[frame.openmlid.isin(chosen)].rename(columns={"Name": "data_set"}).dropna(subset=["data_set"])
    )
    sizes = ["NumberOfClasses", "NumberOfFeatures"]
    frame = frame.astype({"size_train": float, "logloss_test": float, **dict.fromkeys(sizes, float)})
    frame = frame[["run_id", "learner", "data_set", *sizes, "size_train", "logloss_test"]]
    return frame, roles_of("size_train", "logloss_test", levels=("learner", "data_set")), level


def modded_nanogpt() -> Table:
    """Losses of speed runs at five shares of their length; the level is the name of the record."""
    runs = read("modded_nanogpt/modded_nanogpt_runs.parquet").query("track == 'track_1_short'")
    runs = runs.sort_values("run_id").groupby("record", sort=False).head(3)
    curves = read("modded_nanogpt/modded_nanogpt_curves.parquet")[["run_id", "step", "val_loss"]]
    frame = curves[curves.step > 0].merge(runs[["run_id", "record", "total_steps"]], on="run_id")
    frame["share"] = (4 * frame.step / frame.total_steps).round()
    gap = (4 * frame.step / frame.total_steps - frame.share).abs()
    frame = frame[(frame.share > 0) & (gap < 0.3)].assign(gap=gap).sort_values(["run_id", "share", "gap"])
    frame = frame.drop_duplicates(["run_id", "share"]).astype({"step": float, "total_steps": float})
    frame = frame[["run_id", "record", "total_steps", "step", "val_loss"]].dropna()
    return frame, roles_of("step", "val_loss", levels=("record",), horizon="total_steps"), "record"


def loss_to_loss() -> Table:
    """C4 losses of isoFLOP sweeps; the level is the training data."""
    source = sources.loss_to_loss()
    return source.frame, source.roles, "data"


def parameter_golf() -> Table:
    """Bits per byte of small language models; the level is the record, described in a few sentences."""
    runs = read("parameter_golf/parameter_golf_runs.parquet").dropna(subset=["final_val_bpb"])
    numbers = ["world_size", "matrix_lr", "embed_lr", "train_batch_tokens", "train_seq_len", "iterations"]
    keep = ["run_id", "record", "blurb", "model_params", *numbers, "final_val_bpb"]
    frame = runs[keep].assign(passes=1.0)
    frame["blurb"] = frame.blurb.fillna("")
    return frame, roles_of("passes", "final_val_bpb", levels=("record",)), "record"


def marin_speedrun() -> Table:
    """Bits per byte of speed runs; the level is the recipe, each run described in a sentence."""
    frame = read("marin_speedrun/marin_speedrun.parquet").query("tokens > 1e8")
    frame = frame.assign(recipe=frame.run_id.str.replace(r"/[^/]*$", "", regex=True))
    frame = frame.astype({"tokens": float, "params": float})
    keep = ["run_id", "recipe", "description", "params", "d_model", "n_layers", "lr", "batch_seqs", "seq_len"]
    roles = roles_of("tokens", "bpb", levels=("recipe",), params="params")
    return frame[[*keep, "tokens", "bpb"]], roles, "recipe"


def transfer() -> Table:
    """Final losses of three sources: what two of them say about the third."""
    known = sources.ncpl_final_rows()
    other = read("nanochat/runs.parquet").rename(columns={"final_loss": "loss", "matrix_lr": "lr"})
    other = other.assign(source="nanochat", N_params=12.0 * other.n_layers * other.d_model**2)
    other = other.assign(batch_size=other.batch_tokens / other.seq_len, max_step=other.total_steps * 1.0)
    other = other.assign(tokens=other.D_tokens, min_lr_ratio=other.final_lr_ratio)
    columns = [c for c in known.frame if c in other]
    frame = pd.concat([known.frame[~known.keep_out.truncated.to_numpy()], other[columns]], ignore_index=True)
    return frame[columns], known.roles, "source"


TABLES: dict[str, tuple[Callable[[], Table], int]] = {
    "ncpl": (ncpl, 1),
    "nmt_lc": (nmt_lc, 1),
    "routed_lm": (routed_lm, 1),
    "lcdb": (lcdb, 1),
    "lcdb, data sets": (lambda: lcdb("data_set"), 9),
    "modded_nanogpt": (modded_nanogpt, 20),
    "parameter_golf": (parameter_golf, 6),
    "marin_speedrun": (marin_speedrun, 3),
    "ncpl → nanochat": (transfer, 1),
    "loss_to_loss": (loss_to_loss, 1),
}
"""Table of each data set, and how many values of the level are left out together."""


REPEATS = {"routed_lm": 3}
"""Data sets of few values and few runs, whose folds are drawn several times."""


def folds(name: str, most: int) -> Iterator[Fold]:
    """At most `most` folds of a data set, for each draw of its runs."""
    for seed in range(REPEATS.get(name, 1)):
        yield from _draw(name, most, seed)


def _draw(name: str, most: int, seed: int) -> Iterator[Fold]:
    maker, together = TABLES[name]
    frame, roles, level = maker()
    generator = np.random.default_rng(seed)
    values = frame[level].astype(str).to_numpy()
    names = generator.permutation(np.unique(values))
    groups = [names[i : i + together] for i in range(0, len(names), together)]
    if name == "ncpl → nanochat":
        groups = [np.array(["nanochat"]), np.array(["steplaw"]), np.array(["marin"])]
    for group in groups[:most]:
        yield _fold(frame, roles, level, values, tuple(map(str, group)), generator)


def _fold(
    frame: pd.DataFrame,
    roles: Roles,
    level: str,
    values: np.ndarray,
    group: tuple[str, ...],
    generator: np.random.Generator,
) -> Fold:
    out = np.isin(values, group)
    points = frame.groupby("run_id").run_id.transform("size").max()
    train = _runs(frame[~out], max(MOST_TRAIN // points, 60), generator)
    rest = frame[out]
    run_level = rest.drop_duplicates("run_id")[["run_id", level]]
    run_level = run_level.iloc[generator.permutation(len(run_level))]
    order = run_level.groupby(level, sort=False).cumcount()
    count = run_level.groupby(level, sort=False).run_id.transform("size")
    kept = dict(zip(run_level.run_id, order, strict=True))
    most = dict(zip(run_level.run_id, np.minimum(MOST_KNOWN, count // 2), strict=True))
    order, most = rest.run_id.map(kept), rest.run_id.map(most)
    known = rest[order < most].assign(order=order[order < most])
    asked = _runs(rest[order >= most], max(MOST_ASKED // points, 30), generator)
    return Fold(group, train, known, asked, roles, level)


def _runs(frame: pd.DataFrame, most: int, generator: np.random.Generator) -> pd.DataFrame:
    names = frame.run_id.unique()
    if len(names) > most:
        names = names[generator.permutation(len(names))[:most]]
    return frame[frame.run_id.isin(names)].reset_index(drop=True)
