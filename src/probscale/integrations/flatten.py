"""Configurations as loggers keep them, nested and loosely typed, to flat columns of one type each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

Scalar = bool | int | float | str

LONGEST_VECTOR = 4
"""A list of numbers up to this long becomes one column per entry, a longer one text."""

_MISSING_WORDS = {"", "none", "null", "nan", "n/a"}
_TRUTH = {"true": True, "false": False}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """A nested configuration as one level of keys joined by dots; missing and infinite values are left out.

    >>> flatten({"optimizer": {"name": "adamw", "betas": [0.9, 0.95]}, "seed": None})
    {'optimizer.name': 'adamw', 'optimizer.betas.0': 0.9, 'optimizer.betas.1': 0.95}
    """
    out: dict[str, Scalar] = {}
    for key, value in config.items():
        out.update(_flat(f"{prefix}{key}", value))
    return out


def _flat(name: str, value: Any) -> dict[str, Scalar]:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return flatten(value, f"{name}.")
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return {}
    if isinstance(value, (bool, int, float, str)):
        return {name: value}
    if isinstance(value, (Sequence, np.ndarray)):
        return _flat_list(name, list(value))
    return {name: str(value)}


def _flat_list(name: str, values: list[Any]) -> dict[str, Scalar]:
    numeric = all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in values)
    if values and numeric and len(values) <= LONGEST_VECTOR:
        return flatten({str(i): v for i, v in enumerate(values)}, f"{name}.")
    return {name: json.dumps(values, default=str)} if values else {}


def config_table(configs: Mapping[str, Mapping[str, Scalar]]) -> tuple[pd.DataFrame, dict[str, str]]:
    """One row per run, one column per key, each column numbers, truth values or text.

    Numbers and truth values that arrived as text in every run are read as such; a column that mixes kinds
    becomes text.

    Args:
        configs: Flat configuration of each run.

    Returns:
        The table, and what was converted: column to a sentence.
    """
    names = list(dict.fromkeys(key for config in configs.values() for key in config))
    columns: dict[str, pd.Series] = {}
    converted: dict[str, str] = {}
    index = pd.Index(list(configs), dtype=object)
    for name in names:
        values, note = _one_type([config.get(name) for config in configs.values()])
        columns[name] = pd.Series(values, index=index, dtype=_dtype(values))
        if note:
            converted[name] = note
    return pd.DataFrame(columns, index=index), converted


def _one_type(values: list[Scalar | None]) -> tuple[list[Scalar | None], str | None]:
    """Values of one column made one type."""
    tidy = [None if isinstance(v, str) and v.strip().lower() in _MISSING_WORDS else v for v in values]
    given = [v for v in tidy if v is not None]
    if not given:
        return tidy, None
    if all(isinstance(v, bool) for v in given):
        return tidy, None
    if all(_is_number(v) for v in given):
        return [None if v is None else float(v) for v in tidy], None
    if all(isinstance(v, bool) or str(v).strip().lower() in _TRUTH for v in given):
        return [
            None if v is None else _TRUTH[str(v).strip().lower()] for v in tidy
        ], "text read as truth values"
    numbers = [None if v is None else _parsed(v) for v in tidy]
    if all(number is not None for number, v in zip(numbers, tidy, strict=True) if v is not None):
        return list(numbers), "text read as numbers"
    mixed = any(not isinstance(v, str) for v in given)
    return [None if v is None else str(v) for v in tidy], "mixed types written as text" if mixed else None


def _is_number(value: Scalar) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _parsed(value: Scalar) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _dtype(values: list[Scalar | None]) -> str:
    given = [v for v in values if v is not None]
    if given and all(_is_number(v) for v in given):
        return "float64"
    complete = len(given) == len(values)
    return "bool" if given and complete and all(isinstance(v, bool) for v in given) else "object"


def as_number(value: Any) -> float | None:
    """A logged value as float64, "NaN" and "Infinity" included; None for anything that is not a number."""
    if isinstance(value, (bool, np.bool_)):
        return float(value)
    if isinstance(value, (int, float, np.integer, np.floating)):
        return float(value)
    if isinstance(value, str) and value.strip().lower().lstrip("+-") in {"nan", "inf", "infinity"}:
        return float(value)
    return None
