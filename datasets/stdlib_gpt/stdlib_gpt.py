"""Resumable training of small GPTs on the Python standard library's sources.

``train`` works inside a folder: it may be killed at any time, and the next call
continues with the same curve. ``runner`` has the signature
``points, state = runner(config, until, state)`` that live examples use.

Nothing depends on the length of a run: the learning rate is constant after a
short warm-up and the evaluation steps lie on one fixed grid, so every prefix of
a run is itself a finished, shorter run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# The module may be loaded from its path alone.
if (_folder := str(Path(__file__).resolve().parent)) not in sys.path:
    sys.path.append(_folder)

from gpt_core import (
    GPT,
    HERE,
    Config,
    Corpus,
    corpus_files,
    evaluation_steps,
    held_out_loss,
    load_corpus,
    make_optimizer,
    training_batch,
)

__all__ = [
    "GPT",
    "Config",
    "Corpus",
    "corpus_files",
    "evaluation_steps",
    "held_out_loss",
    "live_folder",
    "load_corpus",
    "read_points",
    "replace_file",
    "runner",
    "train",
]

LIVE_DIR = HERE / "work" / "live"
LIVE_CHECKPOINT_SECONDS = 2.0
TRAIN_LOSS_DECAY = 0.95
GRADIENT_CLIP = 1.0
CHECKPOINT = "checkpoint.pt"
POINTS = "points.jsonl"
CONFIG = "config.json"


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file so that it is either the old or the new one, never a part."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_points(state_dir: Path | str) -> list[dict[str, Any]]:
    """Reads the evaluations a run has made so far, in order of steps.

    A last line cut short by a kill is left out. A loss that was not finite comes
    back as NaN.
    """
    path = Path(state_dir) / POINTS
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        rows.append({k: math.nan if v is None else v for k, v in row.items()})
    return rows


def _as_line(row: Mapping[str, Any]) -> str:
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v
              for k, v in row.items()}  # fmt: skip
    return json.dumps(finite, allow_nan=False) + "\n"


class _Run:
    """State of one training run: weights, optimiser, step, clock, running loss."""

    def __init__(self, config: Config, state_dir: Path) -> None:
        self.config = config
        self.dir = state_dir
        self.corpus = load_corpus()
        self.model = GPT(config)
        self.optimizer = make_optimizer(self.model, config)
        self.step = 0
        self.seconds = 0.0
        self.loss_sum = 0.0
        self.loss_weight = 0.0
        self.diverged = False
        state_dir.mkdir(parents=True, exist_ok=True)
        self._check_config()
        self._restore()

    def _check_config(self) -> None:
        """Refuses a folder that holds a run of another configuration."""
        path = self.dir / CONFIG
        mine = {k: v for k, v in vars(self.config).items() if k != "D_tokens"}
        if not path.exists():
            text = json.dumps(mine, indent=1)
            replace_file(path, lambda p: p.write_text(text, encoding="utf-8"))
            return
        theirs = json.loads(path.read_text(encoding="utf-8"))
        changed = [f"{k}: {theirs.get(k)} there, {v} here" for k, v in mine.items()
                   if theirs.get(k) != v]  # fmt: skip
        if changed:
            raise ValueError(f"{self.dir} holds a run of another kind ({'; '.join(changed)})")

    def _restore(self) -> None:
        """Takes up the last checkpoint and drops the evaluations made after it."""
        path = self.dir / CHECKPOINT
        if path.exists():
            saved = torch.load(path, weights_only=True)
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            for name in ("step", "seconds", "loss_sum", "loss_weight", "diverged"):
                setattr(self, name, saved[name])
        kept = "".join(_as_line(r) for r in read_points(self.dir) if r["step"] <= self.step)
        replace_file(self.dir / POINTS, lambda p: p.write_text(kept, encoding="utf-8"))

    def save(self) -> None:
        """Writes the checkpoint."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "loss_sum": self.loss_sum,
            "loss_weight": self.loss_weight,
            "diverged": self.diverged,
        }
        replace_file(self.dir / CHECKPOINT, lambda p: torch.save(state, p))

    def advance(self) -> None:
        """Makes one optimiser step."""
        began = time.perf_counter()
        config = self.config
        warm = min(1.0, (self.step + 1) / max(1, config.warmup_steps))
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * warm
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.model(*training_batch(self.corpus, config, self.step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_CLIP)
        self.optimizer.step()
        value = float(loss.detach())
        self.step += 1
        self.loss_sum = TRAIN_LOSS_DECAY * self.loss_sum + (1 - TRAIN_LOSS_DECAY) * value
        self.loss_weight = TRAIN_LOSS_DECAY * self.loss_weight + (1 - TRAIN_LOSS_DECAY)
        self.diverged = not math.isfinite(value)
        self.seconds += time.perf_counter() - began

    def evaluate(self) -> None:
        """Appends the held-out loss at the present step to the list of points."""
        loss = held_out_loss(self.model, self.corpus, self.config.context)
        self.diverged = self.diverged or not math.isfinite(loss)
        tokens = self.step * self.config.tokens_per_step
        row = {
            "step": self.step,
            "tokens": tokens,
            "flops": tokens * self.config.flops_per_token,
            "seconds": round(self.seconds, 4),
            "loss": loss,
            "train_loss": self.loss_sum / self.loss_weight,
        }
        with open(self.dir / POINTS, "a", encoding="utf-8") as file:
            file.write(_as_line(row))


def train(
    config: Config,
    until_tokens: int,
    state_dir: Path | str,
    checkpoint_seconds: float = 15.0,
) -> list[tuple[int, float]]:
    """Trains a configuration until it has seen a number of tokens.

    Continues from what the folder holds. A run whose loss is no longer finite is
    stopped there; the point is kept, with NaN for the loss.

    Args:
        config: What to train.
        until_tokens: Tokens to reach, rounded up to a whole step.
        state_dir: Folder of this run alone, made if it is missing.
        checkpoint_seconds: Seconds of training between two checkpoints.

    Returns:
        (tokens, held-out loss) at every evaluation up to ``until_tokens``.
    """
    if until_tokens < 1:
        raise ValueError(f"until_tokens must be at least 1, got {until_tokens}")
    run = _Run(config, Path(state_dir))
    wanted = evaluation_steps(config, until_tokens)
    saved_at, started_at = run.seconds, run.step
    pending = {s for s in wanted if s > run.step}
    if wanted[-1] == run.step and all(r["step"] != run.step for r in read_points(run.dir)):
        run.evaluate()
    while run.step < wanted[-1] and not run.diverged:
        run.advance()
        if run.step in pending or run.diverged:
            run.evaluate()
        if run.seconds - saved_at > checkpoint_seconds:
            run.save()
            saved_at = run.seconds
    if run.step > started_at:
        run.save()
    limit = wanted[-1] * config.tokens_per_step
    return [(r["tokens"], r["loss"]) for r in read_points(run.dir) if r["tokens"] <= limit]


def runner(
    config: Mapping[str, Any],
    until: float,
    state: Mapping[str, Any] | None = None,
) -> tuple[list[tuple[int, float]], dict[str, Any]]:
    """Trains a configuration on from a state, for live use.

    A new run trains in a folder named after its configuration: a run that was killed before it could return a
    state is found there again and goes on from its last checkpoint. A second process that is given the same
    configuration waits for the first.

    Args:
        config: Mapping with the fields of ``Config``; other keys are ignored.
        until: Tokens to reach.
        state: What an earlier call returned; None for a run without one. Its folder is then below
            ``work/live``, or below the folder that the variable STDLIB_GPT_LIVE names.

    Returns:
        The (tokens, held-out loss) points gained since ``state``, and the new
        state, a dict that JSON can hold: the checkpoint's path and the tokens.
    """
    settings = Config.from_mapping(config)
    if state is None:
        folder, seen = live_folder(settings), 0
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder, seen = Path(state["checkpoint"]).parent, int(state["tokens"])
        if not (folder / CHECKPOINT).exists():
            raise FileNotFoundError(f"the state names {folder / CHECKPOINT}, which is not there")
    with alone(folder):
        points = train(settings, math.ceil(until), folder, LIVE_CHECKPOINT_SECONDS)
    reached = max([seen, *(tokens for tokens, _ in points)])
    fresh = [(tokens, loss) for tokens, loss in points if tokens > seen]
    return fresh, {"checkpoint": str(folder / CHECKPOINT), "tokens": reached}


def live_folder(config: Config) -> Path:
    """Folder of a live run: the same for equal configurations, whatever their planned length."""
    values = {k: v for k, v in vars(config).items() if k != "D_tokens"}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]
    root = Path(os.environ.get("STDLIB_GPT_LIVE") or LIVE_DIR).resolve()
    return root / f"{config.run_id}-{digest}"


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits for, then holds, the lock of a folder; a kill frees it."""
    if fcntl is None:
        yield
        return
    with open(folder / "lock", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
