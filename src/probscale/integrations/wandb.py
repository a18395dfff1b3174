"""Weights & Biases: online projects, offline folders and exports to a run log."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Unpack

import pandas as pd

from probscale.errors import ConfigError, MissingExtraError, RunLogError
from probscale.integrations.flatten import as_number, flatten
from probscale.integrations.logged import Choice, LoggedRun, assemble
from probscale.integrations.paths import Source, found_files, sources_of
from probscale.integrations.settings import LABELS
from probscale.integrations.tables import asked, read_table, with_settings
from probscale.integrations.wandb_files import OfflineRun, read_offline_run
from probscale.runs import RunLog, read_frame
from probscale.runs.schema import listed

PAGE = 1_000

_OBJECTS = {"config", "summary"}
_PANEL = {"State", "Notes", "User", "Created", "Runtime", "Sweep"}
"""Columns of the table of runs that say nothing about the training."""


def from_wandb(
    project: str | Iterable[Any],
    *,
    filters: Mapping[str, Any] | None = None,
    timeout: int = 60,
    **choice: Unpack[Choice],
) -> RunLog:
    """Runs of an online project, with every logged row.

    The full history is read (`scan_history`); W&B's `history()` returns a random sample of 500 rows.

    Args:
        project: "entity/project", or run objects of `wandb.Api`.
        filters: MongoDB-style filter as in `wandb.Api.runs`, for example {"state": "finished"}.
        timeout: Seconds to wait for the server.
        **choice: Metric, axis and roles; see `Choice`.

    Raises:
        MissingExtraError: without wandb.
        ConfigError: if `project` is not "entity/project".
        RunLogError: if there is no run or no usable metric.
    """
    runs = _api_runs(project, filters, timeout) if isinstance(project, str) else project
    source = f"W&B project {project}" if isinstance(project, str) else "W&B runs"
    return assemble([_from_api(run) for run in runs], source=source, **choice)[0]


def _api_runs(project: str, filters: Mapping[str, Any] | None, timeout: int) -> Iterable[Any]:
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", project):
        raise ConfigError(
            f"project is {project!r}; give 'entity/project', as in the address of its page", project=project
        )
    try:
        import wandb
    except ImportError as error:
        raise MissingExtraError("wandb", "from_wandb") from error
    return wandb.Api(timeout=timeout).runs(project, filters=dict(filters or {}), per_page=100)


def _from_api(run: Any) -> LoggedRun:
    rows = [_numbers(row) for row in run.scan_history(page_size=PAGE)]
    config = {key: value for key, value in run.config.items() if not key.startswith("_")}
    labels = (getattr(run, "group", None), getattr(run, "job_type", None), getattr(run, "tags", None))
    for name, label in zip(LABELS, labels, strict=True):
        if label:
            config[name] = label if isinstance(label, str) else ", ".join(label)
    return LoggedRun(run.name, config, rows, getattr(run, "project", None), identifier=run.id)


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a history row; images, tables and histograms are left out."""
    nested = {
        key: value for key, value in row.items() if not (isinstance(value, Mapping) and "_type" in value)
    }
    direct = {key: as_number(value) for key, value in nested.items()}
    deep = {
        k: as_number(v)
        for k, v in flatten({k: v for k, v in nested.items() if isinstance(v, Mapping)}).items()
    }
    return {key: value for key, value in (direct | deep).items() if value is not None}


def from_wandb_offline(folder: Source | Iterable[Source], **choice: Unpack[Choice]) -> RunLog:
    """Runs logged with W&B's offline mode, or the local copies of online runs; wandb itself is not needed.

    Args:
        folder: `.wandb` files, run folders, or the `wandb` folder that holds them.
        **choice: Metric, axis and roles; see `Choice`.

    Raises:
        RunLogError: if no run file is found, or one is damaged.
    """
    return assemble(read_wandb_offline(folder), source="offline W&B runs", **choice)[0]


def read_wandb_offline(folder: Source | Iterable[Source]) -> list[LoggedRun]:
    """The runs in `.wandb` files in the order of their starts; see `from_wandb_offline`.

    Folder names end in a random identifier after a whole second, so they cannot order runs by themselves.
    A run that was resumed has a file for each part.
    """
    files = list({file.resolve(): file for file in found_files(folder, "*.wandb")})
    contents = [(file, read_offline_run(file)) for file in files]
    parts: dict[tuple[str, str], list[tuple[Path, OfflineRun]]] = {}
    for file, content in sorted(contents, key=lambda item: item[1].started):
        parts.setdefault((content.project, content.identifier or str(file)), []).append((file, content))
    return [_joined(list(run)) for run in parts.values()]


def _joined(parts: list[tuple[Path, OfflineRun]]) -> LoggedRun:
    """One run of the files of its parts; steps that begin anew, as without a server, are counted on."""
    config: dict[str, Any] = {}
    rows: list[dict[str, float]] = []
    warnings = [] if parts[-1][1].finished else ["not finished"]
    for _, part in parts:
        config |= {k: v for k, v in part.config.items() if not k.startswith("_")} | part.labels
        more = [_numbers(row) for row in part.history]
        last = max((row["_step"] for row in rows if "_step" in row), default=-1.0)
        if rows and more and more[0].get("_step") == 0.0:
            more = [{**row, "_step": row["_step"] + last + 1} if "_step" in row else row for row in more]
            warnings.append("resumed without a server, W&B's own steps counted on")
        rows += more
    file, known = parts[-1]
    name = next((part.name for _, part in reversed(parts) if part.name), known.identifier or file.stem)
    group = known.project or None
    return LoggedRun(name, config, rows, group, "; ".join(warnings) or None, known.identifier or None)


