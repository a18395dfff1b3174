"""Lightning's CSVLogger: `metrics.csv` with `hparams.yaml` beside it."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Unpack

import yaml

from probscale.errors import RunLogError
from probscale.integrations.logged import Choice, LoggedRun, assemble
from probscale.integrations.paths import Source, found_files, run_names
from probscale.runs import RunLog


def from_lightning_csv(paths: Source | Iterable[Source], **choice: Unpack[Choice]) -> RunLog:
    """Runs logged by Lightning's CSVLogger.

    Args:
        paths: `metrics.csv` files, or folders (such as `lightning_logs`) searched for them.
        **choice: Metric, axis and roles; see `Choice`.

    Raises:
        RunLogError: if no file is found, or one is unreadable.
    """
    return assemble(read_lightning_csv(paths), source="Lightning CSV logs", **choice)[0]


def read_lightning_csv(paths: Source | Iterable[Source]) -> list[LoggedRun]:
    """The runs behind `metrics.csv` files; see `from_lightning_csv`."""
    files = found_files(paths, "metrics.csv")
    names = run_names([file.parent for file in files])
    return [_run(names[file.parent], file) for file in files]


def _run(name: str, file: Path) -> LoggedRun:
    rows: list[dict[str, float]] = []
    with file.open(newline="", encoding="utf-8") as lines:
        for number, record in enumerate(csv.DictReader(lines), start=2):
            try:
                rows.append(
                    {key: float(cell) for key, cell in record.items() if key and cell not in ("", None)}
                )
            except (TypeError, ValueError) as error:
                raise RunLogError(
                    f"line {number} of {str(file)!r} is not numbers ({error}); is it of Lightning?",
                    path=str(file),
                    line=number,
                ) from error
    config, warning = _settings(file.parent / "hparams.yaml")
    return LoggedRun(name, config, rows, warning=warning)


def _settings(file: Path) -> tuple[dict[str, Any], str | None]:
    if not file.is_file():
        return {}, "no hparams.yaml beside metrics.csv, so no settings"
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _Settings)
    except yaml.YAMLError as error:
        return {}, f"hparams.yaml is not YAML ({str(error).splitlines()[0]})"
    return (content, None) if isinstance(content, dict) else ({}, None)


class _Settings(yaml.SafeLoader):
    """Plain values, tuples, and what the Python objects that Lightning also writes hold; none is built."""


def _tuple(loader: yaml.SafeLoader, node: yaml.Node) -> list[Any]:
    return loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else []


_Settings.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


def _content(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    """The name of a class or function, and what a namespace or a dataclass holds; None for the rest."""
    kind, _, path = suffix.partition(":")
    if kind == "name":
        return path
    if kind == "object" and isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return None


_Settings.add_multi_constructor("tag:yaml.org,2002:python/", _content)
