"""Readers of the public run logs: one tidy long frame and its roles per data set.

Every reader keeps only what is known before a run starts (configuration, levels, planned
length), the run identifier, the axis and the outputs. Columns that restate the result or the
observed length of a run (number of points, last fraction, final step, truncation flags, other
losses, run names) and exact restatements of a kept column are left out on purpose.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PROJECT = Path(__file__).resolve().parents[1]
NCPL_CONFIG = [
    *("optimizer", "n_layers", "d_model", "n_heads", "d_ff", "batch_size", "max_step", "lr", "weight_decay"),
    *("beta1", "beta2", "grad_clip", "lr_schedule", "warmup_steps", "min_lr_ratio", "adam_lr"),
    *("preconditioner_lr", "seq_len", "eps", "precond_block_size"),
]


@dataclass(frozen=True)
class Source:
    """A long-format log with its roles.

    `largest` is the smallest value of the params column that counts as the largest size;
    None means the largest distinct value. `curves` tells whether runs have more than one point.
    """

    frame: pd.DataFrame
    roles: dict[str, Any]
    note: str = ""
    largest: float | None = None
    curves: bool = True
    keep_out: pd.DataFrame = field(default_factory=pd.DataFrame)


def data_root() -> Path:
    """Folder of the development data: `PROBSCALE_DATA`, else ../shared/data beside the project."""
    return Path(os.environ.get("PROBSCALE_DATA", PROJECT.parent / "shared" / "data"))


def read(path: str) -> pd.DataFrame:
    """One parquet file of the development data."""
    return pd.read_parquet(data_root() / path)


def roles_of(
    axis: str,
    output: str | list[str],
    *,
    goal: str = "min",
    levels: tuple[str, ...] = (),
    params: str | None = None,
    horizon: str | None = None,
) -> dict[str, Any]:
    """Keyword arguments of `RunLog.from_frame`."""
    return {
        **{"run": "run_id", "axis": axis, "output": output, "goal": goal},
        **{"levels": levels, "params": params, "horizon": horizon},
    }


def ncpl() -> Source:
    """NCPL curves, axis tokens; the split and truncation flags are in `keep_out`, not in the frame."""
    runs = read("ncpl/runs.parquet")
    curves = read("ncpl/curves.parquet")[["run_id", "step", "loss"]]
    frame = curves[curves.step > 0].merge(runs, on="run_id")
    frame["tokens"] = frame.step / frame.max_step * frame.D_tokens
    keep = ["run_id", "source", "N_params", "D_tokens", *NCPL_CONFIG, "tokens", "loss"]
    roles = roles_of("tokens", "loss", levels=("source",), params="N_params", horizon="D_tokens")
    return Source(frame[keep], roles, "step > 0", keep_out=runs[["run_id", "split", "truncated"]])


def ncpl_final_rows() -> Source:
    """NCPL final losses, one row per run, axis tokens = planned tokens."""
    runs = read("ncpl/runs.parquet").dropna(subset=["final_loss"]).rename(columns={"final_loss": "loss"})
    runs["tokens"] = runs.D_tokens
    keep = ["run_id", "source", "N_params", "D_tokens", *NCPL_CONFIG, "tokens", "loss"]
    roles = roles_of("tokens", "loss", levels=("source",), params="N_params", horizon="D_tokens")
    return Source(runs[keep], roles, curves=False, keep_out=runs[["run_id", "split", "truncated"]])


def steplaw_unstable_rows() -> pd.DataFrame:
    """Diverged StepLaw runs in the columns of `ncpl_final_rows`."""
    raw = read("ncpl/steplaw_unstable.parquet")
    names = {"h": "d_model", "ffnh": "d_ff", "numh": "n_heads", "numl": "n_layers", "bs": "batch_size"}
    names |= {"ti": "max_step", "D": "D_tokens", "N": "N_params", "smooth loss": "loss"}
    frame = raw.rename(columns=names | {"loss": "raw_loss"})
    constants = {"source": "steplaw", "optimizer": "adamw", "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95}
    constants |= {
        "grad_clip": 1.0,
        "lr_schedule": "cosine",
        "warmup_steps": 2000.0,
        "seq_len": 2048,
        "eps": 1e-8,
    }
    constants |= {"adam_lr": np.nan, "preconditioner_lr": np.nan, "precond_block_size": np.nan}
    frame = frame.assign(**constants)
    frame["min_lr_ratio"] = 1e-5 / frame.lr
    frame["run_id"] = "unstable-" + pd.Series(range(len(frame)), index=frame.index).astype(str)
    frame["tokens"] = frame.D_tokens
    return frame[["run_id", "source", "N_params", "D_tokens", *NCPL_CONFIG, "tokens", "loss"]]


def nanochat() -> Source:
    """Nanochat d8/d12 sweeps; params = 12 · layers · width² (without embeddings)."""
    runs = read("nanochat/runs.parquet")
    runs["params"] = 12.0 * runs.n_layers * runs.d_model**2
    config = ["n_layers", "d_model", "window", "matrix_lr", "embedding_lr", "unembedding_lr", "weight_decay"]
    config += ["warmdown_ratio", "final_lr_ratio"]
    frame = read("nanochat/curves.parquet").merge(runs, on="run_id")
    frame = frame[frame.step > 0].assign(tokens=lambda f: f.step * 524288.0)
    keep = ["run_id", "params", "D_tokens", *config, "tokens", "loss"]
    return Source(frame[keep], roles_of("tokens", "loss", params="params", horizon="D_tokens"), "step > 0")


def gemstones() -> Source:
    """Gemstones shapes at constant learning rate; the largest size class is 475M-543M."""
    frame = read("gemstones/curves.parquet").query("series_kind == 'hot'")
    keep = ["run_id", "params", "d_model", "n_layers", "tokens", "loss"]
    frame = frame[keep].drop_duplicates(["run_id", "tokens"])
    return Source(frame, roles_of("tokens", "loss", params="params"), "hot series only", largest=4e8)


def misfitting() -> Source:
    """(Mis)Fitting sweep without runs of ambiguous identity; `train_tokens` moves within a run, so unused."""
    frame = read("misfitting/misfitting.parquet").query("~ambiguous")
    frame = frame.assign(planned_tokens=frame.total_steps * 2.0**20, params=frame.params_nonembed)
    frame = frame.drop_duplicates(["run_id", "tokens"])
    keep = ["run_id", "params", "peak_lr", "planned_tokens", "tokens", "loss"]
    return Source(frame[keep], roles_of("tokens", "loss", params="params", horizon="planned_tokens"))


def olmo_ladder(output: str | list[str] = "c4_en_loss") -> Source:
    """OLMo ladder; the planned tokens are the last logged ones of each (finished) run."""
    outputs = [output] if isinstance(output, str) else list(output)
    frame = read("olmo_ladder/curves.parquet").rename(columns={"params_nominal": "params"})
    frame["planned_tokens"] = frame.groupby("run_id").tokens.transform("max")
    keep = ["run_id", "params", "planned_tokens", "lr_peak", "batch_tokens", "tokens", *outputs]
    frame = frame[keep].dropna(subset=outputs).drop_duplicates(["run_id", "tokens"])
    return Source(frame, roles_of("tokens", output, params="params", horizon="planned_tokens"))


def routed_lm() -> Source:
    """Dense and routed language models; level = router type."""
    frame = read("routed_lm/curves.parquet").query("step > 0").dropna(subset=["loss"])
    config = ["num_experts", "k", "routing_frequency", "params_total", "d_model", "num_blocks", "num_heads"]
    keep = ["run_id", "router_type", "params", *config, "kqv_size", "tokens", "loss"]
    return Source(
        frame[keep], roles_of("tokens", "loss", levels=("router_type",), params="params"), "step > 0"
    )


def datablations() -> Source:
    """Data-constrained models: epochs = tokens / unique tokens is left for the model to work out."""
    frame = read("datablations/datablations.parquet")
    keep = ["run_id", "params", "unique_tokens", "tokens", "loss"]
    return Source(frame[keep], roles_of("tokens", "loss", params="params"), largest=8e9, curves=False)


def porian_isoflop() -> Source:
    """IsoFLOP readings, standard parameter count on validation data; each reading is a run of its own."""
    frame = read("porian_isoflop/porian_isoflop.parquet").dropna(subset=["loss", "params", "tokens"])
    frame = frame[(frame.param_count_convention == "standard") & (frame.split == "val")].reset_index(
        drop=True
    )
    frame["run_id"] = frame.run_id + "-" + frame.index.astype(str)
    keep = ["run_id", "dataset", "params", "hparams", "warmup", "decay", "tokens", "loss"]
    roles = roles_of("tokens", "loss", levels=("dataset",), params="params")
    return Source(frame[keep], roles, largest=8e8, curves=False)


def gadre_overtraining() -> Source:
    """Over-trained models on three data sets; the largest class is 1.4B and 6.9B."""
    frame = read("gadre_overtraining/gadre_overtraining.parquet")
    keep = [
        "run_id",
        "dataset",
        "params",
        "lr",
        "warmup",
        "weight_decay",
        "batch_size_seqs",
        "tokens",
        "loss_c4",
    ]
    roles = roles_of("tokens", "loss_c4", levels=("dataset",), params="params")
    return Source(frame[keep], roles, largest=1e9, curves=False)


def scaling_with_vocab() -> Source:
    """Loss relative to a unigram model along training; signed output."""
    frame = read("scaling_with_vocab/scaling_with_vocab.parquet").rename(
        columns={"params_nonvocab": "params"}
    )
    frame = frame.rename(columns={"loss_unigram_normalised": "loss"})
    keep = ["run_id", "params", "vocab_size", "embed_dim", "train_characters", "loss"]
    return Source(frame[keep], roles_of("train_characters", "loss", params="params"))


def chinchilla_epoch() -> Source:
    """Points read from the Chinchilla paper's figure; sizes above 6e9 are the largest class."""
    frame = read("chinchilla_epoch/chinchilla_epoch.parquet")
    keep = ["run_id", "params", "tokens", "loss"]
    return Source(frame[keep], roles_of("tokens", "loss", params="params"), largest=6e9, curves=False)


