"""Finished or interrupted experiments of Ray Tune to a run log; Ray itself is not needed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Unpack

from probscale.errors import RunLogError
from probscale.integrations.flatten import as_number
from probscale.integrations.logged import Choice, LoggedRun, assemble
from probscale.integrations.paths import Source, found_files
from probscale.runs import RunLog

RESULTS = "result.json"

_OWN = frozenset(
    {"config", "timestamp", "pid", "done", "should_checkpoint", "time_this_iter_s", "time_since_restore"}
    | {"iterations_since_restore"}
)
"""What Tune adds to every report, its clocks and counters of the whole trial apart."""


def from_tune(folder: Source | Iterable[Source], **choice: Unpack[Choice]) -> RunLog:
    """Trials of Ray Tune experiments, such as a warm start for `TuneModel`.

    Keys of nested configurations and metrics are joined by "/", as Tune and `ProbscaleSearch` do.

    Args:
        folder: `result.json` files, or folders of experiments searched for them.
        **choice: Metric, axis and roles; see `Choice`. The axis is `training_iteration` by default. Several
            experiments form a level unless `levels` says otherwise.

    Raises:
        RunLogError: if no result is found, or one is unreadable.
    """
    if choice.get("axis") is None:
        choice["axis"] = "training_iteration"
    return assemble(read_tune(folder), source="Ray Tune experiments", **choice)[0]


def read_tune(folder: Source | Iterable[Source]) -> list[LoggedRun]:
    """The trials behind `result.json` files; see `from_tune`."""
    return [_trial(file) for file in found_files(folder, RESULTS)]


def _trial(file: Path) -> LoggedRun:
    reports = _reports(file)
    params = file.with_name("params.json")
    config = json.loads(params.read_text(encoding="utf-8")) if params.is_file() else {}
    for report in reports[:1]:
        config = config or report.get("config", {})
    rows = [
        {
            name: number
            for name, value in _joined(report).items()
            if name.split("/")[0] not in _OWN and (number := as_number(value)) is not None
        }
        for report in reports
    ]
    name = str(reports[0].get("trial_id", "")) if reports else ""
    failed = "ended with an error" if file.with_name("error.txt").is_file() else None
    return LoggedRun(name or file.parent.name, _joined(config), rows, file.parent.parent.name, failed, name)


def _reports(file: Path) -> list[dict[str, Any]]:
    """Reports of a trial; a last line cut short by a kill is left out."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    reports = []
    for number, line in enumerate(lines, start=1):
        try:
            reports.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise RunLogError(
                    f"line {number} of {str(file)!r} is not a report of Tune ({error})",
                    path=str(file),
                    line=number,
                ) from error
    return [report for report in reports if isinstance(report, dict)]


def _joined(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration with keys joined by "/"."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        nested = isinstance(value, Mapping)
        out |= _joined(value, f"{prefix}{key}/") if nested else {f"{prefix}{key}": value}
    return out
