"""MLflow: local file stores and SQLite databases read directly, tracking servers through the client."""

from __future__ import annotations

import math
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import unquote, urlparse

import yaml

from probscale.errors import MissingExtraError, RunLogError
from probscale.integrations.logged import Choice, LoggedRun, assemble
from probscale.runs import RunLog
from probscale.runs.schema import listed, names_of

PAGE = 1_000
_DELETED = "deleted"

_EXPERIMENTS = "SELECT experiment_id, name FROM experiments WHERE lifecycle_stage = 'active'"
_RUNS = "SELECT run_uuid, name, experiment_id FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time"
_METRICS = "SELECT run_uuid, key, value, step, is_nan FROM metrics ORDER BY run_uuid, key, step, timestamp"


def from_mlflow(
    store: str | Path = "mlruns", *, experiments: str | Sequence[str] | None = None, **choice: Unpack[Choice]
) -> RunLog:
    """Runs of an MLflow store, with the whole history of each metric.

    Args:
        store: Folder of a file store (`mlruns`), SQLite file (`mlflow.db`), either as `file:` or `sqlite:`
            address, or the address of a tracking server. Local stores need no MLflow.
        experiments: Names of the experiments to read; all by default.
        **choice: Metric, axis and roles; see `Choice`. Several experiments form a level unless `levels` says
            otherwise.

    Raises:
        RunLogError: if the store or an experiment does not exist, or holds no run.
        MissingExtraError: for a tracking server without mlflow.
    """
    return assemble(read_mlflow(store, experiments), source=f"MLflow store {str(store)!r}", **choice)[0]


def read_mlflow(
    store: str | Path = "mlruns", experiments: str | Sequence[str] | None = None
) -> list[LoggedRun]:
    """The runs of a store; see `from_mlflow`."""
    address = str(store)
    wanted = names_of(experiments) if experiments is not None else None
    if address.startswith(("http://", "https://", "databricks")):
        return _from_server(address, wanted)
    path = _local_path(address)
    if path.is_dir():
        database = path / "mlflow.db"
        if database.is_file() and not list(path.glob("*/meta.yaml")):
            return _from_database(database, wanted)
        return _from_folder(path, wanted)
    if not path.is_file():
        raise RunLogError(
            f"no MLflow store at {address!r}; give a folder mlruns, a file mlflow.db, or a server's address",
            path=address,
        )
    return _from_database(path, wanted)


def _local_path(address: str) -> Path:
    if address.startswith("sqlite:///"):
        return Path(address.removeprefix("sqlite:///"))
    return (
        Path(unquote(urlparse(address).path)) if address.startswith("file:") else Path(address).expanduser()
    )


def _chosen(names: Iterable[str], wanted: tuple[str, ...] | None) -> set[str]:
    present = list(names)
    for name in wanted or ():
        if name not in present:
            raise RunLogError(f"no experiment {name!r}; experiments are: {listed(present)}", experiment=name)
    return set(present if wanted is None else wanted)


def _from_folder(folder: Path, wanted: tuple[str, ...] | None) -> list[LoggedRun]:
    """Runs of a file store: <experiment>/<run>/{meta.yaml, params, metrics, tags}."""
    experiments: dict[Path, str] = {}
    for meta in sorted(folder.glob("*/meta.yaml")):
        content = _yaml(meta)
        if content.get("lifecycle_stage") != _DELETED and "experiment_id" in content:
            experiments[meta.parent] = str(content.get("name", meta.parent.name))
    if not experiments:
        raise RunLogError(
            f"folder {str(folder)!r} is no MLflow file store: no experiment with meta.yaml in it"
        )
    chosen = _chosen(experiments.values(), wanted)
    runs = [
        (about, meta.parent, name)
        for experiment, name in experiments.items()
        if name in chosen
        for meta in sorted(experiment.glob("*/meta.yaml"))
        if (about := _yaml(meta)).get("lifecycle_stage") != _DELETED
    ]
    runs.sort(key=lambda run: run[0].get("start_time") or 0)
    return [_run_of_folder(*run) for run in runs]


def _yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RunLogError(
            f"{str(file)!r} is not YAML ({str(error).splitlines()[0]})", path=str(file)
        ) from error
    return content if isinstance(content, dict) else {}