def loss_to_loss() -> Source:
    """IsoFLOP sweeps on six data sets, C4 validation loss."""
    frame = read("loss_to_loss/loss_to_loss.parquet").dropna(subset=["c4_val_loss"])
    keep = ["run_id", "data", "params", "n_layers", "d_model", "tokens", "c4_val_loss"]
    roles = roles_of("tokens", "c4_val_loss", levels=("data",), params="params")
    return Source(frame[keep], roles, largest=1.15e9, curves=False)


def nmt_lc() -> Source:
    """NMT perplexity curves; the level is the corpus."""
    frame = read("nmt_lc/curves.parquet").merge(read("nmt_lc/runs.parquet"), on="run_id")
    frame["checkpoint"] = frame.checkpoint + 1.0
    keep = ["run_id", "dataset", *_NMT_CONFIG, "checkpoint", "perplexity"]
    frame = frame[keep].dropna(subset=["perplexity"]).astype({"perplexity": float})
    return Source(
        frame, roles_of("checkpoint", "perplexity", levels=("dataset",)), "checkpoints count from 1"
    )


_NMT_CONFIG = [
    "base_model",
    "initial_lr",
    "model_size",
    "ff_num_hidden",
    "num_layers",
    "batch_size",
    "bpe",
    "r",
]


