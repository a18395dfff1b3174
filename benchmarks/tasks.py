"""Shared measurement tasks: user-level train and test frames on which every predictor is scored.

A task's frames hold exactly what `RunLog.from_frame(task.train, **task.roles)` needs; the test
frame has the same columns, outputs included. All splits are functions of a seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sources
from sources import Source, data_root, roles_of

__all__ = ["Task", "bilingual", "curves", "finals", "nanogpt", "ncpl_finals"]


@dataclass(frozen=True, eq=False)
class Task:
    """Training and test data of one measurement, with the roles of their columns."""

    name: str
    train: pd.DataFrame
    test: pd.DataFrame
    roles: dict[str, Any]
    note: str = ""

    @property
    def output(self) -> str:
        """The (first) measured column."""
        output = self.roles["output"]
        return output if isinstance(output, str) else output[0]

    @property
    def features(self) -> list[str]:
        """Columns known before the result: levels, configuration, role columns and the axis."""
        output = self.roles["output"]
        outputs = {output} if isinstance(output, str) else set(output)
        return [c for c in self.train if c != self.roles["run"] and c not in outputs]

    def __str__(self) -> str:
        run = self.roles["run"]
        counts = f"{self.train[run].nunique()} runs / {len(self.train)} points"
        return f"{self.name}: train {counts}, test {self.test[run].nunique()} / {len(self.test)}; {self.note}"


def _task(name: str, source: Source, test: pd.Series, train: pd.Series | None = None, note: str = "") -> Task:
    """Task from row masks; configuration columns that say nothing in the training rows are dropped."""
    learn = source.frame[~test if train is None else train].reset_index(drop=True)
    asked = source.frame[test].reset_index(drop=True)
    special = _special_columns(source.roles)
    dull = [c for c in learn if c not in special and pd.concat([learn[c], asked[c]]).nunique() <= 1]
    note = "; ".join(filter(None, [source.note, note]))
    return Task(name, learn.drop(columns=dull), asked.drop(columns=dull), source.roles, note)


def _special_columns(roles: dict[str, Any]) -> set[str]:
    output = roles["output"]
    outputs = [output] if isinstance(output, str) else output
    return {roles["run"], roles["axis"], *outputs, *roles["levels"], roles["params"], roles["horizon"]} - {
        None
    }


def _last_rows(source: Source) -> Source:
    if not source.curves:
        return source
    run, axis = source.roles["run"], source.roles["axis"]
    frame = source.frame.sort_values([run, axis], kind="stable").groupby(run, sort=False).tail(1)
    return Source(frame.reset_index(drop=True), source.roles, source.note, source.largest, curves=False)


def _split_mask(
    source: Source, split: str, seed: int, fraction: float, level: str | None = None
) -> pd.Series:
    """Rows of the test runs: `largest` size, `random` runs, or all runs of random values of a `level`."""
    frame, roles = source.frame, source.roles
    if split == "largest":
        size = frame[roles["params"]]
        return size >= (size.max() * (1 - 1e-9) if source.largest is None else source.largest)
    if split not in ("random", "level"):
        raise ValueError(f"split must be 'largest', 'random' or 'level', not {split!r}")
    column = roles["run"] if split == "random" else (level or roles["levels"][-1])
    values = np.sort(frame[column].unique().astype(str))
    count = max(1, round(fraction * len(values)))
    chosen = np.random.default_rng(seed).permutation(values)[:count]
    return frame[column].astype(str).isin(chosen)


def ncpl_finals(split: str = "in_val", *, with_unstable: bool = False) -> Task:
    """Final losses of the NCPL logs; axis tokens, level source.

    Args:
        split: "in_val" (the paper's split; truncated Marin runs are not scored), "largest_out" (the
            largest N of both sources held out of the training split), or "steplaw_out" (only
            StepLaw's largest, N >= 3.7e8; Marin keeps both its sizes).
        with_unstable: adds the diverged StepLaw runs to the training rows.
    """
    source = sources.ncpl_final_rows()
    flags = source.keep_out
    learn, size = flags.split == "train", source.frame.N_params
    if split == "in_val":
        test = (flags.split == "in_val") & ~flags.truncated
    else:
        limit = np.where(source.frame.source == "steplaw", 3.7e8, 2.5e8 if split == "largest_out" else np.inf)
        test, learn = learn & (size >= limit) & ~flags.truncated, learn & (size < limit)
    task = _task(f"ncpl_finals/{split}", source, test, learn, "truncated runs stay in train, not in test")
    if not with_unstable:
        return task
    extra = sources.steplaw_unstable_rows()
    if split != "in_val":
        extra = extra[extra.N_params < 3.7e8]
    train = pd.concat([task.train, extra[task.train.columns]], ignore_index=True)
    note = f"{task.note}; {len(extra)} unstable runs added"
    return Task(task.name + "+unstable", train, task.test, task.roles, note)


def finals(
    name: str, split: str = "largest", seed: int = 0, *, fraction: float = 0.2, **options: Any
) -> Task:
    """Last point of every run; `split` as in `_split_mask`. `options` go to the reader of the source.

    `level=` (with split="level") names the level column whose values are held out.
    """
    level = options.pop("level", None)
    source = sources.nmt_lc_best_rows() if name == "nmt_lc" else _last_rows(sources.SOURCES[name](**options))
    return _task(
        _label("finals", name, split, seed, level, options),
        source,
        _split_mask(source, split, seed, fraction, level),
    )


def curves(name: str, split: str = "random", seed: int = 0, *, fraction: float = 0.2, **options: Any) -> Task:
    """Whole curves of held-out runs.

    `split` is "in_val" (ncpl only), "random", "largest", "level", or "prefix": of a random fifth of the
    runs the first 10-60 % of the points are training rows and the rest is asked.
    """
    level = options.pop("level", None)
    source = sources.SOURCES[name](**options)
    source = Source(**{**vars(source), "frame": _sorted(source)})
    label = _label("curves", name, split, seed, level, options)
    if split == "in_val":
        flags = source.frame[["run_id"]].merge(source.keep_out, on="run_id", how="left")
        test = (flags.split == "in_val") & ~flags.truncated
        return _task(label, source, test, flags.split == "train")
    if split == "prefix":
        return _task(label, source, _prefix_mask(source, seed, fraction))
    return _task(label, source, _split_mask(source, split, seed, fraction, level))


def _label(kind: str, name: str, split: str, seed: int, level: str | None, options: dict[str, Any]) -> str:
    chosen = "+".join(v if isinstance(v, str) else "+".join(v) for v in options.values())
    fixed = split in ("largest", "in_val")
    return "/".join(filter(None, [kind, name, chosen, split, level, "" if fixed else str(seed)]))


def _sorted(source: Source) -> pd.DataFrame:
    by = [source.roles["run"], source.roles["axis"]]
    return source.frame.sort_values(by, kind="stable").reset_index(drop=True)


def _prefix_mask(source: Source, seed: int, fraction: float) -> pd.Series:
    run = source.frame[source.roles["run"]]
    chosen = _split_mask(source, "random", seed, fraction)
    names = np.sort(run[chosen].unique().astype(str))
    share = dict(zip(names, np.random.default_rng(seed + 1).uniform(0.1, 0.6, len(names)), strict=True))
    position = source.frame.groupby(run).cumcount()
    count = run.groupby(run).transform("size")
    keep = np.maximum(1, np.floor(run.astype(str).map(share) * count))
    return chosen & (position >= keep)


def nanogpt(split: str = "Quad_d4r3") -> Task:
    """Zero-shot curves of nanoGPT shapes: `split` is Quad_d4r3, Quad_d4r4, Tri_d4 or T1."""
    frame = sources.read("schram/nanogpt_large.parquet")
    frame = frame.sort_values(["n_embd", "n_layer", "step"]).reset_index(drop=True)
    test = frame[f"split_{split.removeprefix('split_')}"] == "test"
    frame["run_id"] = "w" + frame.n_embd.astype(str) + "-d" + frame.n_layer.astype(str)
    frame = frame.rename(columns={"val_loss": "loss"}).astype({"step": float})
    keep = ["run_id", "n_embd", "n_layer", "n_params_nonemb", "step", "loss"]
    roles = roles_of("step", "loss", levels=("n_embd", "n_layer"), params="n_params_nonemb")
    return _task(f"nanogpt/{split.removeprefix('split_')}", Source(frame[keep], roles), test)


def nanogpt_without(level: str, value: int) -> Task:
    """All curves of one value of `n_embd` or `n_layer` unseen, of the nanoGPT shapes."""
    task = nanogpt("T1")
    frame = pd.concat([task.train, task.test]).sort_values(["n_embd", "n_layer", "step"], ignore_index=True)
    return _task(f"nanogpt/{level}-{value}", Source(frame, task.roles), frame[level] == value)


def bilingual(
    model: str = "mBART50", metric: str = "bleu", seed: int = 0, *, fraction: float = 0.2, ends: bool = False
) -> Task:
    """Translation quality against data size; a random fifth of the language pairs is never seen.

    Args:
        model: Which of the two models.
        metric: "bleu" or "chrf".
        seed: Of the draw of pairs.
        fraction: Share of the pairs that is never seen.
        ends: Only the last score of each pair.
    """
    frame = sources.read("schram/bilingual_mt.parquet").query("model == @model and metric == @metric")
    frame = frame.assign(run_id=frame.src + "-" + frame.tgt).astype({"train_size": float})
    frame = frame.sort_values(["run_id", "train_size"]).rename(columns={"value": metric})
    frame = frame.groupby("run_id").tail(1) if ends else frame
    frame = frame.reset_index(drop=True)
    roles = roles_of("train_size", metric, goal="max", levels=("src", "tgt"))
    source = Source(frame[["run_id", "src", "tgt", "train_size", metric]], roles)
    test = _split_mask(source, "random", seed, fraction)
    kind = "bilingual ends" if ends else "bilingual"
    return _task(f"{kind}/{model}/{metric}/{seed}", source, test)


def have_data() -> bool:
    """Whether the development data is present."""
    return (data_root() / "ncpl" / "runs.parquet").exists()
