"""Finding log files, and naming the runs they belong to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from probscale.errors import RunLogError

Source: TypeAlias = str | PathLike[str]


def sources_of(paths: Source | Iterable[Source]) -> list[Path]:
    """One path or several as a list.

    Raises:
        RunLogError: for a path that does not exist, or an empty list.
    """
    given = [paths] if isinstance(paths, (str, PathLike)) else list(paths)
    out = [Path(path).expanduser() for path in given]
    if not out:
        raise RunLogError("no path to read: the list of paths is empty")
    for path in out:
        if not path.exists():
            raise RunLogError(
                f"no file or folder {str(path)!r}; the working folder is {str(Path.cwd())!r}", path=str(path)
            )
    return out


def found_files(paths: Source | Iterable[Source], pattern: str) -> list[Path]:
    """Given files, and files below given folders that match a pattern; each once, sorted within a folder.

    Raises:
        RunLogError: if a path does not exist or nothing matches.
    """
    sources = sources_of(paths)
    files = [file for path in sources for file in ([path] if path.is_file() else sorted(path.rglob(pattern)))]
    if not files:
        shown = ", ".join(repr(str(path)) for path in sources[:3])
        raise RunLogError(f"no {pattern} below {shown}; check the folder", pattern=pattern)
    return list(dict.fromkeys(files))


def run_names(folders: list[Path]) -> dict[Path, str]:
    """A name per folder: its path below the deepest folder common to all, or its own name if alone."""
    absolute = {folder: folder.resolve() for folder in folders}
    if len(folders) == 1:
        return {folders[0]: absolute[folders[0]].name}
    root = Path(os.path.commonpath([str(path) for path in absolute.values()]))
    return {
        folder: path.relative_to(root).as_posix() if path != root else root.name
        for folder, path in absolute.items()
    }
