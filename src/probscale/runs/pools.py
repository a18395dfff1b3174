"""Configurations as a user gives them, as a table: the one reader of pools and questions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import pandas as pd

from probscale.errors import ConfigError

Configs: TypeAlias = pd.DataFrame | Mapping[str, Any] | Sequence[Mapping[str, Any]]


def pool_table(pool: Configs) -> pd.DataFrame:
    """Configurations to choose among as a table; its index is kept, and a single one may be a dict.

    Raises:
        ConfigError: if there are none, or this is no table.
    """
    frame = config_table([pool] if isinstance(pool, Mapping) else pool, "the pool")
    if not all(isinstance(name, str) for name in frame.columns):
        raise _no_table(pool, "the pool")
    return frame


def row_names(count: int, taken: Collection[Any]) -> list[str]:
    """Names for the rows of a pool that no known run has: a log may hold the rows of an earlier pool.

    Args:
        count: Rows.
        taken: Names of known runs.

    >>> row_names(2, ["a"]), row_names(2, ["pool row 1"])
    (['pool row 0', 'pool row 1'], ['pool 2 row 0', 'pool 2 row 1'])
    """
    known, number = set(taken), 1
    while True:
        names = [f"pool {'' if number == 1 else f'{number} '}row {row}" for row in range(count)]
        if known.isdisjoint(names):
            return names
        number += 1


def config_table(given: pd.DataFrame | Sequence[Mapping[str, Any]], what: str) -> pd.DataFrame:
    """Configurations as a table, of at least one.

    Args:
        given: The configurations.
        what: What they are, for messages.

    Raises:
        ConfigError: if there are none, or this is no table.
    """
    try:
        frame = given if isinstance(given, pd.DataFrame) else pd.DataFrame(list(given))
    except (TypeError, ValueError) as error:
        raise _no_table(given, what) from error
    if not len(frame):
        raise ConfigError(f"{what} is empty; pass at least one configuration")
    return frame


def _no_table(given: object, what: str) -> ConfigError:
    return ConfigError(
        f"{what} is a {type(given).__name__}; pass a DataFrame with one row per configuration, or a list of "
        "dicts"
    )