def nmt_lc_best_rows() -> Source:
    """Best perplexity of each NMT run. The axis is constant: the length of a run leaks early stopping."""
    frame = read("nmt_lc/runs.parquet").dropna(subset=["perplexity_optimal"]).assign(passes=1.0)
    keep = ["run_id", "dataset", *_NMT_CONFIG, "passes", "perplexity_optimal"]
    return Source(frame[keep], roles_of("passes", "perplexity_optimal", levels=("dataset",)), curves=False)


def lcdb(metric: str = "logloss") -> Source:
    """Learning curves of classifiers; levels learner and data set cross."""
    output = f"{metric}_test"
    frame = read("lcdb/lcdb.parquet").dropna(subset=[output])
    frame = frame.assign(data_set="openml " + frame.openmlid.astype(str)).astype(
        {output: float, "size_train": float}
    )
    roles = roles_of("size_train", output, goal="max" if metric == "accuracy" else "min")
    roles["levels"] = ("learner", "data_set")
    return Source(frame[["run_id", "learner", "data_set", "size_train", output]], roles)


def lcbench(data_set: str = "Fashion-MNIST") -> Source:
    """Validation cross-entropy of 2,000 network configurations over 52 epochs, counted from 1."""
    wide = read(f"lcbench/{data_set}.parquet").rename(columns={"config_id": "run_id"})
    epochs = [c for c in wide if c.startswith("e") and c[1:].isdigit()]
    frame = wide.melt([c for c in wide if c not in epochs], epochs, "epoch", "loss")
    frame = frame.assign(epoch=frame.epoch.str[1:].astype(float) + 1, loss=frame.loss.astype(float))
    frame = frame.assign(run_id="c" + frame.run_id.astype(str)).dropna(subset=["loss"])
    frame = frame.sort_values(["run_id", "epoch"], kind="stable").reset_index(drop=True)
    return Source(frame, roles_of("epoch", "loss"), data_set)