def _run_of_folder(about: dict[str, Any], folder: Path, experiment: str) -> LoggedRun:
    params = {key: file.read_text(encoding="utf-8") for key, file in _entries(folder / "params")}
    params |= _tags((key, file.read_text(encoding="utf-8")) for key, file in _entries(folder / "tags"))
    rows: list[dict[str, float]] = []
    for key, file in _entries(folder / "metrics"):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                _, value, *step = line.split()[:3]
                rows.append({"step": float(step[0]) if step else 0.0, key: float(value)})
            except ValueError as error:
                raise RunLogError(
                    f"line {number} of {str(file)!r} is no metric: {line!r}", path=str(file)
                ) from error
    return _named(str(about.get("run_name") or ""), folder.name, params, rows, experiment)


def _entries(folder: Path) -> list[tuple[str, Path]]:
    """Keys and files; MLflow turns a slash in a key into a folder."""
    if not folder.is_dir():
        return []
    return [(f.relative_to(folder).as_posix(), f) for f in sorted(folder.rglob("*")) if f.is_file()]


def _named(
    name: str, identifier: str, params: dict[str, str], rows: list[dict[str, float]], experiment: str
) -> LoggedRun:
    points: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        points.setdefault(next(key for key in row if key != "step"), []).append(row)
    unplaced = [key for key, own in points.items() if len(own) > 1 and not any(row["step"] for row in own)]
    # Without a step MLflow writes zero: values of a metric are then told apart by their order alone.
    rows = [
        {**row, "step": float(place)} if key in unplaced else row
        for key, own in points.items()
        for place, row in enumerate(own)
    ]
    warning = f"logged without steps, counted in their order: {listed(unplaced)}" if unplaced else None
    return LoggedRun(name or identifier, params, rows, experiment, warning, identifier)


def _tags(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Tags that users set, under names of their own."""
    return {f"tags.{key}": value for key, value in found if not key.startswith("mlflow.")}


def _from_database(file: Path, wanted: tuple[str, ...] | None) -> list[LoggedRun]:
    """Runs of a SQLite store, three queries in all."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        try:
            names = dict(database.execute(_EXPERIMENTS))
            runs = database.execute(_RUNS).fetchall()
            params: dict[str, dict[str, str]] = {}
            for run, key, value in database.execute("SELECT run_uuid, key, value FROM params"):
                params.setdefault(run, {})[key] = value
            for run, key, value in database.execute("SELECT run_uuid, key, value FROM tags"):
                params.setdefault(run, {}).update(_tags([(key, value)]))
            rows: dict[str, list[dict[str, float]]] = {}
            for run, key, value, step, is_nan in database.execute(_METRICS):
                number = math.nan if is_nan else _restored(float(value))
                rows.setdefault(run, []).append({"step": float(step), key: number})
        except sqlite3.DatabaseError as error:
            raise RunLogError(f"{str(file)!r} is not an MLflow database ({error})", path=str(file)) from error
    chosen = _chosen(names.values(), wanted)
    return [
        _named(name or "", run, params.get(run, {}), rows.get(run, []), names[experiment])
        for run, name, experiment in runs
        if names.get(experiment) in chosen
    ]


def _from_server(address: str, wanted: tuple[str, ...] | None) -> list[LoggedRun]:
    """Runs of a tracking server, a page of runs at a time, each metric with its whole history."""
    try:
        from mlflow import MlflowClient  # pyright: ignore
    except ImportError as error:
        raise MissingExtraError("mlflow", "from_mlflow with a tracking server") from error
    client = MlflowClient(tracking_uri=address)
    names = {item.experiment_id: item.name for item in client.search_experiments()}
    chosen = _chosen(names.values(), wanted)
    identifiers = [key for key, name in names.items() if name in chosen]
    runs, token = [], None
    while True:
        page = client.search_runs(
            identifiers, max_results=PAGE, order_by=["attributes.start_time ASC"], page_token=token
        )
        runs += [_run_of_client(client, run, names) for run in page]
        token = page.token
        if not token:
            return runs


def _run_of_client(client: Any, run: Any, names: dict[str, str]) -> LoggedRun:
    rows = [
        {"step": float(point.step), key: float(point.value)}
        for key in run.data.metrics
        for point in sorted(
            client.get_metric_history(run.info.run_id, key), key=lambda p: (p.step, p.timestamp)
        )
    ]
    params = {**run.data.params, **_tags(run.data.tags.items())}
    return _named(run.info.run_name or "", run.info.run_id, params, rows, names[run.info.experiment_id])


def _restored(value: float) -> float:
    """MLflow's databases hold infinity as the largest float."""
    return math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value
