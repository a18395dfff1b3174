"""A cache of what follows from rows alone, while parameters are fitted to them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

T = TypeVar("T")

MOST_DIFFERENCES = 4_000_000
"""Squared differences (32 MB) up to which they are kept."""

_CACHE = WeakTensorKeyDictionary()
"""Rows to what was computed from them; entries go with the rows."""


def cached(x: Tensor, key: Hashable, find: Callable[[], T]) -> T:
    """What `find` gives of rows, computed once while gradients are recorded and the rows stay as they are.

    Args:
        x: The rows.
        key: Name of what is computed.
        find: Computes it.
    """
    if not torch.is_grad_enabled():
        return find()
    known: dict[Hashable, tuple[int, Any]] | None = _CACHE.get(x)
    if known is None:
        known = _CACHE[x] = {}
    if key not in known or known[key][0] != x._version:
        known[key] = x._version, find()
    return known[key][1]


def squared_differences(x1: Tensor, x2: Tensor, columns: tuple[int, ...]) -> Tensor | None:
    """Squared differences of rows in each column, (columns, rows, rows).

    None unless rows whose parameters are being learnt are compared with themselves, and few enough.
    """
    fitting = x1 is x2 and torch.is_grad_enabled() and not x1.requires_grad
    if not fitting or len(columns) * len(x1) ** 2 > MOST_DIFFERENCES:
        return None

    def find() -> Tensor:
        z = x1[:, list(columns)].mT
        return (z[:, :, None] - z[:, None, :]).square()

    return cached(x1, ("differences", columns), find)