def scan_tabpfn() -> Source:
    """Tabular foundation models; the axis is the number of training cells."""
    config = [
        "effective_batch_size",
        "lr",
        "max_features",
        "embedding_size",
        "num_layers",
        "num_datapoints_max",
    ]
    frame = read("scan_tabpfn/scan_tabpfn.parquet").rename(
        columns={"val/val_loss": "loss", "parameters": "params"}
    )
    frame["total_cells"] = frame.total_cells.astype(float)
    keep = ["run_id", "params", *config, "total_cells", "loss"]
    return Source(frame[keep], roles_of("total_cells", "loss", params="params"), largest=1.7e7, curves=False)


def regmix(output: str | list[str] = "loss_pile_cc") -> Source:
    """Data mixtures at three sizes; the size is a level and the params role."""
    frame = read("regmix/regmix.parquet").rename(columns={"params_nominal": "params"})
    outputs = [output] if isinstance(output, str) else list(output)
    mixture = [c for c in frame if c.startswith("mix_")]
    keep = ["run_id", "model_size", "params", *mixture, "tokens", *outputs]
    roles = roles_of("tokens", output, levels=("model_size",), params="params")
    return Source(frame[keep], roles, curves=False)


def stdlib_gpt() -> Source:
    """The project's own small GPT runs, collected into curves.csv.gz."""
    frame = pd.read_csv(PROJECT / "datasets" / "stdlib_gpt" / "curves.csv.gz").query("tokens > 0")
    keep = ["run_id", "N_params", "width", "depth", "learning_rate", "batch_size", "tokens", "loss"]
    return Source(frame[keep], roles_of("tokens", "loss", params="N_params"))


SOURCES: dict[str, Callable[..., Source]] = {
    reader.__name__: reader
    for reader in (
        *(ncpl, nanochat, gemstones, misfitting, olmo_ladder, routed_lm, datablations, porian_isoflop),
        *(gadre_overtraining, scaling_with_vocab, chinchilla_epoch, loss_to_loss, nmt_lc, lcdb, lcbench),
        *(scan_tabpfn, regmix, stdlib_gpt),
    )
}
