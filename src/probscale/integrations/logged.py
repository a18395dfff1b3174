"""Logged runs of any source to one validated run log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict, cast

import numpy as np
import pandas as pd

from probscale.errors import RunLogError
from probscale.integrations import settings
from probscale.integrations.axis import Axis, choose_axis, choose_horizon, place_points
from probscale.integrations.flatten import Scalar, config_table, flatten
from probscale.integrations.hints import SIZES, guess_goal, guess_output, pick
from probscale.integrations.summary import ImportSummary
from probscale.runs import RunLog
from probscale.runs.schema import Goal, Nonfinite, listed, names_of
from probscale.spelling import did_you_mean


@dataclass(frozen=True)
class LoggedRun:
    """One run as its logger kept it.

    Attributes:
        name: What people call it.
        config: Settings, possibly nested.
        rows: What was logged, in order: metric to value; a metric absent from a row was not logged there, NaN
            was.
        group: Project, experiment or folder the run belongs to.
        warning: What could not be read of it, in words.
        identifier: The logger's own identifier, which tells runs of the same name apart.
    """

    name: str
    config: Mapping[str, Any]
    rows: Sequence[Mapping[str, float]]
    group: str | None = None
    warning: str | None = None
    identifier: str | None = None


class Choice(TypedDict, total=False):
    """Options that every import shares; all may be left to inference.

    Attributes:
        output: Metric, or several, the principal one first. Default: a validation loss, else a training loss.
        axis: Logged metric that measures progress, "tokens" (also when it must be derived), "step" or
            "epoch".
        goal: "min" or "max". Default: by the name of the output.
        levels: Settings that form the task hierarchy, coarse to fine. Default: the project or experiment,
            where several are imported at once.
        params: Setting that holds the model size. Default: by name, such as `n_params`.
        horizon: Setting that holds the planned end of the axis. Default: by name, such as `max_steps`.
        config: Settings to keep. Default: all that differ between runs and describe the training.
        tokens_per_step: Tokens one optimiser step reads, a number for all runs or the name of a setting.
        nonfinite: As in `RunLog.from_frame`; loggers record divergence as NaN, so the default is "diverged".
    """

    output: str | Sequence[str] | None
    axis: str | None
    goal: Goal | None
    levels: str | Sequence[str] | None
    params: str | None
    horizon: str | None
    config: Sequence[str] | None
    tokens_per_step: float | str | None
    nonfinite: Nonfinite


@dataclass
class _Account:
    """Builder of an `ImportSummary`."""

    roles: dict[str, str] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    points: Counter[str] = field(default_factory=Counter)
    columns: dict[str, str] = field(default_factory=dict)


def assemble(
    runs: Iterable[LoggedRun],
    *,
    source: str,
    output: str | Sequence[str] | None = None,
    axis: str | None = None,
    goal: Goal | None = None,
    levels: str | Sequence[str] | None = None,
    params: str | None = None,
    horizon: str | None = None,
    config: Sequence[str] | None = None,
    tokens_per_step: float | str | None = None,
    nonfinite: Nonfinite = "diverged",
) -> tuple[RunLog, ImportSummary]:
    """One run log of logged runs, and the account of what was inferred and left out.

    Args:
        runs: The runs.
        source: What they came from, for the account.
        output: See `Choice`, as for all other arguments.
        axis: See `Choice`.
        goal: See `Choice`.
        levels: See `Choice`.
        params: See `Choice`.
        horizon: See `Choice`.
        config: See `Choice`.
        tokens_per_step: See `Choice`.
        nonfinite: See `Choice`.

    Raises:
        RunLogError: if there is no run, no such metric or setting, or no usable axis.
    """
    found = unique_names(list(runs))
    if not found:
        raise RunLogError(f"no run found in {source}; check the path, or the filter")
    account = _Account()
    outputs, metrics = _outputs(found, output, account, source)
    kept = [run for run in found if _has_any(run, outputs, account)]
    table, converted = config_table({run.name: _flat_config(run) for run in kept})
    described = {str(name): dict(row.dropna()) for name, row in table.astype(object).iterrows()}
    place = choose_axis({run.name: run.rows for run in kept}, described, outputs, axis, tokens_per_step)
    account.roles["axis"] = place.formula
    points = pd.concat([_points(run, place, outputs, account) for run in kept], ignore_index=True)
    if points.empty:
        raise RunLogError(f"no point of {listed(outputs)} has a value on the axis {place.name!r} in {source}")
    table, roles = _roles(table.loc[points["run"].unique()], place, params, horizon, account)
    level_names = _levels(levels, table, found)
    keep, account.columns = settings.choose(table, config, (*level_names, *roles.values()))
    frame = points.merge(table[keep], left_on="run", right_index=True, how="left")
    chosen_goal = goal or guess_goal(outputs[0])
    account.roles["goal"] = f"{chosen_goal} ({'given' if goal else 'by the name of the output'})"
    log = RunLog.from_frame(
        frame,
        run="run",
        axis=place.name,
        output=outputs,
        goal=chosen_goal,
        levels=level_names,
        params=roles.get("params"),
        horizon=roles.get("horizon"),
        config=[name for name in keep if name not in {*level_names, *roles.values()}],
        nonfinite=nonfinite,
    )
    summary = _summary(
        source, found, log, account, converted=converted, others=_others(metrics, outputs, place)
    )
    return replace(log, notes=(*summary.notes(), *log.notes)), summary


def _outputs(
    runs: list[LoggedRun], output: str | Sequence[str] | None, account: _Account, source: str
) -> tuple[tuple[str, ...], Counter[str]]:
    counts = Counter(name for run in runs for name in dict.fromkeys(k for row in run.rows for k in row))
    axes = {name for name in counts if pick([name], settings.AXIS_NAMES) is not None}
    metrics = Counter({name: count for name, count in counts.items() if name not in axes})
    if output is None:
        guessed = guess_output(_progressing(runs, metrics, axes) or metrics)
        if guessed is None:
            raise RunLogError(
                f"none of the metrics in {source} is clearly the output "
                f"({listed(sorted(metrics)) or 'none logged'}); name it, for example output='val/loss'"
            )
        account.roles["output"] = f"{guessed} (by name)"
        return (guessed,), metrics
    wanted = names_of(output)
    for name in wanted:
        if name not in counts:
            close = pick(counts, (settings.plain(name),))
            hint = did_you_mean([close] if close else []) or f"logged are: {listed(sorted(counts))}"
            raise RunLogError(f"no run in {source} logged {name!r}; {hint}", output=name)
    account.roles["output"] = f"{', '.join(wanted)} (given)"
    return wanted, metrics


def _progressing(runs: list[LoggedRun], metrics: Counter[str], axes: set[str]) -> Counter[str]:
    """Metrics that were not only logged at the very start, as final ones are that were given no step."""
    moved = set()
    for run in runs:
        for row in run.rows:
            at = [row[name] for name in row.keys() & axes]
            if not at or any(at):
                moved.update(row)
    return Counter({name: count for name, count in metrics.items() if name in moved})


def _has_any(run: LoggedRun, outputs: tuple[str, ...], account: _Account) -> bool:
    if any(name in row for row in run.rows for name in outputs):
        return True
    account.runs[run.name] = run.warning or f"never logged {' or '.join(outputs)}"
    return False


def _flat_config(run: LoggedRun) -> dict[str, Scalar]:
    flat = flatten(run.config)
    return flat if run.group is None else {"group": run.group} | flat


def _points(run: LoggedRun, place: Axis, outputs: tuple[str, ...], account: _Account) -> pd.DataFrame:
    at, values, lost = place_points(run.rows, place.column, outputs)
    at = at * place.factors.get(run.name, 1.0)
    if lost:
        account.points[f"no value of {place.column} at or before them"] += lost
    keep = at >= 0
    if not keep.all():
        account.points[f"{place.name} below zero"] += int(np.sum(~keep))
    frame = pd.DataFrame(values[keep], columns=list(outputs)).assign(run=run.name)
    frame.insert(0, place.name, at[keep])
    again = len(frame) - len(np.unique(at[keep]))
    if again:
        account.points[f"logged again at the same {place.name}, the later value kept"] += again
    if frame.empty:
        account.runs[run.name] = f"no point on the axis {place.name}"
    # `last` takes the last value of each output, so that outputs logged apart share a row.
    return cast(
        pd.DataFrame, frame.groupby(place.name, sort=True, as_index=False).last(skipna=len(outputs) > 1)
    )


def _roles(
    table: pd.DataFrame, place: Axis, params: str | None, horizon: str | None, account: _Account
) -> tuple[pd.DataFrame, dict[str, str]]:
    roles: dict[str, str] = {}
    size = params or settings.complete_number(table, SIZES)
    if size is not None:
        settings.require(table, size, "params")
        roles["params"] = size
        account.roles["params"] = f"{size} ({'given' if params else 'by name'})"
    table, end = choose_horizon(table, place, horizon)
    if end is not None:
        roles["horizon"] = end
        account.roles["horizon"] = f"{end} ({'given' if horizon == end else 'by name'})"
    return table, roles


def _levels(
    levels: str | Sequence[str] | None, table: pd.DataFrame, runs: list[LoggedRun]
) -> tuple[str, ...]:
    if levels is not None:
        for name in names_of(levels):
            settings.require(table, name, "levels")
        return names_of(levels)
    several = len({run.group for run in runs}) > 1 and "group" in table and len(table["group"].unique()) > 1
    return ("group",) if several and bool(table["group"].notna().to_numpy().all()) else ()


def _others(metrics: Counter[str], outputs: tuple[str, ...], place: Axis) -> tuple[str, ...]:
    return tuple(sorted(name for name in metrics if name not in {*outputs, place.column}))


def _summary(
    source: str,
    found: list[LoggedRun],
    log: RunLog,
    account: _Account,
    *,
    converted: dict[str, str],
    others: tuple[str, ...],
) -> ImportSummary:
    gone = {run.name for run in found} - set(log.runs) - set(account.runs)
    warnings = {run.name: run.warning for run in found if run.warning and run.name not in account.runs}
    return ImportSummary(
        source=source,
        runs_found=len(found),
        runs_kept=log.n_runs,
        points_kept=log.n_points,
        roles=account.roles | ({"partly read": _by_reason(warnings)} if warnings else {}),
        dropped_runs=account.runs | dict.fromkeys(sorted(gone), "no finite point"),
        dropped_points=dict(account.points),
        dropped_columns=account.columns,
        converted={name: text for name, text in converted.items() if name in log.configs},
        other_metrics=others,
    )


def _by_reason(warnings: dict[str, str]) -> str:
    reasons = dict.fromkeys(warnings.values())
    runs = {reason: listed([run for run, own in warnings.items() if own == reason]) for reason in reasons}
    return "; ".join(f"{names}: {reason}" for reason, names in runs.items())


def unique_names(runs: list[LoggedRun]) -> list[LoggedRun]:
    """Runs whose repeated names carry their identifier or, without one, a number: "a (2)"."""
    count = Counter(run.name for run in runs)
    taken: set[str] = set()
    out = []
    for run in runs:
        known = run.identifier if count[run.name] > 1 else None
        stem = name = f"{run.name} ({known[:8]})" if known else run.name
        number = 1
        while name in taken:
            number += 1
            name = f"{stem} ({number})"
        taken.add(name)
        out.append(replace(run, name=name))
    return out


def rows_of_frame(frame: pd.DataFrame) -> list[dict[str, float]]:
    """Rows of a table of numbers; missing cells are not logged."""
    numeric = frame.select_dtypes(include=["number", "bool"])
    values = numeric.to_numpy(dtype=np.float64, na_value=np.nan)
    names = [str(name) for name in numeric.columns]
    given = ~np.isnan(values)
    return [
        {names[j]: float(row[j]) for j in np.flatnonzero(mask)}
        for row, mask in zip(values, given, strict=True)
    ]
