"""Append-only record of what a live loop decided and what was paid, one JSON line per event.

A ledger survives a kill at any point: every line is on disk before `append` returns, a line cut short by a
kill is set aside and reported, and one process at a time may drive it.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from probscale.errors import BudgetError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None

SCHEMA = "probscale.ledger"
VERSION = 1

# POSIX record locks do not conflict within a process, so threads are kept apart here.
_held: set[str] = set()
_guard = threading.Lock()


@dataclass(frozen=True)
class LedgerRecord:
    """What a ledger file holds.

    Attributes:
        settings: Settings of the loop that wrote it.
        events: Events in the order they were appended.
        torn: Text of a last line cut short by a kill; empty if there is none.
    """

    settings: dict[str, Any]
    events: tuple[dict[str, Any], ...]
    torn: str = ""


class Ledger:
    """An append-only file of events, driven by one process.

    Use it as a context manager, or call `close`; the operating system frees the lock of a killed process.

    Args:
        path: File, made with its header if missing.
        settings: What the loop depends on, JSON values. A ledger with other settings is refused; None accepts
            any.
        free: Names of settings that may differ; the header keeps what it has.
        former: What settings stood for in ledgers of earlier versions, which do not hold them; None accepts
            any value.

    Raises:
        BudgetError: if another process drives the ledger, its settings differ, or a line is damaged.

    Attributes:
        path: The file.
        settings: Settings in its header.
        torn: Text of a line cut short by an earlier kill, set aside in `<path>.torn`; empty if there is none.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "loop.jsonl"
    >>> with Ledger(path, settings={"seed": 0}) as ledger:
    ...     ledger.append({"event": "start", "run": "a"})
    >>> Ledger(path).events()
    [{'event': 'start', 'run': 'a'}]
    """

    def __init__(
        self,
        path: str | Path,
        *,
        settings: Mapping[str, Any] | None = None,
        free: Collection[str] = (),
        former: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        _check_place(self.path)
        self._lock = _acquire(self.path)
        try:
            record = _recovered(self.path, settings, free, former or {})
            self._file: IO[bytes] | None = open(self.path, "ab", buffering=0)  # noqa: SIM115
        except BaseException:
            _release(self._lock)
            raise
        self.settings = record.settings
        self.torn = record.torn
        self._events = list(record.events)
        self._writing = threading.Lock()
        if self.torn:
            self.append({"event": "torn", "text": self.torn})

    def append(self, event: Mapping[str, Any]) -> None:
        """Put one event on disk; it is there when this returns.

        Args:
            event: JSON values; numpy scalars and arrays become numbers and lists, and floats that are not
                finite come back as they were.

        Raises:
            BudgetError: if the ledger is closed, or a value is not JSON.
        """
        text = _encode(event)
        with self._writing:
            if self._file is None:
                raise BudgetError(f"the ledger {self.path} is closed; open it again to append to it")
            self._write(text.encode() + b"\n")
            self._events.append(_decode(text))

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        try:
            whole, why = self._file.write(line) == len(line), "is the disk full?"
            os.fsync(self._file.fileno())
        except OSError as error:
            whole, why = False, str(error)
        if not whole:
            # A part of a line may be on disk: one more line after it would damage the file.
            self._file.close()
            self._file = None
            _release(self._lock)
            raise BudgetError(
                f"the ledger {self.path} could not be written in full ({why}); make room and run the same "
                "again: what it holds is kept",
                path=str(self.path),
            )

    def events(self) -> list[dict[str, Any]]:
        """All events so far, oldest first."""
        return list(self._events)

    def close(self) -> None:
        """Free the lock. Closing twice does nothing."""
        with self._writing:
            if self._file is not None:
                self._file.close()
                self._file = None
                _release(self._lock)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self.close()

    def __repr__(self) -> str:
        return f"Ledger({str(self.path)!r}, {len(self._events)} events)"


def read_ledger(path: str | Path) -> LedgerRecord:
    """Read a ledger without driving it, for example while a loop is running.

    Raises:
        BudgetError: if there is no such ledger or a line before the last is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise BudgetError(
            f"there is no ledger at {path}; give the path that a loop was started with", path=str(path)
        )
    return _parse(path, path.read_bytes())


