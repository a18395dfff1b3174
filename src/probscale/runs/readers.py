"""Run logs from files: parquet, CSV and JSON lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from glob import glob, has_magic
from os import SEEK_END, PathLike
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from probscale.errors import RunLogError
from probscale.ledger import SCHEMA
from probscale.runs.log import RunLog
from probscale.runs.schema import Goal, Nonfinite, listed

Source: TypeAlias = str | PathLike[str]

TAIL = 65_536
"""Bytes at the end of a file in which lines are compared with the last one."""

FEWEST_LINES = 3
"""Lines before the last one without which the length of its last number says nothing."""

MOST_SHOWN = 60
"""Characters of a line that a message shows."""


def read_runs(
    path: Source | Iterable[Source],
    *,
    run: str,
    axis: str,
    output: str | Iterable[str],
    goal: Goal = "min",
    levels: str | Iterable[str] = (),
    params: str | None = None,
    horizon: str | None = None,
    config: str | Iterable[str] | None = None,
    nonfinite: Nonfinite = "error",
) -> RunLog:
    """Read a run log from files in long format.

    Args:
        path: A file (.parquet, .csv, .tsv, .jsonl, the text formats also with .gz), a folder, a glob pattern,
            or several of these; all rows together are one table. Nested objects in JSON lines become columns
            joined by dots, such as `optimizer.lr`.
        run: Roles as in `RunLog.from_frame`, as are all other arguments.
        axis: See `RunLog.from_frame`.
        output: See `RunLog.from_frame`.
        goal: See `RunLog.from_frame`.
        levels: See `RunLog.from_frame`.
        params: See `RunLog.from_frame`.
        horizon: See `RunLog.from_frame`.
        config: See `RunLog.from_frame`.
        nonfinite: See `RunLog.from_frame`.

    Raises:
        RunLogError: for a missing file, an unknown suffix, an unreadable file, or an invalid table.

    Example:
        >>> from probscale.runs.bundled import bundled_path
        >>> read_runs(bundled_path(), run="run_id", axis="tokens", output="loss", config=["width", "depth"])
        RunLog(64 runs, 3,158 points, loss by tokens, config: width, depth)
    """
    return RunLog.from_frame(
        read_frame(path),
        run=run,
        axis=axis,
        output=output,
        goal=goal,
        levels=levels,
        params=params,
        horizon=horizon,
        config=config,
        nonfinite=nonfinite,
    )


def read_frame(path: Source | Iterable[Source]) -> pd.DataFrame:
    """All rows of one or more files as one table.

    Raises:
        RunLogError: for a missing file, an unknown suffix, or an unreadable file.
    """
    sources = [path] if isinstance(path, (str, PathLike)) else list(path)
    files = [file for source in sources for file in _files(source)]
    if not files:
        raise RunLogError("no file to read: the list of paths is empty")
    frames = [_read(file) for file in files]
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _files(source: Source) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.is_file() and _reader(file) is not None)
        if not found:
            raise RunLogError(f"folder {str(path)!r} holds no run log; accepted are {listed(list(_READERS))}")
        return found
    if not path.exists() and has_magic(str(path)):
        found = [Path(name) for name in sorted(glob(str(path), recursive=True)) if Path(name).is_file()]
        if not found:
            raise RunLogError(f"no file matches {str(path)!r}; check the pattern and the working folder")
        return found
    if not path.exists():
        raise RunLogError(f"no file {str(path)!r}; the working folder is {str(Path.cwd())!r}", path=str(path))
    return [path]


def _read(path: Path) -> pd.DataFrame:
    reader = _reader(path)
    if reader is None:
        raise RunLogError(
            f"cannot read {path.name!r}: unknown suffix; accepted are {listed(list(_READERS))}, "
            "the text formats also with .gz",
            path=str(path),
        )
    try:
        return reader(path)
    except RunLogError:
        raise
    except UnicodeError as error:
        raise RunLogError(
            f"{str(path)!r} is not UTF-8 text ({error}); save it as UTF-8, or read it with "
            "pandas.read_csv(..., encoding=...) and RunLog.from_frame",
            path=str(path),
        ) from error
    # Each library reports a damaged file in its own way; the user needs the file's name in every case.
    except Exception as error:
        raise RunLogError(f"cannot read {str(path)!r}: {error}", path=str(path)) from error


def _reader(path: Path) -> Callable[[Path], pd.DataFrame] | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    suffix = "".join(suffixes[-2:-1] if zipped else suffixes[-1:])
    return None if zipped and suffix in {".parquet", ".pq"} else _READERS.get(suffix)


def _read_csv(path: Path) -> pd.DataFrame:
    return _read_separated(path, ",")


def _read_tsv(path: Path) -> pd.DataFrame:
    return _read_separated(path, "\t")


def _read_separated(path: Path, separator: str) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, sep=separator, low_memory=False)
    except pd.errors.EmptyDataError:
        raise RunLogError(
            f"{str(path)!r} is empty; a log has a line of column names", path=str(path)
        ) from None
    except pd.errors.ParserError:
        _check_separator(path, separator)
        raise
    if frame.shape[1] == 1:
        _check_separator(path, separator)
    _check_end(path, separator, frame.shape[1])
    return frame


def _check_end(path: Path, separator: str, columns: int) -> None:
    """Refuse a file whose last line was cut short, as by a kill: a number without its last digits is another.

    A line that has no end is taken for cut where columns are missing, or where its last number is a fraction
    shorter than those of all lines before it.
    """
    if path.suffix.lower() == ".gz":  # one cut short cannot be unpacked
        return
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, TAIL), SEEK_END)
        tail = file.read().decode("utf-8", "replace")
    if tail.endswith(("\n", "\r")) or '"' in tail:
        return
    last = tail.splitlines()[-1]
    before = [line.rpartition(separator)[2] for line in tail.splitlines()[1:-1]]
    shorter = len(before) >= FEWEST_LINES and all(
        "." in cell and len(cell) > len(last.rpartition(separator)[2]) for cell in before
    )
    if last.count(separator) + 1 < columns or shorter:
        raise RunLogError(
            f"the last line of {str(path)!r} seems to be cut short: {last[-MOST_SHOWN:]!r}; a killed writer "
            "leaves such a line, and a number without its last digits is another number. Remove the line, or "
            "end it with a line break if it is whole",
            path=str(path),
        )


def _check_separator(path: Path, separator: str) -> None:
    """Refuse a file whose columns are separated by something else than its suffix says."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        header = lines.readline()
    other = max(",;\t|", key=header.count)
    if header.count(separator) == 0 and header.count(other):
        raise RunLogError(
            f"the columns of {str(path)!r} are separated by {other!r}, not by {separator!r}; save it with "
            f"{separator!r}, or read it with pandas.read_csv(..., sep={other!r}) and RunLog.from_frame",
            path=str(path),
        )


