"""Weights & Biases: online projects, offline folders and exports to a run log."""

from __future__ import annotations

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
from probscale.integrations.tables import read_table
from probscale.integrations.wandb_files import read_offline_run
from probscale.runs import RunLog, read_frame

PAGE = 1_000


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
    """
    files = list({file.resolve(): file for file in found_files(folder, "*.wandb")})
    runs = []
    contents = [(file, read_offline_run(file)) for file in files]
    for file, content in sorted(contents, key=lambda item: item[1].started):
        name = content.name or content.identifier or file.stem
        config = {k: v for k, v in content.config.items() if not k.startswith("_")}
        rows = [_numbers(row) for row in content.history]
        warning = None if content.finished else "not finished"
        runs.append(LoggedRun(name, config, rows, content.project or None, warning, content.identifier))
    return runs


def from_wandb_export(
    files: Source | Iterable[Source],
    *,
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    **choice: Unpack[Choice],
) -> RunLog:
    """Runs from files that W&B exported.

    Args:
        files: Tables (.parquet, .csv, .jsonl) or a folder of them, each of one of three kinds: rows of
            several runs with a column such as `run_id` and perhaps `config`; the history of one run, named
            after its file; or the CSV export of a chart, with columns `<run> - <metric>`.
        configs: Settings of each run by name, which histories and charts do not hold.
        **choice: Metric, axis and roles; see `Choice`.

    Raises:
        RunLogError: if a file is missing or unreadable.
    """
    runs: dict[str, LoggedRun] = {}
    for file in _tables(files):
        for run in _exported(file, read_frame(file)):
            known = runs.get(run.name)
            config = {**(known.config if known else {}), **run.config, **(configs or {}).get(run.name, {})}
            rows = [*(known.rows if known else []), *run.rows]
            runs[run.name] = LoggedRun(run.name, config, rows)
    return assemble(runs.values(), source="exported W&B runs", **choice)[0]


def _tables(files: Source | Iterable[Source]) -> list[Path]:
    kinds = {".parquet", ".csv", ".jsonl"}
    out = []
    for path in sources_of(files):
        out += sorted(f for f in path.rglob("*") if f.suffix in kinds) if path.is_dir() else [path]
    if not out:
        raise RunLogError(f"no exported table found; accepted are {', '.join(sorted(kinds))}")
    return out


def _exported(file: Path, frame: pd.DataFrame) -> list[LoggedRun]:
    chart = [name for name in frame.columns if re.search(r" - .+", name)]
    if chart and len(chart) >= len(frame.columns) - 2:
        return _chart(frame)
    if any(name in frame.columns for name in ("run_id", "run", "run_name", "name", "id")):
        return read_table(_spread(frame))
    return read_table(frame.assign(run_id=file.stem), "run_id", tuple(map(str, frame.columns)))


def _spread(frame: pd.DataFrame) -> pd.DataFrame:
    """A column `config` of objects or JSON spread over columns."""
    if "config" not in frame.columns:
        return frame
    objects = [json.loads(value) if isinstance(value, str) else value for value in frame["config"]]
    flat = pd.DataFrame(
        [flatten(value) if isinstance(value, Mapping) else {} for value in objects], index=frame.index
    )
    return pd.concat(
        [frame.drop(columns="config"), flat.drop(columns=frame.columns, errors="ignore")], axis=1
    )


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
