"""Public data sets of training runs, read from a user's own clone of the upstream repositories.

Nothing is downloaded. `names` lists the data sets, `info` tells source, licence, citation and traps, `load`
reads one:

    log = ps.catalog.load("nanogpt", "clones/ZeroShot_for_PSL")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path

import pandas as pd

from probscale.catalog import lcbench, nanogpt, pretraining
from probscale.catalog.entry import HOME_VARIABLE, CatalogEntry, find_clone
from probscale.catalog.listing import ENTRIES
from probscale.errors import ConfigError
from probscale.runs import RunLog
from probscale.spelling import close_names, did_you_mean

__all__ = ["HOME_VARIABLE", "CatalogEntry", "info", "load", "names"]

_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "ncpl": pretraining.ncpl,
    "nanogpt": lambda clone: nanogpt.nanogpt(clone, "init_data", "txt"),
    "nanogpt-small": lambda clone: nanogpt.nanogpt(clone, "init_data2", "csv"),
    "bilingual-mt": nanogpt.translation,
    "steplaw": pretraining.steplaw,
    "gemstones": pretraining.gemstones,
    "misfitting": pretraining.misfitting,
    "multi-power": pretraining.multi_power,
    "chinchilla": pretraining.chinchilla,
    "lcbench": lcbench.lcbench,
}


def names() -> tuple[str, ...]:
    """Names of the data sets.

    >>> names()[:2]
    ('ncpl', 'nanogpt')
    """
    return tuple(ENTRIES)


def info(name: str) -> CatalogEntry:
    """Source, licence, citation, roles and traps of a data set.

    Raises:
        ConfigError: for an unknown name.
    """
    if name not in ENTRIES:
        close = close_names(name, ENTRIES, most=2, likeness=0.4)
        hint = did_you_mean(close) or f"known are: {', '.join(ENTRIES)}"
        raise ConfigError(f"no data set {name!r} in the catalogue; {hint}", name=name)
    return ENTRIES[name]


def load(name: str, folder: str | PathLike[str] | None = None) -> RunLog:
    """A data set as a run log, with its roles assigned and known upstream errors corrected.

    Args:
        name: One of `names()`.
        folder: The user's clone of the upstream repository, or a folder that holds it under its own name. By
            default the folder in the environment variable PROBSCALE_DATA_HOME.

    Raises:
        ConfigError: for an unknown name, or when the clone is not found.
        RunLogError: if the files are not as expected.
    """
    entry = info(name)
    frame = _READERS[name](find_clone(entry, folder))
    log = RunLog.from_frame(
        frame,
        run="run",
        axis=entry.axis,
        output=entry.outputs,
        goal="min" if entry.goal == "min" else "max",
        levels=entry.levels,
        params=entry.params,
        horizon=entry.horizon,
        nonfinite="diverged",
    )
    licence = f"{entry.folder}, licence upstream: {entry.licence}; cite {entry.citation}"
    notes = (
        licence,
        *(f"corrected: {text}" for text in entry.corrections),
        *(f"trap: {text}" for text in entry.traps),
    )
    return replace(log, notes=(*notes, *log.notes))