def _read_parquet(path: Path) -> pd.DataFrame:
    """A table in which a named index of the writer is what it is to every other reader: columns."""
    frame = pd.read_parquet(path)
    kept = [name for name in frame.index.names if name is not None and name not in frame.columns]
    return frame.reset_index(level=kept) if kept else frame


def _read_json_lines(path: Path) -> pd.DataFrame:
    records: list[dict[str, Any]] = []
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise RunLogError(
                    f"line {number} of {str(path)!r} is not JSON ({error.msg}); a line cut short is usually "
                    "the last one of a killed writer: remove it",
                    path=str(path),
                    line=number,
                ) from error
            if not isinstance(record, dict):
                raise RunLogError(
                    f"line {number} of {str(path)!r} is {type(record).__name__}, not an object with columns",
                    path=str(path),
                    line=number,
                )
            records.append(record)
    if not records:
        raise RunLogError(
            f"{str(path)!r} is empty; a log has an object with columns on each line", path=str(path)
        )
    if str(records[0].get("schema", "")).startswith(SCHEMA):
        raise RunLogError(
            f"{str(path)!r} is a ledger, the events of a loop or an allocation, not a table of points; run "
            "the same call again for its log, which costs nothing more: loop.run(), allocate(...).log, or "
            "probscale allocate --curves FILE",
            path=str(path),
        )
    nested = any(isinstance(value, dict) for record in records for value in record.values())
    return pd.json_normalize(records) if nested else pd.DataFrame.from_records(records)


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}
