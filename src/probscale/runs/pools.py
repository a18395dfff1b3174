"""Configurations as a user gives them, as a table: the one reader of pools and questions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import pandas as pd

from probscale.digest import short_digest
from probscale.errors import ConfigError

Configs: TypeAlias = pd.DataFrame | pd.Series | Mapping[str, Any] | Sequence[Mapping[str, Any]]


def pool_table(pool: Configs) -> pd.DataFrame:
    """Configurations to choose among as a table; its index is kept.

    Raises:
        ConfigError: if there are none, or this is no table.
    """
    frame = config_table(pool, "the pool")
    if not all(isinstance(name, str) for name in frame.columns):
        raise _no_table(pool, "the pool")
    return frame


def row_names(pool: pd.DataFrame, taken: Collection[Any] = ()) -> list[str]:
    """Names for the rows of a pool, from what it holds: rows of different pools have different names.

    Args:
        pool: Configurations.
        taken: Names of known runs, which no row gets: a log may hold what was learnt of the same pool.

    >>> row_names(pd.DataFrame({"lr": [1e-3, 3e-3]}))
    ['pool 0b3a68 row 0', 'pool 0b3a68 row 1']
    >>> row_names(pd.DataFrame({"lr": [1e-3, 3e-3]}), ["pool 0b3a68 row 1"])
    ['pool 0b3a68-2 row 0', 'pool 0b3a68-2 row 1']
    """
    table = pool.reset_index(drop=True)
    mark = short_digest(table.to_json(orient="split", double_precision=15, default_handler=str))[:6]
    return _free_names(f"pool {mark}", "-", len(pool), taken)


def numbered_rows(count: int, taken: Collection[Any]) -> list[str]:
    """Names that the rows of a pool had in earlier versions, as ledgers of theirs know them.

    >>> numbered_rows(2, ["a"]), numbered_rows(2, ["pool row 1"])
    (['pool row 0', 'pool row 1'], ['pool 2 row 0', 'pool 2 row 1'])
    """
    return _free_names("pool", " ", count, taken)


def _free_names(pool: str, between: str, count: int, taken: Collection[Any]) -> list[str]:
    known, number = set(taken), 1
    while True:
        names = [f"{pool}{'' if number == 1 else f'{between}{number}'} row {row}" for row in range(count)]
        if known.isdisjoint(names):
            return names
        number += 1


def config_table(given: Configs, what: str) -> pd.DataFrame:
    """Configurations as a table, of at least one; a dict or a row of a table is one.

    Args:
        given: The configurations.
        what: What they are, for messages.

    Raises:
        ConfigError: if there are none, this is no table, or two of its columns have one name.
    """
    rows = [given] if isinstance(given, Mapping | pd.Series) else given
    try:
        frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    except (TypeError, ValueError) as error:
        raise _no_table(given, what) from error
    if not len(frame):
        raise ConfigError(f"{what} is empty; pass at least one configuration")
    again = frame.columns[frame.columns.duplicated()]
    if len(again):
        raise ConfigError(
            f"{what} has two columns named {again[0]!r}; keep one of them, or rename the other",
            column=again[0],
        )
    return frame


def _no_table(given: object, what: str) -> ConfigError:
    return ConfigError(
        f"{what} is a {type(given).__name__}; pass a DataFrame with one row per configuration, or a list of "
        "dicts"
    )
