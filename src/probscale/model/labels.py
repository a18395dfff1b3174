"""Covariances that depend on labels alone, computed once per pair of values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from probscale.model.layout import LabelBlock

MOST_VALUES = 64
"""Distinct labels up to which correlations are computed once per pair of labels and not of rows."""


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
    x = x1 if x1 is x2 else torch.cat([x1, x2])
    found = values_of(x, blocks) if learnt and not x.requires_grad and x.device.type == "cpu" else None
    if found is None:
        return alike(x1, x2)
    table, member = found
    small = alike(table, table)
    if len(table) == 1:
        return small.expand(len(x1), len(x2))
    return member[: len(x1)] @ small @ member[-len(x2) :].mT


def values_of(x: Tensor, blocks: Sequence[LabelBlock]) -> tuple[Tensor, Tensor] | None:
    """One row per combination of labels, and which of them each row has, (rows, combinations).

    None where there are more than `MOST_VALUES`, or where equal labels differ in their texts.
    """
    which = torch.zeros(len(x), dtype=torch.long, device=x.device)
    for block in blocks:
        codes, position = torch.unique(x[:, block.code], return_inverse=True)
        which = torch.unique(which * len(codes) + position, return_inverse=True)[1]
    count = int(which.max()) + 1
    if count > MOST_VALUES:
        return None
    place = which.new_zeros(count).scatter_(0, which, torch.arange(len(x), device=x.device))
    texts = [column for block in blocks for column in block.text]
    if texts and not torch.equal(x[place][which][:, texts], x[:, texts]):
        return None
    return x[place], torch.nn.functional.one_hot(which, count).to(x.dtype)
