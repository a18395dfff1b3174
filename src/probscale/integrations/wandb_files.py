"""The files an offline W&B run leaves behind, read without the wandb library.

A `.wandb` file is a LevelDB log (32 KiB blocks of checksummed fragments) of protocol buffer records. The few
fields needed here have kept their numbers since the format was introduced; the library itself no longer
offers a reader.

Source: LevelDB log format; wandb/proto/wandb_internal.proto (Record, HistoryRecord, ConfigRecord, RunRecord).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probscale.errors import RunLogError

_MAGIC = b":W&B"
_FILE_HEADER = 7
_BLOCK = 32 * 1024
_FRAGMENT_HEADER = 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4

# Field numbers in wandb_internal.proto.
_HISTORY, _CONFIG, _RUN, _EXIT = 2, 5, 17, 18
_LABELS = {6: "wandb_group", 7: "wandb_job_type", 10: "wandb_tags"}
_KEY, _NESTED_KEY, _VALUE = 1, 2, 16


@dataclass
class OfflineRun:
    """Contents of one `.wandb` file.

    Attributes:
        identifier: W&B's run id.
        name: Display name, or empty.
        project: Project, or empty.
        config: Settings, later updates included.
        history: One dict per logged step.
        labels: Group, job type and tags, where given.
        finished: Whether the run ended in the file; otherwise it was killed or is still going.
        started: Seconds and nanoseconds of its start since 1970, (0, 0) where the file does not tell.
    """

    identifier: str = ""
    name: str = ""
    project: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    finished: bool = False
    started: tuple[int, int] = (0, 0)


def read_offline_run(file: Path) -> OfflineRun:
    """The run in a `.wandb` file; a tail cut short by a kill is left out.

    Raises:
        RunLogError: if the file is not of W&B.
    """
    content = file.read_bytes()
    if content[:4] != _MAGIC:
        raise RunLogError(
            f"{str(file)!r} is not a W&B run file; expected one that starts with ':W&B'", path=str(file)
        )
    run = OfflineRun()
    try:
        for record in _records(content):
            _take(run, _fields(record))
    except (IndexError, ValueError) as error:
        raise RunLogError(f"{str(file)!r} is damaged ({error})", path=str(file)) from error
    return run


def _records(content: bytes) -> Iterator[bytes]:
    """Whole records of a LevelDB log; an incomplete one at the end is dropped."""
    position, parts = _FILE_HEADER, []
    while position + _FRAGMENT_HEADER <= len(content):
        left = _BLOCK - position % _BLOCK
        if left < _FRAGMENT_HEADER:
            position += left
            continue
        length = int.from_bytes(content[position + 4 : position + 6], "little")
        kind = content[position + 6]
        start = position + _FRAGMENT_HEADER
        position = start + length
        if position > len(content) or kind == 0:
            return
        if kind in (_FULL, _FIRST):
            parts = []
        parts.append(content[start:position])
        if kind in (_FULL, _LAST):
            yield b"".join(parts)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and raw values of a protocol buffer message."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if kind == 2:
            length, position = _varint(message, position)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        yield number, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position


def _take(run: OfflineRun, record: Iterator[tuple[int, int | bytes]]) -> None:
    for number, body in record:
        if not isinstance(body, bytes):
            continue
        if number == _HISTORY:
            run.history.append(_history(body))
        elif number == _CONFIG:
            _configure(run.config, body)
        elif number == _RUN:
            _describe(run, body)
        elif number == _EXIT:
            run.finished = True


def _history(body: bytes) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for number, value in _fields(body):
        if number == 1 and isinstance(value, bytes):
            key, content = _item(value)
            row[key] = content
        elif number == 2 and isinstance(value, bytes):
            row.setdefault("_step", next((v for n, v in _fields(value) if n == 1), 0))
    return row


def _configure(config: dict[str, Any], body: bytes) -> None:
    for number, value in _fields(body):
        if isinstance(value, bytes) and number in (1, 2):
            key, content = _item(value)
            if number == 1:
                config[key] = content
            else:
                config.pop(key, None)


def _describe(run: OfflineRun, body: bytes) -> None:
    names = {1: "identifier", 3: "project", 8: "name"}
    labels: dict[int, list[str]] = {number: [] for number in _LABELS}
    for number, value in _fields(body):
        if isinstance(value, bytes):
            if number in names:
                setattr(run, names[number], value.decode())
            elif number in labels:
                labels[number].append(value.decode())
            elif number == 4:
                _configure(run.config, value)
            elif number == 17 and run.started == (0, 0):
                moment = dict(_fields(value))
                run.started = (int(moment.get(1, 0)), int(moment.get(2, 0)))
    run.labels |= {_LABELS[number]: ", ".join(texts) for number, texts in labels.items() if any(texts)}


def _item(body: bytes) -> tuple[str, Any]:
    """Key (nested ones joined by dots) and decoded value of a history or config item."""
    keys: list[str] = []
    content: Any = None
    for number, value in _fields(body):
        if not isinstance(value, bytes):
            continue
        if number in (_KEY, _NESTED_KEY):
            keys.append(value.decode())
        elif number == _VALUE:
            content = json.loads(value)
    return ".".join(keys), content
