"""Which settings of logged runs describe the training, and which are bookkeeping."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from probscale.errors import RunLogError
from probscale.integrations.hints import EPOCH_AXES, STEP_AXES, TOKEN_AXES, pick, plain
from probscale.runs.checks import column_of
from probscale.runs.schema import listed
from probscale.spelling import close_names, did_you_mean

AXIS_NAMES = (*TOKEN_AXES, *STEP_AXES, *EPOCH_AXES, "_timestamp", "_runtime")

_BOOKKEEPING = frozenset(
    {
        "run_name",
        "run_id",
        "output_dir",
        "logging_dir",
        "log_dir",
        "save_dir",
        "checkpoint_dir",
        "cache_dir",
        "hub_model_id",
        "hub_token",
        "hostname",
        "host",
        "username",
        "wandb_version",
        "transformers_version",
        "report_to",
        "resume_from_checkpoint",
        "best_model_checkpoint",
        "local_rank",
        "ddp_backend",
        "logging_steps",
        "eval_steps",
        "save_steps",
        "save_total_limit",
        "disable_tqdm",
        "push_to_hub",
        "log_level",
        "dataloader_num_workers",
        "dataloader_pin_memory",
        "default_root_dir",
    }
)
LABELS = ("wandb_group", "wandb_job_type", "wandb_tags")
"""What users of W&B sort runs by; a label of each run would be noise unless it is asked for."""

_PATH = re.compile(r"^(~|\.{0,2}/|[A-Za-z]:\\|s3://|gs://|https?://)")


def complete_number(table: pd.DataFrame, wanted: tuple[str, ...]) -> str | None:
    """The first wanted setting that is a positive number in every run."""
    usable = [
        name
        for name in table.columns
        if pd.api.types.is_float_dtype(table[name].dtype) and bool((table[name].to_numpy() > 0).all())
    ]
    return pick(usable, wanted)


def require(table: pd.DataFrame, name: str, argument: str) -> None:
    """Check that a setting exists.

    Raises:
        RunLogError: naming close matches.
    """
    if name in table.columns:
        return
    close = close_names(name, table.columns, likeness=0.5)
    hint = did_you_mean(close) or f"settings are: {listed(list(table.columns))}"
    raise RunLogError(f"no setting {name!r} (given as {argument}); {hint}", column=name, close=close)


def choose(
    table: pd.DataFrame, asked: Sequence[str] | None, reserved: tuple[str, ...]
) -> tuple[list[str], dict[str, str]]:
    """Settings to keep, and the reason for each that is not.

    Args:
        table: One row per run.
        asked: What the user wants to keep; None leaves it to the rules.
        reserved: Settings with a role, always kept.

    Raises:
        RunLogError: if an asked setting is unknown.
    """
    if asked is not None:
        for name in asked:
            require(table, name, "config")
        keep = [name for name in table.columns if name in asked or name in reserved]
        return keep, {name: "not asked for" for name in table.columns if name not in keep}
    keep = [name for name in table.columns if name in reserved]
    dropped: dict[str, str] = {}
    seen = {_signature(column_of(table, name)): name for name in reserved if name in table}
    for name in table.columns:
        if name in reserved:
            continue
        reason = _objection(name, column_of(table, name), len(table))
        if reason is None and len(table) > 1:
            twin = seen.setdefault(_signature(column_of(table, name)), name)
            reason = f"repeats {twin}" if twin != name else None
        if reason is None:
            keep.append(name)
        else:
            dropped[name] = reason
    return [name for name in table.columns if name in keep], dropped


def _objection(name: str, values: pd.Series, runs: int) -> str | None:
    last = plain(re.split(r"[/.]", name)[-1])
    if name in LABELS or name.startswith("tags."):
        return "labels of the logger; name them as levels or config to keep them"
    if name.startswith("_") or last.startswith("_") or last in _BOOKKEEPING:
        return "bookkeeping, not training"
    given = values.dropna()
    if given.empty:
        return "no value"
    if runs > 1 and len(given) == runs and given.nunique() == 1:
        return "the same in every run"
    text = [v for v in given if isinstance(v, str)]
    if len(text) == len(given) and runs > 1 and given.nunique() == runs and all(_PATH.match(v) for v in text):
        return "a path or address of each run"
    return None


def _signature(values: pd.Series) -> tuple[object, ...]:
    """Equal for settings with the same values in the same runs, numbers and text apart."""
    return tuple(None if pd.isna(v) else (type(v).__name__, v) for v in values.tolist())
