"""Columns of a table of configurations that are known by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def plain_name(name: str) -> str:
    """Lower case, words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def inner_name(name: str) -> str:
    """The last part of a nested name, such as `lr` of `config.optim.lr` or `config/lr`."""
    return re.split(r"[./]", name.rstrip("./"))[-1]


REPETITIONS = frozenset({"seed", "repeat", "repetition", "replicate", "trial"})
"""Last words of the names of columns that number repetitions: `seed`, `config.data_seed`, `trial_index`."""

_NUMBER_WORDS = frozenset({"index", "idx", "number", "no", "id"})


def numbers_repetitions(name: str) -> bool:
    """Whether a column says by its name which repetition of a setting a run is.

    >>> [numbers_repetitions(name) for name in ("data_seed", "params/seed", "trial_index", "n_trials", "lr")]
    [True, True, True, False, False]
    """
    words = plain_name(inner_name(name)).split("_")
    if len(words) > 1 and words[-1] in _NUMBER_WORDS:
        words = words[:-1]
    return words[-1] in REPETITIONS


def known_columns(names: Iterable[str], *known: Sequence[str]) -> tuple[str | None, ...]:
    """For each group of known names the column that bears one, the first known first; None where none does.

    A nested name, as trackers export them, counts as its last part where no other column has the same one.

    Args:
        names: Columns to look at.
        known: Groups of plain names.
    """
    names = list(names)
    inner: dict[str, list[str]] = {}
    for name in names:
        inner.setdefault(plain_name(inner_name(name)), []).append(name)
    plain = {part: owners[0] for part, owners in inner.items() if len(owners) == 1}
    plain |= {plain_name(name): name for name in names}
    return tuple(next((plain[name] for name in group if name in plain), None) for group in known)


def numbers_of(configs: pd.DataFrame, name: str | None) -> NDArray[np.float64]:
    """A column as numbers, NaN where it holds none or is absent, (runs,)."""
    if name is None or name not in configs:
        return np.full(len(configs), np.nan)
    return pd.to_numeric(configs[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
