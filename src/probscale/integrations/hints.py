"""What names of metrics and settings usually mean: output, axis, size, horizon, tokens per step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from probscale.integrations.flatten import Scalar
from probscale.runs.schema import Goal

OUTPUTS = (
    "eval_loss",
    "val_loss",
    "validation_loss",
    "valid_loss",
    "test_loss",
    "loss",
    "train_loss",
    "training_loss",
)
TOKEN_AXES = (
    "tokens",
    "tokens_seen",
    "num_tokens",
    "n_tokens",
    "train_tokens",
    "train_tokens_seen",
    "consumed_tokens",
    "num_input_tokens_seen",
    "train_num_input_tokens_seen",
    "throughput_total_tokens",
)
STEP_AXES = (
    "trainer_global_step",
    "train_global_step",
    "global_step",
    "step",
    "iteration",
    "iter",
    "training_iteration",
    "_step",
)
EPOCH_AXES = ("epoch", "train_epoch")

SIZES = (
    "n_params",
    "num_params",
    "num_parameters",
    "n_parameters",
    "total_params",
    "total_parameters",
    "model_num_parameters",
    "param_count",
    "parameters",
    "params",
)
TOKEN_ENDS = (
    "total_tokens",
    "tokens_total",
    "max_tokens",
    "train_tokens",
    "num_train_tokens",
    "token_budget",
)
STEP_ENDS = (
    "max_steps",
    "total_steps",
    "num_steps",
    "train_steps",
    "max_train_steps",
    "num_train_steps",
    "num_training_steps",
    "max_iters",
    "num_iterations",
    "steps",
)
EPOCH_ENDS = ("num_train_epochs", "max_epochs", "num_epochs", "total_epochs", "epochs", "n_epochs")

_BATCH_TOKENS = (
    "tokens_per_step",
    "tokens_per_batch",
    "batch_tokens",
    "global_batch_tokens",
    "batch_size_tokens",
)
_GLOBAL_BATCH = ("global_batch_size", "total_batch_size", "total_train_batch_size", "effective_batch_size")
_LOCAL_BATCH = (
    "per_device_train_batch_size",
    "train_batch_size",
    "micro_batch_size",
    "device_batch_size",
    "batch_size",
)
_ACCUMULATION = (
    "gradient_accumulation_steps",
    "grad_accum_steps",
    "accumulate_grad_batches",
    "gradient_accumulation",
    "grad_accum",
)
_WORLD = ("world_size", "num_processes", "num_devices", "num_gpus", "n_gpu")
_SEQUENCE = (
    "seq_len",
    "sequence_length",
    "seq_length",
    "train_seq_len",
    "max_seq_len",
    "max_seq_length",
    "block_size",
    "context_length",
    "context_size",
    "ctx_len",
    "n_ctx",
    "max_length",
)
_SCORES = (
    "acc",
    "accuracy",
    "f1",
    "bleu",
    "chrf",
    "rouge",
    "auc",
    "auroc",
    "score",
    "reward",
    "r2",
    "map",
    "ndcg",
)
_SCORES += ("exact", "recall", "precision", "return")
_MEASURED = frozenset(_SCORES) - {"map", "return", "exact"}
_SETTING_ENDS = {"weight", "coef", "coefficient", "fn", "function", "type", "scale", "scaling", "threshold"}
_LOSSES = ("loss", "nll", "perplexity", "ppl", "error", "rmse", "mse", "mae", "entropy", "bpb", "bits")
_MEASURED |= frozenset(_LOSSES) - {"error", "bits", "entropy"}


def plain(name: str) -> str:
    """A metric or setting name without case and separators: "train/Step" becomes "train_step"."""
    return re.sub(r"[\s/.\-:]+", "_", name.strip()).lower()


def pick(names: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    """The first of the wanted names that is present, whole names before last components of nested ones."""
    by_whole = {plain(name): name for name in reversed(list(names))}
    for target in wanted:
        if target in by_whole:
            return by_whole[target]
    by_last = {plain(re.split(r"[/.]", name)[-1]): name for name in reversed(list(by_whole.values()))}
    return next((by_last[target] for target in wanted if target in by_last), None)


def guess_output(counts: Mapping[str, int]) -> str | None:
    """The metric that most likely is the output.

    Args:
        counts: Number of runs that logged each metric.

    Returns:
        Among the metrics logged by most runs a known loss, validation before training; otherwise the only
        metric; None when nothing stands out.
    """
    if not counts:
        return None
    common = [name for name, count in counts.items() if count >= 0.5 * max(counts.values())]
    known = pick(common, OUTPUTS)
    if known is not None:
        return known
    losses = [name for name in common if "loss" in plain(name)]
    held_out = [name for name in losses if re.search(r"eval|val|test", plain(name))]
    for group in (held_out, losses, common):
        if group:
            return group[0] if group is not common or len(group) == 1 else None
    return None


def guess_goal(output: str) -> Goal:
    """Whether larger values of a metric are better, by its name; losses are the default."""
    words = plain(output).split("_")
    if any(word in _LOSSES for word in words):
        return "min"
    return "max" if any(word in _SCORES for word in words) else "min"


def is_measured(name: str) -> bool:
    """Whether a column of a table of final values is a measurement or progress rather than a setting."""
    words = plain(name).split("_")
    if words[-1] in _SETTING_ENDS:
        return False
    axes = (*TOKEN_AXES, *STEP_AXES, *EPOCH_AXES)
    return pick([name], axes) is not None or any(word in _MEASURED for word in words)


@dataclass(frozen=True)
class TokensPerStep:
    """How many tokens one optimiser step reads, and how that was worked out."""

    value: float
    formula: str


def tokens_per_step(config: Mapping[str, Scalar]) -> TokensPerStep | None:
    """Tokens per optimiser step from the settings of a run, or None where they do not say.

    Batch in tokens if given; else global batch × sequence length; else batch × accumulation × devices ×
    sequence length.
    """
    numbers = {k: float(v) for k, v in config.items() if isinstance(v, (int, float)) and v > 0}
    whole = pick(numbers, _BATCH_TOKENS)
    if whole is not None:
        return TokensPerStep(numbers[whole], f"{whole} {numbers[whole]:g}")
    sequence = pick(numbers, _SEQUENCE)
    batch = pick(numbers, _GLOBAL_BATCH)
    factors = [batch] if batch is not None else _local_factors(numbers)
    if sequence is None or not factors:
        return None
    factors.append(sequence)
    value = 1.0
    for name in factors:
        value *= numbers[name]
    return TokensPerStep(value, " * ".join(f"{name} {numbers[name]:g}" for name in factors))


def _local_factors(numbers: Mapping[str, float]) -> list[str]:
    batch = pick(numbers, _LOCAL_BATCH)
    if batch is None:
        return []
    return [batch, *(name for group in (_ACCUMULATION, _WORLD) if (name := pick(numbers, group)) is not None)]