def name_of(choice: Any) -> str:
    """A choice by name as it is, one that is a function or an object by where it is defined.

    A function made anew by each process has no text that a resumed loop could be compared by but this.
    """
    if isinstance(choice, str):
        return choice
    place = choice if hasattr(choice, "__qualname__") else getattr(choice, "func", type(choice))
    return f"{getattr(place, '__module__', '')}:{getattr(place, '__qualname__', type(choice).__name__)}"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait for, then hold, a lock between processes; a killed holder frees it."""
    if fcntl is None:  # pragma: no cover - Windows
        yield
        return
    with open(path, "ab") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def _acquire(path: Path) -> tuple[str, IO[bytes]]:
    """Hold the lock beside a ledger, on a file of its own: closing any handle of a file frees its locks."""
    name = str(path.resolve())
    with _guard:
        if name in _held:
            raise _busy(path)
        file = open(f"{name}.lock", "ab")  # noqa: SIM115
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise _busy(path) from None
        _held.add(name)
    return name, file


def _release(lock: tuple[str, IO[bytes]]) -> None:
    name, file = lock
    with _guard:
        _held.discard(name)
        file.close()


def _check_place(path: Path) -> None:
    """Refuse a path that is a folder, or in one that cannot be made or written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        problem = "it is a folder" if path.is_dir() else ""
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            problem = problem or "it may not be written"
    except OSError as error:
        problem = str(error)
    if problem:
        raise BudgetError(
            f"no ledger can be kept at {path}: {problem}; give the path of a file to write", path=str(path)
        )


def _busy(path: Path) -> BudgetError:
    return BudgetError(
        f"the ledger {path} is driven by another loop; wait for it or stop it, "
        "or give this one a ledger of its own",
        path=str(path),
    )


def _recovered(
    path: Path, settings: Mapping[str, Any] | None, free: Collection[str], former: Mapping[str, Any]
) -> LedgerRecord:
    """Contents of a ledger ready to be appended to: header present, torn end set aside."""
    content = path.read_bytes() if path.exists() else b""
    if b"\n" not in content and not _is_header(content):
        # Killed while the header was written: nothing had been decided yet.
        return _created(path, settings)
    record = _parse(path, content)
    if settings is not None:
        absent = {name: value for name, value in former.items() if name not in record.settings}
        unknown = [name for name, value in absent.items() if value is None]
        _check_settings(path, absent | record.settings, _decode(_encode(settings)), {*free, *unknown})
    if record.torn:
        keep = content.rfind(b"\n") + 1
        with open(f"{path}.torn", "ab") as aside:
            aside.write(content[keep:] + b"\n")
            os.fsync(aside.fileno())
        _replace(path, content[:keep])
    elif not content.endswith(b"\n"):
        _replace(path, content + b"\n")
    return record


def _created(path: Path, settings: Mapping[str, Any] | None) -> LedgerRecord:
    header = _encode({"schema": SCHEMA, "version": VERSION, "settings": dict(settings or {})})
    _replace(path, header.encode() + b"\n")
    return LedgerRecord(_decode(header)["settings"], ())


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old or the new one, never a part."""
    fresh = Path(f"{path}.new")
    with open(fresh, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.resolve().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _parse(path: Path, content: bytes) -> LedgerRecord:
    lines = content.split(b"\n")
    end = lines.pop()
    torn = ""
    if end.strip():
        # A JSON object is complete only with its closing brace: then merely the line break is missing.
        if _is_object(end):
            lines.append(end)
        else:
            torn = end.decode(errors="replace")
    for number, line in enumerate(lines, start=1):
        if line.strip() and not _is_object(line):
            raise BudgetError(
                f"line {number} of the ledger {path} is damaged ({line[:60]!r}); only the last line may be "
                "incomplete. Restore the file from a copy, or start a new ledger",
                path=str(path),
                line=number,
            )
    values = [_decode(line) for line in lines if line.strip()]
    if not values or values[0].get("schema") != SCHEMA or values[0].get("version") != VERSION:
        raise BudgetError(
            f"{path} is not a ledger of version {VERSION}: its first line must hold the schema {SCHEMA!r}; "
            "give another path",
            path=str(path),
        )
    return LedgerRecord(values[0]["settings"], tuple(values[1:]), torn)


def _check_settings(path: Path, theirs: dict[str, Any], mine: dict[str, Any], free: Collection[str]) -> None:
    fixed = [name for name in {**theirs, **mine} if name not in free]
    changed = [name for name in fixed if theirs.get(name) != mine.get(name)]
    if changed:
        shown = "; ".join(f"{n}: {_short(theirs.get(n))} there, {_short(mine.get(n))} now" for n in changed)
        raise BudgetError(
            f"the ledger {path} belongs to a loop with other settings ({shown}); resume with the same ones, "
            "or give this loop a ledger of its own",
            path=str(path),
            changed=changed,
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_header(content: bytes) -> bool:
    return _is_object(content) and b"schema" in content


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _encode(event: Mapping[str, Any]) -> str:
    try:
        return json.dumps(_plain(event), allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise BudgetError(f"a ledger takes JSON values only; got one that is not: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(float(value))}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str | int | float | bool) or value is None:
        # numpy.float64 is a float, whose text JSON takes as it is.
        return value
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    raise TypeError(f"{value!r} of type {type(value).__name__}")


def _decode(line: str | bytes) -> dict[str, Any]:
    return json.loads(line, object_hook=_restored)


def _restored(value: dict[str, Any]) -> Any:
    return float(value["$float"]) if value.keys() == {"$float"} else value
