"""What the catalogue knows about a public data set, and where a user keeps a copy of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from probscale.errors import ConfigError

HOME_VARIABLE = "PROBSCALE_DATA_HOME"


@dataclass(frozen=True)
class CatalogEntry:
    """A public data set of training runs; `str` gives a readable page.

    Attributes:
        name: What `load` takes.
        title: What it is, in one line.
        repository: Address of the upstream repository.
        files: What is read, relative to the repository.
        licence: Licence stated upstream, or that there is none.
        citation: The paper to cite.
        axis: Progress axis.
        outputs: Measured quantities, the principal one first.
        goal: "min" or "max".
        levels: Task hierarchy, coarse to fine.
        params: Column with the model size, or None.
        horizon: Column with the planned end of the axis, or None.
        traps: What misleads in these data.
        corrections: Upstream errors that the loader repairs.
        checked: Files of the upstream repository on which the loader has run, and what its runs agree with.
    """

    name: str
    title: str
    repository: str
    files: tuple[str, ...]
    licence: str
    citation: str
    axis: str
    outputs: tuple[str, ...]
    goal: str = "min"
    levels: tuple[str, ...] = ()
    params: str | None = None
    horizon: str | None = None
    traps: tuple[str, ...] = ()
    corrections: tuple[str, ...] = ()
    checked: str = ""

    @property
    def folder(self) -> str:
        """Folder name of a clone."""
        return self.repository.rstrip("/").rsplit("/", 1)[-1]

    def __str__(self) -> str:
        roles = [
            ("axis", self.axis),
            ("outputs", ", ".join(self.outputs)),
            ("levels", ", ".join(self.levels)),
        ]
        roles += [("params", self.params), ("horizon", self.horizon)]
        shown = "; ".join(f"{role} {value}" for role, value in roles if value)
        lines = [f"{self.name}: {self.title}", f"repository: {self.repository} ({self.licence})"]
        lines += [
            f"reads: {', '.join(self.files)}",
            f"cite: {self.citation}",
            f"roles: {shown}; goal {self.goal}",
        ]
        lines += [f"trap: {text}" for text in self.traps] + [
            f"corrected: {text}" for text in self.corrections
        ]
        return "\n".join([*lines, f"checked: {self.checked}"])


def find_clone(entry: CatalogEntry, folder: str | PathLike[str] | None) -> Path:
    """The user's clone of an upstream repository.

    Args:
        entry: The data set.
        folder: The clone, or a folder that holds it under its own name; by default the environment variable
            PROBSCALE_DATA_HOME.

    Raises:
        ConfigError: if no folder is given, or none of the files is found below it.
    """
    given = folder if folder is not None else os.environ.get(HOME_VARIABLE)
    how = f"git clone {entry.repository}"
    if not given:
        raise ConfigError(
            f"where is the clone of {entry.folder}? Pass folder=, or set {HOME_VARIABLE} to the folder that "
            f"holds it; nothing is downloaded, get it with: {how}",
            name=entry.name,
        )
    home = Path(given).expanduser()
    for place in (home / entry.folder, home):
        if any(next(place.glob(pattern), None) is not None for pattern in entry.files):
            return place
    raise ConfigError(
        f"folder {str(home)!r} holds no {entry.files[0]} of {entry.folder}; get the repository with: {how}",
        name=entry.name,
        folder=str(home),
    )