def from_wandb_export(
    files: Source | Iterable[Source],
    *,
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    **choice: Unpack[Choice],
) -> RunLog:
    """Runs from files that W&B exported.

    Args:
        files: Tables (.parquet, .csv, .jsonl) or a folder of them, each of one of these kinds: rows of
            several runs with a column such as `run_id` and perhaps `config`; the history of one run, named
            after its file; the CSV export of a chart, with columns `<run> - <metric>`; that of the table of
            runs; or `name`, `config` and `summary` of each run, as the script of W&B's guide writes them.
        configs: Settings of each run by name, which histories and charts do not hold.
        **choice: Metric, axis and roles; see `Choice`.

    Raises:
        RunLogError: if a file is missing or unreadable, or `configs` names an unknown run.
    """
    runs: dict[str, LoggedRun] = {}
    for file in _tables(files):
        for run in _exported(file, read_frame(file), asked(choice)):
            known = runs.get(run.name)
            config = {**(known.config if known else {}), **run.config, **(configs or {}).get(run.name, {})}
            rows = [*(known.rows if known else []), *run.rows]
            runs[run.name] = LoggedRun(run.name, config, rows)
    unknown = [name for name in configs or {} if name not in runs]
    if unknown:
        raise RunLogError(
            f"configs names an unknown run {unknown[0]!r}; runs are: {listed(list(runs))}", run=unknown[0]
        )
    return assemble(runs.values(), source="exported W&B runs", **choice)[0]


def _tables(files: Source | Iterable[Source]) -> list[Path]:
    kinds = {".parquet", ".csv", ".jsonl"}
    out = []
    for path in sources_of(files):
        out += sorted(f for f in path.rglob("*") if f.suffix in kinds) if path.is_dir() else [path]
    if not out:
        raise RunLogError(f"no exported table found; accepted are {', '.join(sorted(kinds))}")
    return out


def _exported(
    file: Path, frame: pd.DataFrame, named: tuple[tuple[str, ...], tuple[str, ...]]
) -> list[LoggedRun]:
    chart = [name for name in frame.columns if re.search(r" - .+", name)]
    if chart and len(chart) >= len(frame.columns) - 2:
        return _chart(frame)
    frame = frame.assign(**{name: [_object(cell) for cell in frame[name]] for name in _OBJECTS & {*frame}})
    if set(frame) >= {"name", "config", "summary"}:
        return _summaries(frame)
    if "Name" in frame and _PANEL & {*frame}:
        labels = {"ID": "id", "Tags": LABELS[2], "Group": LABELS[0], "Job Type": LABELS[1]}
        frame = frame.drop(columns=[*_PANEL & {*frame}]).rename(columns=labels)
        names = _distinct(frame["Name"])
        return read_table(frame.drop(columns="Name").assign(run_name=names), "run_name", *named)
    if any(name in frame.columns for name in ("run_id", "run", "run_name", "name", "id")):
        if "config" in frame:
            configs = (cell if isinstance(cell, Mapping) else {} for cell in frame["config"])
            frame = with_settings(frame.drop(columns="config"), configs)
        return read_table(frame, None, *named)
    return read_table(frame.assign(run_id=file.stem), "run_id", tuple(map(str, frame.columns)))


def _object(cell: Any) -> Any:
    """A dict that was written as JSON, or as Python writes it; anything else as it is."""
    if not isinstance(cell, str) or not cell.lstrip().startswith("{"):
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        pass
    cell = re.sub(r"np\.\w+\(([^()]*)\)", r"\1", cell)
    try:
        return ast.literal_eval(re.sub(r"(?<=[:,\[(] )-?(nan|inf)(?=[,}\])])", "None", cell))
    except (ValueError, SyntaxError):
        raise RunLogError(f"a cell is neither JSON nor a dict of Python: {cell[:60]!r}...") from None


def _summaries(frame: pd.DataFrame) -> list[LoggedRun]:
    """Runs by name, config and last logged values."""
    cells = zip(_distinct(frame["name"]), frame["config"], frame["summary"], strict=True)
    return [
        LoggedRun(
            name,
            {k: v for k, v in config.items() if not k.startswith("_")} if isinstance(config, Mapping) else {},
            [_numbers(summary)] if isinstance(summary, Mapping) else [],
        )
        for name, config, summary in cells
    ]


def _distinct(names: pd.Series) -> list[str]:
    """Names of runs, repeated ones numbered: a table has a row for each."""
    count = names.groupby(names).cumcount() + 1
    return [
        f"{name} ({number})" if number > 1 else str(name) for name, number in zip(names, count, strict=True)
    ]


def _chart(frame: pd.DataFrame) -> list[LoggedRun]:
    """Runs of a chart's CSV export: one axis column, then `<run> - <metric>` columns."""
    axis = frame.columns[0]
    runs: dict[str, list[dict[str, float]]] = {}
    for name in frame.columns[1:]:
        run, _, metric = name.rpartition(" - ")
        if metric.endswith(("__MIN", "__MAX")) or metric.startswith("_"):
            continue
        given = frame[[axis, name]].dropna()
        rows = [{str(axis).lower(): float(a), metric: float(v)} for a, v in given.itertuples(index=False)]
        runs.setdefault(run, []).extend(rows)
    return [LoggedRun(name, {}, rows) for name, rows in runs.items()]
