"""The axis of an import: which logged column measures progress, and in which unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.errors import RunLogError
from probscale.integrations import hints, settings
from probscale.integrations.flatten import Scalar
from probscale.runs.schema import listed

Array = NDArray[np.float64]
Rows = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Axis:
    """Chosen axis.

    Attributes:
        name: What the log calls it.
        column: Logged column it is read from.
        unit: "tokens", "step", "epoch" or "other".
        formula: How it was chosen or derived, in words.
        factors: Per run, axis units per unit of the column; 1 where absent.
    """

    name: str
    column: str
    unit: str
    formula: str
    factors: Mapping[str, float] = field(default_factory=dict)


def choose_axis(
    runs: Mapping[str, Rows],
    configs: Mapping[str, Mapping[str, Scalar]],
    outputs: tuple[str, ...],
    asked: str | None,
    per_step: float | str | None,
) -> Axis:
    """The axis of an import: tokens where logged or derivable, else steps, else epochs.

    Args:
        runs: Logged rows of each run.
        configs: Flat settings of each run.
        outputs: Chosen outputs, which cannot be the axis.
        asked: What the user asked for, or None.
        per_step: Tokens per step, a number or a setting, or None.

    Raises:
        RunLogError: if the asked axis is neither logged nor derivable, or nothing measures progress.
    """
    common = [name for name in _in_every_run(runs) if name not in outputs]
    if asked is not None and asked not in {"tokens", "step", "epoch"}:
        if asked not in common:
            raise RunLogError(
                f"axis {asked!r} was not logged by every run; logged by all are: {listed(sorted(common))}",
                axis=asked,
            )
        return Axis(asked, asked, "other", f"{asked} (given)")
    steps = hints.pick(common, hints.STEP_AXES)
    if asked in (None, "tokens"):
        tokens = _token_axis(runs, configs, common, steps, per_step)
        if tokens is not None:
            return tokens
        if asked == "tokens":
            raise RunLogError(
                "tokens were not logged, and cannot be derived: that takes steps, and in the settings of "
                "every run a batch size and a sequence length; pass tokens_per_step=, or axis='step'",
                axis=asked,
            )
    epochs = hints.pick(common, hints.EPOCH_AXES)
    for unit, column in (("step", steps), ("epoch", epochs)):
        if column is not None and asked in (None, unit):
            return Axis(unit, column, unit, f"{unit}, read from {column}")
    raise RunLogError(
        "no column that every run logged measures progress (logged by all: "
        f"{listed(sorted(common)) or 'none'}); name one with axis=, or give final values alone a place, such "
        "as a column of steps that is the same in all rows",
        axis=asked,
    )


def _in_every_run(runs: Mapping[str, Rows]) -> list[str]:
    first, *rest = (dict.fromkeys(k for row in rows for k in row) for rows in runs.values())
    return [name for name in first if all(name in other for other in rest)]


def _token_axis(
    runs: Mapping[str, Rows],
    configs: Mapping[str, Mapping[str, Scalar]],
    common: list[str],
    steps: str | None,
    per_step: float | str | None,
) -> Axis | None:
    logged = None if per_step is not None else hints.pick(common, hints.TOKEN_AXES)
    if logged is not None and all(_rises(rows, logged) for rows in runs.values()):
        return Axis("tokens", logged, "tokens", f"tokens, read from {logged}")
    if steps is None:
        return None
    if per_step is None:
        derived = {name: hints.tokens_per_step(config) for name, config in configs.items()}
    else:
        derived = {name: _given(per_step, config, name) for name, config in configs.items()}
    factors = {name: item.value for name, item in derived.items() if item is not None}
    if len(factors) < len(runs):
        return None
    example = next(item.formula for item in derived.values() if item is not None)
    more = ", for example" if len({item.formula for item in derived.values() if item}) > 1 else ""
    return Axis("tokens", steps, "tokens", f"tokens = {steps} * tokens per step{more} ({example})", factors)


def _given(per_step: float | str, config: Mapping[str, Scalar], run: str) -> hints.TokensPerStep:
    value = config.get(per_step) if isinstance(per_step, str) else per_step
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise RunLogError(
            f"tokens_per_step must be a positive number in every run; run {run!r} has {value!r}", run=run
        )
    return hints.TokensPerStep(float(value), f"given, {float(value):g}")


def _rises(rows: Rows, column: str) -> bool:
    values = [row[column] for row in rows if column in row]
    return bool(values) and max(values) > 0 and min(values) >= 0


def place_points(rows: Rows, column: str, outputs: tuple[str, ...]) -> tuple[Array, Array, int]:
    """Axis values and outputs of the rows that logged an output.

    A row without the axis column takes its last value: loggers write evaluation and progress in separate
    rows.

    Returns:
        Axis values, (points,); outputs, (points, outputs), NaN where not logged; number of rows before the
        first axis value.
    """
    at: list[float] = []
    values: list[list[float]] = []
    current, lost = np.nan, 0
    for row in rows:
        current = row.get(column, current)
        if not any(name in row for name in outputs):
            continue
        if not np.isfinite(current):
            lost += 1
            continue
        at.append(current)
        values.append([row.get(name, np.nan) for name in outputs])
    return (
        np.array(at, dtype=np.float64),
        np.array(values, dtype=np.float64).reshape(len(at), len(outputs)),
        lost,
    )


def choose_horizon(table: pd.DataFrame, place: Axis, asked: str | None) -> tuple[pd.DataFrame, str | None]:
    """Setting that holds the planned end of the axis; one is added where steps must become tokens.

    Raises:
        RunLogError: if the asked setting is unknown.
    """
    if asked is not None:
        settings.require(table, asked, "horizon")
        return table, asked
    wanted = {"tokens": hints.TOKEN_ENDS, "step": hints.STEP_ENDS, "epoch": hints.EPOCH_ENDS}.get(
        place.unit, ()
    )
    direct = settings.complete_number(table, wanted)
    if direct is not None:
        return table, direct
    planned = settings.complete_number(table, hints.STEP_ENDS) if place.factors else None
    if planned is None:
        return table, None
    factors = np.array([place.factors[name] for name in table.index])
    name = "planned_tokens"
    return table.assign(**{name: table[planned].to_numpy(dtype=np.float64) * factors}), name
