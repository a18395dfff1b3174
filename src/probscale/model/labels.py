"""Covariances of labels, or of an axis that runs share, computed once per pair of values."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from probscale.model.gradients import still_covariance
from probscale.model.layout import LabelBlock
from probscale.model.matern import scaled_matern
from probscale.model.row_cache import cached, squared_differences

MOST_VALUES = 64
"""Distinct labels up to which correlations are computed once per pair of labels and not of rows."""

FEW_ROWS = 4
"""Rows up to which it does not pay to look for labels that are alike."""

FEWER = 4
"""How many rows per value of the axis make it pay to compute correlations once per value."""


def by_value(
    alike: Callable[[Tensor, Tensor], Tensor],
    blocks: Sequence[LabelBlock],
    x1: Tensor,
    x2: Tensor,
    learnt: bool,
) -> Tensor:
    """A covariance that depends on labels alone, computed once per pair of their values where these are few.

    Args:
        alike: The covariance of two sets of rows.
        blocks: The labels it depends on.
        x1: Rows.
        x2: Other rows.
        learnt: Whether parameters are learnt; else rows may be differentiated, one by one.
    """
    if min(len(x1), len(x2)) <= FEW_ROWS:
        return alike(x1, x2)
    found = None
    if learnt and not (x1.requires_grad or x2.requires_grad) and x1.device.type == "cpu":
        found = _found_in(x1, x2, tuple(blocks), lambda x: values_of(x, blocks))
    if found is None:
        return alike(x1, x2)
    table, member = found
    return _expanded(alike(table, table), member, len(x1), len(x2))


def matern_by_place(
    x1: Tensor, x2: Tensor, axis: tuple[int, ...], width: Tensor, variance: Tensor, learnt: bool
) -> Tensor:
    """Matérn-5/2 covariance of axis values, computed once per pair of those that runs share where few.

    Args:
        x1: Rows.
        x2: Others.
        axis: Columns with the axis values.
        width: Lengthscales.
        variance: A number.
        learnt: Whether parameters are learnt; else rows may be differentiated, one by one.
    """

    def along(b1: Tensor, b2: Tensor, columns: tuple[int, ...]) -> Tensor:
        squared = squared_differences(b1, b2, columns) if learnt else None
        if squared is not None:
            return still_covariance(squared, width, variance)
        b1, b2 = (b[:, list(columns)] for b in (b1, b2))
        return scaled_matern(b1 / width, b2 / width, variance, learnt)

    columns = list(axis)
    found = None
    if learnt and not x1.requires_grad and x1.device.type == "cpu":
        found = _found_in(x1, x2, axis, lambda x: _places(x[:, columns]))
    if found is None or FEWER * len(found[0]) > min(len(x1), len(x2)):
        return along(x1, x2, axis)
    table, member = found
    return _expanded(along(table, table, tuple(range(len(axis)))), member, len(x1), len(x2))


Values = tuple[Tensor, Tensor] | None


def _found_in(x1: Tensor, x2: Tensor, key: Hashable, find: Callable[[Tensor], Values]) -> Values:
    """Values found in two sets of rows together."""
    if x1 is not x2:
        return find(torch.cat([x1, x2]))
    return cached(x1, ("values", key), lambda: find(x1))


def _places(a: Tensor) -> Values:
    """Distinct axis values, and which of them each row has; None where there are more than `MOST_VALUES`."""
    which = _combinations(a.unbind(dim=1))
    count = int(which.max()) + 1
    return None if count > MOST_VALUES else _members(a, which, count)


def values_of(x: Tensor, blocks: Sequence[LabelBlock]) -> tuple[Tensor, Tensor] | None:
    """One row per combination of labels, and which of them each row has, (rows, combinations).

    None where there are more than `MOST_VALUES`, or where equal labels differ in their texts.
    """
    which = _combinations([x[:, block.code] for block in blocks])
    count = int(which.max()) + 1
    if count > MOST_VALUES:
        return None
    table, member = _members(x, which, count)
    texts = [column for block in blocks for column in block.text]
    if texts and not torch.equal(table[which][:, texts], x[:, texts]):
        return None
    return table, member


def _combinations(columns: Sequence[Tensor]) -> Tensor:
    """Number of the combination of values that each row has, (rows,)."""
    which = torch.zeros(len(columns[0]), dtype=torch.long, device=columns[0].device)
    for number, column in enumerate(columns):
        values, position = torch.unique(column, return_inverse=True)
        which = (
            position if not number else torch.unique(which * len(values) + position, return_inverse=True)[1]
        )
    return which


def _members(x: Tensor, which: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """One row per combination, and which of them each row has, (rows, combinations)."""
    place = which.new_zeros(count).scatter_(0, which, torch.arange(len(x), device=x.device))
    return x[place], torch.nn.functional.one_hot(which, count).to(x.dtype)


def _expanded(small: Tensor, member: Tensor, rows: int, others: int) -> Tensor:
    """Covariance of rows from that of the combinations they have, (rows, others)."""
    if len(small) == 1:
        return small.expand(rows, others)
    return member[:rows] @ small @ member[-others:].mT
