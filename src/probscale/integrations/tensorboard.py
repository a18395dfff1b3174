"""TensorBoard event files to a run log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Unpack

from probscale.errors import MissingExtraError
from probscale.integrations.logged import Choice, LoggedRun, assemble
from probscale.integrations.paths import Source, found_files, run_names
from probscale.runs import RunLog

_TIMESTAMP = re.compile(r"\d{9,}(\.\d+)?")
_PARTS = {"train", "training", "val", "valid", "validation", "eval", "evaluation", "test"}
_SESSION = "_hparams_/session_start_info"


def from_tensorboard(logdir: Source | Iterable[Source], **choice: Unpack[Choice]) -> RunLog:
    """Runs logged to TensorBoard, with every scalar (TensorBoard itself keeps a sample of 1,000).

    Each folder with event files is a run. Parts of one belong to it: `train` and `validation` folders, as
    Keras writes them, whose names then precede those of their metrics, and the folders of `add_scalars`.
    Settings come from the hyperparameter plugin (`add_hparams`) and from texts that are JSON, which is how
    the Hugging Face Trainer logs its arguments.

    Args:
        logdir: Event files, or folders searched for them.
        **choice: Metric, axis and roles; see `Choice`.

    Raises:
        MissingExtraError: without tensorboard.
        RunLogError: if no event file is found or no usable metric is in them.
    """
    return assemble(read_tensorboard(logdir), source="TensorBoard logs", **choice)[0]


def read_tensorboard(logdir: Source | Iterable[Source]) -> list[LoggedRun]:
    """The runs behind event files; see `from_tensorboard`."""
    files = found_files(logdir, "*tfevents*")
    folders = list(dict.fromkeys(file.parent for file in files))
    # add_hparams writes into a folder of its own, named by the time, below that of the run.
    attached = {f: f.parent for f in folders if _TIMESTAMP.fullmatch(f.name) and f.parent in folders}
    contents = {folder: _read(folder) for folder in folders}
    prefixed = {f: part for f in folders if f not in attached and (part := _part(f, folders, contents))}
    owner = attached | {folder: folder.parent for folder in prefixed}
    own = list(dict.fromkeys(owner.get(folder, folder) for folder in folders))
    names = run_names(own)
    runs = []
    for folder in own:
        config, rows = contents.get(folder, ({}, []))
        for child in (child for child, parent in owner.items() if parent == folder):
            more = [_renamed(row, *prefixed.get(child, ("", None))) for row in contents[child][1]]
            config, rows = config | contents[child][0], [*rows, *more]
        runs.append(LoggedRun(names[folder], config, rows))
    return runs


def _part(
    folder: Path, folders: list[Path], contents: dict[Path, tuple[dict[str, Any], list[dict[str, float]]]]
) -> tuple[str, str | None] | None:
    """Prefix, and whole name where its folder tells it, of the metrics of a folder that is part of a run."""
    siblings = [other for other in folders if other.parent == folder.parent and other != folder]
    if folder.name.lower() in _PARTS and (
        folder.parent in folders or any(other.name.lower() in _PARTS for other in siblings)
    ):
        return f"{folder.name}/", None
    metrics = {name for row in contents[folder][1] for name in row if name != "step"}
    stem = next(iter(metrics)).replace("/", "_") + "_" if len(metrics) == 1 else None
    if folder.parent in folders and stem is not None and folder.name.startswith(stem):
        return "", f"{next(iter(metrics))}/{folder.name.removeprefix(stem)}"
    return None


def _renamed(row: dict[str, float], prefix: str, name: str | None) -> dict[str, float]:
    return {key if key == "step" else name or f"{prefix}{key}": value for key, value in row.items()}


def _read(folder: Path) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Settings and scalars of a folder."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util import tensor_util
    except ImportError as error:
        raise MissingExtraError("tensorboard", "from_tensorboard") from error
    everything = dict.fromkeys(("scalars", "tensors"), 0)
    events = EventAccumulator(str(folder), size_guidance=everything)
    events.Reload()
    tags = events.Tags()
    rows = [
        {"step": float(event.step), tag: float(event.value)}
        for tag in tags["scalars"]
        for event in events.Scalars(tag)
    ]
    config: dict[str, Any] = {}
    for tag in tags["tensors"]:
        plugin = events.SummaryMetadata(tag).plugin_data.plugin_name
        for event in events.Tensors(tag):
            value = tensor_util.make_ndarray(event.tensor_proto)
            if plugin == "text":
                config |= _json_text(value)
            elif value.ndim == 0 and value.dtype.kind in "fiu":
                rows.append({"step": float(event.step), tag: float(value)})
    return config | _hyperparameters(events), rows


def _json_text(value: Any) -> dict[str, Any]:
    text = value.ravel()[0].decode(errors="replace") if value.size else ""
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _hyperparameters(events: Any) -> dict[str, Any]:
    from tensorboard.plugins.hparams import plugin_data_pb2

    try:
        content = events.SummaryMetadata(_SESSION).plugin_data.content
    except KeyError:
        return {}
    # Generated protocol buffer classes are unknown to type checkers.
    message: Any = plugin_data_pb2
    session = message.HParamsPluginData.FromString(content).session_start_info
    return {
        key: getattr(value, kind)
        for key, value in session.hparams.items()
        if (kind := value.WhichOneof("kind")) in {"number_value", "string_value", "bool_value"}
    }
