"""Spread of configurations whose level values no run has had: values of the log are left out in turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.exact import ExactState
from probscale.model.layout import LabelBlock
from probscale.model.means import Rows
from probscale.model.posterior import Tail
from probscale.model.tails import fit_unseen

Array = NDArray[np.float64]

FEWEST_VALUES = 3
"""Values of a level below which leaving one out leaves nothing to compare the rest with."""


def unseen_scale(state: ExactState, tail: Tail) -> float | None:
    """Scale of the spread of unseen level values, in place of the one within the observed values.

    All runs of a value are left out together, parameters unchanged: what it shares is then unknown, as it
    is for a new one.

    Args:
        state: Posterior of the leading model.
        tail: Spread within the observed values; its share and spread of wide runs are kept.

    Returns:
        The scale; where levels have fewer than three values that of the tail, yet at least one: known values
        vouch for nothing there. None without levels.

    Cost: O(points³), one inverse a level.
    """
    with torch.no_grad():
        noise = state.process.noise(state.data.rows).numpy()
    parts: list[tuple[Array, Array, Array, Array]] = []
    for groups, counts in level_groups(state):
        residual, variance = state.leave_groups_out(groups)
        parts.append((residual.numpy(), variance.numpy(), noise, 1.0 / counts[groups]))
    if not parts:
        known = any(True for _ in _levels(state))
        return max(float(np.mean(tail.scale)), 1.0) if known else None
    residual, variance, noises, share = (np.concatenate([part[i] for part in parts]) for i in range(4))
    return fit_unseen(residual, variance, noises, share, tail)


def level_groups(state: ExactState) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Per level of at least three values: the value of each observation, and how many have each."""
    for block in _levels(state):
        codes = state.data.rows.x[:, block.code].numpy()
        _, groups, counts = np.unique(codes, return_inverse=True, return_counts=True)
        if len(counts) >= FEWEST_VALUES:
            yield groups.astype(np.intp), counts.astype(np.intp)


def has_unseen(state: ExactState, rows: Rows) -> NDArray[np.bool_]:
    """Which rows have a level value that no observation has, (rows,)."""
    return new_values(state, rows, _levels(state))


def new_values(state: ExactState, rows: Rows, blocks: Iterable[LabelBlock]) -> NDArray[np.bool_]:
    """Which rows have a value of one of these labels that no observation has, (rows,)."""
    out = np.zeros(len(rows), dtype=bool)
    for block in blocks:
        known = np.unique(state.data.rows.x[:, block.code].numpy())
        out |= ~np.isin(rows.x[:, block.code].numpy(), known)
    return out


def _levels(state: ExactState) -> Iterator[LabelBlock]:
    return (block for block in state.process.layout.labels if block.level)
